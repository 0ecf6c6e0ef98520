"""rclone, unmodified: every command of its table of operations does what it must."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.clients import require_fuse
from tests.support.rclone import DENIED, Rclone
from tests.support.server import GatewayServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

MIB = 1 << 20
MULTIPART = ("--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M")


@pytest.fixture
def rclone(server: GatewayServer, tmp_path: Path) -> Rclone:
    return Rclone(server, tmp_path / "home")


@pytest.fixture
def remote(bucket: str) -> str:
    return f"dsn:{bucket}"


@pytest.fixture
def stored(rclone: Rclone, folder: Path, remote: str) -> str:
    """The remote with the small tree in it."""
    rclone.run("copy", folder, remote, *MULTIPART)
    return remote


def tree_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


# copy, copyto, rcat: up


def test_copy_up_and_down_gives_the_same_tree(
    rclone: Rclone, folder: Path, stored: str, tmp_path: Path
) -> None:
    rclone.run("copy", stored, tmp_path / "back")
    assert tree_of(tmp_path / "back") == tree_of(folder)


def test_large_files_go_up_by_multipart(
    rclone: Rclone, server: GatewayServer, stored: str, bucket: str
) -> None:
    head = server.s3().head_object(Bucket=bucket, Key="big/six-mib.bin")
    assert head["ETag"].endswith('-2"')
    assert "md5chksum" in head["Metadata"]
    assert "mtime" in head["Metadata"]


def test_copy_again_uploads_nothing(rclone: Rclone, folder: Path, stored: str) -> None:
    for flags in ((), ("--immutable",), ("--checksum",), ("--size-only",)):
        done = rclone.call("copy", folder, stored, "-v", *flags, *MULTIPART)
        assert done.returncode == 0
        assert b"There was nothing to transfer" in done.stderr, flags
        assert b"Copied" not in done.stderr, flags


def test_immutable_refuses_a_changed_file(rclone: Rclone, folder: Path, stored: str) -> None:
    (folder / "top.txt").write_bytes(b"something else")
    assert "immutable file modified" in rclone.fail("copy", "--immutable", folder, stored)
    assert rclone.run("cat", f"{stored}/top.txt") == b"top\n"


def test_copyto_stores_under_the_given_key(rclone: Rclone, folder: Path, remote: str) -> None:
    rclone.run("copyto", folder / "top.txt", f"{remote}/other/name.md")
    assert rclone.run("cat", f"{remote}/other/name.md") == b"top\n"


@pytest.mark.parametrize("size", [0, 10, 100_000, 5 * MIB, 12 * MIB + 345])
def test_rcat_stores_a_stream(rclone: Rclone, remote: str, size: int) -> None:
    content = random.Random(size).randbytes(size)
    rclone.run("rcat", f"{remote}/stream", data=content)
    assert rclone.run("cat", f"{remote}/stream") == content


def test_single_and_multipart_have_one_cid(
    rclone: Rclone, server: GatewayServer, remote: str, bucket: str, tmp_path: Path
) -> None:
    file = tmp_path / "same.bin"
    file.write_bytes(random.Random(1).randbytes(17 * MIB + 99))
    rclone.run("copyto", file, f"{remote}/one/same.bin")
    rclone.run("copyto", file, f"{remote}/two/same.bin", *MULTIPART, "--s3-upload-concurrency", "4")
    heads = [
        server.s3().head_object(Bucket=bucket, Key=key) for key in ("one/same.bin", "two/same.bin")
    ]
    assert heads[0]["ETag"] != heads[1]["ETag"]
    assert heads[0]["Metadata"]["cid"] == heads[1]["Metadata"]["cid"]


# copies within the remote


def test_copy_within_the_remote_moves_no_byte(rclone: Rclone, stored: str) -> None:
    done = rclone.call("copyto", f"{stored}/a/plus+and space.txt", f"{stored}/new/name", "-v")
    assert done.returncode == 0, done.stderr
    assert b"Copied (server-side copy)" in done.stderr
    assert rclone.run("cat", f"{stored}/new/name") == b"plus"
    times = {
        line.split(";")[0]
        for name in ("a/plus+and space.txt", "new/name")
        for line in rclone.lines("lsf", "--format", "ts", f"{stored}/{name}")
    }
    assert len(times) == 1
    rclone.run("copy", f"{stored}/a", f"{stored}/again")
    assert rclone.lines("md5sum", f"{stored}/a") == rclone.lines("md5sum", f"{stored}/again")
    rclone.run("check", f"{stored}/a", f"{stored}/again")


def test_a_large_file_is_copied_by_parts(rclone: Rclone, remote: str, tmp_path: Path) -> None:
    content = random.Random(3).randbytes(12 * MIB + 5)
    (tmp_path / "large").write_bytes(content)
    rclone.run("copy", tmp_path / "large", remote, *MULTIPART)
    flags = ("--s3-copy-cutoff", "5M", "--s3-chunk-size", "5M", "-v")
    done = rclone.call("copyto", f"{remote}/large", f"{remote}/copied", *flags)
    assert done.returncode == 0, done.stderr
    assert b"server-side copy" in done.stderr
    assert rclone.run("cat", f"{remote}/copied") == content
    assert rclone.lines("hashsum", "md5", f"{remote}/copied") == [
        f"{hashlib.md5(content).hexdigest()}  copied"
    ]


def test_a_new_time_is_set_by_a_copy_onto_itself(
    rclone: Rclone, remote: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    rclone.run("copy", file, remote)
    os.utime(file, (1_500_000_000, 1_500_000_000))
    done = rclone.call("copy", file, remote, "-v")
    assert b"Updated modification time" in done.stderr, done.stderr
    rclone.run("touch", "--timestamp", "2020-01-02T03:04:05", f"{remote}/file")
    shown = rclone.lines("lsf", "--format", "tp", f"{remote}/file")
    assert shown[0].startswith("2020-01-02"), shown
    assert rclone.run("cat", f"{remote}/file") == b"content"


# copy, cat: down


def test_cat_reads_ranges(rclone: Rclone, folder: Path, stored: str) -> None:
    content = (folder / "big/six-mib.bin").read_bytes()
    path = f"{stored}/big/six-mib.bin"
    assert rclone.run("cat", path, "--offset", "100", "--count", "50") == content[100:150]
    assert rclone.run("cat", path, "--offset", "65060", "--count", "20") == content[65060:65080]
    assert rclone.run("cat", path, "--offset", "-10") == content[-10:]
    assert rclone.run("cat", path, "--head", "7") == content[:7]
    assert rclone.run("cat", path, "--tail", "7") == content[-7:]


def test_cat_joins_files(rclone: Rclone, folder: Path, stored: str) -> None:
    assert rclone.run("cat", f"{stored}/a/b") == (folder / "a/b/c/deep.bin").read_bytes()


def test_copy_down_in_several_streams(
    rclone: Rclone, folder: Path, stored: str, tmp_path: Path
) -> None:
    streams = ("--multi-thread-streams", "4", "--multi-thread-cutoff", "1M")
    rclone.run("copy", f"{stored}/big", tmp_path / "back", *streams)
    assert tree_of(tmp_path / "back") == tree_of(folder / "big")


# ls, lsl, lsd, tree, size


def test_lists_show_what_is_there(rclone: Rclone, folder: Path, stored: str) -> None:
    tree = tree_of(folder)
    assert rclone.lines("lsf", "-R", "--files-only", stored) == sorted(tree)
    listed = json.loads(rclone.run("lsjson", "-R", "--files-only", stored))
    assert {item["Path"]: item["Size"] for item in listed} == {
        name: len(content) for name, content in tree.items()
    }
    sizes = [line.split()[0] for line in rclone.lines("ls", stored)]
    assert sorted(sizes) == sorted(str(len(content)) for content in tree.values())


def test_lsd_shows_buckets_and_folders(rclone: Rclone, stored: str, bucket: str) -> None:
    assert bucket in [line.split()[-1] for line in rclone.lines("lsd", "dsn:")]
    assert sorted(line.split()[-1] for line in rclone.lines("lsd", stored)) == ["a", "big", "odd"]
    assert [line.split()[-1] for line in rclone.lines("lsd", f"{stored}/a")] == ["b"]


def test_modification_times_survive(
    rclone: Rclone, folder: Path, remote: str, tmp_path: Path
) -> None:
    moment = 1_234_567_890_123_456_789
    os.utime(folder / "top.txt", ns=(moment, moment))
    os.utime(folder / "big/six-mib.bin", ns=(moment, moment))
    rclone.run("copy", folder, remote, *MULTIPART)
    listed = json.loads(rclone.run("lsjson", "-R", remote))
    times = {item["Path"]: item["ModTime"] for item in listed}
    assert times["top.txt"].startswith("2009-02-13T23:31:30.123456789")
    assert times["big/six-mib.bin"] == times["top.txt"]
    assert "23:31:30.123456789" in rclone.run("lsl", f"{remote}/top.txt").decode()
    rclone.run("copy", remote, tmp_path / "back")
    assert (tmp_path / "back/top.txt").stat().st_mtime_ns == moment


def test_tree_and_size(rclone: Rclone, folder: Path, stored: str) -> None:
    tree = tree_of(folder)
    size = json.loads(rclone.run("size", "--json", stored))
    assert (size["count"], size["bytes"]) == (len(tree), sum(map(len, tree.values())))
    assert f"{len(tree)} files" in rclone.run("tree", "--all", stored).decode()


@pytest.mark.parametrize("version", ["1", "2"])
def test_listing_continues_over_pages(
    rclone: Rclone, remote: str, tmp_path: Path, version: str
) -> None:
    many = tmp_path / "many"
    names = [f"{number % 7}/{number:03}" for number in range(150)]
    for name in names:
        (many / name).parent.mkdir(parents=True, exist_ok=True)
        (many / name).write_text(name)
    rclone.run("copy", many, remote, "--transfers", "8")
    flags = ("--s3-list-version", version, "--s3-list-chunk", "10")
    assert rclone.lines("lsf", "-R", "--files-only", remote, *flags) == sorted(names)
    assert rclone.lines("lsf", "-R", "--files-only", "--fast-list", remote, *flags) == sorted(names)
    assert rclone.lines("lsf", remote, *flags) == [f"{n}/" for n in range(7)]


def test_listing_url_encoded(rclone: Rclone, folder: Path, stored: str) -> None:
    flags = ("--s3-list-url-encode", "true")
    assert rclone.lines("lsf", "-R", "--files-only", stored, *flags) == sorted(tree_of(folder))


# md5sum, hashsum, check


def test_md5sums_are_those_of_the_files(rclone: Rclone, folder: Path, stored: str) -> None:
    local = {name: hashlib.md5(content).hexdigest() for name, content in tree_of(folder).items()}
    for command in (("md5sum",), ("hashsum", "md5")):
        listed = dict(line.split("  ", 1)[::-1] for line in rclone.lines(*command, stored))
        # The multipart one carries rclone's own checksum in its metadata.
        assert listed == local


def test_check_agrees(rclone: Rclone, folder: Path, stored: str) -> None:
    rclone.run("check", folder, stored)
    rclone.run("check", "--download", folder, stored)
    (folder / "top.txt").write_bytes(b"TOP\n")
    assert "1 differences found" in rclone.fail("check", folder, stored)


# sync, move, delete: nothing is ever lost


def test_sync_uploads_and_cannot_delete(rclone: Rclone, folder: Path, stored: str) -> None:
    before = set(tree_of(folder))
    (folder / "new.txt").write_bytes(b"new")
    (folder / "top.txt").unlink()
    message = rclone.fail("sync", folder, stored, *MULTIPART)
    assert DENIED in message
    assert rclone.lines("lsf", "-R", "--files-only", stored) == sorted({*before, "new.txt"})
    assert rclone.run("cat", f"{stored}/top.txt") == b"top\n"


def test_move_up_works(rclone: Rclone, folder: Path, remote: str) -> None:
    before = tree_of(folder)
    rclone.run("move", folder, remote, *MULTIPART)
    assert tree_of(folder) == {}
    assert rclone.lines("lsf", "-R", "--files-only", remote) == sorted(before)


def test_move_down_keeps_the_source(
    rclone: Rclone, folder: Path, stored: str, tmp_path: Path
) -> None:
    assert DENIED in rclone.fail("move", f"{stored}/a", tmp_path / "back")
    rclone.run("check", folder, stored)


def test_move_inside_keeps_the_source(rclone: Rclone, folder: Path, stored: str) -> None:
    # The copy is made, the delete behind it is refused.
    assert DENIED in rclone.fail("moveto", f"{stored}/top.txt", f"{stored}/moved.txt")
    rclone.run("check", "--one-way", folder, stored)
    assert rclone.run("cat", f"{stored}/moved.txt") == b"top\n"


@pytest.mark.parametrize(
    "arguments",
    [("delete", ""), ("delete", "/a"), ("deletefile", "/top.txt"), ("purge", ""), ("purge", "/a")],
)
def test_deletes_are_denied_and_lose_nothing(
    rclone: Rclone, folder: Path, stored: str, arguments: tuple[str, str]
) -> None:
    command, path = arguments
    assert DENIED in rclone.fail(command, stored + path)
    rclone.run("check", folder, stored)


def test_removing_buckets_is_denied(rclone: Rclone, folder: Path, stored: str) -> None:
    rclone.fail("rmdir", stored)
    rclone.call("rmdirs", stored)
    rclone.run("check", folder, stored)


def test_removing_an_empty_bucket_is_denied(rclone: Rclone, remote: str, bucket: str) -> None:
    rclone.run("mkdir", remote, "--s3-no-check-bucket=false")
    for command in ("rmdir", "rmdirs"):
        assert DENIED in rclone.fail(command, remote)
    assert bucket in [line.split()[-1] for line in rclone.lines("lsd", "dsn:")]


def test_mkdir_makes_a_bucket_that_is_listed(rclone: Rclone, remote: str, bucket: str) -> None:
    rclone.run("mkdir", remote, "--s3-no-check-bucket=false")
    rclone.run("mkdir", remote, "--s3-no-check-bucket=false")
    assert bucket in [line.split()[-1] for line in rclone.lines("lsd", "dsn:")]
    assert rclone.run("lsf", remote) == b""


def test_about_is_a_clear_error(rclone: Rclone, stored: str) -> None:
    assert "doesn't support about" in rclone.fail("about", stored)


def test_unknown_bucket_is_a_clear_error(rclone: Rclone, remote: str) -> None:
    assert "directory not found" in rclone.fail("lsf", remote)


# cleanup


def test_cleanup_aborts_stale_uploads(
    rclone: Rclone, server: GatewayServer, remote: str, bucket: str
) -> None:
    s3 = server.s3()
    s3.create_bucket(Bucket=bucket)
    for key in ("one", "two"):
        upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"part")
    listed = json.loads(rclone.run("backend", "list-multipart-uploads", remote))
    assert sorted(item["Key"] for item in listed[bucket]) == ["one", "two"]
    # Fresh ones may still be in use and stay.
    rclone.run("cleanup", remote)
    assert len(s3.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 2
    rclone.run("backend", "cleanup", remote, "-o", "max-age=1ms")
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


# rclone's own defaults


def test_defaults_of_rclone_work_too(
    server: GatewayServer, folder: Path, tmp_path: Path, remote: str
) -> None:
    rclone = Rclone(server, tmp_path / "home", defaults=True)
    rclone.run("copy", folder, remote)
    rclone.run("check", "--download", folder, remote)
    assert rclone.lines("lsf", "-R", "--files-only", remote) == sorted(tree_of(folder))
    assert b"There was nothing to transfer" in rclone.call("copy", "-v", folder, remote).stderr


def test_https(secure_server: GatewayServer, folder: Path, tmp_path: Path, remote: str) -> None:
    rclone = Rclone(secure_server, tmp_path / "home")
    rclone.run("copy", folder, remote, *MULTIPART)
    rclone.run("check", "--download", folder, remote)


def test_wrong_secret_is_denied(server: GatewayServer, tmp_path: Path, stored: str) -> None:
    rclone = Rclone(server, tmp_path / "home")
    rclone.environment["RCLONE_CONFIG_DSN_SECRET_ACCESS_KEY"] = "wrong"
    assert "SignatureDoesNotMatch" in rclone.fail("lsf", stored)


# mount


@contextlib.contextmanager
def mounted(rclone: Rclone, remote: str, place: Path, *flags: str) -> Iterator[Path]:
    require_fuse()
    place.mkdir()
    quick = ("--dir-cache-time", "1s", "--vfs-write-back", "0s", "--attr-timeout", "0s")
    with rclone.background("mount", remote, place, *quick, *flags) as process:
        try:
            eventually(lambda: place.is_mount() or process.poll() is not None)
            assert process.poll() is None, (rclone.home / "background.log").read_text()
            yield place
        finally:
            subprocess.run(["fusermount3", "-u", "-z", place], capture_output=True)


def test_mount_for_reading(rclone: Rclone, folder: Path, stored: str, tmp_path: Path) -> None:
    flags = ("--read-only", "--vfs-cache-mode", "full", "--vfs-read-chunk-size", "5M")
    with mounted(rclone, stored, tmp_path / "mount", *flags) as mount:
        assert tree_of(mount) == tree_of(folder)
        assert sorted(os.listdir(mount)) == sorted(os.listdir(folder))
        content = (folder / "big/six-mib.bin").read_bytes()
        with (mount / "big/six-mib.bin").open("rb") as file:
            for offset in (5 * MIB - 10, 100, 65_060, len(content) - 20):
                file.seek(offset)
                assert file.read(20) == content[offset : offset + 20]
        with pytest.raises(OSError):
            (mount / "new").write_bytes(b"x")


def test_mount_seeks_without_a_cache(
    rclone: Rclone, folder: Path, stored: str, tmp_path: Path
) -> None:
    with mounted(rclone, stored, tmp_path / "mount", "--read-only") as mount:
        content = (folder / "big/six-mib.bin").read_bytes()
        with (mount / "big/six-mib.bin").open("rb") as file:
            for offset in (4 * MIB, 7, 3 * MIB):
                file.seek(offset)
                assert file.read(1000) == content[offset : offset + 1000]


@pytest.mark.parametrize("cache", ["off", "writes", "full"])
def test_mount_for_writing_takes_new_files(
    rclone: Rclone, stored: str, tmp_path: Path, cache: str
) -> None:
    large = random.Random(2).randbytes(6 * MIB)
    with mounted(rclone, stored, tmp_path / "mount", "--vfs-cache-mode", cache) as mount:
        (mount / "fresh.txt").write_bytes(b"fresh")
        (mount / "a/large.bin").write_bytes(large)

        def arrived() -> bool:
            return {"fresh.txt", "a/large.bin"} <= set(rclone.lines("lsf", "-R", stored))

        eventually(arrived)
    assert rclone.run("cat", f"{stored}/fresh.txt") == b"fresh"
    assert rclone.run("cat", f"{stored}/a/large.bin") == large


def test_mount_for_writing_cannot_delete_or_rename(
    rclone: Rclone, folder: Path, stored: str, tmp_path: Path
) -> None:
    with mounted(rclone, stored, tmp_path / "mount", "--vfs-cache-mode", "writes") as mount:
        with pytest.raises(OSError):
            (mount / "top.txt").unlink()
        with pytest.raises(OSError):
            (mount / "empty").rename(mount / "renamed")
        with pytest.raises(OSError):
            (mount / "a").rename(mount / "other")
    rclone.run("check", "--one-way", folder, stored)


# serve


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_serve_http_over_the_remote(rclone: Rclone, folder: Path, stored: str) -> None:
    port = free_port()
    with rclone.background("serve", "http", "--addr", f"127.0.0.1:{port}", stored):
        eventually(lambda: is_open(port))
        url = f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"{url}/top.txt") as answer:
            assert answer.read() == b"top\n"
        content = (folder / "big/six-mib.bin").read_bytes()
        part = urllib.request.Request(f"{url}/big/six-mib.bin")
        part.add_header("Range", "bytes=5000000-5000099")
        with urllib.request.urlopen(part) as answer:
            assert answer.status == 206
            assert answer.read() == content[5_000_000:5_000_100]
        with urllib.request.urlopen(f"{url}/a/") as answer:
            assert b"empty-too" in answer.read()


class VolumePlugin:
    """Docker's side of the volume plugin API: JSON over a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def call(self, name: str, **fields: object) -> dict[str, object]:
        connection = HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60)
        connection.sock.connect(str(self.path))
        connection.request("POST", f"/{name}", json.dumps(fields))
        answer: dict[str, object] = json.loads(connection.getresponse().read())
        connection.close()
        assert not answer.get("Err"), answer
        return answer


def test_serve_docker_over_the_remote(
    rclone: Rclone, folder: Path, stored: str, tmp_path: Path
) -> None:
    require_fuse()
    address, base = tmp_path / "plugin.sock", tmp_path / "volumes"
    base.mkdir()
    flags = ("--socket-addr", address, "--base-dir", base, "--no-spec", "--forget-state")
    with rclone.background("serve", "docker", *flags):
        eventually(address.is_socket)
        plugin = VolumePlugin(address)
        assert plugin.call("Plugin.Activate")["Implements"] == ["VolumeDriver"]
        options = {"remote": stored, "vfs-cache-mode": "full", "read-only": "true"}
        plugin.call("VolumeDriver.Create", Name="archive", Opts=options)
        place = Path(str(plugin.call("VolumeDriver.Mount", Name="archive", ID="1")["Mountpoint"]))
        try:
            assert tree_of(place) == tree_of(folder)
        finally:
            plugin.call("VolumeDriver.Unmount", Name="archive", ID="1")
            plugin.call("VolumeDriver.Remove", Name="archive")
