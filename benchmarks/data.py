"""Bodies that no store can deduplicate by accident, made and checked at the speed of memory.

A body is a random window repeated, with a counter stamped at the start of every 4 KiB block. Two
blocks are equal only where their counters are, so a body is known by its length and first counter:
it can be sent, sent again on purpose, and checked from any offset, and nothing is ever stored.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from dataclasses import dataclass

BLOCK_BYTES = 4096
WINDOW_BYTES = 256 * 1024
WINDOW_BLOCKS = WINDOW_BYTES // BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Body:
    """`size` bytes whose first block carries the counter `stamp`, the next one more, and so on."""

    size: int
    stamp: int

    @property
    def blocks(self) -> int:
        """How many counters it uses up."""
        return -(-self.size // BLOCK_BYTES)


class Window:
    """256 KiB of memory that can become any window of any body: only counters are rewritten."""

    __slots__ = ("_first", "_stamps", "buffer", "view")

    def __init__(self, seed: int) -> None:
        # The seed differs from run to run, so that runs against one store do not meet either.
        self.buffer = bytearray(random.Random(seed).randbytes(WINDOW_BYTES))
        self.view = memoryview(self.buffer)
        self._stamps = self.view.cast("Q")[:: BLOCK_BYTES // 8]
        self._first = -1

    def show(self, body: Body, index: int) -> int:
        """Turns into window `index` of a body; how many of its bytes belong to the body."""
        first = body.stamp + index * WINDOW_BLOCKS
        length = min(WINDOW_BYTES, body.size - index * WINDOW_BYTES)
        if first != self._first:
            blocks = -(-length // BLOCK_BYTES)
            if blocks == 1:
                self._stamps[0] = first
            else:
                self._stamps[:blocks] = memoryview(array("Q", range(first, first + blocks)))
            # A window shown in part must not pass for the whole one later.
            self._first = first if blocks == WINDOW_BLOCKS else -1
        return length

    def matches(self, body: Body, offset: int, received: memoryview) -> bool:
        """Whether these bytes are those of the body from `offset` on."""
        if offset + len(received) > body.size:
            return False
        position = 0
        while position < len(received):
            index, start = divmod(offset + position, WINDOW_BYTES)
            self.show(body, index)
            piece = received[position : position + WINDOW_BYTES - start]
            # startswith compares with memcmp and copies nothing.
            if not self.buffer.startswith(piece, start):
                return False
            position += len(piece)
        return True

    def sha256(self, body: Body) -> str:
        """The hash that a signed payload declares."""
        digest = hashlib.sha256()
        for index in range(-(-body.size // WINDOW_BYTES)):
            digest.update(self.view[: self.show(body, index)])
        return digest.hexdigest()

    def bytes_of(self, body: Body) -> bytes:
        """A whole body at once, for small ones."""
        pieces = [
            bytes(self.view[: self.show(body, index)])
            for index in range(-(-body.size // WINDOW_BYTES))
        ]
        return b"".join(pieces)
