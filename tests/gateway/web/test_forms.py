"""Uploads by HTML forms: what Ceph's s3-tests and AWS's own text ask of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.keys import AccessKey, KeyStore
from gateway.rights import Limits, Right
from tests.support.bodies import noise
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import Answer, Wire

BOUNDARY = "form-boundary"
CONDITIONS: list[Any] = [
    {"bucket": "forms"},
    ["starts-with", "$key", "foo"],
    {"acl": "private"},
    ["starts-with", "$Content-Type", "text/plain"],
    ["content-length-range", 0, 5 << 20],
]
FIELDS = {"key": "foo.txt", "acl": "private", "Content-Type": "text/plain"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(tmp_path_factory.mktemp("forms") / "data") as started:
        assert started.wire.call("PUT", "forms").status == 200
        yield started


@pytest.fixture(scope="module")
def key(gateway: WebGateway) -> AccessKey:
    return KeyStore(gateway.data_dir).create()


def policy(conditions: list[Any], seconds: int = 600) -> str:
    expiration = datetime.now(UTC) + timedelta(seconds=seconds)
    document = {
        "expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "conditions": conditions,
    }
    return base64.b64encode(json.dumps(document).encode()).decode()


def signed(key: AccessKey, conditions: list[Any] = CONDITIONS, **given: str) -> dict[str, str]:
    """The fields of a form, signed with version 2 as s3-tests do."""
    document = policy(conditions)
    assert key.secret is not None
    mac = hmac.digest(key.secret.encode(), document.encode(), "sha1")
    return {
        **FIELDS,
        "AWSAccessKeyId": key.access_key,
        "signature": base64.b64encode(mac).decode(),
        "policy": document,
        **given,
    }


def encoded(fields: Mapping[str, str], content: bytes | None, filename: str = "") -> bytes:
    parts = []
    for name, value in fields.items():
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode())
    if content is not None:
        head = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
        parts.append(f"{head}\r\nContent-Type: image/x\r\n\r\n".encode() + content)
    edge = f"--{BOUNDARY}\r\n".encode()
    return b"".join(edge + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def post(
    gateway: WebGateway,
    fields: Mapping[str, str],
    content: bytes | None = b"bar",
    filename: str = "",
    bucket: str = "forms",
) -> Answer:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Authorization": ""}
    return gateway.wire.call("POST", bucket, encoded(fields, content, filename), headers=headers)


@pytest.mark.parametrize("size", [0, 3, 100_000, 3_000_000])
def test_a_form_stores_its_file(gateway: WebGateway, key: AccessKey, size: int) -> None:
    content = noise(size)
    fields = {**signed(key), "key": f"foo{size}", "x-ignore-this": "x"}
    answer = post(gateway, fields, content)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["etag"] == f'"{hashlib.md5(content).hexdigest()}"'
    assert answer.headers["location"].endswith(f"/s3/forms/foo{size}")
    got = gateway.wire.call("GET", f"forms/foo{size}")
    assert (got.body, got.headers["content-type"]) == (content, "text/plain")


def test_the_file_may_come_in_any_pieces(gateway: WebGateway, key: AccessKey) -> None:
    body = encoded({**signed(key), "key": "foo-pieces"}, noise(500))
    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Authorization": "",
        "Transfer-Encoding": "chunked",
    }
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    head = f"POST /s3/forms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n"
    assert gateway.raw(head.encode() + chunks).startswith(b"HTTP/1.1 204 ")
    assert gateway.wire.call("GET", "forms/foo-pieces").body == noise(500)


def test_version_4(gateway: WebGateway, key: AccessKey) -> None:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    own = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{key.access_key}/{scope}",
        "x-amz-date": now,
    }
    document = policy([*CONDITIONS, *({name: value} for name, value in own.items())])
    assert key.secret is not None
    mac = f"AWS4{key.secret}".encode()
    for step in scope.split("/"):
        mac = hmac.digest(mac, step.encode(), "sha256")
    signature = hmac.digest(mac, document.encode(), "sha256").hex()
    fields = {**FIELDS, **own, "policy": document, "x-amz-signature": signature, "key": "foo4"}
    assert post(gateway, fields).status == 204
    assert gateway.wire.call("GET", "forms/foo4").body == b"bar"
    answer = post(gateway, {**fields, "x-amz-signature": "0" * 64})
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")


def test_the_answer_is_the_one_asked_for(gateway: WebGateway, key: AccessKey) -> None:
    any_status = [*CONDITIONS, ["starts-with", "$success_action_status", ""]]
    for wanted, status in [("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204)]:
        fields = signed(key, any_status, success_action_status=wanted)
        answer = post(gateway, fields)
        assert answer.status == status, wanted
        assert answer.texts("Key") == (["foo.txt"] if wanted == "201" else [])
        assert (answer.texts("Bucket") == ["forms"]) == (wanted == "201")
    to = "http://example.com/done?x=1"
    redirected = [*CONDITIONS, ["eq", "$success_action_redirect", to]]
    answer = post(gateway, signed(key, redirected, success_action_redirect=to))
    etag = hashlib.md5(b"bar").hexdigest()
    assert answer.status == 303
    assert answer.headers["location"] == f"{to}&bucket=forms&key=foo.txt&etag=%22{etag}%22"


@pytest.mark.parametrize("redirect", ["nonsense", "javascript:alert(1)", "http://a\r\nX-Y: z"])
def test_a_redirect_that_is_no_address_is_ignored(
    gateway: WebGateway, key: AccessKey, redirect: str
) -> None:
    conditions = [*CONDITIONS, ["starts-with", "$success_action_redirect", ""]]
    answer = post(gateway, signed(key, conditions, success_action_redirect=redirect))
    assert answer.status == 204
    assert "x-y" not in answer.headers


def test_the_name_of_the_file_can_be_the_key(gateway: WebGateway, key: AccessKey) -> None:
    fields = {**signed(key), "key": "${filename}"}
    assert post(gateway, fields, b"named", filename="C:\\foo\\foo named.txt").status == 204
    assert gateway.wire.call("GET", "forms/foo named.txt").body == b"named"
    assert post(gateway, fields, filename="bar.txt").status == 403


def test_metadata_and_digests(gateway: WebGateway, key: AccessKey) -> None:
    conditions = [*CONDITIONS, ["starts-with", "$x-amz-meta-foo", "bar"]]
    right = base64.b64encode(hashlib.sha256(b"bar").digest()).decode()
    more = {"x-amz-meta-foo": "barclamp", "x-amz-checksum-sha256": right}
    assert post(gateway, {**signed(key, conditions), "key": "foo-meta", **more}).status == 204
    assert gateway.wire.call("HEAD", "forms/foo-meta").headers["x-amz-meta-foo"] == "barclamp"
    more["x-amz-checksum-sha256"] = base64.b64encode(bytes(32)).decode()
    answer = post(gateway, {**signed(key, conditions), "key": "foo-bad", **more})
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert gateway.wire.call("HEAD", "forms/foo-bad").status == 404


def test_tags(gateway: WebGateway, key: AccessKey) -> None:
    conditions = [*CONDITIONS, ["starts-with", "$tagging", ""]]
    tags = "<Tag><Key>a b</Key><Value>1+2</Value></Tag>"
    document = f"<Tagging><TagSet>{tags}</TagSet></Tagging>"
    fields = {**signed(key, conditions), "key": "foo-tags", "tagging": document}
    assert post(gateway, fields).status == 204
    kept = gateway.wire.call("GET", "forms/foo-tags", tagging="")
    assert (kept.texts("Key"), kept.texts("Value")) == (["a b"], ["1+2"])
    answer = post(gateway, {**fields, "tagging": "<Tagging>"})
    assert (answer.status, answer.code) == (400, "MalformedXML")


@pytest.mark.parametrize(
    ("change", "content", "status", "code"),
    [
        ({"signature": "AAAA"}, b"bar", 403, "SignatureDoesNotMatch"),
        ({"AWSAccessKeyId": "nobody"}, b"bar", 403, "InvalidAccessKeyId"),
        ({"signature": None}, b"bar", 400, "InvalidArgument"),
        ({"AWSAccessKeyId": None}, b"bar", 400, "InvalidArgument"),
        ({"policy": None}, b"bar", 400, "InvalidArgument"),
        ({"key": None}, b"bar", 400, "InvalidArgument"),
        ({"policy": None, "signature": None, "AWSAccessKeyId": None}, b"bar", 403, "AccessDenied"),
        ({"key": "other"}, b"bar", 403, "AccessDenied"),
        ({"key": "foo" * 400}, b"bar", 400, "KeyTooLongError"),
        ({"acl": "public-read"}, b"bar", 403, "AccessDenied"),
        ({"x-amz-meta-foo": "x"}, b"bar", 403, "AccessDenied"),
        ({}, None, 400, "InvalidArgument"),
        ({"x-ignore-a": "x" * 21_000}, b"bar", 400, "MaxPostPreDataLengthExceeded"),
    ],
)
def test_a_form_is_refused(
    gateway: WebGateway,
    key: AccessKey,
    change: dict[str, str | None],
    content: bytes | None,
    status: int,
    code: str,
) -> None:
    fields = {**signed(key), "key": "foo-refused", **change}
    given = {name: value for name, value in fields.items() if value is not None}
    answer = post(gateway, given, content)
    assert (answer.status, answer.code) == (status, code)
    assert gateway.wire.call("HEAD", "forms/foo-refused").status == 404


@pytest.mark.parametrize(
    ("size", "code"), [(9, "EntityTooSmall"), (10, ""), (20, ""), (21, "EntityTooLarge")]
)
def test_the_file_has_the_length_that_the_policy_allows(
    gateway: WebGateway, key: AccessKey, size: int, code: str
) -> None:
    conditions = [*CONDITIONS, ["content-length-range", 10, 20]]
    answer = post(gateway, {**signed(key, conditions), "key": f"foo-size{size}"}, noise(size))
    assert (answer.status, answer.code) == (400 if code else 204, code)
    assert gateway.wire.call("HEAD", f"forms/foo-size{size}").status == (404 if code else 200)


def test_rights_hold_for_forms(gateway: WebGateway) -> None:
    def made(**limits: Any) -> AccessKey:
        return KeyStore(gateway.data_dir).create(limits=Limits(**limits))

    reader = made(rights=frozenset({Right.READ}))
    assert post(gateway, signed(reader)).status == 403
    assert post(gateway, signed(made(buckets=("other",)))).status == 403
    creator = signed(made(rights=frozenset({Right.CREATE}), prefixes=("foo-c",)))
    assert post(gateway, creator).status == 403
    assert post(gateway, {**creator, "key": "foo-created"}).status == 204
    assert post(gateway, {**creator, "key": "foo-created"}).status == 403


def test_a_form_that_is_too_large_is_refused_before_it_is_read(gateway: WebGateway) -> None:
    wire = Wire(gateway.port, gateway.access_key, timeout=20)
    headers = {
        "Content-Length": str(1 << 50),
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
    }
    answer = wire.call("POST", "forms", headers=headers)
    wire.close()
    assert (answer.status, answer.code) == (400, "EntityTooLarge")


def test_a_form_without_a_length_is_refused(gateway: WebGateway) -> None:
    head = (
        "POST /s3/forms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    assert gateway.raw(head.encode()).startswith(b"HTTP/1.1 411 ")


def test_another_type_is_no_form(gateway: WebGateway) -> None:
    answer = gateway.wire.call("POST", "forms", b"x", headers={"Content-Type": "text/plain"})
    assert (answer.status, answer.code) == (412, "PreconditionFailed")
    answer = gateway.wire.call(
        "POST", "forms", b"x", headers={"Content-Type": "multipart/form-data"}
    )
    assert (answer.status, answer.code) == (400, "MalformedPOSTRequest")
