"""Reads byte spans of one file straight from its layout, every node verified.

A node is checked against the digest its parent names, from the root down, so that wrong bytes are
never handed on, whatever the layout or the disk says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from blake3 import blake3

from dsn.blockstore.segments.store import SegmentStore
from dsn.codec import FULL_LEAF_PREFIX, decode_node, leaf_prefix
from dsn.errors import BlockMismatchError, BlockNotFoundError, NonCanonicalDagError
from dsn.framing import FULL_PAYLOAD_START, section_prefix_bytes
from dsn.layout import Layout, Run
from dsn.node import CHUNK_BYTES, LINKS_MAX, Node

LEAVES_PER_PIECE = 16
_NAME_ROOM_BYTES = 128
_LINK_BYTES = 40


class FileReader:
    """Reads one file. Blocking: every method that reads runs in a worker thread, one at a time.

    Raises BlockMismatchError or BlockNotFoundError for a damaged or missing node, and
    NonCanonicalDagError where the nodes do not have the shape that the size implies.
    """

    def __init__(self, store: SegmentStore, layout: Layout, root: bytes, size: int) -> None:
        self._store = store
        self._layout = layout
        self._root_digest = root
        self.size = size
        self.leaf_count = -(-size // CHUNK_BYTES)
        self._level_starts = _level_starts(self.leaf_count)
        self._root: Node | None = None
        # The links of the node read last, level by level.
        self._links: dict[int, tuple[int, tuple[bytes, ...]]] = {}

    def read(self, start: int, stop: int, buffer: memoryview | None = None) -> memoryview:
        """The bytes `start` to `stop` (half-open, within the file), read as one piece.

        They lie in `buffer`, if it is given, which holds all leaves that the span touches.
        """
        if start >= stop:
            self.root()
            return memoryview(b"")
        if self.leaf_count <= 1:
            return memoryview(self.root().data or b"")[start:stop]
        first = start // CHUNK_BYTES
        count = (stop - 1) // CHUNK_BYTES - first + 1
        base = first * CHUNK_BYTES
        length = min((first + count) * CHUNK_BYTES, self.size) - base
        out = memoryview(bytearray(length)) if buffer is None else buffer[:length]
        self._read_leaves(first, count, out)
        return out[start - base : stop - base]

    def read_cached(self, start: int, stop: int) -> memoryview | None:
        """As `read` for a file of one node, without waiting for a disk; None where it must."""
        if self.leaf_count > 1:
            return None
        try:
            self._read_root(cached_only=True)
        except BlockingIOError:
            return None
        return self.read(start, stop)

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
        return self.pieces(first * CHUNK_BYTES, min((first + count) * CHUNK_BYTES, self.size))

    def root(self) -> Node:
        """The root node, verified, its size field compared with what the catalog says."""
        self._read_root()
        assert self._root is not None
        return self._root

    def _read_root(self, *, cached_only: bool = False) -> None:
        if self._root is None:
            block = self._store.read(
                self._layout.links[-1],
                self._root_digest,
                _root_bytes(self.size),
                cached_only=cached_only,
            )
            root = decode_node(block)
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
        place = self._layout.links[self._level_starts[level - 1][0] + index]
        links = decode_node(self._store.read(place, siblings[at])).links
        self._links[level] = (index, links)
        return links

    def _read_leaves(self, first: int, count: int, out: memoryview) -> None:
        """Read the payload of some leaves into one buffer."""
        at = 0
        leaf = first
        for run in self._layout.covering(first, count):
            at += self._read_run(run, leaf, out[at:])
            leaf += run.leaves

    def _read_run(self, run: Run, first: int, out: memoryview) -> int:
        """Read and verify the leaves of one run into `out`; how many bytes they hold."""
        payloads: list[memoryview] = []
        at = 0
        for leaf in range(first, first + run.leaves):
            length = min(CHUNK_BYTES, self.size - leaf * CHUNK_BYTES)
            payloads.append(out[at : at + length])
            at += length
        self._read_payloads(run, first, payloads)
        for leaf, payload in enumerate(payloads, start=first):
            links = self._children(1, leaf // LINKS_MAX)
            slot = leaf % LINKS_MAX
            if slot >= len(links):
                raise NonCanonicalDagError(self._root_digest, "fewer links than the size implies")
            prefix = FULL_LEAF_PREFIX if len(payload) == CHUNK_BYTES else leaf_prefix(len(payload))
            hasher = blake3(prefix)
            hasher.update(payload)
            if hasher.digest() != links[slot]:
                raise BlockMismatchError(links[slot])
        return at

    def _read_payloads(self, run: Run, first: int, payloads: list[memoryview]) -> None:
        """Scatter the payloads of a run into their buffers, the framing into a waste one."""
        last_bytes = len(payloads[-1])
        last_start = FULL_PAYLOAD_START
        if last_bytes < CHUNK_BYTES:
            prefix_bytes = len(leaf_prefix(last_bytes))
            last_start = section_prefix_bytes(prefix_bytes + last_bytes) + prefix_bytes
        waste = memoryview(bytearray(FULL_PAYLOAD_START))
        try:
            with self._store.files.reading(run.segment) as fd:
                if run.stride == 0:
                    _read_fully(fd, [waste[:last_start], payloads[0]], run.offset)
                    for payload in payloads[1:]:
                        payload[:] = payloads[0]
                    return
                buffers: list[memoryview] = []
                for payload in payloads:
                    full = len(payload) == CHUNK_BYTES
                    buffers += (waste if full else waste[:last_start], payload)
                _read_fully(fd, buffers, run.offset)
        except FileNotFoundError as error:
            raise BlockNotFoundError(self.leaf_digests(first // LINKS_MAX)[0]) from error


def _read_fully(fd: int, buffers: list[memoryview], offset: int) -> None:
    """`preadv`; a file that ends too early leaves zeros, which the digests then refuse."""
    wanted = sum(map(len, buffers))
    got = os.preadv(fd, buffers, offset)
    while 0 < got < wanted:
        rest = memoryview(bytearray(wanted - got))
        more = os.pread(fd, len(rest), offset + got)
        if not more:
            return
        _scatter(buffers, got, more)
        got += len(more)


def _scatter(buffers: list[memoryview], skip: int, data: bytes) -> None:
    view = memoryview(data)
    for buffer in buffers:
        if skip >= len(buffer):
            skip -= len(buffer)
            continue
        taken = min(len(buffer) - skip, len(view))
        buffer[skip : skip + taken] = view[:taken]
        view = view[taken:]
        skip = 0
        if not view:
            return


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
