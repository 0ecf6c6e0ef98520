"""Sends from worker threads over a plain connection, past the event loop and its copies.

A thread sends only what the socket takes at once: it is never held by a slow client. Who waits
until the socket takes more is a coroutine.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress

# The kernel takes no more than this in one call (UIO_MAXIOV).
_VIEWS_MAX = 1024


class DirectSender:
    """A second descriptor of a connection, for an answer whose length is known.

    For a transport without TLS, with nothing left in its buffer; nobody else may write meanwhile.
    Close it when no thread sends any more.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        wrapped = transport.get_extra_info("socket")
        self._socket = socket.socket(fileno=os.dup(wrapped.fileno()))
        self._socket.setblocking(False)

    def send(self, views: Sequence[memoryview]) -> list[memoryview]:
        """Send what the socket takes at once, without waiting; what is left of the views.

        Raises ConnectionError when the client is gone.
        """
        left = list(views)
        while left:
            try:
                sent = self._socket.sendmsg(left[:_VIEWS_MAX])
            except BlockingIOError:
                break
            whole = 0
            while whole < len(left) and sent >= len(left[whole]):
                sent -= len(left[whole])
                whole += 1
            del left[:whole]
            if sent:
                left[0] = left[0][sent:]
        return left

    async def wait(self, seconds_max: float) -> None:
        """Wait until the socket takes more; TimeoutError when the client takes nothing for long."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_writer(self._socket.fileno(), wake)
        try:
            async with asyncio.timeout(seconds_max):
                await ready
        finally:
            loop.remove_writer(self._socket.fileno())

    def close(self) -> None:
        """Let go of the connection; the transport still has it."""
        with suppress(OSError):
            self._socket.close()


def can_send_directly(transport: asyncio.Transport) -> bool:
    """Whether the transport is a plain one, with nothing left to write."""
    return (
        transport.get_extra_info("ssl_object") is None
        and not transport.is_closing()
        and transport.get_write_buffer_size() == 0
    )
