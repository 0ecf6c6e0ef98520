"""A real directory tree through rclone: thousands of files, empty ones, odd names, gigabytes."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.file_cid import file_cid
from tests.support.clients import require_fuse
from tests.support.rclone import Rclone
from tests.support.server import GatewayServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

FILES = 3000
LARGE_BYTES = 2_500_000_000
MIB = 1 << 20

ODD_NAMES = [
    "plain",
    "two words",
    "plus+sign",
    "100%",
    "%2F",
    "ünï 日本語 🙂",
    "e\u0301 combining",
    "quote'\"",
    "<a>&amp;",
    "semi;colon:",
    "[a]{b}(c)",
    "star*question?",
    "#hash",
    "-dash",
    "~tilde",
    " spaces ",
    "..dots..",
    "back\\slash",
    "a" * 200,
]


def make_tree(root: Path) -> None:
    chance = random.Random(7)
    for number in range(FILES):
        name = f"{chance.choice(ODD_NAMES)} {number}"
        path = root / f"dir {number % 40}" / f"sub{number % 7}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = chance.choice([0, 1, 100, 5_000, 65_066, 70_000, 300_000])
        path.write_bytes(chance.randbytes(size))
    block = chance.randbytes(8 * MIB)
    with (root / "large.bin").open("wb") as file:
        written = 0
        while written < LARGE_BYTES:
            # Every block differs, so that no two chunks are the same.
            piece = written.to_bytes(8, "big") + block
            written += file.write(piece[: LARGE_BYTES - written])


def md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


@contextmanager
def mounted(rclone: Rclone, remote: str, place: Path) -> Iterator[None]:
    require_fuse()
    place.mkdir()
    flags = ("--read-only", "--vfs-cache-mode", "full", "--vfs-read-chunk-size", "5M")
    with rclone.background("mount", remote, place, *flags):
        try:
            deadline = time.monotonic() + 30
            while not place.is_mount():
                assert time.monotonic() < deadline, "not mounted"
                time.sleep(0.05)
            yield
        finally:
            subprocess.run(["fusermount3", "-u", "-z", place], capture_output=True)


@pytest.fixture
def spacious(tmp_path: Path) -> Iterator[Path]:
    """A folder that is gone after the test, also after a failed one."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_real_tree(server: GatewayServer, spacious: Path) -> None:
    rclone = Rclone(server, spacious / "home")
    tree, remote = spacious / "tree", "dsn:real-tree/archive"
    make_tree(tree)
    flags = ("--transfers", "8", "--checkers", "16", "--s3-chunk-size", "16M")
    rclone.run("copy", tree, remote, *flags)

    rclone.run("check", tree, remote, "--checkers", "16")
    again = rclone.call("copy", "--immutable", "-v", tree, remote, *flags)
    assert again.returncode == 0
    assert b"There was nothing to transfer" in again.stderr

    local = {str(p.relative_to(tree)): md5_of(p) for p in tree.rglob("*") if p.is_file()}
    assert len(local) == FILES + 1
    listed = rclone.run("md5sum", remote, "--checkers", "16").decode().splitlines()
    assert dict(line.split("  ", 1)[::-1] for line in listed) == local

    large = tree / "large.bin"
    with large.open("rb") as file:
        for offset in (0, 65_060, 1_234_567_890, LARGE_BYTES - 1000):
            file.seek(offset)
            expected = file.read(1000)
            part = ("--offset", str(offset), "--count", "1000")
            assert rclone.run("cat", f"{remote}/large.bin", *part) == expected
        head = server.s3().head_object(Bucket="real-tree", Key="archive/large.bin")
        assert head["Metadata"]["cid"] == file_cid(large, "large.bin")

        with mounted(rclone, remote, spacious / "mount"):
            mount = spacious / "mount"
            assert sorted(os.listdir(mount)) == sorted(os.listdir(tree))
            for name in random.Random(1).sample(sorted(local), 50):
                if name != "large.bin":
                    assert (mount / name).read_bytes() == (tree / name).read_bytes()
            with (mount / "large.bin").open("rb") as seen:
                for offset in (2_000_000_000, 5, LARGE_BYTES - 10):
                    seen.seek(offset)
                    file.seek(offset)
                    assert seen.read(10) == file.read(10)

    rclone.run("copy", remote, spacious / "back", "--transfers", "8")
    rclone.run("check", "--download", tree, spacious / "back")
