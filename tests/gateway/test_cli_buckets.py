"""`dsn-gateway buckets`, beside a server and without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from gateway.delete_policy import PRESETS, encode_policy
from tests.gateway.test_cli_store import command
from tests.support.server import GatewayServer
from tests.support.web_gateway import web_gateway


def policy(data_dir: Path, *words: str) -> object:
    done = command("buckets", "policy", *words, "--data-dir", data_dir, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["policy"]


def test_policy_counts_at_once_for_running_workers_and_after_a_rebuild(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    server = GatewayServer(data_dir, ("--workers", "2")).start()
    try:
        clients = [server.s3() for _ in range(3)]
        for key in ("a", "b", "c", "kept/a"):
            clients[0].put_object(Bucket="files", Key=key, Body=b"x")
        assert policy(data_dir, "files") is None
        with pytest.raises(ClientError, match="AccessDenied"):
            clients[0].delete_object(Bucket="files", Key="a")
        wanted = {"mode": "hide", "deny": ["kept/"]}
        assert policy(data_dir, "files", "--mode", "hide", "--deny", "kept/") == wanted
        for client, key in zip(clients, "abc", strict=True):
            assert client.delete_object(Bucket="files", Key=key)["DeleteMarker"]
        with pytest.raises(ClientError, match="AccessDenied"):
            clients[0].delete_object(Bucket="files", Key="kept/a")
        clients[0].put_object(Bucket="files", Key="d", Body=b"x")
    finally:
        server.close()
    assert command("rebuild", "--data-dir", data_dir).returncode == 0
    assert policy(data_dir, "files") == wanted
    assert policy(data_dir, "files", "--reset") is None


def test_preset_may_be_set_before_the_first_use(tmp_path: Path) -> None:
    restic = json.loads(encode_policy(PRESETS["restic"]))
    assert policy(tmp_path, "backups", "--preset", "restic") == restic
    with web_gateway(tmp_path) as gateway:
        assert gateway.wire.call("HEAD", "backups").status == 200
        gateway.wire.call("PUT", "backups/locks/a", b"x")
        assert gateway.wire.call("DELETE", "backups/locks/a").status == 204


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("b", "--preset", "tar"), 2, "no preset 'tar'"),
        (("b", "--mode", "scratch"), 2, "neither deny nor hide\n"),
        (("b", "--preset", "restic", "--reset"), 2, "exclude each other"),
        (("b", "--preset", "restic", "--hide", "a"), 2, "exclude each other"),
    ],
)
def test_what_cannot_be_set_is_told(
    tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    done = command("buckets", "policy", *words, "--data-dir", tmp_path)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr


def test_bucket_that_is_not_there_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    done = command("buckets", "policy", "nowhere", "--data-dir", tmp_path / "nothing")
    assert (done.returncode, "nothing is stored in" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "nothing").exists()
    policy(tmp_path, "files", "--mode", "hide")
    done = command("buckets", "policy", "nowhere", "--data-dir", tmp_path)
    assert (done.returncode, "no bucket nowhere" in done.stderr) == (1, True), done.stderr
