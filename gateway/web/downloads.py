"""Sends a span of a file, each piece verified before it leaves.

Over a plain connection a piece is read, verified and sent in one go, and so is the next, for as
long as the client takes them at once: the first ones by the event loop, the rest of a large span by
threads. Over TLS a piece goes through the transport while the next one is read.
"""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from enum import Enum, auto
from functools import partial
from typing import TypeVar

from aiohttp import web

from dsn.blockstore.segments.reader import LEAVES_PER_PIECE, FileReader
from dsn.errors import BlockMismatchError, BlockNotFoundError, NonCanonicalDagError
from dsn.framing import FULL_SECTION_BYTES
from dsn.node import CHUNK_BYTES
from gateway.budget import ByteBudget
from gateway.s3.ranges import ByteSpan
from gateway.web.direct_sending import DirectResponse, DirectSender, can_send_directly

SEND_SECONDS_MAX = 60.0
# What a read raises for a node that must not be served.
DAMAGE = (BlockMismatchError, BlockNotFoundError, NonCanonicalDagError)

PIECE_BYTES = LEAVES_PER_PIECE * FULL_SECTION_BYTES
# So much is sent by the event loop: about 0.4 ms. A hop to a thread and back costs a third of it.
LOOP_BYTES = 1 << 20
# After so much a thread lets others have their turn.
TURN_BYTES = 4 << 20
# From here on a download may have a second buffer, and a second thread while one is idle.
READ_AHEAD_BYTES_MIN = 8 << 20
_SPARE_BUFFERS_MAX = 64

T = TypeVar("T")


class Downloads:
    """Lends the buffers that downloads read into, within a budget."""

    def __init__(
        self, budget: ByteBudget, threads: ThreadPoolExecutor, sending_threads: ThreadPoolExecutor
    ) -> None:
        """`threads` may wait for a disk; `sending_threads`, one a core, wait for nothing.

        More of the latter would only get in each other's way.
        """
        self.threads = threads
        self.sending_threads = sending_threads
        self._budget = budget
        self._spare: list[memoryview] = []
        self._senders = os.cpu_count() or 1
        self._sending = 0

    @property
    def is_crowded(self) -> bool:
        """Whether more downloads want to send than have a thread to do so."""
        return self._sending > self._senders

    @property
    def has_idle_thread(self) -> bool:
        """Whether every download that sends could have a second thread."""
        return 2 * self._sending <= self._senders

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Count a download that wants a thread to send in."""
        self._sending += 1
        try:
            yield
        finally:
            self._sending -= 1

    def open(self, reader: FileReader, span: ByteSpan) -> Download:
        """A download of a span."""
        return Download(self, reader, span)

    async def take(self, leaves: int) -> memoryview:
        """A buffer for a piece of at most `leaves`, of fewer when memory is short.

        S3Error(SlowDown) where nothing comes free in time.
        """
        buffer = self.try_take(leaves)
        if buffer is None:
            await self._budget.take(FULL_SECTION_BYTES)
            buffer = memoryview(bytearray(FULL_SECTION_BYTES))
        return buffer

    def try_take(self, leaves: int) -> memoryview | None:
        """A buffer for a piece of at most `leaves`, if the budget has one left."""
        size = min(leaves, LEAVES_PER_PIECE) * FULL_SECTION_BYTES
        if not self._budget.try_take(size):
            return None
        if size == PIECE_BYTES:
            return self._spare.pop() if self._spare else memoryview(mmap.mmap(-1, PIECE_BYTES))
        return memoryview(bytearray(size))

    def give(self, buffer: memoryview) -> None:
        """Hand a buffer back; nobody may look at it any more."""
        if len(buffer) == PIECE_BYTES and len(self._spare) < _SPARE_BUFFERS_MAX:
            self._spare.append(buffer)
        self._budget.give(len(buffer))


class _Stop(Enum):
    """Why sending stopped."""

    DONE = auto()
    FULL = auto()  # the client has to take something first
    COLD = auto()  # a disk has to be waited for
    TURN = auto()  # others come first


class Download:
    """One span on its way out. Reading raises one of DAMAGE, or what the disk raises.

    What `send` raises has cut the connection already: the status is spent, and a cut is the
    only truth left to tell. A client that stalls raises TimeoutError.
    """

    def __init__(self, downloads: Downloads, reader: FileReader, span: ByteSpan) -> None:
        self._downloads = downloads
        self._reader = reader
        self._stop = span.stop
        # Up to where the span has been read.
        self._at = span.start
        self._buffers: list[memoryview] = []
        # What has been read into the first buffer and not been sent.
        self._unsent: list[memoryview] = []
        self._given_up = False

    def close(self) -> None:
        """Give back the memory that the download had."""
        while self._buffers:
            self._downloads.give(self._buffers.pop())

    @property
    def is_whole(self) -> bool:
        """Whether all of the span has been read."""
        return self._at >= self._stop

    async def first(self) -> list[memoryview]:
        """The first piece: all of a short span. S3Error(SlowDown) where there is no memory."""
        start, stop = self._at, self._stop
        if self._reader.leaf_count <= 1:
            # A small object that is in the page cache is not worth a hop to a thread.
            cached = self._reader.read_cached(start, stop)
            if cached is not None:
                self._at = stop
                return cached
        leaves = -(-stop // CHUNK_BYTES) - start // CHUNK_BYTES
        self._buffers.append(await self._downloads.take(leaves))
        # A long answer begins with one leaf: it is on its way while the next ones are verified.
        few = leaves if leaves <= LEAVES_PER_PIECE else 1
        cached = self._next_cached(few)
        if cached is None:
            return await self._run(partial(self._next, few), self._downloads.threads)
        return cached

    async def send(self, stream: DirectResponse, first: list[memoryview]) -> None:
        """Send the head of the prepared answer, the first piece and all that follow it."""
        request = stream._req
        assert request is not None
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away while the first piece was read")
        try:
            if can_send_directly(transport):
                self._unsent = [stream.take_head(), *first]
                await self._send_directly(transport)
            else:
                _hold_nothing_back(transport)
                await _write(stream, first)
                if can_send_directly(transport):
                    await self._send_directly(transport)
                elif not self.is_whole:
                    await self._send_through(stream)
        except BaseException:
            # What waits in the transport lies in these buffers: it must not be sent any more.
            cut(request)
            raise

    async def _send_directly(self, transport: asyncio.Transport) -> None:
        """Send past the transport; wait for the client where it is the slower one."""
        sender = DirectSender(transport)
        warm, cold = self._downloads.sending_threads, self._downloads.threads
        if self._stop - self._at > READ_AHEAD_BYTES_MIN and self._downloads.has_idle_thread:
            spare = self._downloads.try_take(LEAVES_PER_PIECE)
            if spare is not None:
                self._buffers.append(spare)
        try:
            stop = self._send_while_taken(sender, LOOP_BYTES, cached_only=True)
            while stop is not _Stop.DONE:
                if stop is _Stop.FULL:
                    await sender.wait(SEND_SECONDS_MAX)
                send = partial(self._send_in_thread, sender, cached_only=stop is not _Stop.COLD)
                with self._downloads.sending():
                    stop = await self._run(send, cold if stop is _Stop.COLD else warm)
        finally:
            sender.close()

    def _send_in_thread(self, sender: DirectSender, *, cached_only: bool) -> _Stop:
        """Send for a turn; for one after the other where nobody else waits for the thread."""
        while True:
            if cached_only and len(self._buffers) > 1 and self._downloads.has_idle_thread:
                stop = self._send_reading_ahead(sender)
            else:
                stop = self._send_while_taken(sender, TURN_BYTES, cached_only=cached_only)
            others_wait = self._downloads.is_crowded or not cached_only
            if stop is not _Stop.TURN or others_wait or self._given_up:
                return stop

    def _send_while_taken(
        self, sender: DirectSender, bytes_max: int, *, cached_only: bool
    ) -> _Stop:
        """Read, verify and send until one of the reasons to stop; never waits for the client."""
        turn_ends = self._at + bytes_max
        while True:
            self._unsent = sender.send(self._unsent)
            if self._unsent:
                return _Stop.FULL
            if self.is_whole:
                return _Stop.DONE
            if self._given_up or self._at >= turn_ends:
                return _Stop.TURN
            piece = self._next_cached() if cached_only else self._next()
            if piece is None:
                return _Stop.COLD
            self._unsent = piece

    def _send_reading_ahead(self, sender: DirectSender) -> _Stop:
        """As `_send_while_taken`, while a second thread reads and verifies the next piece."""
        self._unsent = sender.send(self._unsent)
        if self._unsent:
            return _Stop.FULL
        while self._downloads.has_idle_thread and not (self.is_whole or self._given_up):
            self._buffers.reverse()
            reading = self._downloads.sending_threads.submit(self._next_cached)
            try:
                self._unsent = sender.send(self._unsent)
            except BaseException:
                if not reading.cancel():
                    # It uses a buffer, which may be lent to somebody else next.
                    wait((reading,))
                raise
            # Another download may have got the idle thread in between.
            piece = self._next_cached() if reading.cancel() else reading.result()
            is_full = bool(self._unsent)
            self._unsent += piece or ()
            if is_full:
                return _Stop.FULL
            if piece is None:
                return _Stop.COLD
        return self._send_while_taken(sender, 0, cached_only=True)

    async def _send_through(self, stream: web.StreamResponse) -> None:
        """Send through the transport, reading a piece while the one before it is sent."""
        spare = self._downloads.try_take(LEAVES_PER_PIECE)
        if spare is not None:
            self._buffers.append(spare)
        piece = await self._run(self._next, self._downloads.threads)
        while not self.is_whole:
            if spare is None:
                await _write(stream, piece)
                piece = await self._run(self._next, self._downloads.threads)
            else:
                self._buffers.reverse()
                reading = asyncio.ensure_future(self._run(self._next, self._downloads.threads))
                try:
                    await _write(stream, piece)
                finally:
                    await asyncio.gather(reading, return_exceptions=True)
                piece = reading.result()
        await _write(stream, piece)

    def _next(self, leaves_max: int = LEAVES_PER_PIECE) -> list[memoryview]:
        """The next piece, in the first buffer."""
        start, stop = self._next_span(leaves_max)
        piece = self._reader.read(start, stop, self._buffers[0])
        self._at = stop
        return piece

    def _next_cached(self, leaves_max: int = LEAVES_PER_PIECE) -> list[memoryview] | None:
        """As `_next`, without waiting for a disk; None where it must."""
        start, stop = self._next_span(leaves_max)
        piece = self._reader.read_cached(start, stop, self._buffers[0])
        if piece is not None:
            self._at = stop
        return piece

    def _next_span(self, leaves_max: int) -> tuple[int, int]:
        leaves = min(leaves_max, len(self._buffers[0]) // FULL_SECTION_BYTES)
        return self._at, min(self._stop, (self._at // CHUNK_BYTES + leaves) * CHUNK_BYTES)

    async def _run(self, work: Callable[[], T], threads: ThreadPoolExecutor) -> T:
        """Run something in a worker thread; never leave before it has ended."""
        running = asyncio.get_running_loop().run_in_executor(threads, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # It still uses the buffers.
            self._given_up = True
            await asyncio.gather(running, return_exceptions=True)
            raise


def cut(request: web.BaseRequest) -> None:
    """Drop the connection: the client sees that the answer is not whole."""
    if request.transport is not None:
        request.transport.abort()


def _hold_nothing_back(transport: asyncio.Transport) -> None:
    """Have a write return when all of it is gone: its buffer is read into again at once."""
    # A plain transport pauses its writer above the limit, one with TLS at the limit.
    is_tls = transport.get_extra_info("ssl_object") is not None
    transport.set_write_buffer_limits(high=1 if is_tls else 0, low=0)


async def _write(stream: web.StreamResponse, piece: list[memoryview]) -> None:
    request = stream._req
    assert request is not None
    async with asyncio.timeout(SEND_SECONDS_MAX):
        for view in piece:
            await stream.write(view)
        # aiohttp waits for large writes only; the buffer of a small one is lent on just as soon.
        await request.writer.drain()
