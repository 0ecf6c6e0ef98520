"""The segment store: segments on disk and the index that finds a block by its digest."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from dsn.blockstore.digest_index import DigestIndex
from dsn.blockstore.pending_index import PendingIndex
from dsn.blockstore.segments.files import SegmentFiles, SegmentKind, new_segment_id
from dsn.blockstore.segments.recent_writes import RecentWrites, default_bytes_max
from dsn.blockstore.segments.scan import SegmentScan, read_block
from dsn.blockstore.segments.writing import SegmentWriter
from dsn.cid import DIGEST_BYTES, digest_of
from dsn.errors import BlockMismatchError, BlockNotFoundError
from dsn.framing import node_section
from dsn.place import Place

_INDEX_BATCH = 16_384


class SegmentStore:
    """Blocks in append-only segments, found by digest. Thread-safe.

    As a Blockstore: `put` appends to a log segment of its own, `flush` makes it durable and
    known to the index. The gateway writes through `SegmentWriter`s and tells the index afterwards.
    """

    def __init__(
        self,
        directory: Path,
        index: DigestIndex,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random_bits: Callable[[], int] = lambda: secrets.randbits(19),
        recent_bytes_max: int | None = None,
    ) -> None:
        """`recent_bytes_max` of the newest bytes stay in the page cache."""
        self.files = SegmentFiles(directory)
        self._recent = RecentWrites(
            self.files, default_bytes_max() if recent_bytes_max is None else recent_bytes_max
        )
        self.index = index
        self.pending = PendingIndex(index)
        self._now_ms = now_ms
        self._random_bits = random_bits
        self._put_lock = threading.Lock()
        self._writer: SegmentWriter | None = None
        # Put but not yet flushed: found here alone.
        self._unsynced: dict[bytes, Place] = {}

    def new_writer(self, kind: SegmentKind) -> SegmentWriter:
        """The writer of a new segment."""
        reserves = kind is not SegmentKind.LOG
        while True:
            segment = new_segment_id(kind, self._now_ms(), self._random_bits())
            try:
                return SegmentWriter(self.files, segment, self._recent, reserves=reserves)
            except FileExistsError:
                continue

    def lookup(self, digests: Sequence[bytes]) -> list[Place | None]:
        """Where each of these nodes lies, None for those the store does not hold."""
        return self.pending.lookup(digests)

    def read(
        self,
        place: Place,
        digest: bytes,
        expected_bytes: int = 0,
        *,
        cached_only: bool = False,
    ) -> bytes:
        """The block at a place, verified against the digest its parent names; see `read_block`.

        Raises BlockMismatchError when it is damaged, BlockNotFoundError when it is gone.
        """
        try:
            _, block = read_block(self.files, place, expected_bytes, cached_only=cached_only)
        except FileNotFoundError as error:
            raise BlockNotFoundError(digest) from error
        except ValueError as error:
            raise BlockMismatchError(digest) from error
        if digest_of(block) != digest:
            raise BlockMismatchError(digest)
        return block

    def read_fragment(self, place: Place, length: int) -> bytes:
        """A block that no node names, verified against its own framing.

        Raises BlockMismatchError when it is damaged, BlockNotFoundError when it is gone.
        """
        try:
            digest, block = read_block(self.files, place)
        except FileNotFoundError as error:
            raise BlockNotFoundError(bytes(DIGEST_BYTES)) from error
        except ValueError as error:
            raise BlockMismatchError(bytes(DIGEST_BYTES)) from error
        if len(block) != length or digest_of(block) != digest:
            raise BlockMismatchError(digest)
        return block

    def get(self, digest: bytes) -> bytes:
        """The node with this digest, verified; BlockNotFoundError where there is none."""
        place = self._find(digest)
        if place is None:
            raise BlockNotFoundError(digest)
        return self.read(place, digest)

    def has(self, digest: bytes) -> bool:
        """Whether the store holds this node."""
        return self._find(digest) is not None

    def put(self, digest: bytes, block: bytes) -> None:
        """Append a node, unless it is here already; durable after `flush`."""
        with self._put_lock:
            if self.has(digest):
                return
            if self._writer is None:
                self._writer = self.new_writer(SegmentKind.LOG)
            offset = self._writer.append([node_section(digest, block)])
            self._unsynced[digest] = Place(self._writer.segment, offset)

    def _find(self, digest: bytes) -> Place | None:
        unsynced = self._unsynced.get(digest)
        return unsynced or self.lookup([digest])[0]

    def flush(self) -> None:
        """Make every block put so far durable."""
        with self._put_lock:
            if self._writer is None or not self._unsynced:
                return
            self._writer.sync()
            segment = self._writer.segment
            self.index_blocks(
                ((digest, *place) for digest, place in self._unsynced.items()),
                {segment: self._writer.end},
            )
            self._unsynced.clear()
        self.pending.flush()

    def index_blocks(
        self, entries: Iterable[tuple[bytes, int, int]], marks: Mapping[int, int]
    ) -> None:
        """Tell the index about durable nodes, and up to where their segments are indexed."""
        self.pending.add(entries, marks)

    def index_segment(self, segment: int, stop: int | None = None) -> int:
        """Index the nodes of a segment from its mark on, up to `stop`; how many there were."""
        start = self.index.mark(segment)
        scan = SegmentScan(self.files, segment, start=start, verify=False)
        count = 0
        batch: list[tuple[bytes, int, int]] = []
        for head in scan.heads():
            if stop is not None and head.stop > stop:
                break
            if head.is_node:
                batch.append((head.digest, segment, head.offset))
                count += 1
            if len(batch) >= _INDEX_BATCH:
                self.pending.add(batch, {segment: head.stop})
                batch = []
                if self.pending.due:
                    self.pending.flush()
        self.pending.add(batch, {segment: stop if stop is not None else scan.end})
        return count

    def close(self) -> None:
        """Close segments and index."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self.files.close()
        self.pending.flush()
        self.index.close()
