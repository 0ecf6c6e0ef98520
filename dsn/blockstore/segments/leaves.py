"""Stores the leaves of one body as they stream in: known ones pointed at, new ones appended.

The body gets a segment of its own, opened when its first new leaf is to be written.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from dsn.blockstore.segments.files import SegmentKind
from dsn.blockstore.segments.store import SegmentStore
from dsn.blockstore.segments.writing import SegmentWriter
from dsn.cid import DIGEST_BYTES
from dsn.framing import FULL_SECTION_BYTES, node_section
from dsn.layout import RUNS_MAX, Run, RunList
from dsn.place import Place

# Leaves of this very body are found again among the last so many of them.
_RECENT_MAX = 512
# Up to here (17 GB of body) the places of new blocks are remembered for the index; beyond, the
# segment is scanned after the commit.
_INDEXED_MAX = 1 << 18


class LeafWriter:
    """The leaves and link nodes of one body. One call at a time, in a worker thread."""

    def __init__(self, store: SegmentStore, kind: SegmentKind) -> None:
        self._store = store
        self._kind = kind
        self._recent: dict[bytes, int] = {}
        self._digests = bytearray()
        self._offsets = array("Q")
        self._indexed_whole = True
        self.writer: SegmentWriter | None = None
        self.runs = RunList()

    @property
    def segment(self) -> int | None:
        """The body's own segment, None while there is none."""
        return self.writer.segment if self.writer is not None else None

    def write_leaves(self, sections: memoryview, digests: Sequence[bytes]) -> None:
        """Store full leaves, framed as sections side by side, in file order."""
        places = self._store.lookup(digests)
        bounded = len(self.runs) >= RUNS_MAX
        own = self.writer.segment if self.writer is not None else -1
        end = self.writer.end if self.writer is not None else -1
        # Neighbours among the new leaves are written as one buffer.
        fresh: list[tuple[int, int]] = []
        fresh_digests: list[bytes] = []
        for i, (digest, place) in enumerate(zip(digests, places, strict=True)):
            if place is not None and (not bounded or self.runs.extends(*place)):
                self.runs.append(place.segment, place.offset)
                continue
            known = self._recent.get(digest)
            if known is not None and (not bounded or self.runs.extends(own, known)):
                self.runs.append(own, known)
                continue
            if own < 0:
                opened = self._open()
                own, end = opened.segment, opened.end
            offset = end + len(fresh_digests) * FULL_SECTION_BYTES
            self._remember(digest, offset)
            self.runs.append(own, offset)
            fresh_digests.append(digest)
            if fresh and fresh[-1][1] == i:
                fresh[-1] = (fresh[-1][0], i + 1)
            else:
                fresh.append((i, i + 1))
        if fresh:
            size = FULL_SECTION_BYTES
            self._open().append([sections[start * size : stop * size] for start, stop in fresh])
            for i, digest in enumerate(fresh_digests):
                self._note(digest, end + i * size)

    def write_leaf(self, digest: bytes, block: bytes) -> None:
        """Store a leaf that is not full, or that does not lie in a slab."""
        place = self.write_block(digest, block)
        self.runs.append(*place)

    def write_block(self, digest: bytes, block: bytes) -> Place:
        """Store any node, unless it is here already; where it lies."""
        place = self._store.lookup([digest])[0]
        if place is not None:
            return place
        known = self._recent.get(digest)
        writer = self._open()
        if known is not None:
            return Place(writer.segment, known)
        offset = writer.append([node_section(digest, block)])
        self._remember(digest, offset)
        self._note(digest, offset)
        return Place(writer.segment, offset)

    def extend_runs(self, runs: Iterable[Run]) -> None:
        """Take leaves that are stored already."""
        self.runs.extend(runs)

    def leaves(self) -> list[Run | bytes]:
        """The runs of the leaves so far."""
        return list(self.runs.runs())

    def append_section(self, section: bytes) -> Place:
        """Append a section that is no node of a file (a fragment, a list of digests)."""
        writer = self._open()
        return Place(writer.segment, writer.append([section]))

    def sync(self) -> None:
        """Make the segment durable, if there is one."""
        if self.writer is not None:
            self.writer.sync()

    def index(self) -> None:
        """Tell the index about what was written; only for what is committed for good."""
        if self.writer is None:
            return
        segment = self.writer.segment
        if not self._indexed_whole:
            self._store.index_segment(segment)
            return
        entries = (
            (bytes(self._digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES]), segment, offset)
            for i, offset in enumerate(self._offsets)
        )
        self._store.index_blocks(entries, {segment: self.writer.end})

    def close(self) -> None:
        """Let go of the segment; it stays."""
        if self.writer is not None:
            self.writer.close()

    def discard(self) -> None:
        """Unlink the segment: nothing of the body may stay."""
        if self.writer is not None:
            self.writer.discard()
            self.writer = None

    def _open(self) -> SegmentWriter:
        if self.writer is None:
            self.writer = self._store.new_writer(self._kind)
        return self.writer

    def _remember(self, digest: bytes, offset: int) -> None:
        if len(self._recent) >= _RECENT_MAX:
            self._recent.pop(next(iter(self._recent)))
        self._recent[digest] = offset

    def _note(self, digest: bytes, offset: int) -> None:
        if len(self._offsets) >= _INDEXED_MAX:
            self._indexed_whole = False
            self._digests.clear()
            del self._offsets[:]
        if self._indexed_whole:
            self._digests += digest
            self._offsets.append(offset)
