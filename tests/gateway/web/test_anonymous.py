"""Requests without a key: refused, but for what an anonymous key opens to all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest

from gateway.keys import CHECK_SECONDS, KeyStore
from gateway.rights import Limits, Right
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import Answer, Wire

READ = frozenset({Right.READ})
READ_AND_LIST = frozenset({Right.READ, Right.LIST})


def anonymously(
    gateway: WebGateway, method: str, target: str, body: bytes = b"", **headers: str
) -> Answer:
    path, _, query = target.partition("?")
    wire = Wire(gateway.port, None, timeout=20)
    try:
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        return wire.call(method, path, body, headers=headers, **parameters)
    finally:
        wire.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    data_dir = tmp_path_factory.mktemp("anonymous") / "data"
    with web_gateway(data_dir, bucket_delete_policies=("pages=hide",)) as started:
        for path in ("shut/a", "pages/a", "films/a", "films/out/b", "late/a", "default/pages"):
            assert started.wire.call("PUT", path, b"0123456789").status == 200
        locked = {"x-amz-tagging": "a=1", "x-amz-object-lock-legal-hold": "ON"}
        assert started.wire.call("PUT", "pages/noted", b"x", headers=locked).status == 200
        assert started.wire.call("PUT", "pages/hidden", b"x").status == 200
        assert started.wire.call("DELETE", "pages/hidden").status == 204
        assert started.wire.call("PUT", "default/unmade", b"x").status == 200
        keys = KeyStore(data_dir)
        keys.create_anonymous(Limits(READ, ("pages",)))
        keys.create_anonymous(Limits(READ_AND_LIST, ("films",), ("out/",)))
        expired = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
        keys.create_anonymous(Limits(READ, ("late",), expires_us=expired))
        keys.create_anonymous(Limits(READ, ("unmade", "unmade-either")))
        yield started


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "pages/a", 200),
        ("HEAD", "pages/a", 200),
        ("GET", "pages/a?partNumber=1", 206),
        ("GET", "pages/absent", 404),
        ("HEAD", "pages", 200),
        ("HEAD", "pages/", 200),
        ("GET", "pages/?location", 200),
        ("GET", "films/out/b", 200),
        ("GET", "films/?list-type=2&prefix=out/", 200),
        ("GET", "films/?prefix=out/", 200),
        # Without the right, or the bucket, or below another prefix.
        ("GET", "pages/?list-type=2", 403),
        ("GET", "films/a", 403),
        ("GET", "films/?list-type=2", 403),
        ("GET", "shut/a", 403),
        ("GET", "shut/absent", 403),
        ("GET", "nowhere/a", 403),
        ("GET", "late/a", 403),
        ("GET", "", 403),
        # Nothing of the past, nothing of how the bucket is kept.
        ("GET", "pages/a?versionId=x", 403),
        ("HEAD", "pages/a?versionId=", 403),
        ("GET", "pages/a?tagging", 403),
        ("GET", "pages/a?acl", 403),
        ("GET", "pages/a?retention", 403),
        ("GET", "films/?versions&prefix=out/", 403),
        ("GET", "films/?uploads&prefix=out/", 403),
        ("GET", "pages/?acl", 403),
        ("GET", "pages/?tagging", 403),
        ("GET", "pages/?cors", 403),
        ("GET", "pages/?versioning", 403),
        # Nothing is written.
        ("PUT", "pages/new", 403),
        ("POST", "pages/new?uploads", 403),
        ("DELETE", "pages/a", 403),
        ("POST", "pages/?delete", 403),
        ("PUT", "pages", 403),
        ("DELETE", "pages", 403),
        ("PUT", "pages/?tagging", 403),
        # A link that anybody can make must not say what an object is shown as.
        ("GET", "pages/a?response-content-type=text/html", 400),
    ],
)
def test_what_anybody_may_do(gateway: WebGateway, method: str, path: str, status: int) -> None:
    answer = anonymously(gateway, method, path, b"x" if method in ("PUT", "POST") else b"")
    assert answer.status == status, answer.body
    if status == 403 and method != "HEAD":
        assert answer.code == "AccessDenied"


def test_ranges_are_served_as_to_anybody_else(gateway: WebGateway) -> None:
    answer = anonymously(gateway, "GET", "pages/a", Range="bytes=2-4")
    assert (answer.status, answer.body) == (206, b"234")
    assert answer.headers["x-amz-meta-cid"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_tags_and_locks_are_told_to_those_with_a_key(gateway: WebGateway, method: str) -> None:
    noted = {"x-amz-tagging-count", "x-amz-object-lock-legal-hold", "x-amz-object-lock-mode"}
    with_key = gateway.wire.call(method, "pages/noted")
    answer = anonymously(gateway, method, "pages/noted")
    assert answer.status == 200
    assert with_key.headers.keys() & noted
    assert not answer.headers.keys() & noted
    assert gateway.wire.call(method, "pages/noted").headers.keys() & noted


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_hidden_looks_as_if_it_had_never_been(gateway: WebGateway, method: str) -> None:
    answers = [anonymously(gateway, method, f"pages/{key}") for key in ("hidden", "absent")]
    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].headers.keys() == answers[1].headers.keys()


def test_a_name_of_one_segment_tells_nothing_of_other_buckets(gateway: WebGateway) -> None:
    """Such a path may mean a key of the bucket `default`."""
    answers = [anonymously(gateway, "HEAD", name) for name in ("unmade", "unmade-either")]
    assert [answer.status for answer in answers] == [404, 404]


def test_a_form_needs_a_key_all_the_same(gateway: WebGateway) -> None:
    field = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\nx\r\n'
    body = field % b"key" + field % b"file" + b"--b--\r\n"
    answer = anonymously(
        gateway, "POST", "pages", body, **{"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status == 403


def test_wrong_credentials_are_not_anonymous(gateway: WebGateway) -> None:
    header = (
        "AWS4-HMAC-SHA256 Credential=UNKNOWN/20260101/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=" + "0" * 64
    )
    answer = anonymously(
        gateway,
        "GET",
        "pages/a",
        Authorization=header,
        **{"x-amz-date": "20260101T000000Z", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
    )
    assert answer.status == 403
    assert answer.code != "AccessDenied"


def test_a_revoked_one_shuts_the_bucket_again(gateway: WebGateway) -> None:
    keys = KeyStore(gateway.data_dir)
    opened = keys.create_anonymous(Limits(READ, ("shut",)))
    assert anonymously(gateway, "GET", "shut/a").status == 200
    keys.revoke(opened.access_key)
    time.sleep(CHECK_SECONDS)
    assert anonymously(gateway, "GET", "shut/a").status == 403
