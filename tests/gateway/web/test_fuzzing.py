"""Whatever comes over a connection is answered as a client's fault or not at all: no 5xx but 501,
no hang, and the next connection is served."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.damage import damaged
from tests.support.web_gateway import WebGateway, statuses, web_gateway

SECONDS_MAX = 10

LINES = [
    "GET /s3/bucket/a%20b?versionId=null HTTP/1.1",
    "PUT /s3/bucket/k HTTP/1.1",
    "PUT /s3/bucket/k?partNumber=1&uploadId=u HTTP/1.1",
    "POST /s3/bucket/k?uploads HTTP/1.1",
    "POST /s3/bucket?delete HTTP/1.1",
    "GET /s3/bucket?list-type=2&prefix=a&max-keys=3 HTTP/1.1",
    "HEAD /s3/bucket/k HTTP/1.0",
    "OPTIONS /s3/bucket/k HTTP/1.1",
    "DELETE /s3/bucket/k HTTP/1.1",
    "GET http://localhost/s3/bucket/k HTTP/1.1",
]
HEADERS = [
    "Range: bytes=0-4",
    "If-None-Match: *",
    "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
    "x-amz-meta-who: me",
    "x-amz-copy-source: /bucket/k",
    "x-amz-tagging: a=b",
    "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "x-amz-decoded-content-length: 5",
    "x-amz-trailer: x-amz-checksum-crc32",
    "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==",
    "Content-Type: multipart/form-data; boundary=x",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Origin: https://a.example",
    "Host: other",
]
BODIES = [
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n",
    "<Delete><Object><Key>k</Key></Object></Delete>",
    "",
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(tmp_path_factory.mktemp("fuzzing") / "data") as started:
        assert started.wire.call("PUT", "bucket/k", b"hello").status == 200
        yield started


@given(
    line=damaged(LINES),
    headers=st.lists(damaged(HEADERS), max_size=4),
    body=damaged(BODIES),
    knows=st.booleans(),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_request_is_answered_or_dropped(
    gateway: WebGateway, line: str, headers: list[str], body: str, knows: bool
) -> None:
    identity = gateway.head("GET", "x").decode().split("\r\n")[1:-2] if knows else []
    request = "\r\n".join([line, *identity, *headers, "", body])
    answer = exchange(gateway.port, request.encode("utf-8", "surrogateescape"))
    assert all(status < 500 or status == 501 for status in statuses(answer)), answer


def test_the_gateway_still_serves(gateway: WebGateway) -> None:
    assert gateway.wire.call("GET", "bucket").status == 200


def exchange(port: int, request: bytes) -> bytes:
    """What comes back when nothing more will be sent; fails where the gateway keeps waiting."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        pieces = []
        try:
            while piece := connection.recv(1 << 16):
                pieces.append(piece)
        except ConnectionResetError:
            pass
        return b"".join(pieces)
