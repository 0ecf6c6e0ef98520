"""Buckets named by the host: the same bucket as by the path, and keys as opaque bytes."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.auth import HmacV1Auth, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.keys import KeyStore
from tests.support.web_gateway import WebGateway, web_gateway

DOMAIN = "s3.localhost"
KEYS = ["/", "//", "a//b", "./a", "../a", "a/", "%2F", "a%252Fb", "livez", "s3/bucket", "a%0A%09b"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    folder = tmp_path_factory.mktemp("hosts")
    with web_gateway(folder / "data", base_path=("/", "/s3"), domains=(DOMAIN,)) as started:
        yield started


def ask(
    gateway: WebGateway,
    method: str,
    host: str,
    path: str,
    body: bytes = b"",
    signer: Any = None,
    signed_path: str | None = None,
) -> tuple[int, bytes]:
    """Status and body of the answer to a request for a host, signed if there is a signer."""
    headers = {"Host": host, "Content-Length": str(len(body))}
    if signer is None:
        credential = f"{gateway.access_key}/20260101/us-east-1/s3/aws4_request"
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=00"
        )
        headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    else:
        request = AWSRequest(method, f"http://{host}{path}", headers, data=body)
        if signed_path is not None:
            request.auth_path = signed_path
        signer.add_auth(request)
        headers = dict(request.headers)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def secret(gateway: WebGateway) -> Credentials:
    key = KeyStore(gateway.data_dir).create()
    return Credentials(key.access_key, key.secret)


@pytest.mark.parametrize("key", KEYS)
def test_host_and_path_name_the_same_object(gateway: WebGateway, key: str) -> None:
    content = key.encode()
    assert ask(gateway, "PUT", f"bucket.{DOMAIN}", f"/{key}", content)[0] == 200
    for host, path in (
        (f"bucket.{DOMAIN}:{gateway.port}", f"/{key}"),
        (DOMAIN, f"/bucket/{key}"),
        ("127.0.0.1", f"/s3/bucket/{key}"),
    ):
        assert ask(gateway, "GET", host, path) == (200, content)


def test_bucket_is_made_listed_and_asked_by_its_host(gateway: WebGateway) -> None:
    host = f"made.by.host.{DOMAIN}"
    assert ask(gateway, "GET", host, "/")[0] == 404
    assert ask(gateway, "PUT", host, "/")[0] == 200
    assert ask(gateway, "HEAD", host, "/")[0] == 200
    assert ask(gateway, "PUT", host, "/key", b"x")[0] == 200
    assert b"<Key>key</Key>" in ask(gateway, "GET", host, "/?list-type=2")[1]
    assert b"<Name>made.by.host</Name>" in ask(gateway, "GET", DOMAIN, "/")[1]
    assert b"NoSuchTagSet" in ask(gateway, "GET", host, "/?tagging")[1]


def test_host_of_a_bucket_has_no_flat_keys(gateway: WebGateway) -> None:
    status, body = ask(gateway, "GET", f"bucket.{DOMAIN}", "/?x-id=GetObject")
    assert (status, b"InvalidURI" in body) == (400, True)


def test_host_that_is_no_bucket_name_makes_none(gateway: WebGateway) -> None:
    status, body = ask(gateway, "PUT", f"no_bucket.{DOMAIN}", "/", b"")
    assert (status, b"InvalidBucketName" in body) == (400, True)


def test_version_4_signs_the_host(gateway: WebGateway, secret: Credentials) -> None:
    signer = S3SigV4Auth(secret, "s3", "us-east-1")
    host = f"signed.{DOMAIN}:{gateway.port}"
    assert ask(gateway, "PUT", host, "/k", b"x", signer)[0] == 200
    assert ask(gateway, "GET", host, "/k", b"", signer) == (200, b"x")


def test_version_2_signs_the_bucket_of_the_host(gateway: WebGateway, secret: Credentials) -> None:
    signer = HmacV1Auth(secret)
    host = f"signed-two.{DOMAIN}:{gateway.port}"
    for method, body in (("PUT", b"x"), ("GET", b"")):
        answer = ask(gateway, method, host, "/k", body, signer, "/signed-two/k")
        assert answer[0] == 200
    assert ask(gateway, "GET", host, "/", b"", signer, "/signed-two/")[0] == 200
    # What was signed for another bucket, or for a path, is not for this one.
    for signed in ("/other/k", "/k"):
        assert ask(gateway, "GET", host, "/k", b"", signer, signed)[0] == 403
