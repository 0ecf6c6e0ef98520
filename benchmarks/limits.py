"""What the machine itself can do, measured in the same rounds: the upper bounds of any server."""

from __future__ import annotations

import hashlib
import mmap
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from benchmarks.units import MIB

SECONDS = 0.25
NODE_BYTES = 65_066
DISK_BYTES = 128 * MIB


def md5() -> float:
    """MiB/s of MD5 on one core, one stream."""
    piece = memoryview(os.urandom(MIB))
    digest = hashlib.md5(usedforsecurity=False)
    return _rate(lambda: digest.update(piece), MIB)


def sha256() -> float:
    """MiB/s of SHA-256 on one core."""
    piece = memoryview(os.urandom(MIB))
    digest = hashlib.sha256()
    return _rate(lambda: digest.update(piece), MIB)


def blake3_nodes() -> float:
    """MiB/s of BLAKE3 over chunks of 64 KiB on one core."""
    piece = memoryview(os.urandom(NODE_BYTES))
    return _rate(lambda: blake3(piece).digest(), NODE_BYTES)


def disk_write(directory: Path) -> float:
    """MiB/s of a file written in pieces of 1 MiB and synced once."""
    return _write(directory, 0)


def disk_write_direct(directory: Path) -> float:
    """MiB/s of the same with O_DIRECT; 0 where the file system refuses it."""
    try:
        return _write(directory, os.O_DIRECT)
    except OSError:
        return 0.0


def sync_appends(directory: Path) -> float:
    """Appends of 4 KiB a second, each followed by fdatasync."""
    path = directory / "limit-sync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    piece = os.urandom(4096)

    def append() -> None:
        os.write(descriptor, piece)
        os.fdatasync(descriptor)

    try:
        return _rate(append, MIB)
    finally:
        os.close(descriptor)
        path.unlink()


def disk_read(directory: Path) -> float:
    """MiB/s of a file read past the page cache in pieces of 1 MiB; 0 where that is refused."""
    path = directory / "limit-read"
    _write(directory, 0, keep_as=path)
    buffer = mmap.mmap(-1, MIB)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        path.unlink()
        return 0.0
    try:
        start = time.perf_counter()
        while os.readv(descriptor, [buffer]):
            pass
        return DISK_BYTES / MIB / (time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()


def loopback() -> float:
    """MiB/s through a TCP connection to ourselves, both ends busy."""
    listener = socket.create_server(("127.0.0.1", 0))
    received = 0

    def sink() -> None:
        nonlocal received
        connection, _ = listener.accept()
        buffer = bytearray(MIB)
        with connection:
            while size := connection.recv_into(buffer):
                received += size

    thread = threading.Thread(target=sink)
    thread.start()
    piece = memoryview(bytearray(256 * 1024))
    start = time.perf_counter()
    with socket.create_connection(listener.getsockname()) as sender:
        while time.perf_counter() - start < SECONDS:
            sender.sendall(piece)
    thread.join()
    listener.close()
    return received / MIB / (time.perf_counter() - start)


# Name -> unit, and how it is measured in a directory of the disk that the servers use.
LIMITS: dict[str, tuple[str, Callable[[Path], float]]] = {
    "md5": ("MiB/s", lambda directory: md5()),
    "blake3": ("MiB/s", lambda directory: blake3_nodes()),
    "sha256": ("MiB/s", lambda directory: sha256()),
    "disk-write": ("MiB/s", disk_write),
    "disk-write-direct": ("MiB/s", disk_write_direct),
    "disk-read": ("MiB/s", disk_read),
    "sync-appends": ("/s", sync_appends),
    "loopback": ("MiB/s", lambda directory: loopback()),
}


def _rate(action: Callable[[], object], size: int) -> float:
    count = 0
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < SECONDS:
        action()
        count += 1
    return count * size / MIB / passed


def _write(directory: Path, flags: int, keep_as: Path | None = None) -> float:
    path = keep_as or directory / "limit-write"
    buffer = mmap.mmap(-1, MIB)
    buffer.write(os.urandom(MIB))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o600)
    try:
        start = time.perf_counter()
        for _ in range(DISK_BYTES // MIB):
            os.write(descriptor, buffer)
        os.fdatasync(descriptor)
        return DISK_BYTES / MIB / (time.perf_counter() - start)
    finally:
        os.close(descriptor)
        if keep_as is None:
            path.unlink()
