"""A span of a stored object as a body to be taken in or hashed again: verified, in small pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol, TypeVar

from dsn.blockstore.segments.reader import LEAVES_PER_PIECE, FileReader
from dsn.framing import FULL_SECTION_BYTES
from gateway.budget import ByteBudget
from gateway.s3.checksums import Hasher
from gateway.s3.ranges import ByteSpan

T_co = TypeVar("T_co", covariant=True)

BUFFER_BYTES = LEAVES_PER_PIECE * FULL_SECTION_BYTES


class Run(Protocol):
    """Runs blocking work in a worker thread."""

    def __call__(self, work: Callable[[], int]) -> Awaitable[int]: ...


class StoredBody:
    """A span of a file, an ingest `Body`. Reading raises what its FileReader raises."""

    def __init__(self, reader: FileReader, span: ByteSpan, run: Run, buffer: memoryview) -> None:
        """`buffer` has BUFFER_BYTES and is the body's own for as long as it is used."""
        self.length: int | None = len(span)
        self._reader = reader
        self._run = run
        self._buffer = buffer
        self._spans = reader.pieces(span.start, span.stop)
        self._unread: deque[memoryview] = deque()

    async def fill(self, views: Sequence[memoryview]) -> int:
        """Fill the views one after the other; how many bytes, fewer than fit only at the end."""
        return await self._run(partial(self._fill, views))

    async def hash(self, hasher: Hasher) -> None:
        """Give all of the span to a hasher."""
        while await self._run(partial(self._hash_piece, hasher)):
            pass

    def _fill(self, views: Sequence[memoryview]) -> int:
        filled = 0
        for view in views:
            at = 0
            while at < len(view):
                if not self._unread and not self._read_piece():
                    return filled
                piece = self._unread.popleft()
                taken = min(len(piece), len(view) - at)
                view[at : at + taken] = piece[:taken]
                if taken < len(piece):
                    self._unread.appendleft(piece[taken:])
                at += taken
                filled += taken
        return filled

    def _hash_piece(self, hasher: Hasher) -> int:
        if not self._read_piece():
            return 0
        size = 0
        while self._unread:
            piece = self._unread.popleft()
            hasher.update(piece)
            size += len(piece)
        return size

    def _read_piece(self) -> bool:
        """Read the next piece into the buffer; False behind the last one."""
        span = next(self._spans, None)
        if span is None:
            return False
        self._unread.extend(self._reader.read(*span, self._buffer))
        return True


@asynccontextmanager
async def stored_body(
    reader: FileReader, span: ByteSpan, run: Run, budget: ByteBudget
) -> AsyncIterator[StoredBody]:
    """A StoredBody with its buffer out of a budget; S3Error(SlowDown) where none comes free."""
    await budget.take(BUFFER_BYTES)
    try:
        yield StoredBody(reader, span, run, memoryview(bytearray(BUFFER_BYTES)))
    finally:
        budget.give(BUFFER_BYTES)
