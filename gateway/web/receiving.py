"""Receives a large body from the socket straight into the buffers that it is stored from.

aiohttp's parser and stream hand a body on as many small bytes objects; for the rest of a body of
known length, and only for that, the transport is given another protocol that receives in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.s3.errors import ErrorCode, S3Error

_WASTE_BYTES = 64 * 1024


class DirectReceiver(asyncio.BufferedProtocol):
    """The protocol of a connection until `body_bytes` more have come in.

    It never takes a byte beyond them: what follows is the next request, for `owner`, which has the
    connection back as soon as the last byte is in. Reading is paused but while `fill` waits.
    """

    def __init__(
        self,
        owner: asyncio.Protocol,
        transport: asyncio.Transport,
        body_bytes: int,
        idle_seconds_max: float,
        give_back: Callable[[], None],
    ) -> None:
        self._owner = owner
        self._transport = transport
        self._left = body_bytes
        self._idle_seconds_max = idle_seconds_max
        self._give_back = give_back
        self._loop = asyncio.get_running_loop()
        self._views: list[memoryview] = []
        self._filled = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: S3Error | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._heard_from = False
        self._waste: memoryview | None = None
        transport.pause_reading()
        transport.set_protocol(self)

    async def fill(self, views: Sequence[memoryview]) -> int:
        """Fill the views one after the other; how many bytes, fewer than fit only at the end.

        Raises S3Error: IncompleteBody when the client goes away, RequestTimeout when it is silent.
        """
        if self._error is not None:
            raise self._error
        self._views = [view for view in views if view]
        self._views.reverse()
        self._filled = 0
        self._waiter = self._loop.create_future()
        self._listen_for_silence()
        self._transport.resume_reading()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._views = []
            if self._idle_timer is not None:
                self._idle_timer.cancel()
                self._idle_timer = None
            if self._left and self._error is None and not self._transport.is_closing():
                self._transport.pause_reading()
        return self._filled

    def discard(self) -> None:
        """Receive the rest of the body for nothing: it was refused, the answer is on its way."""
        if self._left and not self._transport.is_closing():
            self._waste = memoryview(bytearray(_WASTE_BYTES))
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go, never more than the body has left."""
        if not self._views:
            if self._waste is None:
                raise RuntimeError("read while paused")
            return self._waste[: self._left]
        return self._views[-1][: self._left]

    def buffer_updated(self, nbytes: int) -> None:
        """Note what came in; wake `fill` when it has enough."""
        self._heard_from = True
        self._left -= nbytes
        self._filled += nbytes
        if self._views:
            view = self._views[-1]
            if nbytes == len(view):
                self._views.pop()
            else:
                self._views[-1] = view[nbytes:]
        if self._left == 0:
            self._transport.set_protocol(self._owner)
            self._give_back()
            self._wake()
        elif not self._views and self._waste is None:
            self._transport.pause_reading()
            self._wake()

    def eof_received(self) -> bool:
        """The client will send no more: the body is cut short."""
        self._fail(S3Error(ErrorCode.IncompleteBody))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell `fill` and whoever had the connection before."""
        self._fail(S3Error(ErrorCode.IncompleteBody))
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Answers are still written by the owner."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Answers are still written by the owner."""
        self._owner.resume_writing()

    def _listen_for_silence(self) -> None:
        self._heard_from = False
        self._idle_timer = self._loop.call_later(self._idle_seconds_max, self._on_silence)

    def _on_silence(self) -> None:
        if self._heard_from:
            self._listen_for_silence()
        else:
            self._fail(S3Error(ErrorCode.RequestTimeout))

    def _fail(self, error: S3Error) -> None:
        self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
