"""restic and rclone where deletes are allowed: clean under their presets, and nothing is lost."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from gateway.keys import AccessKey, KeyStore
from gateway.rights import Limits, Right
from tests.support.clients import require_client
from tests.support.rclone import Rclone
from tests.support.server import GatewayServer, clean_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def policed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    """A gateway at the root, with buckets for restic and for rclone."""
    policies = '["backups=restic", "files=rclone"]'
    config = tmp_path_factory.mktemp("policed") / "config.toml"
    config.write_text(f"bucket_delete_policies = {policies}\n")
    flags = ("--base-path", "/", "--config", str(config))
    started = GatewayServer(config.parent / "data", flags).start()
    yield started
    started.close()


class Restic:
    """restic with a repository in the gateway."""

    def __init__(
        self, server: GatewayServer, home: Path, repository: str, key: AccessKey | None = None
    ) -> None:
        self._path = require_client("restic")
        home.mkdir(exist_ok=True)
        self._environment = clean_environment(
            HOME=str(home),
            RESTIC_REPOSITORY=f"s3:{server.endpoint}/{repository}",
            RESTIC_PASSWORD="secret",
            AWS_ACCESS_KEY_ID=key.access_key if key else server.access_key,
            AWS_SECRET_ACCESS_KEY=key.secret or "" if key else server.secret,
        )

    def call(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._path, *map(str, arguments)],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=200,
        )

    def run(self, *arguments: str | Path) -> str:
        done = self.call(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        # A refused deletion would be told here, and tried again for a minute.
        assert done.stderr == "", done.stderr
        return done.stdout


@pytest.mark.parametrize("repository", ["backups", "backups/of/laptop"])
def test_restic_runs_clean_under_its_preset(
    policed: GatewayServer, folder: Path, tmp_path: Path, repository: str
) -> None:
    restic = Restic(policed, tmp_path / "home", repository)
    started = time.monotonic()
    restic.run("init")
    restic.run("backup", folder, "--tag", "first")
    (folder / "top.txt").write_bytes(b"changed")
    restic.run("backup", folder, "--tag", "second")
    restic.run("check", "--read-data")
    restic.run("forget", "--keep-last", "1")
    snapshots = restic.run("snapshots")
    assert "second" in snapshots
    assert "first" not in snapshots
    restic.run("check")
    restic.run("restore", "latest", "--target", tmp_path / "back")
    assert (tmp_path / "back" / folder.relative_to("/") / "top.txt").read_bytes() == b"changed"
    assert time.monotonic() - started < 60, "something was refused and tried again"
    s3 = policed.s3()
    prefix = repository.removeprefix("backups").lstrip("/")
    prefix += "/" if prefix else ""
    locks = s3.list_object_versions(Bucket="backups", Prefix=f"{prefix}locks/")
    assert "Versions" not in locks
    assert "DeleteMarkers" not in locks
    # What was forgotten is hidden, and comes back.
    hidden = s3.list_object_versions(Bucket="backups", Prefix=f"{prefix}snapshots/")
    assert len(hidden["Versions"]) == 2
    (marker,) = hidden["DeleteMarkers"]
    s3.delete_object(Bucket="backups", Key=marker["Key"], VersionId=marker["VersionId"])
    assert "first" in restic.run("snapshots")
    restic.run("check", "--read-data")


@pytest.fixture
def rclone(policed: GatewayServer, tmp_path: Path) -> Rclone:
    return Rclone(policed, tmp_path / "home")


def test_rclone_deletes_moves_and_purges_by_hiding(
    rclone: Rclone, folder: Path, tmp_path: Path
) -> None:
    remote = "dsn:files/tree"
    rclone.run("copy", folder, remote)
    everything = rclone.lines("lsf", "-R", "--files-only", remote)
    rclone.run("deletefile", f"{remote}/top.txt")
    (folder / "empty").unlink()
    (folder / "top.txt").unlink()
    rclone.run("sync", folder, remote)
    rclone.run("moveto", f"{remote}/a/empty-too", f"{remote}/moved")
    rclone.run("move", f"{remote}/odd", tmp_path / "odd")
    gone = {"top.txt", "empty", "a/empty-too"} | {n for n in everything if n.startswith("odd/")}
    left = rclone.lines("lsf", "-R", "--files-only", remote)
    assert left == sorted(set(everything) - gone | {"moved"})
    rclone.run("delete", f"{remote}/big")
    rclone.run("purge", remote)
    assert rclone.lines("lsf", "-R", remote) == []
    past = rclone.lines("lsf", "-R", "--files-only", "--s3-versions", remote)
    assert len(past) == len(everything) + 1


def test_rclone_reads_the_past(rclone: Rclone, policed: GatewayServer, tmp_path: Path) -> None:
    remote = "dsn:files/past"
    moments = []
    for content in (b"one", b"two", b"three"):
        rclone.run("rcat", f"{remote}/doc.txt", data=content)
        # rclone asks for moments of whole seconds.
        time.sleep(1.1)
        moments.append(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        time.sleep(1.1)
    rclone.run("deletefile", f"{remote}/doc.txt")
    assert rclone.lines("lsf", remote) == []
    names = rclone.lines("lsf", "--s3-versions", remote)
    assert len(names) == 3
    rclone.run("copy", "--s3-versions", remote, tmp_path / "past")
    # Their names end in their times.
    assert [(tmp_path / "past" / name).read_bytes() for name in names] == [b"one", b"two", b"three"]
    for moment, content in zip(moments, (b"one", b"two", b"three"), strict=True):
        at = ("--s3-version-at", moment)
        assert rclone.lines("lsf", *at, remote) == ["doc.txt"]
        # Whole folders: rclone 1.60 finds a single file of the past at the top of a bucket only.
        rclone.run("copy", *at, remote, tmp_path / moment)
        assert (tmp_path / moment / "doc.txt").read_bytes() == content
    assert policed.s3().list_object_versions(Bucket="files", Prefix="past/")["DeleteMarkers"]


def test_restic_backs_up_with_a_key_that_may_only_create(
    policed: GatewayServer, folder: Path, tmp_path: Path
) -> None:
    rights = frozenset({Right.READ, Right.LIST, Right.CREATE})
    limits = Limits(rights, ("backups",), ("host/",))
    key = KeyStore(policed.data_dir).create(limits=limits)
    restic = Restic(policed, tmp_path / "home", "backups/host", key)
    restic.run("init")
    restic.run("backup", folder)
    restic.run("check", "--read-data")
    restic.run("restore", "latest", "--target", tmp_path / "back")
    left = policed.s3().list_objects_v2(Bucket="backups", Prefix="host/locks/")
    assert left["KeyCount"] == 0
    # What a thief of the key would try.
    s3 = replace(policed, access_key=key.access_key, secret=key.secret or "").s3()
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(Bucket="backups", Key="host/config", Body=b"ruined")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket="backups", Key="host/config")
