"""Sends a span of a file: each piece verified before it leaves, the next one read meanwhile."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from dsn.blockstore.segments.reader import LEAVES_PER_PIECE, FileReader
from dsn.errors import BlockMismatchError, BlockNotFoundError, NonCanonicalDagError
from dsn.node import CHUNK_BYTES
from gateway.budget import ByteBudget
from gateway.s3.ranges import ByteSpan

SEND_SECONDS_MAX = 60.0
# What a read raises for a node that must not be served.
DAMAGE = (BlockMismatchError, BlockNotFoundError, NonCanonicalDagError)

PIECE_BYTES = LEAVES_PER_PIECE * CHUNK_BYTES
# The first piece is small, so that the first byte leaves early; so are all when memory is short.
SMALL_LEAVES = 4
_SPARE_BUFFERS_MAX = 16


class Downloads:
    """Lends the buffers that downloads read into, within a budget."""

    def __init__(self, budget: ByteBudget, threads: ThreadPoolExecutor) -> None:
        self.threads = threads
        self._budget = budget
        self._spare: list[memoryview] = []

    def open(self, reader: FileReader, span: ByteSpan) -> Download:
        """A download of a span."""
        return Download(self, reader, span)

    async def admit(self, span_bytes: int) -> tuple[int, int]:
        """Room for the pieces of a download: how many bytes were taken, leaves a piece may have.

        S3Error(SlowDown) where nothing comes free in time.
        """
        usual = min(span_bytes, SMALL_LEAVES * CHUNK_BYTES)
        if self._budget.try_take(usual):
            return usual, SMALL_LEAVES
        least = min(span_bytes, CHUNK_BYTES)
        await self._budget.take(least)
        return least, 1

    def leave(self, taken: int) -> None:
        """Give back what `admit` took."""
        self._budget.give(taken)

    def try_take(self) -> memoryview | None:
        """A buffer for one piece, if the budget has one left."""
        if not self._budget.try_take(PIECE_BYTES):
            return None
        return self._spare.pop() if self._spare else memoryview(mmap.mmap(-1, PIECE_BYTES))

    def give(self, buffer: memoryview) -> None:
        """Hand a buffer back; nobody may look at it any more."""
        if len(self._spare) < _SPARE_BUFFERS_MAX:
            self._spare.append(buffer)
        self._budget.give(PIECE_BYTES)


class Download:
    """One span on its way out. Reading raises one of DAMAGE, or what the disk raises.

    What `send_rest` raises has cut the connection already: the status is spent, and a cut is the
    only truth left to tell. A client that stalls raises TimeoutError.
    """

    def __init__(self, downloads: Downloads, reader: FileReader, span: ByteSpan) -> None:
        self._downloads = downloads
        self._reader = reader
        self._span = span
        self._sent_to = span.start
        self._taken = 0
        self._small_leaves = SMALL_LEAVES

    def close(self) -> None:
        """Give back the room that the download had."""
        taken, self._taken = self._taken, 0
        self._downloads.leave(taken)

    async def first(self) -> memoryview:
        """The first piece: all of a short span. S3Error(SlowDown) where there is no memory."""
        start, stop = self._span.start, self._span.stop
        # A small object that is in the page cache is not worth a hop to a thread.
        cached = self._reader.read_cached(start, stop)
        if cached is not None:
            self._sent_to = stop
            return cached
        self._taken, self._small_leaves = await self._downloads.admit(stop - start)
        piece = next(self._reader.pieces(start, stop, self._small_leaves), (start, start))
        self._sent_to = piece[1]
        return await self._read(*piece, None)

    async def send_rest(self, stream: web.StreamResponse, first: memoryview) -> None:
        """Send the first piece and all that follow it."""
        request = stream._req
        assert request is not None
        assert request.transport is not None
        _hold_nothing_back(request.transport)
        buffers = [
            buffer for buffer in (self._downloads.try_take(), self._downloads.try_take()) if buffer
        ]
        try:
            if len(buffers) == 2:
                await self._send_ahead(stream, first, buffers)
            else:
                await self._send_in_turn(stream, first)
        except BaseException:
            # What waits in the transport lies in these buffers: it must not be sent any more.
            cut(request)
            raise
        finally:
            for buffer in buffers:
                self._downloads.give(buffer)

    async def _send_ahead(
        self, stream: web.StreamResponse, first: memoryview, buffers: list[memoryview]
    ) -> None:
        """Read each piece while the one before it is sent."""
        piece: memoryview | None = first
        reading: asyncio.Future[memoryview] | None = None
        try:
            for i, (start, stop) in enumerate(self._rest(LEAVES_PER_PIECE)):
                reading = self._read(start, stop, buffers[i % 2])
                assert piece is not None
                await _write(stream, piece)
                piece = await reading
                reading = None
            if piece is not None:
                await _write(stream, piece)
        finally:
            if reading is not None:
                await asyncio.gather(reading, return_exceptions=True)

    async def _send_in_turn(self, stream: web.StreamResponse, piece: memoryview) -> None:
        """Send one small piece after the other: slower, with next to no memory."""
        await _write(stream, piece)
        for start, stop in self._rest(self._small_leaves):
            await _write(stream, await self._read(start, stop, None))

    def _rest(self, leaves_max: int) -> Iterator[tuple[int, int]]:
        return self._reader.pieces(self._sent_to, self._span.stop, leaves_max)

    def _read(self, start: int, stop: int, buffer: memoryview | None) -> asyncio.Future[memoryview]:
        return asyncio.get_running_loop().run_in_executor(
            self._downloads.threads, self._reader.read, start, stop, buffer
        )


def cut(request: web.BaseRequest) -> None:
    """Drop the connection: the client sees that the answer is not whole."""
    if request.transport is not None:
        request.transport.abort()


def _hold_nothing_back(transport: asyncio.Transport) -> None:
    """Have a write return when all of it is gone: its buffer is read into again at once."""
    # A plain transport pauses its writer above the limit, one with TLS at the limit.
    is_tls = transport.get_extra_info("ssl_object") is not None
    transport.set_write_buffer_limits(high=1 if is_tls else 0, low=0)


async def _write(stream: web.StreamResponse, piece: memoryview) -> None:
    request = stream._req
    assert request is not None
    async with asyncio.timeout(SEND_SECONDS_MAX):
        await stream.write(piece)
        # aiohttp waits for large writes only; the buffer of a small one is lent on just as soon.
        await request.writer.drain()
