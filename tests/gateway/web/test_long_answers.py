"""Answers that take their time: spaces, then the outcome, whatever it is."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from dsn.errors import BlockNotFoundError
from gateway.s3.errors import ErrorCode, S3Error
from gateway.uploads import Uploads
from gateway.web import long_answers
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import COMPLETE


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(tmp_path_factory.mktemp("long") / "data") as started:
        yield started


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Exception]]:
    """Completing takes a while; what is in the list is raised then."""
    complete = Uploads.complete
    failures: list[Exception] = []

    async def late(self: Uploads, *arguments: object) -> object:
        await asyncio.sleep(0.3)
        if failures:
            raise failures.pop()
        return await complete(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Uploads, "complete", late)
    monkeypatch.setattr(long_answers, "SILENT_SECONDS_MAX", 0.05)
    yield failures


def open_upload(gateway: WebGateway, key: str) -> tuple[str, bytes]:
    """An upload of one part, and the list to complete it with."""
    (upload_id,) = gateway.wire.call("POST", key, uploads="").texts("UploadId")
    part = gateway.wire.call("PUT", key, b"part", partNumber=1, uploadId=upload_id)
    return upload_id, COMPLETE % part.headers["etag"].encode()


def test_success_comes_behind_spaces(gateway: WebGateway, slow: list[Exception]) -> None:
    upload_id, body = open_upload(gateway, "bucket/slow")
    answer = gateway.wire.call("POST", "bucket/slow", body, uploadId=upload_id)
    assert answer.status == 200
    declaration, result = answer.body.split(b"?>\n")
    assert declaration.startswith(b"<?xml")
    assert result.startswith(b"  ")
    assert result.lstrip(b" ").startswith(b"<CompleteMultipartUploadResult")
    assert "x-amz-request-id" in answer.headers
    assert gateway.wire.call("GET", "bucket/slow").body == b"part"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (S3Error(ErrorCode.InvalidPart), "InvalidPart"),
        (BlockNotFoundError(bytes(32)), "InternalError"),
        (OSError("disk"), "InternalError"),
    ],
)
def test_error_comes_behind_spaces(
    gateway: WebGateway, slow: list[Exception], failure: Exception, code: str
) -> None:
    upload_id, body = open_upload(gateway, "bucket/fails")
    slow.append(failure)
    answer = gateway.wire.call("POST", "bucket/fails", body, uploadId=upload_id)
    assert (answer.status, answer.code) == (200, code)
    assert b"?>\n  " in answer.body
    # The connection goes on.
    assert gateway.wire.call("GET", "bucket/fails").status == 404


def test_what_is_quick_has_its_own_status(
    gateway: WebGateway, slow: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_answers, "SILENT_SECONDS_MAX", 5.0)
    upload_id, body = open_upload(gateway, "bucket/quick")
    slow.append(S3Error(ErrorCode.InvalidPart))
    answer = gateway.wire.call("POST", "bucket/quick", body, uploadId=upload_id)
    assert (answer.status, answer.code) == (400, "InvalidPart")
    answer = gateway.wire.call("POST", "bucket/quick", body, uploadId=upload_id)
    assert (answer.status, b"?>\n<Complete" in answer.body) == (200, True)
    assert "x-amz-version-id" in answer.headers


def test_client_that_leaves_takes_nothing_along(gateway: WebGateway, slow: list[Exception]) -> None:
    upload_id, body = open_upload(gateway, "bucket/left")
    head = gateway.head("POST", f"bucket/left?uploadId={upload_id}", f"Content-Length: {len(body)}")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(head + body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    time.sleep(0.5)
    # It was left before it began to assemble, so it is as open as before.
    answer = gateway.wire.call("POST", "bucket/left", body, uploadId=upload_id)
    assert answer.status == 200
    assert gateway.wire.call("GET", "bucket/left").body == b"part"
