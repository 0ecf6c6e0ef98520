"""Verifies AWS Signature Version 4: of requests, and of the chunks that follow them.

Whose key it is and what time it is, the caller knows; `gateway.s3.credentials` reads what a request
says of itself.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from itertools import islice, product
from urllib.parse import quote, unquote_to_bytes

from gateway.s3.credentials import ALGORITHM, Credentials, RequestHead
from gateway.s3.errors import ErrorCode, S3Error

SKEW_MAX = timedelta(minutes=15)

EMPTY_SHA256 = sha256().hexdigest()


def verify(
    credentials: Credentials,
    secret: str,
    request: RequestHead,
    now: datetime,
    *,
    base_path: str = "",
    skew_max: timedelta = SKEW_MAX,
) -> None:
    """Returns if `request` was signed with `secret` and is valid at `now` (aware).

    `base_path` is where S3 is mounted (`/s3`, or empty): some clients leave it out of what they
    sign. Whether the body has the signed hash is for the reader of the body to check. To keep an
    unknown key from answering faster than a wrong secret, verify it with any made-up secret.

    Raises S3Error: SignatureDoesNotMatch; RequestTimeTooSkewed; AccessDenied for a presigned
    request outside its time and for an unsigned `host` or `x-amz-*` header; InvalidToken for a
    session token.
    """
    refuse_session_token(request)
    _check_time(credentials, now, skew_max)
    _check_all_signed(credentials, request)
    signer = credentials.signer
    if not signer.signed_set <= request.headers.keys():
        raise S3Error(ErrorCode.SignatureDoesNotMatch)
    key = signing_key(secret, signer.date, signer.region, signer.service)
    prefix = f"{ALGORITHM}\n{credentials.time.timestamp}\n{signer.scope}\n"
    claimed = credentials.signature.encode("utf-8", "surrogateescape")

    def is_signed(canonical: str) -> bool:
        digest = sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
        expected = hmac.digest(key, _utf8(prefix + digest), "sha256").hex()
        return hmac.compare_digest(expected.encode(), claimed)

    if is_signed(_as_sent(credentials, request)):
        return
    if not any(map(is_signed, _deviations(credentials, request, base_path))):
        raise S3Error(ErrorCode.SignatureDoesNotMatch)


@lru_cache(maxsize=4096)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of one day, region and service, 32 bytes.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    key = _utf8(f"AWS4{secret}")
    for step in (date, region, service, "aws4_request"):
        key = hmac.digest(key, _utf8(step), "sha256")
    return key


class ChunkSigner:
    """Checks the signatures inside an aws-chunked body, each of which signs the one before it.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
    """

    __slots__ = ("_chunk_prefix", "_key", "_previous", "_trailer_prefix")

    def __init__(self, key: bytes, timestamp: str, scope: str, seed_signature: str) -> None:
        common = f"{timestamp}\n{scope}\n"
        self._key = key
        self._chunk_prefix = f"{ALGORITHM}-PAYLOAD\n{common}"
        self._trailer_prefix = f"{ALGORITHM}-TRAILER\n{common}"
        self._previous = seed_signature

    @classmethod
    def for_request(cls, credentials: Credentials, secret: str) -> ChunkSigner:
        """The signer of the body that follows a verified request."""
        signer = credentials.signer
        key = signing_key(secret, signer.date, signer.region, signer.service)
        return cls(key, credentials.time.timestamp, signer.scope, credentials.signature)

    def verify_chunk(self, data_sha256: str, signature: bytes) -> None:
        """Checks the next chunk, whose data has this hex hash; the last chunk has no data.

        Raises S3Error SignatureDoesNotMatch.
        """
        self._verify(
            f"{self._chunk_prefix}{self._previous}\n{EMPTY_SHA256}\n{data_sha256}", signature
        )

    def verify_trailer(self, trailer_sha256: str, signature: bytes) -> None:
        """Checks the trailers, hashed as `name:value\\n` each; they follow the last chunk.

        Raises S3Error SignatureDoesNotMatch.
        """
        self._verify(f"{self._trailer_prefix}{self._previous}\n{trailer_sha256}", signature)

    def _verify(self, string_to_sign: str, signature: bytes) -> None:
        expected = hmac.digest(self._key, _utf8(string_to_sign), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), signature):
            raise S3Error(ErrorCode.SignatureDoesNotMatch)
        self._previous = expected


def refuse_session_token(request: RequestHead) -> None:
    """Raise S3Error(InvalidToken) for temporary credentials, which nobody here could have got."""
    if "x-amz-security-token" in request.headers or "X-Amz-Security-Token=" in request.raw_query:
        raise S3Error(ErrorCode.InvalidToken, "Session tokens are not supported.")


def check_skew(signed_at: datetime, text: str, now: datetime, skew_max: timedelta) -> None:
    """Raise S3Error(RequestTimeTooSkewed) for a request signed too long ago or ahead of time."""
    if abs(now - signed_at) > skew_max:
        raise S3Error(
            ErrorCode.RequestTimeTooSkewed,
            RequestTime=text,
            ServerTime=iso_time(now),
            MaxAllowedSkewMilliseconds=skew_max // timedelta(milliseconds=1),
        )


def has_expired(expiry: datetime, now: datetime) -> S3Error:
    """What a presigned request is answered after its time."""
    return S3Error(
        ErrorCode.AccessDenied,
        "Request has expired",
        Expires=iso_time(expiry),
        ServerTime=iso_time(now),
    )


def _check_time(credentials: Credentials, now: datetime, skew_max: timedelta) -> None:
    if credentials.expires is None:
        check_skew(credentials.time.at, credentials.time.timestamp, now, skew_max)
        return
    lifetime = timedelta(seconds=credentials.expires)
    # The sum would be past the last year of the calendar for a time at its end.
    if now - credentials.time.at >= lifetime:
        expired = has_expired(credentials.time.at + lifetime, now)
        expired.fields["X-Amz-Expires"] = credentials.expires
        raise expired
    if credentials.time.at - now > skew_max:
        raise S3Error(
            ErrorCode.AccessDenied,
            "Request is not valid yet",
            RequestTime=credentials.time.timestamp,
            ServerTime=iso_time(now),
        )


def _check_all_signed(credentials: Credentials, request: RequestHead) -> None:
    signed = credentials.signer.signed_set
    unsigned = [
        name for name in request.headers.keys() - signed if name[:6] == "x-amz-" or name == "host"
    ]
    if "host" not in signed and "host" not in unsigned:
        unsigned.append("host")
    if unsigned:
        raise S3Error(
            ErrorCode.AccessDenied,
            "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(sorted(unsigned)),
        )


def _as_sent(credentials: Credentials, request: RequestHead) -> str:
    """What nearly every client has signed: the request as it came."""
    signer, headers = credentials.signer, request.headers
    lines = signer.lines % signer.pick(headers)
    if not lines.isascii() or any(map(lines.__contains__, ("  ", "\t", ": ", " \n"))):
        names = signer.signed_headers
        lines = _canonical_headers(names, [_collapse(headers[name]) for name in names])
    query = _canonical_query(request.raw_query) if request.raw_query else ""
    return (
        f"{request.method}\n{request.raw_path}\n{query}\n"
        f"{lines}\n{signer.joined_headers}\n{credentials.payload_hash}"
    )


def _deviations(credentials: Credentials, request: RequestHead, base_path: str) -> Iterator[str]:
    """What some clients sign instead.

    Every deviation addresses the same object, so accepting it grants nothing more.
    """
    names = credentials.signer.signed_headers
    values = [request.headers[name] for name in names]
    tail = f"\n{credentials.signer.joined_headers}\n{credentials.payload_hash}"
    query = _canonical_query(request.raw_query)
    forms = product(
        _header_forms(values),
        dict.fromkeys((query, _canonical_query(_reencoded_query(request.raw_query)))),
        path_forms(request.raw_path, base_path),
    )
    for header_values, query_form, (path, host_suffix) in islice(forms, 1, None):
        # A "host" is always there: `_check_all_signed` has seen to it.
        hosted = list(header_values)
        hosted[names.index("host")] += host_suffix
        yield (f"{request.method}\n{path}\n{query_form}\n{_canonical_headers(names, hosted)}{tail}")


def _canonical_headers(names: Iterable[str], values: Iterable[str]) -> str:
    return "".join([f"{name}:{value}\n" for name, value in zip(names, values, strict=True)])


def _collapse(value: str) -> str:
    """White space within a value counts as one space."""
    return " ".join(value.split())


def _header_forms(values: list[str]) -> Iterator[list[str]]:
    yield [_collapse(value) for value in values]
    if all(map(str.isascii, values)):
        return
    # Go and others leave white space outside ASCII alone.
    yield [re.sub(r"[ \t]+", " ", value.strip(" \t")) for value in values]
    # botocore signs UTF-8 but sends Latin-1.
    yield [
        _collapse(value.encode("utf-8", "surrogateescape").decode("latin-1")) for value in values
    ]


def path_forms(raw_path: str, base_path: str) -> list[tuple[str, str]]:
    """The paths that a client may have signed, each with what it appended to the host."""
    whole = dict.fromkeys((raw_path, _reencoded_path(raw_path)))
    forms = [(path, "") for path in whole]
    if not base_path or not _is_below(raw_path, base_path):
        return forms
    for path in whole:
        stripped = path[len(base_path) :] or "/"
        forms.append((stripped, base_path))  # s3cmd
        # Without its base path /s3/s3/b/k would pass for /s3/b/k, another object.
        if not _is_below(stripped, base_path):
            forms.append((stripped, ""))  # s3fs
    return forms


def _is_below(path: str, base_path: str) -> bool:
    return path == base_path or path.startswith(f"{base_path}/")


def _canonical_query(raw_query: str) -> str:
    if not raw_query:
        return ""
    pairs = [pair.partition("=") for pair in raw_query.split("&") if pair]
    # By name, then by value: as whole strings "a-b=" would come before "a=".
    pairs.sort()
    return "&".join([f"{name}={value}" for name, _, value in pairs if name != "X-Amz-Signature"])


def _reencoded_query(raw_query: str) -> str:
    return "&".join(
        "=".join(
            quote(unquote_to_bytes(_utf8(part.replace("+", " "))), safe="-_.~")
            for part in pair.split("=", 1)
        )
        for pair in raw_query.split("&")
    )


def _reencoded_path(raw_path: str) -> str:
    # An encoded slash is part of a segment and stays encoded.
    return "%2F".join(
        quote(unquote_to_bytes(_utf8(piece)), safe="/-_.~")
        for piece in re.split("%2[fF]", raw_path)
    )


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def iso_time(at: datetime) -> str:
    """A time as error documents have it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
