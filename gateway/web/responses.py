"""Answers: how their heads are written, what all have in common, and errors rendered in one place.

A head is written here rather than by aiohttp, so that a header goes out as the bytes that a client
once sent, be they UTF-8 or not.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import HttpVersion10, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_writer import StreamWriter
from multidict import CIMultiDict

from gateway.s3.errors import S3Error
from gateway.s3.xml_writer import write_error

SERVER = "dsn-gateway"
XML = "application/xml"

_request_numbers = itertools.count(int.from_bytes(os.urandom(8)))
# Odd, so that no two numbers of 64 bits give one product; it only makes neighbours look unlike.
_SPREAD = 0x9E3779B97F4A7C15


class S3Response(web.StreamResponse):
    """An answer whose head leaves together with the first bytes of its body.

    `body` is all of it; an answer of known length that is written bit by bit has none, and gets
    `content_length` set. Values of `headers` may hold lone surrogates (`surrogateescape`) for bytes
    that are not UTF-8. To prepare an answer with a line break in a header raises ValueError.
    """

    def __init__(
        self,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> None:
        super().__init__(status=status, headers=headers)
        self.body = body
        if body is not None:
            self._headers["Content-Length"] = str(len(body))

    async def _start(self, request: web.BaseRequest) -> StreamWriter:
        self._req = request
        writer = request._payload_writer
        assert isinstance(writer, StreamWriter)
        self._payload_writer = writer
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        self._settle_length(request.method)
        writer._headers_buf = self._head(request)
        return writer

    def _settle_length(self, method: str) -> None:
        """https://www.rfc-editor.org/rfc/rfc9110.html#section-8.6"""
        if self._status in _WITHOUT_LENGTH:
            self._headers.pop("Content-Length", None)
        elif method != "HEAD":
            self._headers.setdefault("Content-Length", "0")

    def _head(self, request: web.BaseRequest) -> bytes:
        headers = self._headers
        headers["Date"] = rfc822_formatted_time()
        is_old = request.version == HttpVersion10
        if not self._keep_alive:
            headers["Connection"] = "close"
        elif is_old:
            headers["Connection"] = "keep-alive"
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        version = "HTTP/1.0" if is_old else "HTTP/1.1"
        text = f"{version} {self._status} {self._reason}\r\n{lines}\r\n"
        if not text.count("\r") == text.count("\n") == len(headers) + 2:
            raise ValueError("a line break in a header of the answer")
        return text.encode("utf-8", "surrogateescape")

    async def write_eof(self, data: bytes = b"") -> None:
        """Send what has not been sent."""
        await super().write_eof(b"" if self._must_be_empty_body else data or self.body or b"")


_WITHOUT_LENGTH = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


def new_request_id() -> str:
    """An id for a request: 16 hex digits, another one each time."""
    return f"{next(_request_numbers) * _SPREAD & 0xFFFF_FFFF_FFFF_FFFF:016X}"


def xml_response(
    document: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> S3Response:
    """An XML document."""
    return S3Response(
        status=status, body=document, headers={"Content-Type": XML, **(headers or {})}
    )


def empty_response(status: int, headers: Mapping[str, str] | None = None) -> S3Response:
    """An answer without a body."""
    return S3Response(status=status, headers=headers)


def error_response(error: S3Error, *, method: str, resource: str, request_id: str) -> S3Response:
    """The answer to a refused request; a HEAD gets no body, as HTTP wants it."""
    headers: CIMultiDict[str] = CIMultiDict(error.headers)
    headers["Content-Type"] = XML
    document = write_error(error, resource=resource, request_id=request_id, host_id=request_id)
    if method == "HEAD":
        return S3Response(status=error.status, headers=error.headers)
    return S3Response(status=error.status, body=document, headers=headers)


def add_common_headers(response: web.StreamResponse, request_id: str) -> None:
    """What every answer carries."""
    response.headers["x-amz-request-id"] = request_id
    response.headers["x-amz-id-2"] = request_id
    response.headers["Server"] = SERVER
