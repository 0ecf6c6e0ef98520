"""Heads of answers: their versions, connections and lengths, and that no header adds another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from aiohttp.http_writer import StreamWriter
from aiohttp.test_utils import make_mocked_request

from gateway.web.responses import S3Response
from tests.support.web_gateway import WebGateway, web_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    directory: Path = tmp_path_factory.mktemp("responses")
    with web_gateway(directory / "data") as running:
        assert running.wire.call("PUT", "bucket/k", b"hello").status == 200
        yield running


def head_of(gateway: WebGateway, method: str, version: str, *lines: str) -> dict[str, str]:
    """The status line, under the name "", and the headers of an answer; its body under "body"."""
    request = gateway.head(method, "bucket/k", *lines).replace(b"HTTP/1.1", version.encode(), 1)
    head, _, body = gateway.raw(request).decode().partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    return {"": status, "body": body, **dict(line.split(": ", 1) for line in headers)}


@pytest.mark.parametrize(
    ("version", "lines", "connection"),
    [
        ("HTTP/1.1", ["Connection: close"], "close"),
        ("HTTP/1.0", [], "close"),
        ("HTTP/1.0", ["Connection: close"], "close"),
    ],
)
@pytest.mark.parametrize(("method", "body"), [("GET", "hello"), ("HEAD", "")])
def test_version_and_connection(
    gateway: WebGateway, method: str, body: str, version: str, lines: list[str], connection: str
) -> None:
    answer = head_of(gateway, method, version, *lines)
    assert answer[""] == f"{version} 200 OK"
    assert (answer["Connection"], answer["Content-Length"]) == (connection, "5")
    assert answer["body"] == body


@pytest.mark.parametrize(
    ("lines", "status", "length"),
    [
        (["If-None-Match: *"], "304 Not Modified", None),
        (["Range: bytes=1-3"], "206 Partial Content", "3"),
        (["If-Match: x"], "412 Precondition Failed", None),
    ],
)
def test_lengths_of_answers_without_a_body(
    gateway: WebGateway, lines: list[str], status: str, length: str | None
) -> None:
    answer = head_of(gateway, "HEAD", "HTTP/1.1", "Connection: close", *lines)
    assert answer[""] == f"HTTP/1.1 {status}"
    assert answer.get("Content-Length") == length
    assert answer["body"] == ""


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\n\rb"])
@pytest.mark.parametrize("place", ["name", "value"])
async def test_a_header_never_adds_another(place: str, value: str) -> None:
    writer = StreamWriter(Mock(), asyncio.get_running_loop())
    request = make_mocked_request("GET", "/", writer=writer)
    headers = {"x-a": value} if place == "value" else {value: "x"}
    with pytest.raises(ValueError, match="line break"):
        await S3Response(headers=headers).prepare(request)
