"""The HTTP server under the S3 door: aiohttp's, with its defaults set right and its errors XML."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from aiohttp import StreamReader, web
from aiohttp.http import HttpRequestParser
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from gateway.s3.errors import ErrorCode, S3Error
from gateway.web.receiving import DirectReceiver
from gateway.web.responses import add_common_headers, error_response, new_request_id

log = structlog.get_logger()

# A presigned URL with a session token needs more than aiohttp's 8 KiB.
LINE_BYTES_MAX = 16 * 1024
HEADERS_MAX = 128
# What comes in of a body before its handler runs is copied twice: let it be one read, not more.
READ_BUFFER_BYTES = 64 * 1024
LINGERING_SECONDS = 2.0


class S3Protocol(RequestHandler):
    """One connection. Malformed HTTP is answered in S3's XML; silence does not last for ever."""

    def __init__(self, manager: S3Server, *, header_seconds_max: float, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._header_seconds_max = header_seconds_max
        self._header_timer: asyncio.TimerHandle | None = None
        self._receiver: DirectReceiver | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._header_timer = self._loop.call_later(self._header_seconds_max, self._check_header)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
        super().connection_lost(exc)

    def _check_header(self) -> None:
        """Cut a connection whose first header section has not come in time."""
        if self._request_count == 0 and self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """Close when the request in progress is answered; until then its body still comes in."""
        if self._current_request is None:
            super().close()

    def is_caught_up(self, stream: StreamReader) -> bool:
        """Whether every byte that came in has gone through the stream of the body."""
        return (
            self.transport is not None
            and self._ssl_object() is None
            and not self._reading_paused
            and not self._buffer_paused
            and stream.total_bytes > 0
            and not stream._buffer
        )

    def receive_directly(
        self, stream: StreamReader, body_bytes: int, idle_seconds_max: float
    ) -> DirectReceiver:
        """Take the connection away from aiohttp for the rest of a body of known length."""
        assert self.transport is not None

        def give_back() -> None:
            # The parser still waits for the bytes that went past it; a new one does not.
            self._parser = self._new_parser()
            self._receiver = None
            stream.feed_eof()

        self._receiver = DirectReceiver(
            self, self.transport, body_bytes, idle_seconds_max, give_back
        )
        return self._receiver

    def discard_body(self) -> None:
        """Let the client finish sending a body that was refused, so that it reads the answer."""
        if self._receiver is not None:
            self._receiver.discard()

    def _ssl_object(self) -> object | None:
        assert self.transport is not None
        found: object | None = self.transport.get_extra_info("ssl_object")
        return found

    def _new_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            self,
            self._loop,
            READ_BUFFER_BYTES,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse, or a handler that raised after its answer began."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if status >= 500:
            log.error("request failed", exc_info=exc)
            error = S3Error(ErrorCode.InternalError)
        else:
            log.info("malformed request", reason=type(exc).__name__)
            code = ErrorCode.BadRequest
            if type(exc).__name__ == "LineTooLong":
                code = ErrorCode.RequestHeaderSectionTooLarge
            error = S3Error(code)
        request_id = new_request_id()
        response = error_response(error, method="GET", resource="", request_id=request_id)
        add_common_headers(response, request_id)
        response.force_close()
        return response


class S3Server(web.Server):
    """Makes one S3Protocol for each connection."""

    def __init__(
        self, handler: Any, *, header_seconds_max: float, keepalive_seconds_max: float
    ) -> None:
        super().__init__(handler)
        self._header_seconds_max = header_seconds_max
        self._keepalive_seconds_max = keepalive_seconds_max

    def __call__(self) -> S3Protocol:
        return S3Protocol(
            self,
            loop=asyncio.get_running_loop(),
            header_seconds_max=self._header_seconds_max,
            keepalive_timeout=self._keepalive_seconds_max,
            access_log=None,
            # A Content-Encoding is the object's, not the transfer's: bodies stay as sent.
            auto_decompress=False,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            read_bufsize=READ_BUFFER_BYTES,
            lingering_time=LINGERING_SECONDS,
        )


def check_parser() -> None:
    """RuntimeError unless aiohttp parses with its C extension: the Python parser is the weaker."""
    from aiohttp import http_parser

    if http_parser.HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise RuntimeError("aiohttp runs without its C extensions (AIOHTTP_NO_EXTENSIONS?)")
