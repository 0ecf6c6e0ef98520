"""Reads byte spans of one file straight from its layout, every node verified.

A node is checked against the digest its parent names, from the root down, so that wrong bytes are
never handed on, whatever the layout or the disk says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from dsn.blockstore.segments.known_nodes import KnownNodes
from dsn.blockstore.segments.scan import preadv
from dsn.blockstore.segments.store import SegmentStore
from dsn.cid import digest_of
from dsn.codec import FULL_LEAF_PREFIX, decode_node, decode_with_payload_span, leaf_prefix
from dsn.errors import BlockMismatchError, BlockNotFoundError, NonCanonicalDagError
from dsn.framing import (
    FULL_NODE_START,
    FULL_PAYLOAD_START,
    FULL_SECTION_BYTES,
    leaf_section_bytes,
)
from dsn.layout import Layout, Run
from dsn.leaf_digests import full_leaf_digests
from dsn.node import CHUNK_BYTES, LINKS_MAX, Node

# Each piece is a turn of three calls that let the interpreter go: the larger, the less they wait
# for it. Beyond a core's own cache (a MiB or two) there is nothing more to win.
LEAVES_PER_PIECE = 16
_NAME_ROOM_BYTES = 128
_LINK_BYTES = 40
_RWF_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)


class FileReader:
    """Reads one file. Blocking: every method that reads runs in a worker thread, one at a time.

    Raises BlockMismatchError or BlockNotFoundError for a damaged or missing node, and
    NonCanonicalDagError where the nodes do not have the shape that the size implies.
    """

    def __init__(
        self,
        store: SegmentStore,
        layout: Layout,
        root: bytes,
        size: int,
        known: KnownNodes | None = None,
    ) -> None:
        """With `known`, link nodes that it keeps are not read again."""
        self._store = store
        self._known = known
        self._layout = layout
        self._root_digest = root
        self.size = size
        self.leaf_count = -(-size // CHUNK_BYTES)
        self._level_starts = _level_starts(self.leaf_count)
        self._root: Node | None = None
        self._payload: memoryview | None = None
        # The links of the node read last, level by level.
        self._links: dict[int, tuple[int, tuple[bytes, ...]]] = {}

    def read(
        self,
        start: int,
        stop: int,
        buffer: memoryview | None = None,
        *,
        cached_only: bool = False,
    ) -> list[memoryview]:
        """The bytes `start` to `stop` (half-open, within the file), as payloads side by side.

        They lie in `buffer`, if it is given, which has FULL_SECTION_BYTES for each leaf that the
        span touches. With `cached_only` no disk is waited for: BlockingIOError where one must be.
        """
        if start >= stop:
            self.root()
            return []
        if self.leaf_count <= 1:
            return [self._single_payload()[start:stop]]
        first = start // CHUNK_BYTES
        count = (stop - 1) // CHUNK_BYTES - first + 1
        if buffer is None:
            buffer = memoryview(bytearray(count * FULL_SECTION_BYTES))
        payloads = self._read_leaves(first, count, buffer, _RWF_NOWAIT if cached_only else 0)
        payloads[-1] = payloads[-1][: stop - (first + count - 1) * CHUNK_BYTES]
        payloads[0] = payloads[0][start - first * CHUNK_BYTES :]
        return payloads

    def read_cached(
        self, start: int, stop: int, buffer: memoryview | None = None
    ) -> list[memoryview] | None:
        """As `read`, without waiting for a disk; None where it must."""
        try:
            if self.leaf_count <= 1:
                return [self._single_payload(cached_only=True)[start:stop]]
            if not _RWF_NOWAIT or self._known is None or not self._knows_parents(start, stop):
                return None
            return self.read(start, stop, buffer, cached_only=True)
        except BlockingIOError:
            return None

    def pieces(
        self, start: int, stop: int, leaves_max: int = LEAVES_PER_PIECE
    ) -> Iterator[tuple[int, int]]:
        """Cuts a span at leaf borders into spans that `read` takes one by one."""
        while start < stop:
            border = (start // CHUNK_BYTES + leaves_max) * CHUNK_BYTES
            yield start, min(border, stop)
            start = border

    def leaf_pieces(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """The spans, for `read`, that some consecutive leaves cover."""
        stop = min((first + count) * CHUNK_BYTES, self.size)
        return self.pieces(first * CHUNK_BYTES, stop)

    def _single_payload(self, *, cached_only: bool = False) -> memoryview:
        """The payload of a file of one node."""
        if self._payload is None:
            known = self._known
            span = known.payload_span(self._root_digest) if known is not None else None
            if span is None or span.stop - span.start != self.size:
                self._read_root(cached_only=cached_only)
                assert self._root is not None
                self._payload = memoryview(self._root.data or b"")
            else:
                self._payload = memoryview(self._read_root_block(cached_only=cached_only))[span]
        return self._payload

    def _read_root_block(self, *, cached_only: bool) -> bytes:
        return self._store.read(
            self._layout.links[-1],
            self._root_digest,
            _root_bytes(self.size),
            cached_only=cached_only,
        )

    def root(self) -> Node:
        """The root node, verified, its size field compared with what the catalog says."""
        self._read_root()
        assert self._root is not None
        return self._root

    def _read_root(self, *, cached_only: bool = False) -> None:
        if self._root is not None:
            return
        root = self._known.get(self._root_digest) if self._known is not None else None
        if root is None:
            block = self._read_root_block(cached_only=cached_only)
            root, span = decode_with_payload_span(block)
            if self._known is not None:
                self._known.add(self._root_digest, root)
                if span is not None and not root.links:
                    self._known.add_payload_span(self._root_digest, span)
        if root.size != self.size:
            raise NonCanonicalDagError(
                self._root_digest, f"size {root.size} in the root, {self.size} in the catalog"
            )
        expected = LINKS_MAX if self._level_starts else self.leaf_count
        if len(root.links) > expected or (self.leaf_count <= 1 and root.links):
            raise NonCanonicalDagError(self._root_digest, "more links than the size implies")
        self._root = root

    def leaf_digests(self, group: int) -> tuple[bytes, ...]:
        """The digests of the leaves `1626 * group` and on, as their parent names them."""
        return self._children(1, group)

    def link_nodes(self) -> Iterator[tuple[int, int]]:
        """Level and index of every link node below the root, level by level."""
        for level, (first, count) in enumerate(self._level_starts, start=1):
            del first
            for index in range(count):
                yield level, index

    def _children(self, level: int, index: int) -> tuple[bytes, ...]:
        if level > len(self._level_starts):
            return self.root().links
        cached = self._links.get(level)
        if cached is not None and cached[0] == index:
            return cached[1]
        siblings = self._children(level + 1, index // LINKS_MAX)
        at = index % LINKS_MAX
        if at >= len(siblings):
            raise NonCanonicalDagError(self._root_digest, "fewer links than the size implies")
        links = self._links_of(level, index, siblings[at])
        self._links[level] = (index, links)
        return links

    def _links_of(self, level: int, index: int, digest: bytes) -> tuple[bytes, ...]:
        node = self._known.get(digest) if self._known is not None else None
        if node is None:
            place = self._layout.links[self._level_starts[level - 1][0] + index]
            node = decode_node(self._store.read(place, digest))
            if self._known is not None:
                self._known.add(digest, node)
        return node.links

    def _knows_parents(self, start: int, stop: int) -> bool:
        """Whether the leaves of a span can be checked without reading a link node."""
        assert self._known is not None
        digest = self._root_digest
        if start // CHUNK_BYTES // LINKS_MAX != (stop - 1) // CHUNK_BYTES // LINKS_MAX:
            return False
        for level in range(len(self._level_starts) + 1, 0, -1):
            node = self._known.get(digest)
            if node is None:
                return False
            if level > 1:
                at = start // CHUNK_BYTES // LINKS_MAX ** (level - 1) % LINKS_MAX
                if at >= len(node.links):
                    return False
                digest = node.links[at]
        return True

    def _read_leaves(
        self, first: int, count: int, buffer: memoryview, flags: int
    ) -> list[memoryview]:
        """The payloads of some leaves, each in its section in the buffer."""
        payloads: list[memoryview] = []
        at = 0
        leaf = first
        for run in self._layout.covering(first, count):
            digests = self._digests(leaf, run.leaves)
            # One stored leaf stands for all of a run without a stride.
            stored = run.leaves if run.stride else 1
            stop = min((leaf + stored) * CHUNK_BYTES, self.size) - leaf * CHUNK_BYTES
            full, short_bytes = divmod(stop, CHUNK_BYTES)
            section_bytes = full * FULL_SECTION_BYTES
            if short_bytes:
                section_bytes += leaf_section_bytes(short_bytes)
            sections = buffer[at : at + section_bytes]
            self._read_sections(run, sections, digests[0], flags)
            found = _verified(sections, digests[:full])
            if short_bytes:
                section = sections[full * FULL_SECTION_BYTES :]
                found.append(_verified_short(section, short_bytes, digests[full]))
            if stored < run.leaves:
                for digest in digests[1:]:
                    if digest != digests[0]:
                        raise BlockMismatchError(digest)
                found *= run.leaves
            payloads += found
            at += section_bytes
            leaf += run.leaves
        return payloads

    def _digests(self, first: int, count: int) -> list[bytes]:
        """The digests of some leaves, as their parents name them."""
        digests: list[bytes] = []
        while count:
            links = self._children(1, first // LINKS_MAX)
            slot = first % LINKS_MAX
            taken = min(count, LINKS_MAX - slot)
            if slot + taken > len(links):
                raise NonCanonicalDagError(self._root_digest, "fewer links than the size implies")
            digests += links[slot : slot + taken]
            first += taken
            count -= taken
        return digests

    def _read_sections(self, run: Run, sections: memoryview, digest: bytes, flags: int) -> None:
        """Fill `sections` from the segment of a run; `digest` is the first leaf's."""
        at = 0
        try:
            with self._store.files.reading(run.segment) as fd:
                while at < len(sections):
                    got = preadv(fd, sections[at:], run.offset + at, flags)
                    if not got:
                        # The segment ends too early: some leaf of the run is cut short or gone.
                        raise BlockMismatchError(digest)
                    at += got
        except FileNotFoundError as error:
            raise BlockNotFoundError(digest) from error


def _verified(sections: memoryview, digests: list[bytes]) -> list[memoryview]:
    """The payloads of full leaves that lie in their sections; BlockMismatchError for another leaf.

    The node's prefix follows from its length. It is set rather than believed: the node is hashed
    where it lies, and is the canonical one or refused.
    """
    payloads = []
    for at in range(0, len(digests) * FULL_SECTION_BYTES, FULL_SECTION_BYTES):
        payload_start = at + FULL_PAYLOAD_START
        sections[at + FULL_NODE_START : payload_start] = FULL_LEAF_PREFIX
        payloads.append(sections[payload_start : payload_start + CHUNK_BYTES])
    found = full_leaf_digests(sections, len(digests))
    if found != digests:
        raise BlockMismatchError(next(d for d, f in zip(digests, found, strict=True) if d != f))
    return payloads


def _verified_short(section: memoryview, payload_bytes: int, digest: bytes) -> memoryview:
    """The same for one leaf that is not full."""
    prefix = leaf_prefix(payload_bytes)
    payload_start = leaf_section_bytes(payload_bytes) - payload_bytes
    node_start = payload_start - len(prefix)
    section[node_start:payload_start] = prefix
    stop = payload_start + payload_bytes
    if digest_of(section[node_start:stop]) != digest:
        raise BlockMismatchError(digest)
    return section[payload_start:stop]


def _root_bytes(size: int) -> int:
    """How long the root probably is: the payload or the links, and room for a usual name."""
    if size <= CHUNK_BYTES:
        return size + _NAME_ROOM_BYTES
    return min(-(-size // CHUNK_BYTES), LINKS_MAX) * _LINK_BYTES + _NAME_ROOM_BYTES


def _level_starts(leaf_count: int) -> list[tuple[int, int]]:
    """For each level of link nodes below the root: where it starts in `links`, its node count."""
    levels: list[tuple[int, int]] = []
    start, count = 0, leaf_count
    while count > LINKS_MAX:
        count = -(-count // LINKS_MAX)
        levels.append((start, count))
        start += count
    return levels
