"""Fills a data directory with a store of a size that nobody wants to upload for a benchmark.

All names are real: records in a log, written and applied by the gateway's own committer. Small
objects are real to the last byte. Large ones are not: their leaves are rows of the digest index
with made-up digests, their segments are sparse files. So everything that is there to be found,
listed, started and added to costs what it would; only the large objects cannot be read.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import md5
from itertools import islice
from pathlib import Path

from benchmarks.plan import ObjectSet
from dsn.blockstore.digest_index import DigestIndex
from dsn.blockstore.segments.files import SegmentFiles, SegmentKind, new_segment_id
from dsn.blockstore.segments.scan import header_bytes
from dsn.cid import DIGEST_BYTES
from dsn.framing import FULL_SECTION_BYTES
from dsn.layout import Run, encode_layout
from dsn.node import CHUNK_BYTES, NO_OPTIONS
from dsn.place import Place
from gateway.catalog.database import Database
from gateway.catalog.queries import last_sequence
from gateway.catalog.records import ObjectRecord
from gateway.catalog.sequence import SequenceClock
from gateway.commits import GROUP_CHANGES_MAX, Change, Committer, Places
from gateway.data_dir import DataPaths, lock_data_dir, open_store, recover_data_dir
from gateway.file_draft import FileDraft, single_draft

Progress = Callable[[str, int, int], None]

# Of each large object, which makes it 64 MiB.
LARGE_LEAVES = 1032
SMALL_BYTES = 16
# Keys of the tree lie a hundred in a folder, three levels deep; the wide ones sixteen in a folder.
TREE_FANOUT = 100
WIDE_FANOUT = 4
# A quarter of the small objects: enough folders for pages of nothing else.
WIDE_SHARE = 4

_INDEX_BATCH = 250_000
_SEGMENT_BYTES_MAX = 1 << 30


@dataclass(frozen=True)
class Filling:
    """How much to fill in: objects in all, chunks (blocks in the index) in all."""

    objects: int = 1_000_000
    chunks: int = 10_000_000

    @property
    def large(self) -> int:
        """How many large objects it takes to have so many chunks."""
        # A small object is one block; of a large one, its leaves and its root.
        return max(0, self.chunks - self.objects) // LARGE_LEAVES

    @property
    def large_set(self) -> ObjectSet:
        """The large objects; their bytes do not exist."""
        return ObjectSet("large", ((LARGE_LEAVES * CHUNK_BYTES, 1),), 0, self.large)

    @property
    def tree(self) -> ObjectSet:
        """Small objects in folders of a hundred."""
        count = self.objects - self.large - self.wide.count
        return ObjectSet("tree", ((SMALL_BYTES, 1),), 0, count, fanout=TREE_FANOUT)

    @property
    def wide(self) -> ObjectSet:
        """Small objects in very many small folders."""
        count = (self.objects - self.large) // WIDE_SHARE
        return ObjectSet("wide", ((SMALL_BYTES, 1),), self.objects, count, fanout=WIDE_FANOUT)


def fill(
    data_dir: Path,
    filling: Filling,
    *,
    account: str = "main",
    bucket: str = "benchmark",
    progress: Progress = lambda what, done, total: None,
) -> None:
    """Fill an empty data directory; nobody may serve it meanwhile.

    Raises ValueError where it is not empty, or more objects than chunks are asked for;
    DataDirLockedError. The directory stays locked until the process ends.
    """
    if filling.chunks < filling.objects:
        raise ValueError("every object is a chunk at least: ask for as many chunks as objects")
    if DataPaths(data_dir).catalog.exists():
        raise ValueError(f"{data_dir} has a store in it already")
    lock_data_dir(data_dir)
    recover_data_dir(data_dir)
    segments = _make_segments(data_dir, filling.large)
    _fill_index(data_dir, segments, progress)
    asyncio.run(_commit_objects(data_dir, filling, segments, account, bucket, progress))


def _make_segments(data_dir: Path, count: int) -> list[int]:
    """Segments as large uploads leave them, but sparse."""
    files = SegmentFiles(DataPaths(data_dir).segments)
    start_ms = time.time_ns() // 1_000_000 - count
    segments = []
    for number in range(count):
        segment = new_segment_id(SegmentKind.BODY, start_ms + number, number)
        fd = files.create(segment)
        os.ftruncate(fd, _root_offset(segment) + FULL_SECTION_BYTES)
        os.close(fd)
        segments.append(segment)
    return segments


def _root_offset(segment: int) -> int:
    return header_bytes(segment) + LARGE_LEAVES * FULL_SECTION_BYTES


def _fill_index(data_dir: Path, segments: list[int], progress: Progress) -> None:
    # Nothing to lose yet, so nothing waits for the disk but the end.
    index = DigestIndex(DataPaths(data_dir).index, sync=False)
    each = max(1, _INDEX_BATCH // LARGE_LEAVES)
    for first in range(0, len(segments), each):
        some = segments[first : first + each]
        index.add(_made_up(some), {s: _root_offset(s) + FULL_SECTION_BYTES for s in some})
        progress("chunks", (first + len(some)) * LARGE_LEAVES, len(segments) * LARGE_LEAVES)
    index.close()
    fd = os.open(DataPaths(data_dir).index, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def _made_up(segments: list[int]) -> Iterator[tuple[bytes, int, int]]:
    for segment in segments:
        digests = os.urandom(LARGE_LEAVES * DIGEST_BYTES)
        start = header_bytes(segment)
        for leaf in range(LARGE_LEAVES):
            digest = digests[leaf * DIGEST_BYTES : (leaf + 1) * DIGEST_BYTES]
            yield digest, segment, start + leaf * FULL_SECTION_BYTES


async def _commit_objects(
    data_dir: Path,
    filling: Filling,
    segments: list[int],
    account: str,
    bucket: str,
    progress: Progress,
) -> None:
    store = open_store(data_dir)
    database = Database(DataPaths(data_dir).catalog)
    await database.open()
    clock = SequenceClock(
        0,
        last=await database.read(last_sequence),
        wall_ns=time.time_ns,
        steady_ns=time.monotonic_ns,
    )
    committer = Committer(store, database, clock, segment_bytes_max=_SEGMENT_BYTES_MAX)
    committer.start()

    def changes() -> Iterator[Change]:
        for number, segment in enumerate(segments):
            yield _large(account, bucket, filling.large_set.key(number), segment)
        for objects in (filling.tree, filling.wide):
            for number in range(objects.count):
                content = (objects.stamp + number).to_bytes(SMALL_BYTES, "big")
                yield _small(account, bucket, objects.key(number), content)

    with ThreadPoolExecutor(1) as thread:
        loop = asyncio.get_running_loop()
        done = 0
        waiting = changes()
        while group := [committer.commit(change) for change in islice(waiting, GROUP_CHANGES_MAX)]:
            await asyncio.gather(*group)
            done += len(group)
            progress("objects", done, filling.objects)
            if store.pending.due:
                await loop.run_in_executor(thread, store.pending.flush)
    await committer.close()
    await database.checkpoint()
    await database.close()
    store.close()


def _small(account: str, bucket: str, key: str, content: bytes) -> Change:
    draft = single_draft(memoryview(content), key.rpartition("/")[2], NO_OPTIONS)
    digest = md5(content, usedforsecurity=False).digest()
    return _change(account, bucket, key, draft, digest)


def _large(account: str, bucket: str, key: str, segment: int) -> Change:
    run = Run(segment, header_bytes(segment), LARGE_LEAVES)
    root = os.urandom(DIGEST_BYTES)
    draft = FileDraft(
        root, LARGE_LEAVES * CHUNK_BYTES, [run], [Place(segment, _root_offset(segment))]
    )
    return _change(account, bucket, key, draft, os.urandom(16))


def _change(account: str, bucket: str, key: str, draft: FileDraft, etag: bytes) -> Change:
    def record(sequence: int, places: Places) -> ObjectRecord:
        return ObjectRecord(
            sequence,
            account,
            bucket,
            key.encode(),
            draft.root,
            draft.size,
            etag,
            encode_layout(draft.layout(places)),
        )

    return Change(record, draft.blocks)
