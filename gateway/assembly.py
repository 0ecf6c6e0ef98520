"""Joins the parts of a multipart upload into one file without rewriting them.

Leaves that lie wholly within a part were stored when the part came in; only the leaf at each
border between two parts is made here, from the fragments kept beside. A part that was cut for
another offset than the one it ends up at is cut again from disk: slower, still right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dsn.blockstore.segments.files import SegmentKind
from dsn.blockstore.segments.leaves import LeafWriter
from dsn.blockstore.segments.store import SegmentStore
from dsn.cid import DIGEST_BYTES
from dsn.codec import LINK_BYTES, leaf_payload
from dsn.dag_builder import checked_upload_options
from dsn.layout import Layout, decode_layout
from dsn.node import CHUNK_BYTES, UploadOptions
from dsn.place import Place
from gateway.catalog.records import PartRecord
from gateway.file_draft import DagWriter, FileDraft, MemoryLeaves, single_draft

# Up to here the leaves made at the borders, and the link nodes, go into the log with the record; a
# larger object gets a segment for them.
_IN_MEMORY_BYTES_MAX = 4 << 20


@dataclass(slots=True)
class Assembled:
    """The file made of the parts, and the segment of its own if it needed one."""

    draft: FileDraft
    leaves: LeafWriter | None


@dataclass(slots=True)
class PartReader:
    """Reads the bytes of one stored part, verified. Blocking.

    Raises BlockMismatchError or BlockNotFoundError.
    """

    store: SegmentStore
    part: PartRecord
    _layout: Layout = field(init=False)

    def __post_init__(self) -> None:
        self._layout = decode_layout(self.part.runs)

    @property
    def layout(self) -> Layout:
        """Where the part's whole leaves lie."""
        return self._layout

    def head(self) -> bytes:
        """The fragment before the first whole leaf."""
        return self._fragment(*self.part.head)

    def tail(self) -> bytes:
        """The fragment behind the last whole leaf."""
        return self._fragment(*self.part.tail)

    def digests(self) -> list[bytes]:
        """The digests of the whole leaves."""
        joined = self._fragment(*self.part.digests)
        return [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]

    def own_leaves(self) -> Iterator[tuple[bytes, int, int]]:
        """The whole leaves that lie in the part's own segment: digest, segment, offset."""
        digests = self.digests()
        first = 0
        for segment, offset, leaves, stride in self._layout.runs:
            if segment == self.part.segment:
                # Where one leaf stands for many, it is one leaf.
                for i in range(leaves if stride else 1):
                    yield digests[first + i], segment, offset + i * stride
            first += leaves

    def payloads(self) -> Iterator[memoryview | bytes]:
        """All bytes of the part, in pieces of up to one chunk."""
        yield self.head()
        digests = iter(self.digests())
        for run in self._layout.runs:
            for i in range(run.leaves):
                digest = next(digests)
                place = Place(run.segment, run.offset + i * run.stride)
                yield leaf_payload(self.store.read(place, digest))
        yield self.tail()

    def _fragment(self, offset: int, length: int) -> bytes:
        if not length:
            return b""
        return self.store.read_fragment(Place(self.part.segment, offset), length)


def fits(part: PartRecord, start: int) -> bool:
    """Whether a part was cut so that its leaves are those of an object that has it at `start`."""
    return (part.start - start) % CHUNK_BYTES == 0


def assemble(
    store: SegmentStore, parts: Sequence[PartRecord], name: str | None, options: UploadOptions
) -> Assembled:
    """The file that these parts make in this order, its nodes durable or in the draft. Blocking.

    Raises BlockNotFoundError where a part has been replaced meanwhile.
    """
    size = sum(part.size for part in parts)
    readers = [PartReader(store, part) for part in parts]
    if size <= CHUNK_BYTES:
        joined = b"".join(bytes(piece) for reader in readers for piece in reader.payloads())
        return Assembled(single_draft(memoryview(joined), name, options), None)
    checked = checked_upload_options(options, _first_bytes(readers, 2))
    in_memory = _bytes_to_write(parts) <= _IN_MEMORY_BYTES_MAX
    sink = MemoryLeaves() if in_memory else LeafWriter(store, SegmentKind.BODY)
    leaves = sink if isinstance(sink, LeafWriter) else None
    try:
        border = _Border(DagWriter(sink, name, checked))
        start = 0
        for reader in readers:
            if fits(reader.part, start):
                border.add_fragment(reader.head())
                border.add_leaves(reader)
                border.add_fragment(reader.tail())
            else:
                for piece in reader.payloads():
                    border.add_fragment(piece)
            start += reader.part.size
        draft = border.finish()
    except BaseException:
        if leaves is not None:
            leaves.discard()
        raise
    if isinstance(sink, MemoryLeaves):
        draft.blocks = sink.blocks
    return Assembled(draft, leaves)


class _Border:
    """Joins fragments into leaves."""

    def __init__(self, dag: DagWriter) -> None:
        self._dag = dag
        self._carry = bytearray()

    def add_fragment(self, fragment: bytes | memoryview) -> None:
        view = memoryview(fragment)
        while view:
            if not self._carry and len(view) >= CHUNK_BYTES:
                taken = CHUNK_BYTES
                self._dag.add_leaf(bytes(view[:taken]))
            else:
                taken = min(CHUNK_BYTES - len(self._carry), len(view))
                self._carry += view[:taken]
                if len(self._carry) == CHUNK_BYTES:
                    self._dag.add_leaf(bytes(self._carry))
                    self._carry.clear()
            view = view[taken:]

    def add_leaves(self, reader: PartReader) -> None:
        digests = reader.digests()
        if digests:
            assert not self._carry, "whole leaves start at a border of leaves"
            self._dag.add_stored(digests, reader.layout.runs)

    def finish(self) -> FileDraft:
        if self._carry:
            self._dag.add_leaf(bytes(self._carry))
        return self._dag.finish()


def _bytes_to_write(parts: Sequence[PartRecord]) -> int:
    """How many bytes of leaves and links the assembly will write, about."""
    start = total = 0
    for part in parts:
        total += part.head[1] + part.tail[1] if fits(part, start) else part.size
        start += part.size
    return total + start // CHUNK_BYTES * LINK_BYTES


def _first_bytes(readers: Sequence[PartReader], count: int) -> bytes:
    first = b""
    for reader in readers:
        for piece in reader.payloads():
            first += bytes(piece[: count - len(first)])
            if len(first) == count:
                return first
    return first
