"""Tests of gateway.s3.sigv2, against the signers of botocore."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import botocore.auth
import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.s3.credentials import RequestHead, Scheme, find_claim, parse_v2
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.query import parse_query
from gateway.s3.sigv2 import signature_v2, verify_v2
from gateway.web.requests import effective_headers
from tests.gateway.s3.test_sigv4 import head_of, requeried, with_header

ACCESS_KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "127.0.0.1:9000"
NOW = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)


@pytest.fixture(autouse=True, scope="module")
def _clients_clock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "time", SimpleNamespace(time=NOW.timestamp))
        patch.setattr(botocore.auth, "formatdate", lambda **_: format_datetime(NOW, usegmt=True))
        yield


def signed(
    method: str = "GET",
    path: str = "/s3/bucket/key",
    query: str = "",
    headers: dict[str, str] | None = None,
    expires: int | None = None,
    token: str | None = None,
) -> RequestHead:
    """A request signed by botocore: in its headers, or in its query if it `expires`."""
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers or {})
    credentials = Credentials(ACCESS_KEY, SECRET, token)
    if expires is None:
        HmacV1Auth(credentials).add_auth(request)
    else:
        HmacV1QueryAuth(credentials, expires).add_auth(request)
    return head_of(request)


def check(request: RequestHead, secret: str = SECRET, now: datetime = NOW) -> None:
    headers = effective_headers(request, parse_query(request.raw_query))
    verify_v2(parse_v2(request), secret, request, headers, now, base_path="/s3")


def error_of(request: RequestHead, now: datetime = NOW, secret: str = SECRET) -> S3Error:
    with pytest.raises(S3Error) as raised:
        check(request, secret, now)
    return raised.value


@pytest.mark.parametrize("expires", [None, 60, 3600])
@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
@pytest.mark.parametrize(
    ("path", "query", "headers"),
    [
        ("/s3/bucket/key", "", {}),
        ("/s3/b/k%20%C3%BC/..//%2F", "", {}),
        ("/s3/b/k", "uploads", {}),
        ("/s3/b/k", "uploadId=a&partNumber=1", {}),
        ("/s3/b/k", "prefix=a&tagging&max-keys=3", {}),
        ("/s3/b/k", "response-content-type=a%2Fb%3B%20c&response-expires=x", {}),
        ("/s3/b/k", "", {"x-amz-meta-two": "2  2", "X-Amz-Meta-One": "1", "x-amz-acl": "private"}),
        ("/b/k", "", {}),
    ],
)
def test_what_botocore_signs_is_accepted(
    method: str, path: str, query: str, headers: dict[str, str], expires: int | None
) -> None:
    request = signed(method, path, query, headers, expires)
    claim = find_claim(request)
    assert claim is not None
    assert claim.access_key == ACCESS_KEY
    assert claim.scheme is (Scheme.V2_HEADER if expires is None else Scheme.V2_QUERY)
    check(request)


@pytest.mark.parametrize("expires", [None, 60])
def test_content_type_and_md5_are_signed(expires: int | None) -> None:
    headers = {"Content-Type": "text/plain", "Content-MD5": "rL0Y20zC+Fzt72VPzMSk2A=="}
    request = signed("PUT", headers=headers, expires=expires)
    check(request)
    for name in ("content-type", "content-md5"):
        assert error_of(with_header(request, name, "x")).code is ErrorCode.SignatureDoesNotMatch


@pytest.mark.parametrize("expires", [None, 60])
def test_whatever_would_make_another_request_is_signed(expires: int | None) -> None:
    request = signed("PUT", query="partNumber=1&uploadId=u", expires=expires)
    others = [
        request._replace(method="GET"),
        request._replace(raw_path="/s3/bucket/other"),
        request._replace(raw_path="/bucket/key2"),
        requeried(request, "partNumber=1", "partNumber=2"),
        request._replace(raw_query=f"{request.raw_query}&tagging"),
        request._replace(raw_query=f"{request.raw_query}&%72etention"),
        request._replace(raw_query=f"{request.raw_query}&legal-hold="),
        request._replace(raw_query=f"{request.raw_query}&versionId=1"),
        request._replace(raw_query=f"{request.raw_query}&x-amz-copy-source=b%2Fk"),
        request._replace(raw_query=f"{request.raw_query}&X-Amz-Acl=private"),
        with_header(request, "x-amz-meta-a", "1"),
    ]
    for other in others:
        assert error_of(other).code is ErrorCode.SignatureDoesNotMatch, other
    assert error_of(request, secret="other").code is ErrorCode.SignatureDoesNotMatch


@pytest.mark.parametrize(
    ("signed_path", "path"),
    [("/bucket/key", "/s3/bucket/key"), ("/bucket/", "/s3/bucket"), ("/bucket/", "/s3/bucket/")],
)
def test_clients_leave_the_base_path_out_and_end_buckets_in_a_slash(
    signed_path: str, path: str
) -> None:
    check(signed(path=signed_path)._replace(raw_path=path))


def test_a_slash_at_the_end_of_a_key_is_part_of_it() -> None:
    other = signed(path="/bucket/key/")._replace(raw_path="/s3/bucket/key")
    assert error_of(other).code is ErrorCode.SignatureDoesNotMatch


def test_x_amz_date_stands_for_the_date() -> None:
    date = format_datetime(NOW, usegmt=True)
    request = with_header(signed(), "date", None)
    # What boto calls by the name is the date itself, which is then not in its line.
    text = f"GET\n\n\n\nx-amz-date:{date}\n/s3/bucket/key"
    signature = signature_v2(SECRET, text)
    request = with_header(request, "x-amz-date", date)
    check(with_header(request, "authorization", f"AWS {ACCESS_KEY}:{signature}"))


def test_a_presigned_request_expires() -> None:
    request = signed(expires=60)
    check(request, now=NOW + timedelta(seconds=50))
    error = error_of(request, NOW + timedelta(seconds=70))
    assert (error.code, error.message) == (ErrorCode.AccessDenied, "Request has expired")
    assert {"Expires", "ServerTime"} <= error.fields.keys()


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_clock_that_is_off_is_said_so(minutes: int) -> None:
    assert error_of(signed(), NOW + timedelta(minutes=minutes)).code is (
        ErrorCode.RequestTimeTooSkewed
    )


@pytest.mark.parametrize(
    "query",
    [
        "AWSAccessKeyId=a&Expires=99999999999",
        "AWSAccessKeyId=a&Signature=x",
        "AWSAccessKeyId=a&Signature=x&Expires=",
        "AWSAccessKeyId=a&Signature=x&Expires=soon",
        "AWSAccessKeyId=a&Signature=x&Expires=-1",
        "AWSAccessKeyId=a&Signature=x&Expires=999999999999999999999",
    ],
)
def test_an_incomplete_query_is_denied(query: str) -> None:
    head = RequestHead("GET", "/s3/b/k", query, {"host": HOST})
    assert error_of(head).code is ErrorCode.AccessDenied


@pytest.mark.parametrize("date", [None, "", "soon", "Tue, 07 Jul 1950 21:53:04 GMT"])
def test_a_header_without_a_date_is_denied(date: str | None) -> None:
    assert error_of(with_header(signed(), "date", date)).code is ErrorCode.AccessDenied


@pytest.mark.parametrize("expires", [None, 60])
def test_a_session_token_is_refused(expires: int | None) -> None:
    assert error_of(signed(expires=expires, token="t")).code is ErrorCode.InvalidToken


@pytest.mark.parametrize("expires", [None, 60])
@pytest.mark.parametrize(
    "carried", ["x-amz-meta-a=1%0Ax-amz-meta-b:2:3", "x-amz-meta-a=1&x-amz-meta-b:2=3"]
)
def test_what_a_query_carries_never_reads_as_another_header(
    carried: str, expires: int | None
) -> None:
    request = signed("PUT", headers={"x-amz-meta-a": "1", "x-amz-meta-b": "2:3"}, expires=expires)
    check(request)
    kept = [pair for pair in request.raw_query.split("&") if not pair.startswith("x-amz-")]
    for name in ("x-amz-meta-a", "x-amz-meta-b"):
        request = with_header(request, name, None)
    request = request._replace(raw_query="&".join(filter(None, [*kept, carried])))
    assert error_of(request).code is ErrorCode.SignatureDoesNotMatch


@pytest.mark.parametrize("expires", [None, 60])
def test_a_value_never_reads_as_another_parameter(expires: int | None) -> None:
    request = signed(query="response-content-type=a&versionId=1", expires=expires)
    check(request)
    other = requeried(request, "=a&versionId=1", "=a%26versionId%3D1")
    assert error_of(other).code is ErrorCode.SignatureDoesNotMatch
    check(signed(query="response-content-disposition=a%26b", expires=expires))
