"""Objects of many gigabytes: bounded memory, one CID whichever way they came, little more disk.

`LARGE_BYTES` sets the size (2 GiB by default), `LARGE_DIR` where they go; a size's worth of free
disk and a little more is needed there. Rates and times are printed, not judged.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.keys import KeyStore
from tests.support.large import LargeBody
from tests.support.rclone import Rclone
from tests.support.server import GatewayServer
from tests.support.wire import Wire

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZE = int(os.environ.get("LARGE_BYTES", 2 * GIB))
PART_BYTES = 5 * MIB
LANES = 8
MEMORY_BYTES_MAX = 300 * MIB


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(
        prefix="dsn-large-", dir=os.environ.get("LARGE_DIR") or None
    ) as path:
        yield Path(path)


def need_room(folder: Path, size: int) -> None:
    """Skips where the disk is too small; in a build that is a failure."""
    free = shutil.disk_usage(folder).free
    if free < size:
        pytest.skip(f"{size / GIB:.1f} GiB of free disk are needed, {free / GIB:.1f} are there")


def start(data_dir: Path) -> tuple[GatewayServer, str]:
    """A new gateway, and a key-only key for it."""
    key = KeyStore(data_dir).create(key_only=True).access_key
    return GatewayServer(data_dir).start(), key


def disk_bytes(folder: Path) -> int:
    """What the files of a folder take on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def put(server: GatewayServer, key: str, body: LargeBody) -> str:
    """One PUT; the CID."""
    wire = Wire(server.port, key, timeout=600)
    answer = wire.call("PUT", "large/body.bin", body.pieces(0, body.size), length=body.size)
    assert answer.status == 200, answer
    wire.close()
    return answer.headers["x-amz-meta-cid"]


def multipart(server: GatewayServer, key: str, name: str, body: LargeBody) -> tuple[str, float]:
    """Parts of 5 MiB, several at a time; the CID and the seconds that Complete took."""
    local = threading.local()

    def send(number: int) -> str:
        if not hasattr(local, "wire"):
            local.wire = Wire(server.port, key)
        start = (number - 1) * PART_BYTES
        stop = min(start + PART_BYTES, body.size)
        answer = local.wire.call(
            "PUT",
            name,
            body.pieces(start, stop),
            length=stop - start,
            partNumber=number,
            uploadId=upload_id,
        )
        assert answer.status == 200, answer
        return (
            f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.headers['etag']}</ETag></Part>"
        )

    wire = Wire(server.port, key, timeout=600)
    upload_id = wire.call("POST", name, uploads="").texts("UploadId")[0]
    with ThreadPoolExecutor(LANES) as pool:
        parts = list(pool.map(send, range(1, -(-body.size // PART_BYTES) + 1)))
    wire.close()  # it may have been idle for too long
    document = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>"
    begun = time.monotonic()
    answer = wire.call("POST", name, document.encode(), uploadId=upload_id)
    seconds = time.monotonic() - begun
    assert answer.status == 200, answer
    wire.close()
    return answer.headers["x-amz-meta-cid"], seconds


def check_ranges(server: GatewayServer, key: str, body: LargeBody) -> None:
    """Spans all over the object, across borders of parts and leaves too."""
    rng = random.Random(body.size)
    wire = Wire(server.port, key)
    starts = [0, body.size - 1, PART_BYTES - 1, 65_066 * 1_626 - 1]
    starts += [rng.randrange(body.size) for _ in range(40)]
    for first in starts:
        stop = min(body.size, first + rng.choice([1, 4 * KIB, 3 * MIB]))
        answer = wire.call("GET", "large/body.bin", headers={"Range": f"bytes={first}-{stop - 1}"})
        assert answer.status == 206
        assert answer.headers["content-range"] == f"bytes {first}-{stop - 1}/{body.size}"
        assert answer.body == body.read(first, stop)
    wire.close()


def test_many_gigabytes_take_little_memory_and_get_one_cid(folder: Path) -> None:
    need_room(folder, int(SIZE * 1.05) + 3 * GIB)
    body = LargeBody("large", SIZE)
    cids, memory, ratio = {}, {}, {}
    for way in ("multipart", "put"):
        data_dir = folder / way
        server, key = start(data_dir)
        try:
            begun = time.monotonic()
            if way == "put":
                cids[way] = put(server, key, body)
                took = time.monotonic() - begun
            else:
                cids[way], completing = multipart(server, key, "large/body.bin", body)
                took = time.monotonic() - begun
                print(f"\nComplete of {SIZE // PART_BYTES} parts: {completing * 1000:.0f} ms")
            memory[way] = server.peak_memory_bytes()
            ratio[way] = disk_bytes(data_dir) / SIZE
            print(
                f"\n{way}: {SIZE / MIB / took:.0f} MiB/s, peak memory {memory[way] / MIB:.0f} MiB, "
                f"disk {ratio[way]:.4f} of the body"
            )
            check_ranges(server, key, body)
            assert server.peak_memory_bytes() < MEMORY_BYTES_MAX
        finally:
            server.close()
            shutil.rmtree(data_dir)
    assert all(value < 1.03 for value in ratio.values()), ratio
    path = folder / "body.bin"
    with path.open("wb") as file:
        for piece in body.pieces(0, SIZE):
            file.write(piece)
    command = [sys.executable, "-m", "gateway", "cid", str(path)]
    cids["command"] = subprocess.check_output(command, text=True).strip()
    assert len(set(cids.values())) == 1, cids


def test_completing_a_gigabyte_writes_no_payload(folder: Path) -> None:
    need_room(folder, 2 * GIB)
    server, key = start(folder / "data")
    try:
        times = []
        for n in range(3):
            # What differs is few bytes, so that only the first one takes disk.
            body = LargeBody("complete", GIB - n)
            before = disk_bytes(folder)
            times.append(multipart(server, key, f"large/{n}.bin", body)[1])
        assert disk_bytes(folder) - before < GIB // 100
        print("\nComplete of 1 GiB:", ", ".join(f"{t * 1000:.0f} ms" for t in times))
    finally:
        server.close()


def test_a_second_copy_of_a_tree_takes_almost_no_disk(folder: Path) -> None:
    need_room(folder, 2 * GIB)
    tree = folder / "tree"
    rng = random.Random(1)
    for n in range(3000):
        path = tree / f"d{n % 37}" / f"e{n % 11}" / f"file {n}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = 0 if n % 50 == 0 else min(int(rng.lognormvariate(9, 1.6)), 4 * MIB)
        path.write_bytes(rng.randbytes(size))
    for n in range(4):
        (tree / f"large {n}.bin").write_bytes(os.urandom(48 * MIB))
    sizes = []
    server = GatewayServer(folder / "data")
    for prefix in ("first", "second"):
        server.start()
        try:
            copy_tree(server, tree, folder / "home", prefix)
        finally:
            server.stop()
        sizes.append(disk_bytes(folder / "data"))
    print(f"\nfirst copy {sizes[0]} bytes on disk, second {sizes[1] - sizes[0]} more")
    assert sizes[1] < sizes[0] * 1.02


def copy_tree(server: GatewayServer, tree: Path, home: Path, prefix: str) -> None:
    """Uploads a folder with rclone or, where it is missing, with boto3."""
    if shutil.which("rclone"):
        rclone = Rclone(server, home)
        rclone.run("copy", "--transfers=8", tree, f"dsn:tree/{prefix}")
        rclone.run("check", "--one-way", tree, f"dsn:tree/{prefix}")
        return
    s3 = server.s3()
    s3.create_bucket(Bucket="tree")
    for path in tree.rglob("*"):
        if path.is_file():
            s3.upload_file(str(path), "tree", f"{prefix}/{path.relative_to(tree)}")
