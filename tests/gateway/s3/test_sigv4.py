"""Tests of gateway.s3.sigv4: mostly against the signers of botocore."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlsplit

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.credentials import (
    STREAMING_SIGNED,
    UNSIGNED_PAYLOAD,
    Claim,
    Credentials,
    RequestHead,
    Scheme,
    SigningTime,
    find_claim,
    parse_authorization,
)
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.sigv4 import EMPTY_SHA256, ChunkSigner, signing_key, verify
from tests.support.chunked_bodies import ClientSigner

NOW = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
ACCESS_KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "127.0.0.1:9000"


@pytest.fixture(autouse=True, scope="module")
def _clients_clock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
        yield


def head_of(request: AWSRequest) -> RequestHead:
    parts = urlsplit(request.url)
    pairs = [(name.lower(), value) for name, value in request.headers.items()]
    if "host" not in dict(pairs):
        pairs.insert(0, ("host", parts.netloc))
    return RequestHead.from_wire(request.method, parts.path, parts.query, pairs)


def signed(
    method: str = "GET",
    path: str = "/s3/bucket/key",
    query: str = "",
    headers: dict[str, str] | None = None,
    region: str = "us-east-1",
    expires: int | None = None,
    access_key: str = ACCESS_KEY,
    secret: str = SECRET,
    host: str = HOST,
) -> RequestHead:
    """A request signed by botocore: in its headers, or in its query if it `expires`."""
    url = f"http://{host}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers or {})
    credentials = BotoCredentials(access_key, secret)
    if expires is None:
        S3SigV4Auth(credentials, "s3", region).add_auth(request)
    else:
        S3SigV4QueryAuth(credentials, "s3", region, expires).add_auth(request)
    return head_of(request)


def check(
    request: RequestHead, secret: str = SECRET, now: datetime = NOW, base_path: str = "/s3"
) -> Credentials:
    credentials = parse_authorization(request)
    assert credentials is not None
    verify(credentials, secret, request, now, base_path=base_path)
    return credentials


def error_of(request: RequestHead, now: datetime = NOW) -> S3Error:
    with pytest.raises(S3Error) as raised:
        check(request, now=now)
    return raised.value


def with_header(request: RequestHead, name: str, value: str | None) -> RequestHead:
    headers = {**request.headers, name: value}
    return request._replace(
        headers={name: value for name, value in headers.items() if value is not None}
    )


def resigned(request: RequestHead, old: str, new: str) -> RequestHead:
    """The request with another text in its Authorization header."""
    assert old in request.headers["authorization"]
    return with_header(request, "authorization", request.headers["authorization"].replace(old, new))


def requeried(request: RequestHead, old: str, new: str) -> RequestHead:
    assert old in request.raw_query
    return request._replace(raw_query=request.raw_query.replace(old, new))


UTF8_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ENCODED = UTF8_TEXT.map(lambda text: quote(text, safe="-_.~"))
SEGMENT = st.one_of(ENCODED, st.sampled_from(["", "%2F", "a%20b", "%2B", "~", "..", ".", "%C3%BC"]))
PATHS = st.lists(SEGMENT, max_size=5).map(lambda segments: "/s3/" + "/".join(segments))
PARAMETERS = ENCODED.filter(lambda name: name and not name.startswith(("X-Amz-", "AWSAccess")))
QUERIES = st.lists(st.tuples(PARAMETERS, ENCODED), max_size=5).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in dict(pairs).items())
)
HEADER_NAMES = st.from_regex(r"x-amz-meta-[a-z0-9]{1,8}|content-type|range", fullmatch=True)
HEADER_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
HEADERS = st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=5)
TOKENS = st.from_regex(r"[A-Za-z0-9_+=.@/-]{1,40}", fullmatch=True)


@given(
    method=st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE"]),
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    region=st.from_regex(r"[a-zA-Z0-9-]{0,20}", fullmatch=True),
    expires=st.one_of(st.none(), st.integers(1, 604_800)),
    access_key=TOKENS,
    secret=UTF8_TEXT.filter(bool),
)
def test_what_botocore_signs_is_accepted(
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    region: str,
    expires: int | None,
    access_key: str,
    secret: str,
) -> None:
    request = signed(method, path, query, headers, region, expires, access_key, secret)
    credentials = check(request, secret)
    signer = credentials.signer
    assert (signer.access_key, signer.region, signer.service) == (access_key, region, "s3")
    assert credentials.time == SigningTime(NOW, "20260301T123005Z")
    assert (credentials.presigned, credentials.expires) == (expires is not None, expires)
    assert credentials.payload_hash == (EMPTY_SHA256 if expires is None else UNSIGNED_PAYLOAD)
    for base_path in ("", "/other"):
        check(request, secret, base_path=base_path)
    with pytest.raises(S3Error) as raised:
        check(request, secret + "x")
    assert raised.value.code is ErrorCode.SignatureDoesNotMatch


@given(path=PATHS, expires=st.sampled_from([None, 60]))
def test_a_path_encoded_otherwise_is_accepted(path: str, expires: int | None) -> None:
    request = signed(path=path, expires=expires)
    sloppy = re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), path)
    check(request._replace(raw_path=sloppy.replace("%2b", "+").replace("s3/", "%73%33/", 1)))


@pytest.mark.parametrize(
    ("wire", "canonical"),
    [
        ("/s3/b/a+b", "/s3/b/a%2Bb"),
        ("/s3/b/a=b&c@d:e,f;g!", "/s3/b/a%3Db%26c%40d%3Ae%2Cf%3Bg%21"),
        ("/s3/b/%7e%41", "/s3/b/~A"),
        ("/s3/b/a%2fb", "/s3/b/a%2Fb"),
        ("/s3/b/ü", "/s3/b/%C3%BC"),
        ("/s3/b/\udcff", "/s3/b/%FF"),
        ("/s3/b/100%", "/s3/b/100%25"),
    ],
)
def test_a_path_is_signed_in_canonical_form_too(wire: str, canonical: str) -> None:
    check(signed(path=canonical)._replace(raw_path=wire))


@pytest.mark.parametrize(
    ("wire", "canonical"),
    [
        ("prefix=a/b&delimiter=/", "prefix=a%2Fb&delimiter=%2F"),
        ("prefix=a+b", "prefix=a%20b"),
        ("uploads", "uploads="),
        ("b=2&a=1&&", "a=1&b=2"),
        ("a-b=1&a=2&a=10", "a=10&a=2&a-b=1"),
        ("prefix=%e2%82%ac", "prefix=%E2%82%AC"),
        ("x==", "x=%3D"),
    ],
)
@pytest.mark.parametrize("base_path", ["", "/s3"])
def test_a_query_is_signed_in_canonical_form(wire: str, canonical: str, base_path: str) -> None:
    request = signed(query=canonical)._replace(raw_query=wire)
    check(request, base_path=base_path)


@pytest.mark.parametrize("query", ["", "prefix=a%2Fb"])
@pytest.mark.parametrize(
    ("signed_path", "signed_host", "path"),
    [
        ("/b/k%20", HOST, "/s3/b/k%20"),  # s3fs
        ("/b/k%2B", HOST, "/s3/b/k+"),
        ("/", HOST, "/s3"),
        ("/", HOST, "/s3/"),
        ("//k", HOST, "/s3//k"),
        ("/b/k", f"{HOST}/s3", "/s3/b/k"),  # s3cmd
        ("/", f"{HOST}/s3", "/s3/"),
    ],
)
def test_clients_may_sign_without_the_base_path(
    signed_path: str, signed_host: str, path: str, query: str
) -> None:
    request = signed(path=signed_path, query=query, headers={"host": signed_host})
    request = with_header(request, "host", HOST)._replace(raw_path=path)
    check(request)
    for base_path in ("", "/s", "/s3/b", "/other"):
        with pytest.raises(S3Error):
            check(request, base_path=base_path)


def test_a_bucket_named_like_the_base_path_is_another_bucket() -> None:
    request = signed(path="/s3/b/k", headers={"host": HOST})
    error = error_of(request._replace(raw_path="/s3/s3/b/k"))
    assert error.code is ErrorCode.SignatureDoesNotMatch
    check(signed(path="/s3/s3/b/k"))


def test_repeated_headers_are_joined_in_wire_order() -> None:
    request = AWSRequest("GET", f"http://{HOST}/s3/b/k", {})
    request.headers.add_header("x-amz-meta-a", "2")
    request.headers.add_header("x-amz-meta-a", " 1  b ")
    S3SigV4Auth(BotoCredentials(ACCESS_KEY, SECRET), "s3", "r").add_auth(request)
    head = head_of(request)
    check(head)
    assert error_of(with_header(head, "x-amz-meta-a", "1  b,2")).status == 403


def test_headers_in_utf8_are_accepted() -> None:
    check(signed(headers={"x-amz-meta-name": "Grüße  €"}))


@pytest.mark.parametrize("value", ["Grüße", "Ã¼", "\xff\xfe"])
def test_headers_signed_in_utf8_but_sent_in_latin_1_are_accepted(value: str) -> None:
    request = signed(headers={"x-amz-meta-name": value})
    received = value.encode("latin-1").decode("utf-8", "surrogateescape")
    check(with_header(request, "x-amz-meta-name", received))


def test_white_space_outside_ascii_may_be_left_alone() -> None:
    # A signer that collapses ASCII blanks only signs this value as it stands.
    request = signed(headers={"x-amz-meta-name": "a-\u3000-b"})
    value = "a\u3000\u3000b"
    text = _canonical_text(request, value)
    check(_signed_by_hand(request, value, text))


def _canonical_text(request: RequestHead, value: str) -> str:
    names = re.findall("SignedHeaders=([^,]+)", request.headers["authorization"])[0]
    headers = {**request.headers, "x-amz-meta-name": value}
    lines = "".join(f"{name}:{headers[name]}\n" for name in names.split(";"))
    return f"{request.method}\n{request.raw_path}\n\n{lines}\n{names}\n{EMPTY_SHA256}"


def _signed_by_hand(request: RequestHead, value: str, canonical: str) -> RequestHead:
    text = (
        "AWS4-HMAC-SHA256\n20260301T123005Z\n20260301/us-east-1/s3/aws4_request\n"
        + sha256(canonical.encode()).hexdigest()
    )
    key = signing_key(SECRET, "20260301", "us-east-1", "s3")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    old = re.findall("Signature=(.*)", request.headers["authorization"])[0]
    return with_header(resigned(request, old, signature), "x-amz-meta-name", value)


def test_the_example_in_the_documentation() -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    request = RequestHead.from_wire(
        "GET",
        "/test.txt",
        "",
        [
            ("host", "examplebucket.s3.amazonaws.com"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/"
                "aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature="
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY_SHA256),
            ("x-amz-date", "20130524T000000Z"),
        ],
    )
    at = datetime(2013, 5, 24, tzinfo=UTC)
    check(request, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", at)


def test_the_presigned_example_in_the_documentation() -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
    request = RequestHead.from_wire(
        "GET",
        "/test.txt",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F"
        "us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&"
        "X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
        [("host", "examplebucket.s3.amazonaws.com")],
    )
    at = datetime(2013, 5, 24, 23, 59, 59, tzinfo=UTC)
    check(request, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", at)


@pytest.mark.parametrize("expires", [None, 60])
@pytest.mark.parametrize(
    "change",
    [
        {"method": "HEAD"},
        {"raw_path": "/s3/bucket/key2"},
        {"raw_path": "/s3/bucket//key"},
        {"raw_path": "/s3/bucket/key/"},
        {"raw_path": "/s3/s3/bucket/key"},
        {"raw_path": "/s3/bucket/./key"},
    ],
)
def test_every_part_of_a_request_is_bound(change: dict[str, Any], expires: int | None) -> None:
    request = signed(expires=expires)._replace(**change)
    assert error_of(request).code is ErrorCode.SignatureDoesNotMatch


@pytest.mark.parametrize("expires", [None, 60])
def test_every_parameter_is_bound(expires: int | None) -> None:
    request = signed(query="partNumber=1&uploadId=x", expires=expires)
    check(request)
    for raw_query in (
        request.raw_query.replace("partNumber=1", "partNumber=2"),
        request.raw_query.replace("partNumber=1&", ""),
        f"{request.raw_query}&partNumber=1",
        f"{request.raw_query}&acl",
    ):
        assert error_of(request._replace(raw_query=raw_query)).status == 403


@pytest.mark.parametrize("expires", [None, 60])
def test_every_signed_header_is_bound(expires: int | None) -> None:
    request = signed(headers={"range": "bytes=0-1", "x-amz-acl": "private"}, expires=expires)
    check(request)
    for name in ("host", "range", "x-amz-acl"):
        for value in ("other", f"{request.headers[name]},{request.headers[name]}", None):
            assert error_of(with_header(request, name, value)).status == 403
    check(with_header(request, "user-agent", "anything"))


@pytest.mark.parametrize("expires", [None, 60])
@pytest.mark.parametrize("name", ["x-amz-acl", "x-amz-meta-a", "x-amz-copy-source"])
def test_every_amz_header_must_be_signed(name: str, expires: int | None) -> None:
    error = error_of(with_header(signed(expires=expires), name, "1"))
    assert error.code is ErrorCode.AccessDenied
    assert error.fields["HeadersNotSigned"] == name


def test_the_host_must_be_signed() -> None:
    error = error_of(resigned(signed(), "SignedHeaders=host;", "SignedHeaders="))
    assert (error.code, error.fields["HeadersNotSigned"]) == (ErrorCode.AccessDenied, "host")


@pytest.mark.parametrize("signature", ["0", "0" * 64, "upper", "ü", "\udcff", "a=b"])
@pytest.mark.parametrize("expires", [None, 60])
def test_a_signature_of_any_shape_is_only_wrong(signature: str, expires: int | None) -> None:
    request = signed(expires=expires)
    pattern = re.compile("(?<=Signature=)[0-9a-f]{64}")

    def change(match: re.Match[str]) -> str:
        return match[0].upper() if signature == "upper" else signature

    if expires is None:
        header = pattern.sub(change, request.headers["authorization"])
        request = with_header(request, "authorization", header)
    else:
        request = request._replace(raw_query=pattern.sub(change, request.raw_query))
    assert error_of(request).code is ErrorCode.SignatureDoesNotMatch


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (-901, ErrorCode.RequestTimeTooSkewed),
        (-900, None),
        (900, None),
        (901, ErrorCode.RequestTimeTooSkewed),
        (86_400, ErrorCode.RequestTimeTooSkewed),
    ],
)
def test_a_clock_may_be_wrong_by_a_quarter_of_an_hour(seconds: int, code: ErrorCode | None) -> None:
    now = NOW + timedelta(seconds=seconds)
    if code is None:
        check(signed(), now=now)
        return
    error = error_of(signed(), now)
    assert error.code is code
    assert error.fields["RequestTime"] == "20260301T123005Z"
    assert error.fields["MaxAllowedSkewMilliseconds"] == 900_000


@pytest.mark.parametrize(
    ("expires", "seconds", "message"),
    [
        (60, -901, "Request is not valid yet"),
        (60, -900, None),
        (60, 59, None),
        (60, 60, "Request has expired"),
        (0, 0, "Request has expired"),
        (604_800, 604_799, None),
    ],
)
def test_a_presigned_request_has_its_time(expires: int, seconds: int, message: str | None) -> None:
    now = NOW + timedelta(seconds=seconds)
    if message is None:
        check(signed(expires=expires), now=now)
        return
    error = error_of(signed(expires=expires), now)
    assert (error.code, error.message) == (ErrorCode.AccessDenied, message)


def test_an_expired_request_says_when() -> None:
    error = error_of(signed(expires=60), NOW + timedelta(seconds=61))
    assert error.fields == {
        "Expires": "2026-03-01T12:31:05Z",
        "ServerTime": "2026-03-01T12:31:06Z",
        "X-Amz-Expires": 60,
    }


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_the_date_header_stands_in_for_x_amz_date(zone: str) -> None:
    date = "Sun, 01 Mar 2026 12:30:05 GMT"
    request = signed(headers={"Date": date})
    check(request)
    assert parse_authorization(with_header(request, "date", date.replace("GMT", zone))) == (
        parse_authorization(request)
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-date", None),
        ("x-amz-date", ""),
        ("x-amz-date", "20260301T256161Z"),
        ("x-amz-date", "20260301T123005"),
        ("x-amz-date", "2026-03-01T12:30:05Z"),
        ("x-amz-date", "٢٠260301T123005Z"),
        ("x-amz-date", "Sun, 01 Mar 2026 12:30:05 GMT"),
    ],
)
def test_a_request_without_a_time_is_denied(name: str, value: str | None) -> None:
    assert error_of(with_header(signed(), name, value)).code is ErrorCode.AccessDenied


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Mar 2026 12:30:05 GMT"])
def test_an_unreadable_date_header_is_denied(date: str) -> None:
    request = with_header(with_header(signed(), "x-amz-date", None), "date", date)
    assert error_of(request).code is ErrorCode.AccessDenied


MALFORMED = ErrorCode.AuthorizationHeaderMalformed
SCOPE = "20260301/us-east-1/s3/aws4_request"
GOOD = f"AWS4-HMAC-SHA256 Credential=A/{SCOPE}, SignedHeaders=host, Signature=0"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (GOOD.replace("Credential=A/", "Credential="), MALFORMED),
        (GOOD.replace("Credential=A/", "Credential=/"), MALFORMED),
        (GOOD.replace(f"Credential=A/{SCOPE}, ", ""), MALFORMED),
        (GOOD.replace("SignedHeaders=host, ", ""), MALFORMED),
        (GOOD.replace("SignedHeaders=host", "SignedHeaders="), MALFORMED),
        (GOOD.replace("SignedHeaders=host", "SignedHeaders=host;host"), MALFORMED),
        (GOOD.replace(", Signature=0", ""), MALFORMED),
        (GOOD.replace("Signature=0", "Signature="), MALFORMED),
        (GOOD.replace("Signature=0", "Signature"), MALFORMED),
        (f"{GOOD}, Signature=0", MALFORMED),
        (f"{GOOD},{GOOD}", MALFORMED),
        (GOOD.replace("aws4_request", "aws5_request"), MALFORMED),
        (GOOD.replace("/s3/", "/ec2/"), MALFORMED),
        (GOOD.replace("/us-east-1", ""), MALFORMED),
        (GOOD.replace("20260301", "20260302"), MALFORMED),
        (GOOD.replace("20260301", "today"), MALFORMED),
        ("AWS4-HMAC-SHA256 x", MALFORMED),
        ("AWS4-HMAC-SHA256", ErrorCode.InvalidArgument),
        (GOOD.lower(), ErrorCode.InvalidArgument),
        (GOOD.replace("SHA256", "SHA1"), ErrorCode.InvalidArgument),
        (GOOD.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), ErrorCode.InvalidArgument),
        ("Bearer token", ErrorCode.InvalidArgument),
        ("Basic QTpC", ErrorCode.InvalidArgument),
        ("AWS HAHAHA", ErrorCode.InvalidArgument),
        ("\x07", ErrorCode.InvalidArgument),
        ("AWS key:c2ln", ErrorCode.InvalidArgument),
    ],
)
def test_a_malformed_authorization_header(header: str, code: ErrorCode) -> None:
    assert error_of(with_header(signed(), "authorization", header)).code is code


def test_any_region_and_any_separator_is_accepted() -> None:
    for region in ("", "US", "auto", "us east"):
        check(signed(region=region))
    check(resigned(signed(), ", ", ","))
    check(resigned(signed(), ", ", " ,  "))


QUERY_ERROR = ErrorCode.AuthorizationQueryParametersError


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *[(f"X-Amz-{name}=", f"x-{name}=") for name in ("Algorithm", "Credential", "Date")],
        *[(f"X-Amz-{name}=", f"x-{name}=") for name in ("Expires", "SignedHeaders", "Signature")],
        ("HMAC-SHA256", "HMAC-SHA1"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        ("%2Faws4_request", ""),
        ("%2Fs3%2F", "%2Fec2%2F"),
        ("AKIDEXAMPLE", ""),
        ("us-east-1", "x" * 65),
        ("20260301%2F", "2026-03-01%2F"),
        ("20260301T123005Z", "20260301"),
        ("20260301T123005Z", "20260302T123005Z"),
        ("Expires=60", "Expires=-1"),
        ("Expires=60", "Expires=604801"),
        ("Expires=60", "Expires=6e1"),
        ("Expires=60", "Expires=" + "9" * 5000),
        ("Expires=60", "Expires=%D9%A6"),
        ("Expires=60", "Expires="),
        ("Expires=60", "Expires=60&X-Amz-Expires=600"),
        ("SignedHeaders=host", "SignedHeaders=host%3Bhost"),
    ],
)
def test_malformed_query_credentials(old: str, new: str) -> None:
    assert error_of(requeried(signed(expires=60), old, new)).code is QUERY_ERROR


def test_a_signed_header_absent_from_a_presigned_request_is_a_wrong_signature() -> None:
    request = signed(expires=60, headers={"content-type": "text/plain"})
    check(request)
    error = error_of(with_header(request, "content-type", None))
    assert error.code is ErrorCode.SignatureDoesNotMatch


def test_a_presigned_request_may_carry_a_payload_hash() -> None:
    digest = "0" * 64
    in_query = signed("PUT", query=f"X-Amz-Content-Sha256={digest}", expires=60)
    assert parse_authorization(in_query).payload_hash == digest  # type: ignore[union-attr]
    in_header = signed("PUT", headers={"X-Amz-Content-SHA256": digest}, expires=60)
    assert check(in_header).payload_hash == digest
    error = error_of(with_header(in_header, "x-amz-content-sha256", "1" * 64))
    assert error.code is ErrorCode.SignatureDoesNotMatch


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, ErrorCode.InvalidRequest),
        ("", ErrorCode.InvalidArgument),
        ("0" * 63, ErrorCode.InvalidArgument),
        ("A" * 64, ErrorCode.InvalidArgument),
        ("unsigned-payload", ErrorCode.InvalidArgument),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", ErrorCode.NotImplemented),
        (UNSIGNED_PAYLOAD, ErrorCode.SignatureDoesNotMatch),
        ("0" * 64, ErrorCode.SignatureDoesNotMatch),
    ],
)
def test_the_payload_hash_is_required_known_and_signed(value: str | None, code: ErrorCode) -> None:
    assert error_of(with_header(signed(), "x-amz-content-sha256", value)).code is code


def test_session_tokens_are_refused() -> None:
    request = AWSRequest("GET", f"http://{HOST}/s3/b/k", {})
    S3SigV4Auth(BotoCredentials(ACCESS_KEY, SECRET, "token"), "s3", "r").add_auth(request)
    assert error_of(head_of(request)).code is ErrorCode.InvalidToken
    request = AWSRequest("GET", f"http://{HOST}/s3/b/k", {})
    S3SigV4QueryAuth(BotoCredentials(ACCESS_KEY, SECRET, "token"), "s3", "r").add_auth(request)
    assert error_of(head_of(request)).code is ErrorCode.InvalidToken


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-1", "X-Amz-Expires must be non-negative"),
        ("soon", "X-Amz-Expires should be a number"),
        ("604801", "X-Amz-Expires must be less than a week (in seconds)"),
        ("9" * 5000, "X-Amz-Expires must be less than a week (in seconds)"),
    ],
)
def test_an_expiry_is_refused_in_the_words_of_aws(text: str, message: str) -> None:
    error = error_of(requeried(signed(expires=60), "Expires=60", f"Expires={text}"))
    assert error.message.startswith(message)


V2_QUERY = "AWSAccessKeyId=key%2B1&Signature=c2ln%3D&Expires=1"
ANONYMOUS = RequestHead("GET", "/s3/b/k", "prefix=X-Amz-Signature&uploads", {"host": HOST})


def test_a_request_without_credentials_is_anonymous() -> None:
    blank = with_header(ANONYMOUS, "authorization", " ")
    for request in (ANONYMOUS, blank):
        assert parse_authorization(request) is None
        assert find_claim(request) is None


@pytest.mark.parametrize("find", [parse_authorization, find_claim])
def test_two_kinds_of_credentials_are_refused(find: object) -> None:
    presigned = signed(expires=60)
    for request in (
        with_header(presigned, "authorization", GOOD),
        with_header(ANONYMOUS._replace(raw_query=V2_QUERY), "authorization", GOOD),
        presigned._replace(raw_query=f"{presigned.raw_query}&{V2_QUERY}"),
    ):
        with pytest.raises(S3Error) as raised:
            find(request)  # type: ignore[operator]
        assert raised.value.code is ErrorCode.InvalidArgument


@pytest.mark.parametrize(
    ("request_head", "claim"),
    [
        (signed(), Claim(ACCESS_KEY, Scheme.V4_HEADER, EMPTY_SHA256)),
        (signed(access_key="a/b"), Claim("a/b", Scheme.V4_HEADER, EMPTY_SHA256)),
        (signed(expires=60), Claim(ACCESS_KEY, Scheme.V4_QUERY, UNSIGNED_PAYLOAD)),
        (
            with_header(signed(), "x-amz-content-sha256", STREAMING_SIGNED),
            Claim(ACCESS_KEY, Scheme.V4_HEADER, STREAMING_SIGNED),
        ),
        (
            ANONYMOUS._replace(raw_query=V2_QUERY),
            Claim("key+1", Scheme.V2_QUERY, UNSIGNED_PAYLOAD),
        ),
        (
            with_header(ANONYMOUS, "authorization", "AWS key:c2ln"),
            Claim("key", Scheme.V2_HEADER, UNSIGNED_PAYLOAD),
        ),
        (
            with_header(ANONYMOUS, "authorization", "AWS4-HMAC-SHA256 Credential=key/x"),
            Claim("key", Scheme.V4_HEADER, UNSIGNED_PAYLOAD),
        ),
        (
            with_header(ANONYMOUS, "authorization", "AWS4-HMAC-SHA256 Signature=x Credential=key/"),
            Claim("key", Scheme.V4_HEADER, UNSIGNED_PAYLOAD),
        ),
    ],
)
def test_a_key_is_found_in_every_scheme(request_head: RequestHead, claim: Claim) -> None:
    assert find_claim(request_head) == claim


@pytest.mark.parametrize(
    ("request_head", "code"),
    [
        (with_header(ANONYMOUS, "authorization", "Bearer x"), ErrorCode.InvalidArgument),
        (with_header(ANONYMOUS, "authorization", "AWS x"), ErrorCode.InvalidArgument),
        (with_header(ANONYMOUS, "authorization", "AWS4-HMAC-SHA256 Credential=/x"), MALFORMED),
        (with_header(ANONYMOUS, "authorization", "AWS :c2ln"), ErrorCode.InvalidArgument),
        (ANONYMOUS._replace(raw_query="AWSAccessKeyId="), QUERY_ERROR),
        (ANONYMOUS._replace(raw_query="X-Amz-Signature=0"), QUERY_ERROR),
    ],
)
def test_credentials_without_a_key_are_malformed(
    request_head: RequestHead, code: ErrorCode
) -> None:
    with pytest.raises(S3Error) as raised:
        find_claim(request_head)
    assert raised.value.code is code


@given(
    header=st.one_of(st.text(), st.text().map(lambda text: f"AWS4-HMAC-SHA256 {text}")),
    query=st.one_of(st.text(), st.text().map(lambda text: f"X-Amz-Signature=1&{text}")),
)
def test_garbage_is_refused_or_anonymous(header: str, query: str) -> None:
    for request in (
        with_header(signed(), "authorization", header),
        ANONYMOUS._replace(raw_query=query),
    ):
        for find in (parse_authorization, find_claim):
            try:
                found = find(request)
            except S3Error as error:
                assert error.status in {400, 403}
            else:
                assert found is None or found.access_key


def test_a_chunk_signer_follows_a_verified_request() -> None:
    request = signed("PUT")
    credentials = check(request)
    key = signing_key(SECRET, "20260301", "us-east-1", "s3")
    client = ClientSigner(key, "20260301T123005Z", SCOPE, credentials.signature)
    server = ChunkSigner.for_request(credentials, SECRET)
    server.verify_chunk(EMPTY_SHA256, client.chunk(b"").encode())
    server.verify_trailer(EMPTY_SHA256, client.trailer(b"").encode())
    with pytest.raises(S3Error) as raised:
        server.verify_chunk(EMPTY_SHA256, b"")
    assert raised.value.code is ErrorCode.SignatureDoesNotMatch


def test_a_time_at_the_end_of_the_calendar_is_not_yet_valid() -> None:
    request = requeried(signed(expires=604_800), "20260301", "99991231")
    assert error_of(request).message == "Request is not valid yet"
    request = with_header(signed(headers={"Date": "x"}), "x-amz-date", None)
    request = with_header(request, "date", "Fri, 31 Dec 9999 23:59:59 -1200")
    assert error_of(request).code is ErrorCode.AccessDenied
