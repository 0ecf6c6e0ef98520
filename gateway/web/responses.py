"""Answers: the headers that all have in common, and the one place where errors are rendered."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping

from aiohttp import web
from multidict import CIMultiDict

from gateway.s3.errors import S3Error
from gateway.s3.xml_writer import write_error

SERVER = "dsn-gateway"
XML = "application/xml"

_request_numbers = itertools.count(int.from_bytes(os.urandom(8)))
# Odd, so that no two numbers of 64 bits give one product; it only makes neighbours look unlike.
_SPREAD = 0x9E3779B97F4A7C15


def new_request_id() -> str:
    """An id for a request: 16 hex digits, another one each time."""
    return f"{next(_request_numbers) * _SPREAD & 0xFFFF_FFFF_FFFF_FFFF:016X}"


def xml_response(
    document: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An XML document."""
    return web.Response(
        status=status, body=document, headers={"Content-Type": XML, **(headers or {})}
    )


def empty_response(status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer without a body."""
    return web.Response(status=status, headers=headers)


def error_response(error: S3Error, *, method: str, resource: str, request_id: str) -> web.Response:
    """The answer to a refused request; a HEAD gets no body, as HTTP wants it."""
    headers: CIMultiDict[str] = CIMultiDict(error.headers)
    headers["Content-Type"] = XML
    document = write_error(error, resource=resource, request_id=request_id, host_id=request_id)
    if method == "HEAD":
        return web.Response(status=error.status, headers=error.headers)
    return web.Response(status=error.status, body=document, headers=headers)


def add_common_headers(response: web.StreamResponse, request_id: str) -> None:
    """What every answer carries."""
    response.headers["x-amz-request-id"] = request_id
    response.headers["x-amz-id-2"] = request_id
    response.headers["Server"] = SERVER
