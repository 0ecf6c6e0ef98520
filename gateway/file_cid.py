"""The CID the network would give to a file on disk, at the speed of hashing; stores nothing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dsn.cid import cid_text, digest_of
from dsn.codec import FULL_LEAF_BYTES, FULL_LEAF_PREFIX, leaf_prefix
from dsn.dag_builder import FileDagBuilder, single_file_node
from dsn.node import CHUNK_BYTES

# 4 MB are read at once, and hashed while they are still in the cache of the processor.
BATCH_LEAVES = 64
THREADS_MAX = 8


class FileChangedError(Exception):
    """The file was written to while it was read."""


def file_cid(path: Path, name: str, progress: Callable[[int, int], None] | None = None) -> str:
    """The CID text of a file stored under `name`, the last part of its key.

    `progress` is called with the bytes done and the bytes in all. Memory is bounded, whatever the
    size. Raises OSError, FileChangedError, and NameTooLongError or NodeTooLargeError of `dsn`.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if 0 < size <= CHUNK_BYTES:
            payload = file.read(size + 1)
            if len(payload) != size:
                raise FileChangedError(f"{path} changed while it was read")
            return cid_text(digest_of(single_file_node(payload, name)))
        builder = FileDagBuilder()
        threads = min(THREADS_MAX, os.cpu_count() or 1)
        batch_bytes = BATCH_LEAVES * CHUNK_BYTES
        with ThreadPoolExecutor(threads) as pool:
            # A few more than threads, so that none waits; no more, so that memory stays small.
            window: deque[Future[list[bytes]]] = deque()
            buffers = [_Batch() for _ in range(threads + 1)]
            done = 0
            for number, offset in enumerate(range(0, size, batch_bytes)):
                if len(window) == len(buffers):
                    builder.add_leaves(window.popleft().result())
                    done += batch_bytes
                    if progress:
                        progress(done, size)
                batch = buffers[number % len(buffers)]
                length = min(batch_bytes, size - offset)
                window.append(pool.submit(batch.digests, file.fileno(), offset, length))
            for future in window:
                builder.add_leaves(future.result())
        if os.fstat(file.fileno()).st_size != size:
            raise FileChangedError(f"{path} changed while it was read")
        if progress:
            progress(size, size)
        _, root = builder.finish(size, name)
        return cid_text(root.digest)


class _Batch:
    """A buffer of whole leaves, their prefixes in place: the file is read between them."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray((FULL_LEAF_PREFIX + bytes(CHUNK_BYTES)) * BATCH_LEAVES))

    def digests(self, file: int, offset: int, length: int) -> list[bytes]:
        """The digests of the leaves of `length` bytes at `offset`; only the last may be short."""
        whole, rest = divmod(length, CHUNK_BYTES)
        leaves = [
            self._buffer[start : start + FULL_LEAF_BYTES]
            for start in range(0, whole * FULL_LEAF_BYTES, FULL_LEAF_BYTES)
        ]
        _read_into(file, [leaf[len(FULL_LEAF_PREFIX) :] for leaf in leaves], offset)
        digests = [digest_of(leaf) for leaf in leaves]
        if rest:
            prefix = leaf_prefix(rest)
            last = memoryview(bytearray(prefix + bytes(rest)))
            _read_into(file, [last[len(prefix) :]], offset + whole * CHUNK_BYTES)
            digests.append(digest_of(last))
        return digests


def _read_into(file: int, views: list[memoryview], offset: int) -> None:
    while views:
        count = os.preadv(file, views, offset)
        if count == 0:
            raise FileChangedError("the file became shorter while it was read")
        offset += count
        while views and count >= len(views[0]):
            count -= len(views[0])
            views = views[1:]
        if count:
            views = [views[0][count:], *views[1:]]
