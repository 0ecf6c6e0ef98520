from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator

import pytest

from gateway.catalog.database import Database
from tests.support.bodies import noise
from tests.support.web_gateway import WebGateway, statuses, web_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(tmp_path_factory.mktemp("dispatch") / "data") as started:
        yield started


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("failed")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OSError(errno.ENOSPC, "full"), 507, "InsufficientStorage"),
        (OSError(errno.EDQUOT, "full"), 507, "InsufficientStorage"),
        (OSError(errno.EIO, "broken"), 503, "ServiceUnavailable"),
        (OSError(errno.EROFS, "read only"), 503, "ServiceUnavailable"),
        (sqlite_error(sqlite3.SQLITE_FULL), 507, "InsufficientStorage"),
        (sqlite_error(sqlite3.SQLITE_BUSY), 503, "ServiceUnavailable"),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), 503, "ServiceUnavailable"),
    ],
)
def test_a_disk_that_fails_is_never_an_internal_error(
    gateway: WebGateway, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    async def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", fail)
        answer = gateway.wire.call("PUT", "bucket/failed", b"x")
    assert (answer.status, answer.code) == (status, code)
    assert gateway.wire.call("GET", "bucket/failed").status == 404
    assert gateway.wire.call("PUT", "bucket/after", b"x").status == 200


@pytest.mark.parametrize("size", [10, 500_000, 3_000_000])
def test_a_full_disk_is_507_and_leaves_nothing(
    gateway: WebGateway, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    gateway.wire.call("PUT", "bucket/before", b"x")
    before = set((gateway.data_dir / "segments").rglob("*.car"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        answer = gateway.wire.call("PUT", f"bucket/full{size}", noise(size))
    assert (answer.status, answer.code) == (507, "InsufficientStorage")
    assert gateway.wire.call("HEAD", f"bucket/full{size}").status == 404
    assert set((gateway.data_dir / "segments").rglob("*.car")) == before
    assert gateway.wire.call("PUT", f"bucket/full{size}", noise(size)).status == 200
    assert gateway.wire.call("GET", f"bucket/full{size}").body == noise(size)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /s3/b HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"PUT /s3/b/k HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"PUT /s3/b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"GET /s3/" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        # A host that is none could not be said in a Location.
        b"POST /s3/b/k?uploadId=u HTTP/1.1\r\nHost: \xe9\r\nContent-Length: 0\r\n"
        b"Connection: close\r\n\r\n",
    ],
)
def test_malformed_http_is_answered_in_xml(gateway: WebGateway, request_bytes: bytes) -> None:
    answer = gateway.raw(request_bytes)
    assert statuses(answer) == [400]
    assert b"<Error><Code>" in answer
    assert b"x-amz-request-id" in answer


def test_an_error_to_a_head_has_no_body(gateway: WebGateway) -> None:
    answer = gateway.raw(gateway.head("HEAD", "nowhere/key", "Connection: close"))
    assert statuses(answer) == [404]
    assert answer.endswith(b"\r\n\r\n")


def test_every_answer_carries_the_request_id(gateway: WebGateway) -> None:
    for path in ("", "nowhere/key"):
        answer = gateway.wire.call("GET", path)
        assert answer.headers["x-amz-request-id"]
        assert answer.headers["server"] == "dsn-gateway"
        assert answer.headers["date"]
    assert answer.texts("RequestId") == [answer.headers["x-amz-request-id"]]


@pytest.mark.parametrize(
    "query", ["acl", "tagging", "legal-hold", "retention", "torrent", "restore"]
)
def test_what_is_not_implemented_has_no_side_effect(gateway: WebGateway, query: str) -> None:
    gateway.wire.call("PUT", "bucket/kept", b"kept")
    answer = gateway.wire.call("PUT", "bucket/kept", b"<x/>", **{query: ""})
    assert answer.status in (400, 405, 501)
    assert gateway.wire.call("GET", "bucket/kept").body == b"kept"


@pytest.mark.parametrize("path", ["bucket/kept", "bucket"])
def test_deleting_is_refused(gateway: WebGateway, path: str) -> None:
    gateway.wire.call("PUT", "bucket/kept", b"kept")
    assert gateway.wire.call("DELETE", path).status == 403
    assert gateway.wire.call("GET", "bucket/kept").body == b"kept"


def test_a_path_of_one_segment_is_a_bucket_or_a_key_of_the_default_bucket(
    gateway: WebGateway,
) -> None:
    wire = gateway.wire
    assert wire.call("HEAD", "flat.bin").status == 404
    assert wire.call("PUT", "flat.bin", b"an object").status == 200
    assert wire.call("GET", "flat.bin").body == b"an object"
    assert wire.call("HEAD", "flat.bin").headers["content-length"] == "9"
    assert wire.call("GET", "default/flat.bin").body == b"an object"
    assert wire.call("PUT", "abucket").status == 200
    assert wire.call("HEAD", "abucket").status == 200
    assert wire.call("GET", "abucket").texts("Name") == ["abucket"]
    assert "abucket" in wire.call("GET", "").texts("Name")
    configuration = b"<CreateBucketConfiguration/>"
    headers = {"Content-Type": "application/xml"}
    assert wire.call("PUT", "other-bucket", configuration, headers=headers).status == 200
    assert wire.call("HEAD", "other-bucket").status == 200


def test_health_needs_no_key(gateway: WebGateway) -> None:
    for path, ready, status in [
        ("/livez", False, 200),
        ("/readyz", False, 503),
        ("/readyz", True, 200),
    ]:
        gateway.worker.ready = ready
        answer = gateway.raw(
            b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode()
        )
        assert statuses(answer) == [status]


def test_who_has_no_key_learns_nothing(gateway: WebGateway) -> None:
    for path in (b"/s3/bucket/kept", b"/s3/nowhere/key", b"/s3/"):
        answer = gateway.raw(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
        assert statuses(answer) == [403]
        assert b"<Code>AccessDenied</Code>" in answer


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "owned/key"), ("GET", "owned/key"), ("HEAD", "owned/key"), ("GET", "owned/")],
)
def test_a_bucket_of_another_owner_than_expected_is_denied(
    gateway: WebGateway, method: str, path: str
) -> None:
    assert gateway.wire.call("PUT", "owned/key", b"first").status == 200
    for owner, status in (("somebody", 403), ("main", 200)):
        headers = {"x-amz-expected-bucket-owner": owner}
        body = b"second" if method == "PUT" else b""
        assert gateway.wire.call(method, path, body, headers=headers).status == status
        if owner == "somebody":
            assert gateway.wire.call("GET", "owned/key").body == b"first"
