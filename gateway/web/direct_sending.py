"""Sends from worker threads over a plain connection, past the event loop and its copies.

A thread sends only what the socket takes at once: it is never held by a slow client. Who waits
until the socket takes more is a coroutine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from aiohttp.http_writer import StreamWriter

from gateway.web.responses import S3Response

# The kernel takes no more than this in one call (UIO_MAXIOV).
_VIEWS_MAX = 1024


class DirectSender:
    """A second descriptor of a connection, for an answer whose length is known.

    For a transport without TLS, with nothing left in its buffer; nobody else may write meanwhile.
    Close it when no thread sends any more.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        # The transport's socket does not block, so neither does a duplicate of it.
        self._fd = os.dup(transport.get_extra_info("socket").fileno())

    def send(self, views: Sequence[memoryview]) -> list[memoryview]:
        """Send what the socket takes at once, without waiting; what is left of the views.

        Raises ConnectionError when the client is gone.
        """
        left = list(views)
        while left:
            try:
                sent = os.writev(self._fd, left[:_VIEWS_MAX])
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

        loop.add_writer(self._fd, wake)
        try:
            async with asyncio.timeout(seconds_max):
                await ready
        finally:
            loop.remove_writer(self._fd)

    def close(self) -> None:
        """Let go of the connection; the transport still has it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class DirectResponse(S3Response):
    """An answer of known length; a DirectSender sends its head with the first of its body."""

    def take_head(self) -> memoryview:
        """The prepared head, for a DirectSender: aiohttp takes it for sent."""
        writer = self._payload_writer
        assert isinstance(writer, StreamWriter)
        head = writer._headers_buf
        assert head is not None
        writer._headers_buf = None
        writer._headers_written = True
        # Nobody may answer again from here on.
        writer.output_size += len(head)
        return memoryview(head)


def can_send_directly(transport: asyncio.Transport) -> bool:
    """Whether the transport is a plain one, with nothing left to write."""
    return (
        transport.get_extra_info("ssl_object") is None
        and not transport.is_closing()
        and transport.get_write_buffer_size() == 0
    )
