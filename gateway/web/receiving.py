"""Receives a large body from the socket straight into the buffers that it is stored from.

aiohttp's parser and stream hand a body on as many small bytes objects, and a transport reads into
one buffer at a time. For the rest of a body of known length, and only for that, the transport is
paused and its socket read here: once for as many leaves as have come in.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

from gateway.s3.errors import ErrorCode, S3Error

# The kernel wakes us when so much has come in, or all that is wanted: fewer turns of the loop.
WAKE_BYTES = 256 * 1024
_WASTE_BYTES = 64 * 1024


class DirectReceiver(asyncio.Protocol):
    """The protocol of a connection until `body_bytes` more have come in.

    It never takes a byte beyond them: what follows is the next request, for `owner`, which has the
    connection back as soon as the last byte is in. Nothing is read but while `fill` waits.
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
        self._wake_bytes = 1
        self._is_discarding = False
        self._is_cut = False
        transport.pause_reading()
        transport.set_protocol(self)
        # A descriptor of its own: the loop refuses to watch one that belongs to a transport.
        self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        self._socket.setblocking(False)

    async def fill(self, views: Sequence[memoryview]) -> int:
        """Fill the views one after the other; how many bytes, fewer than fit only at the end.

        Raises S3Error: IncompleteBody when the client goes away, RequestTimeout when it is silent.
        """
        if self._error is not None:
            raise self._error
        self._views = _first_bytes(views, self._left)
        self._filled = 0
        self._receive()
        if self._views and self._error is None:
            self._waiter = self._loop.create_future()
            self._listen_for_silence()
            self._loop.add_reader(self._socket.fileno(), self._receive)
            try:
                await self._waiter
            finally:
                self._waiter = None
                self._views = []
                self._stop_listening()
        if self._error is not None:
            raise self._error
        if self._left == 0:
            self._hand_back()
        return self._filled

    def discard(self) -> None:
        """Receive the rest of the body for nothing: it was refused, the answer is on its way."""
        if self._left and not self._is_cut and not self._is_discarding:
            self._is_discarding = True
            self._wake_at(1)
            self._loop.add_reader(self._socket.fileno(), self._waste)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell `fill` and whoever had the connection before."""
        self._fail_as_cut()
        self._close()
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Answers are still written by the owner."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Answers are still written by the owner."""
        self._owner.resume_writing()

    def _receive(self) -> None:
        """Take what has come in; wake `fill` when it has enough, or when there will be no more."""
        try:
            received = self._socket.recvmsg_into(self._views)[0]
        except (BlockingIOError, InterruptedError):
            self._wake_at(min(WAKE_BYTES, sum(map(len, self._views))))
            return
        except OSError:
            received = 0
        if not received:
            self._fail_as_cut()
            return
        self._heard_from = True
        self._left -= received
        self._filled += received
        self._views = _rest(self._views, received)
        if self._views:
            self._wake_at(min(WAKE_BYTES, sum(map(len, self._views))))
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _waste(self) -> None:
        try:
            received = len(self._socket.recv(min(_WASTE_BYTES, self._left)))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            received = 0
        self._left -= received
        if self._left == 0:
            self._hand_back()
        elif not received:
            self._close()
            self._transport.abort()

    def _hand_back(self) -> None:
        """The body is in: the connection is the owner's again."""
        self._wake_at(1)
        self._close()
        self._transport.set_protocol(self._owner)
        self._give_back()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _wake_at(self, count: int) -> None:
        """Have the kernel report the socket as readable with so many bytes, or at its end."""
        if count != self._wake_bytes:
            self._wake_bytes = count
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    def _listen_for_silence(self) -> None:
        self._heard_from = False
        self._idle_timer = self._loop.call_later(self._idle_seconds_max, self._on_silence)

    def _on_silence(self) -> None:
        # A slow client may have sent something, though too little to wake us.
        if not self._heard_from and self._waiter is not None and not self._waiter.done():
            self._receive()
        if self._heard_from:
            self._listen_for_silence()
        else:
            self._fail(S3Error(ErrorCode.RequestTimeout))

    def _stop_listening(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())

    def _close(self) -> None:
        """Let go of the descriptor: a connection is closed when the last one is."""
        self._stop_listening()
        self._socket.close()

    def _fail_as_cut(self) -> None:
        self._is_cut = True
        self._fail(S3Error(ErrorCode.IncompleteBody))

    def _fail(self, error: S3Error) -> None:
        if self._error is None:
            self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _first_bytes(views: Sequence[memoryview], count: int) -> list[memoryview]:
    """The views, of which only so many bytes are to be filled; none that is empty."""
    wanted = []
    for view in views:
        if count <= 0:
            break
        if view:
            wanted.append(view[:count])
            count -= len(view)
    return wanted


def _rest(views: list[memoryview], skip: int) -> list[memoryview]:
    """What is left of the views behind their first bytes."""
    for i, view in enumerate(views):
        if skip < len(view):
            return [view[skip:], *views[i + 1 :]]
        skip -= len(view)
    return []
