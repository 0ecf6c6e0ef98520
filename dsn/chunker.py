"""Cuts a stream into leaves: buffers with room for the framing, and the hashing of what is in them.

A slab holds seventeen leaf sections side by side, framing included. Payload is received straight
into its place, so that a leaf is hashed and written where it lies: no join, no copy.
"""

from __future__ import annotations

import mmap

from dsn.framing import (
    FULL_DIGEST_START,
    FULL_FRAME,
    FULL_NODE_START,
    FULL_PAYLOAD_START,
    FULL_SECTION_BYTES,
)
from dsn.leaf_digests import full_leaf_digests
from dsn.node import CHUNK_BYTES

# One more than sixteen, so that an object of 1 MiB is all in one slab: it then goes into the log
# with whatever else is committed, instead of into a file of its own.
LEAVES_PER_SLAB = 17
SLAB_PAYLOAD_BYTES = LEAVES_PER_SLAB * CHUNK_BYTES
SLAB_BYTES = LEAVES_PER_SLAB * FULL_SECTION_BYTES


class Slab:
    """Seventeen leaf sections side by side, of which `filled` bytes of payload are in use."""

    __slots__ = ("_memory", "filled", "payloads", "sections", "view")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLAB_BYTES)
        self.view = memoryview(self._memory)
        starts = range(0, SLAB_BYTES, FULL_SECTION_BYTES)
        self.sections = [self.view[at : at + FULL_SECTION_BYTES] for at in starts]
        self.payloads = [section[FULL_PAYLOAD_START:] for section in self.sections]
        for section in self.sections:
            section[:FULL_PAYLOAD_START] = FULL_FRAME
        self.filled = 0

    @property
    def full_leaves(self) -> int:
        """How many leaves are complete."""
        return self.filled // CHUNK_BYTES

    @property
    def is_full(self) -> bool:
        """Whether no payload goes in any more."""
        return self.filled == SLAB_PAYLOAD_BYTES

    def room(self) -> list[memoryview]:
        """Where the next bytes of payload go: the rest of the leaf in progress and those behind."""
        leaf, used = divmod(self.filled, CHUNK_BYTES)
        views = self.payloads[leaf:]
        if used:
            views[0] = views[0][used:]
        return views

    def received(self) -> list[memoryview]:
        """The payload in use, leaf by leaf, the last one perhaps not full."""
        leaves, used = divmod(self.filled, CHUNK_BYTES)
        views = self.payloads[:leaves]
        return [*views, self.payloads[leaves][:used]] if used else views

    def tail(self) -> bytes:
        """A copy of the payload behind the last full leaf."""
        leaves, used = divmod(self.filled, CHUNK_BYTES)
        return bytes(self.payloads[leaves][:used]) if used else b""

    def hash_leaves(self) -> list[bytes]:
        """The digests of the full leaves, also written into their framing."""
        digests = full_leaf_digests(self.view, self.full_leaves)
        for section, digest in zip(self.sections, digests, strict=False):
            section[FULL_DIGEST_START:FULL_NODE_START] = digest
        return digests
