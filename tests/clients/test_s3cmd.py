"""s3cmd with its default settings, on http and https."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.support.clients import require_client
from tests.support.server import GatewayServer, clean_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

MIB = 1 << 20


class S3cmd:
    """`s3cmd` with a configuration file of its own that says where and who, and no more."""

    def __init__(self, server: GatewayServer, home: Path) -> None:
        self.path = require_client("s3cmd")
        home.mkdir(exist_ok=True)
        self.config = home / "s3cfg"
        self.config.write_text(
            "[default]\n"
            f"access_key = {server.access_key}\n"
            f"secret_key = {server.secret}\n"
            f"host_base = 127.0.0.1:{server.port}\n"
            f"host_bucket = 127.0.0.1:{server.port}\n"
            f"use_https = {server.tls_cert is not None}\n"
        )
        self.flags = ["--config", str(self.config), "--no-progress"]
        if server.tls_cert:
            self.flags += ["--ca-certs", str(server.tls_cert)]

    def call(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, whatever that is."""
        return subprocess.run(
            [self.path, *self.flags, *map(str, words)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=clean_environment(LC_ALL="C.UTF-8"),
            timeout=240,
        )

    def run(self, *words: str | Path) -> str:
        """The output of a command that succeeds."""
        done = self.call(*words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout


@pytest.fixture
def s3cmd(either_server: GatewayServer, tmp_path: Path) -> S3cmd:
    return S3cmd(either_server, tmp_path / "home")


def test_tree_goes_up_and_comes_down(
    s3cmd: S3cmd, folder: Path, bucket: str, tmp_path: Path
) -> None:
    s3cmd.run("mb", f"s3://{bucket}")
    s3cmd.run("sync", f"{folder}/", f"s3://{bucket}/tree/")
    assert "upload" not in s3cmd.run("sync", f"{folder}/", f"s3://{bucket}/tree/")
    (tmp_path / "back").mkdir()
    s3cmd.run("get", "--recursive", f"s3://{bucket}/tree/", f"{tmp_path}/back/")
    for path in folder.rglob("*"):
        if path.is_file():
            back = tmp_path / "back" / path.relative_to(folder)
            assert back.read_bytes() == path.read_bytes()


def test_large_file_goes_in_parts(s3cmd: S3cmd, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(random.Random(1).randbytes(17 * MIB))
    s3cmd.run("mb", f"s3://{bucket}")
    s3cmd.run("put", "--multipart-chunk-size-mb=5", tmp_path / "large", f"s3://{bucket}/large")
    s3cmd.run("get", f"s3://{bucket}/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()


def test_lists_and_describes(s3cmd: S3cmd, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    s3cmd.run("mb", f"s3://{bucket}")
    s3cmd.run("put", "--add-header=x-amz-meta-who:me", tmp_path / "file", f"s3://{bucket}/a/k")
    assert f"s3://{bucket}" in s3cmd.run("ls")
    assert f"s3://{bucket}/a/" in s3cmd.run("ls", f"s3://{bucket}")
    assert f"s3://{bucket}/a/k" in s3cmd.run("ls", "--recursive", f"s3://{bucket}")
    described = s3cmd.run("info", f"s3://{bucket}/a/k")
    assert "x-amz-meta-who: me" in described
    assert "File size: 10" in described


def test_removal_is_denied(s3cmd: S3cmd, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    s3cmd.run("mb", f"s3://{bucket}")
    s3cmd.run("put", tmp_path / "file", f"s3://{bucket}/k")
    done = s3cmd.call("del", f"s3://{bucket}/k")
    assert done.returncode != 0
    assert "403" in done.stderr
    s3cmd.run("get", f"s3://{bucket}/k", tmp_path / "back")


def test_signature_version_2(s3cmd: S3cmd, bucket: str, tmp_path: Path) -> None:
    s3cmd.flags.append("--signature-v2")
    s3cmd.run("mb", f"s3://{bucket}")
    body = random.Random(2).randbytes(6 * MIB)
    (tmp_path / "file").write_bytes(body)
    flags = ("--multipart-chunk-size-mb=5", "--add-header=x-amz-meta-a:1  2")
    s3cmd.run("put", *flags, tmp_path / "file", f"s3://{bucket}/a b+ü")
    assert f"s3://{bucket}/a b+ü" in s3cmd.run("ls", f"s3://{bucket}")
    s3cmd.run("get", f"s3://{bucket}/a b+ü", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == body
