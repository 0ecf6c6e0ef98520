"""The command line over a real store: what was uploaded is checked, rebuilt, exported, imported."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import GatewayServer, clean_environment

ROOT = Path(__file__).parents[2]
LARGE = random.Random(1).randbytes(3 << 20)


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, words)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )


def answer(*words: object) -> Any:
    done = command(*words, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GatewayServer]:
    started = GatewayServer(tmp_path / "data").start()
    s3 = started.s3()
    s3.put_object(Bucket="bucket", Key="a/large.bin", Body=LARGE, Metadata={"who": "me"})
    s3.put_object(Bucket="bucket", Key="small", Body=b"small", ContentType="text/plain")
    s3.put_object(Bucket="bucket", Key="empty", Body=b"")
    s3.create_bucket(Bucket="nothing-in-it")
    yield started
    started.close()


def facts(server: GatewayServer) -> dict[str, Any]:
    """All that clients see."""
    s3 = server.s3()
    seen: dict[str, Any] = {"buckets": [b["Name"] for b in s3.list_buckets()["Buckets"]]}
    for item in s3.list_objects_v2(Bucket="bucket")["Contents"]:
        got = s3.get_object(Bucket="bucket", Key=item["Key"])
        names = ("ETag", "LastModified", "ContentType", "Metadata")
        seen[item["Key"]] = [got["Body"].read(), *(got[name] for name in names)]
    return seen


def test_sound_store_is_healthy(server: GatewayServer) -> None:
    server.stop()
    report = answer("verify", "--data-dir", server.data_dir)
    assert report["healthy"] is True
    assert report["objects"] == 3


def test_running_store_can_be_verified(server: GatewayServer) -> None:
    assert answer("verify", "--data-dir", server.data_dir)["healthy"] is True
    assert facts(server)["small"][0] == b"small"


def test_flipped_byte_is_found_and_its_object_named(server: GatewayServer) -> None:
    server.stop()
    middle = LARGE[1_500_000:1_500_100]
    for path in server.data_dir.rglob("*"):
        if path.is_file() and (at := path.read_bytes().find(middle)) >= 0:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(bytes([middle[0] ^ 1]))
            break
    else:
        raise AssertionError("the bytes are nowhere")
    done = command("verify", "--data-dir", server.data_dir)
    assert done.returncode == 3
    assert "bucket/a/large.bin" in done.stdout
    assert "small" not in done.stdout
    server.start()
    s3 = server.s3()
    with pytest.raises(Exception):  # noqa: B017
        s3.get_object(Bucket="bucket", Key="a/large.bin")["Body"].read()
    assert s3.get_object(Bucket="bucket", Key="small")["Body"].read() == b"small"


def test_rebuild_brings_everything_back(server: GatewayServer) -> None:
    before = facts(server)
    server.stop()
    for path in server.data_dir.iterdir():
        if path.name.startswith("catalog") or path.name == "index":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    report = answer("rebuild", "--data-dir", server.data_dir)
    assert (report["buckets"], report["objects"]) == (2, 3)
    server.start()
    assert facts(server) == before


def test_store_in_use_is_not_rebuilt(server: GatewayServer) -> None:
    done = command("rebuild", "--data-dir", server.data_dir)
    assert done.returncode == 75
    assert "in use" in done.stderr


def test_exported_object_is_imported_elsewhere(server: GatewayServer, tmp_path: Path) -> None:
    cid = facts(server)["a/large.bin"][4]["cid"]
    server.stop()
    car = tmp_path / "large.car"
    report = answer("export", "--data-dir", server.data_dir, "bucket/a/large.bin", "--output", car)
    assert report["bytes"] == car.stat().st_size > len(LARGE)
    other = tmp_path / "other"
    imported = answer("import", "--data-dir", other, car, "new/large.bin")
    assert imported["cid"] == cid
    second = GatewayServer(other).start()
    try:
        got = second.s3().get_object(Bucket="new", Key="large.bin")
        assert got["Body"].read() == LARGE
        assert got["Metadata"]["cid"] == cid
    finally:
        second.close()


def test_object_that_is_not_there_is_1(server: GatewayServer, tmp_path: Path) -> None:
    server.stop()
    done = command("export", "--data-dir", server.data_dir, "bucket/no", "--output", tmp_path / "f")
    assert done.returncode == 1
    assert done.stderr.startswith("dsn-gateway: ")
    assert "Traceback" not in done.stderr


def test_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    for call in (("verify",), ("export", "bucket/key", "--output", tmp_path / "o.car")):
        done = command(*call, "--data-dir", nothing)
        assert (done.returncode, "nothing is stored in" in done.stderr) == (1, True), done.stderr
        assert not nothing.exists()


def test_cid_is_that_of_the_upload(server: GatewayServer, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(LARGE)
    cid = answer("cid", tmp_path / "large.bin")["cid"]
    assert cid == facts(server)["a/large.bin"][4]["cid"]


def test_revoked_key_is_refused_within_a_second(server: GatewayServer) -> None:
    s3 = server.s3()
    s3.list_buckets()
    assert (
        command("keys", "revoke", server.access_key, "--data-dir", server.data_dir).returncode == 0
    )
    time.sleep(1)
    with pytest.raises(Exception, match="InvalidAccessKeyId"):
        s3.list_buckets()


def test_new_key_works_at_once(server: GatewayServer) -> None:
    key = answer("keys", "create", "--data-dir", server.data_dir, "--key-only")
    server.access_key, server.secret = key["access_key"], "anything"
    assert facts(server)["small"][0] == b"small"


def test_nothing_secret_is_logged(server: GatewayServer) -> None:
    key = answer("keys", "create", "--data-dir", server.data_dir, "--key-only")
    secret = server.secret
    server.access_key, server.secret = key["access_key"], "anything"
    url = server.s3(signature_version="s3v4").generate_presigned_url(
        "get_object", Params={"Bucket": "bucket", "Key": "small"}
    )
    urllib.request.urlopen(url).close()
    facts(server)
    server.stop()
    assert server.log().count('"event":"request"') > 5
    for hidden in (secret, key["access_key"], "Signature="):
        assert hidden not in server.log()
