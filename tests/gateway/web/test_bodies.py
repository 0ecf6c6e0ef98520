from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.keys import KeyStore
from gateway.s3.credentials import (
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    STREAMING_UNSIGNED_TRAILER,
)
from tests.support.bodies import noise
from tests.support.chunked_bodies import ClientSigner, encode
from tests.support.web_gateway import WebGateway, statuses, web_gateway

SIZES = [0, 1, 1000, 65_066, 200_000, 1_500_000]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(
        tmp_path_factory.mktemp("bodies") / "data", body_idle_seconds_max=1
    ) as started:
        yield started


@pytest.fixture(scope="module")
def credentials(gateway: WebGateway) -> Credentials:
    key = KeyStore(gateway.data_dir).create()
    assert key.secret
    return Credentials(key.access_key, key.secret)


def crc32(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


def put(gateway: WebGateway, key: str, body: bytes, *lines: str) -> bytes:
    return gateway.raw(gateway.head("PUT", f"bucket/{key}", "Connection: close", *lines) + body)


def code(answer: bytes) -> str:
    start = answer.find(b"<Code>")
    return answer[start + 6 : answer.find(b"</Code>")].decode() if start >= 0 else ""


class Expecting:
    """A client that waits for `100 Continue` before it sends its body."""

    def __init__(self, gateway: WebGateway, head: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
        self._socket.sendall(head)
        self.first = self._socket.recv(65_536)

    def send(self, body: bytes) -> bytes:
        with self._socket:
            self._socket.sendall(body)
            return b"".join(iter(lambda: self._socket.recv(65_536), b""))


@pytest.mark.parametrize("size", SIZES)
def test_the_body_is_asked_for_when_the_request_is_fine(gateway: WebGateway, size: int) -> None:
    content = noise(size)
    head = gateway.head(
        "PUT",
        f"bucket/expect{size}",
        f"Content-Length: {size}",
        "Expect: 100-continue",
        "Connection: close",
    )
    client = Expecting(gateway, head)
    assert statuses(client.first)[0] == 100
    assert statuses(client.first + client.send(content)) == [100, 200]
    assert gateway.wire.call("GET", f"bucket/expect{size}").body == content


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Authorization: "], 403),
        (["Content-MD5: nonsense"], 400),
        (["x-amz-checksum-crc32: nonsense"], 400),
        (["If-None-Match: *"], 412),
        (["x-amz-server-side-encryption: AES256"], 501),
    ],
)
def test_the_body_of_a_refused_request_is_not_asked_for(
    gateway: WebGateway, lines: list[str], status: int
) -> None:
    gateway.wire.call("PUT", "bucket/there", b"there")
    head = gateway.head("PUT", "bucket/there", "Content-Length: 10", "Expect: 100-continue", *lines)
    if lines[0].startswith("Authorization"):
        head = b"\r\n".join(
            line
            for line in head.split(b"\r\n")
            if b"AWS4" not in line and line != b"Authorization: "
        )
        head += b"\r\n\r\n" if not head.endswith(b"\r\n\r\n") else b""
    answer = gateway.raw(head)
    assert statuses(answer) == [status]
    assert gateway.wire.call("GET", "bucket/there").body == b"there"


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("missing", [1, "half", "all"])
def test_a_body_that_is_shorter_than_announced_is_never_seen(
    gateway: WebGateway, size: int, missing: int | str
) -> None:
    content = noise(size)
    sent = {1: size - 1, "half": size // 2, "all": 0}[missing]
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(
            gateway.head("PUT", f"bucket/short{size}", f"Content-Length: {size}") + content[:sent]
        )
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass
    assert gateway.wire.call("GET", f"bucket/short{size}").status == 404


@pytest.mark.parametrize("size", [10, 1_500_000])
def test_a_body_that_stalls_is_refused_in_time(gateway: WebGateway, size: int) -> None:
    answer = put(gateway, "stalled", noise(size - 1), f"Content-Length: {size}")
    assert statuses(answer) in ([400], [408])
    assert code(answer) == "RequestTimeout"
    assert gateway.wire.call("GET", "bucket/stalled").status == 404


@pytest.mark.parametrize("size", SIZES)
def test_a_chunked_body_needs_no_length(gateway: WebGateway, size: int) -> None:
    content = noise(size)
    chunks = [content[at : at + 50_000] for at in range(0, size, 50_000)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    assert statuses(put(gateway, f"chunked{size}", body, "Transfer-Encoding: chunked")) == [200]
    assert gateway.wire.call("GET", f"bucket/chunked{size}").body == content


def test_a_chunked_body_that_is_malformed_is_never_seen(gateway: WebGateway) -> None:
    answer = put(gateway, "malformed", b"5\r\nhello\r\nzz\r\n", "Transfer-Encoding: chunked")
    assert statuses(answer) == [400]
    assert gateway.wire.call("GET", "bucket/malformed").status == 404


def test_a_body_without_any_length_is_refused(gateway: WebGateway) -> None:
    answer = put(gateway, "lengthless", b"")
    assert (statuses(answer), code(answer)) == ([411], "MissingContentLength")


def test_a_content_encoding_is_stored_as_it_was_sent(gateway: WebGateway) -> None:
    packed = zlib.compress(b"content" * 1000, wbits=31)
    headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain"}
    assert gateway.wire.call("PUT", "bucket/packed", packed, headers=headers).status == 200
    answer = gateway.wire.call("GET", "bucket/packed")
    assert answer.body == packed
    assert answer.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("Content-MD5", lambda c: base64.b64encode(hashlib.md5(c).digest()).decode(), "BadDigest"),
        ("x-amz-checksum-crc32", crc32, "BadDigest"),
        (
            "x-amz-content-sha256",
            lambda c: hashlib.sha256(c).hexdigest(),
            "XAmzContentSHA256Mismatch",
        ),
    ],
)
def test_a_digest_that_is_announced_is_checked(
    gateway: WebGateway, header: str, value, expected: str, size: int
) -> None:
    content = noise(size)
    key = f"{header}{size}"
    length = f"Content-Length: {size}"
    wrong = put(gateway, key, content, length, f"{header}: {value(content + b'x')}")
    assert (statuses(wrong), code(wrong)) == ([400], expected)
    assert gateway.wire.call("GET", f"bucket/{key}").status == 404
    assert statuses(put(gateway, key, content, length, f"{header}: {value(content)}")) == [200]
    assert gateway.wire.call("GET", f"bucket/{key}").body == content


def signed(
    gateway: WebGateway, credentials: Credentials, key: str, body: str, headers: dict[str, str]
) -> tuple[bytes, ClientSigner]:
    """The head of a PUT that botocore signed, with this payload hash, and its chunks' signer."""

    class Auth(S3SigV4Auth):
        def payload(self, request) -> str:
            return body

    url = f"http://127.0.0.1:{gateway.port}/s3/bucket/{key}"
    request = AWSRequest("PUT", url, headers={**headers, "X-Amz-Content-SHA256": body})
    auth = Auth(credentials, "s3", "us-east-1")
    auth.add_auth(request)
    prepared = dict(request.headers.items())
    prepared["X-Amz-Content-SHA256"] = body
    lines = [f"PUT /s3/bucket/{key} HTTP/1.1", f"Host: 127.0.0.1:{gateway.port}"]
    lines += [f"{name}: {value}" for name, value in prepared.items() if name.lower() != "host"]
    lines += ["Connection: close"]
    timestamp = prepared["X-Amz-Date"]
    day = timestamp[:8]
    signing = ("AWS4" + credentials.secret_key).encode()
    for part in (day, "us-east-1", "s3", "aws4_request"):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    seed = prepared["Authorization"].rpartition("Signature=")[2]
    signer = ClientSigner(signing, timestamp, f"{day}/us-east-1/s3/aws4_request", seed)
    return "\r\n".join(lines).encode() + b"\r\n\r\n", signer


FORMS = [
    (STREAMING_SIGNED, True, False),
    (STREAMING_SIGNED_TRAILER, True, True),
    (STREAMING_UNSIGNED_TRAILER, False, True),
]


def chunked_put(
    gateway: WebGateway,
    credentials: Credentials,
    key: str,
    content: bytes,
    form: tuple[str, bool, bool],
    *,
    announced: int | None = None,
    checksum: str | None = None,
    damage: bool = False,
) -> bytes:
    name, is_signed, has_trailer = form
    size = len(content)
    chunks = [content[at : at + 64 * 1024] for at in range(0, size, 64 * 1024)]
    headers = {
        "Content-Encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(size if announced is None else announced),
    }
    if has_trailer:
        headers["x-amz-trailer"] = "x-amz-checksum-crc32"
    # The length does not depend on the signatures.
    trailers = {"x-amz-checksum-crc32": checksum or crc32(content)} if has_trailer else None
    dummy = ClientSigner(b"", "", "", "") if is_signed else None
    headers["Content-Length"] = str(len(encode(chunks, dummy, trailers)))
    head, signer = signed(gateway, credentials, key, name, headers)
    body = bytearray(encode(chunks, signer if is_signed else None, trailers))
    if damage:
        body[body.index(b"\r\n") + 2] ^= 1
    return gateway.raw(head + body)


@pytest.mark.parametrize("form", FORMS, ids=[form[0] for form in FORMS])
@pytest.mark.parametrize("size", SIZES)
def test_aws_chunked_bodies_are_decoded(
    gateway: WebGateway, credentials: Credentials, form: tuple[str, bool, bool], size: int
) -> None:
    content = noise(size)
    key = f"{form[0]}{size}"
    answer = chunked_put(gateway, credentials, key, content, form)
    assert statuses(answer) == [200], answer
    stored = gateway.wire.call("GET", f"bucket/{key}", headers={"x-amz-checksum-mode": "ENABLED"})
    assert stored.body == content
    assert "content-encoding" not in stored.headers
    if form[2]:
        assert stored.headers["x-amz-checksum-crc32"] == crc32(content)


@pytest.mark.parametrize("size", [1000, 1_500_000])
def test_a_wrong_trailing_checksum_refuses_the_body(
    gateway: WebGateway, credentials: Credentials, size: int
) -> None:
    for form in FORMS[1:]:
        answer = chunked_put(
            gateway, credentials, f"wrong{size}", noise(size), form, checksum=crc32(b"other")
        )
        assert (statuses(answer), code(answer)) == ([400], "BadDigest")
    assert gateway.wire.call("GET", f"bucket/wrong{size}").status == 404


@pytest.mark.parametrize("size", [1000, 1_500_000])
def test_a_changed_byte_breaks_the_signature_of_its_chunk(
    gateway: WebGateway, credentials: Credentials, size: int
) -> None:
    for form in FORMS[:2]:
        answer = chunked_put(gateway, credentials, f"changed{size}", noise(size), form, damage=True)
        assert (statuses(answer), code(answer)) == ([403], "SignatureDoesNotMatch")
    assert gateway.wire.call("GET", f"bucket/changed{size}").status == 404


@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize("form", FORMS, ids=[form[0] for form in FORMS])
def test_a_decoded_length_that_is_wrong_refuses_the_body(
    gateway: WebGateway, credentials: Credentials, form: tuple[str, bool, bool], off: int
) -> None:
    answer = chunked_put(gateway, credentials, "off", noise(1000), form, announced=1000 + off)
    assert (statuses(answer), code(answer)) == ([400], "IncompleteBody")
    assert gateway.wire.call("GET", "bucket/off").status == 404


def test_a_signed_body_is_the_one_that_was_signed(
    gateway: WebGateway, credentials: Credentials
) -> None:
    content = noise(1000)
    sha256 = hashlib.sha256(content).hexdigest()
    head, _ = signed(gateway, credentials, "exact", sha256, {"Content-Length": "1000"})
    assert statuses(gateway.raw(head + content)) == [200]
    answer = gateway.raw(head + content[::-1])
    assert (statuses(answer), code(answer)) == ([400], "XAmzContentSHA256Mismatch")
    assert gateway.wire.call("GET", "bucket/exact").body == content


def test_the_next_request_on_the_connection_is_understood(gateway: WebGateway) -> None:
    """Whatever became of the body before it."""
    for size in SIZES:
        content = noise(size)
        first = gateway.head("PUT", f"bucket/pair{size}", f"Content-Length: {size}") + content
        second = gateway.head("GET", f"bucket/pair{size}", "Connection: close")
        answer = gateway.raw(first + second)
        assert statuses(answer.split(b"\r\n\r\n")[0]) == [200]
        assert answer.endswith(b"\r\n\r\n" + content)


def test_the_clock_of_the_signature_counts(gateway: WebGateway, credentials: Credentials) -> None:
    head, _ = signed(gateway, credentials, "late", hashlib.sha256(b"").hexdigest(), {})
    year = str(datetime.now(UTC).year).encode()
    answer = gateway.raw(head.replace(b"X-Amz-Date: " + year, b"X-Amz-Date: 2001"))
    assert statuses(answer) in ([403], [400])
