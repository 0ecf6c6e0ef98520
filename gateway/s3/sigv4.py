"""Verifies AWS Signature Version 4, from the Authorization header and from the query (presigned).

Whose key it is and what time it is, the caller knows: `find_claim` names the access key,
`parse_authorization` and `verify` check the rest once the secret has been found.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from itertools import islice, product
from urllib.parse import quote, unquote, unquote_to_bytes

from gateway.s3.errors import ErrorCode, S3Error

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_MAX = timedelta(minutes=15)
EXPIRES_SECONDS_MAX = 604_800

# The values of x-amz-content-sha256 that are no hash.
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
PAYLOAD_LITERALS = frozenset(
    {UNSIGNED_PAYLOAD, STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER}
)

EMPTY_SHA256 = sha256().hexdigest()


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What of a request is signed, as it came over the wire.

    `raw_path` and `raw_query` (without its `?`) are still percent-encoded. `headers` maps
    lower-case names to values decoded as UTF-8 with surrogateescape.
    """

    method: str
    raw_path: str
    raw_query: str
    headers: Mapping[str, str]

    @classmethod
    def from_wire(
        cls, method: str, raw_path: str, raw_query: str, headers: Iterable[tuple[str, str]]
    ) -> RequestHead:
        """Takes (lower-case name, value) pairs in wire order; repeated ones are joined by `,`."""
        joined: dict[str, str] = {}
        for name, value in headers:
            joined[name] = f"{joined[name]},{value.strip()}" if name in joined else value
        return cls(method, raw_path, raw_query, joined)


class Scheme(Enum):
    """Where a request carries its credentials, and of which signature version they are."""

    V4_HEADER = "V4 header"
    V4_QUERY = "V4 query"
    V2_HEADER = "V2 header"
    V2_QUERY = "V2 query"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a request says it comes from; nothing about it is verified.

    `payload_hash` is 64 lower-case hex digits or one of `PAYLOAD_LITERALS`.
    """

    access_key: str
    scheme: Scheme
    payload_hash: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """The parsed, not yet verified, SigV4 credentials of a request.

    `date` is the day of the scope (`yyyymmdd`), `amz_date` the time of signing in UTC, `expires`
    the lifetime in seconds of a presigned request and None otherwise. `signature` is the client's
    text, of whatever shape. `payload_hash` is 64 lower-case hex digits or one of
    `PAYLOAD_LITERALS`.
    """

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    amz_date: datetime
    payload_hash: str
    presigned: bool
    expires: int | None

    @property
    def scope(self) -> str:
        """The credential scope of the string to sign: `date/region/service/aws4_request`."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"

    @property
    def timestamp(self) -> str:
        """`amz_date` as the string to sign has it: `yyyymmddThhmmssZ`."""
        at = self.amz_date
        return f"{self.date}T{at.hour:02}{at.minute:02}{at.second:02}Z"


def find_claim(request: RequestHead) -> Claim | None:
    """The access key a request names, in any of the four schemes; None if it is anonymous.

    This is all that a key without a secret needs, so nothing else is asked of the request: no
    date, no scope, no signature. A key with a secret goes on to `parse_authorization`.

    Raises S3Error: InvalidArgument for two kinds of credentials or an unknown payload hash, and
    what `parse_authorization` raises for credentials that name no key at all.
    """
    header, parameters = _credential_sources(request)
    payload_hash = _payload_hash(request, parameters) or UNSIGNED_PAYLOAD
    if header:
        scheme, _, rest = header.partition(" ")
        if scheme == "AWS":
            access_key, place = rest.strip().rpartition(":")[0], Scheme.V2_HEADER
        else:
            match = _CREDENTIAL.search(rest)
            access_key, place = _claimed_access_key(match[1] if match else ""), Scheme.V4_HEADER
    elif "AWSAccessKeyId" in parameters:
        access_key, place = parameters["AWSAccessKeyId"], Scheme.V2_QUERY
    elif parameters:
        access_key = _claimed_access_key(parameters.get("X-Amz-Credential", ""))
        place = Scheme.V4_QUERY
    else:
        return None
    if not access_key:
        # Credentials without a key are malformed; the strict parser says how.
        parse_authorization(request)
        raise S3Error(ErrorCode.AuthorizationHeaderMalformed)
    return Claim(access_key, place, payload_hash)


def parse_authorization(request: RequestHead) -> Credentials | None:
    """The SigV4 credentials of a request, or None if it is anonymous.

    Raises S3Error: AuthorizationHeaderMalformed or AuthorizationQueryParametersError for
    malformed credentials; InvalidArgument for an unknown scheme, for two kinds of credentials and
    for an x-amz-content-sha256 that is neither a hash nor a known literal; InvalidRequest for
    Signature Version 2 and for a missing x-amz-content-sha256; AccessDenied for a missing date.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
    """
    header, parameters = _credential_sources(request)
    if header:
        return _parse_header(request, header)
    if "AWSAccessKeyId" in parameters:
        raise _v2_unsupported()
    if parameters:
        return _parse_query(request, parameters)
    return None


def verify(
    credentials: Credentials,
    secret: str,
    request: RequestHead,
    now: datetime,
    *,
    base_path: str = "",
) -> None:
    """Returns if `request` was signed with `secret` and is valid at `now` (aware).

    `base_path` is where S3 is mounted (`/s3`, or empty): some clients leave it out of what they
    sign. Whether the body has the signed hash is for the reader of the body to check. To keep an
    unknown key from answering faster than a wrong secret, verify it with any made-up secret.

    Raises S3Error: SignatureDoesNotMatch; RequestTimeTooSkewed; AccessDenied for a presigned
    request outside its time and for an unsigned `host` or `x-amz-*` header; InvalidToken for a
    session token.
    """
    _refuse_session_token(request)
    _check_time(credentials, now)
    _check_all_signed(credentials, request)
    if any(name not in request.headers for name in credentials.signed_headers):
        raise S3Error(ErrorCode.SignatureDoesNotMatch)
    key = signing_key(secret, credentials.date, credentials.region, credentials.service)
    prefix = f"{ALGORITHM}\n{credentials.timestamp}\n{credentials.scope}\n"
    claimed = credentials.signature.encode("utf-8", "surrogateescape")
    for canonical in _canonical_requests(credentials, request, base_path):
        digest = sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
        expected = hmac.digest(key, _utf8(prefix + digest), "sha256").hex()
        if hmac.compare_digest(expected.encode(), claimed):
            return
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
        key = signing_key(secret, credentials.date, credentials.region, credentials.service)
        return cls(key, credentials.timestamp, credentials.scope, credentials.signature)

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


_V4_PARAMETERS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_V4_MARKERS = frozenset({"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"})
_PARAMETERS = frozenset(
    {*_V4_PARAMETERS, "X-Amz-Content-Sha256", "X-Amz-Security-Token", "AWSAccessKeyId"}
)
_CREDENTIAL = re.compile(r"Credential=([^,\s]+)")
_ISO_BASIC = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_EXPIRES = re.compile(r"[0-9]{1,6}")


def _credential_sources(request: RequestHead) -> tuple[str, dict[str, str]]:
    """The Authorization header (or "") and the decoded query parameters of credentials (or {})."""
    header = request.headers.get("authorization", "").strip()
    parameters = _credential_parameters(request.raw_query)
    if parameters and (
        header or ("AWSAccessKeyId" in parameters and _V4_MARKERS & set(parameters))
    ):
        raise S3Error(
            ErrorCode.InvalidArgument,
            "Only one auth mechanism allowed: a request is signed either in its Authorization "
            "header or in its query.",
            ArgumentName="Authorization",
        )
    return header, parameters


def _credential_parameters(raw_query: str) -> dict[str, str]:
    if "X-Amz-" not in raw_query and "AWSAccessKeyId" not in raw_query:
        return {}
    found: dict[str, str] = {}
    for pair in raw_query.split("&"):
        name, _, value = pair.partition("=")
        if name in _PARAMETERS:
            if name in found:
                raise S3Error(
                    ErrorCode.AuthorizationQueryParametersError, f"{name} was given twice."
                )
            found[name] = unquote(value, errors="surrogateescape")
    return found if "AWSAccessKeyId" in found or _V4_MARKERS & set(found) else {}


def _claimed_access_key(credential: str) -> str:
    # An access key may contain slashes, the four fields after it may not. Auto Drive's own rule
    # asks for one slash only, and keys without a secret must keep working there.
    fields = credential.rsplit("/", 4)
    return fields[0] if len(fields) == 5 else credential.partition("/")[0]


def _parse_header(request: RequestHead, header: str) -> Credentials:
    scheme, _, rest = header.partition(" ")
    if scheme == "AWS" and ":" in rest:
        raise _v2_unsupported()
    if not rest or scheme != ALGORITHM:
        raise S3Error(
            ErrorCode.InvalidArgument,
            f"Unsupported Authorization Type: use {ALGORITHM}.",
            ArgumentName="Authorization",
        )
    fields: dict[str, str] = {}
    for field in rest.split(","):
        name, equals, value = field.strip().partition("=")
        if not equals or name in fields:
            raise _malformed_header("the authorization header is not a list of name=value.")
        fields[name] = value
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not fields.get(name):
            raise _malformed_header(f"{name} is missing.")
    access_key, date, region, service = _parse_credential(
        fields["Credential"], ErrorCode.AuthorizationHeaderMalformed
    )
    amz_date = _time_of_headers(request.headers)
    if _day(amz_date) != date:
        raise _malformed_header("the date of the credential is not that of x-amz-date.")
    payload_hash = _payload_hash(request, {})
    if payload_hash is None:
        raise S3Error(
            ErrorCode.InvalidRequest,
            "Missing required header for this request: x-amz-content-sha256",
        )
    return Credentials(
        access_key=access_key,
        date=date,
        region=region,
        service=service,
        signed_headers=_parse_signed_headers(
            fields["SignedHeaders"], ErrorCode.AuthorizationHeaderMalformed
        ),
        signature=fields["Signature"],
        amz_date=amz_date,
        payload_hash=payload_hash,
        presigned=False,
        expires=None,
    )


def _parse_query(request: RequestHead, parameters: Mapping[str, str]) -> Credentials:
    code = ErrorCode.AuthorizationQueryParametersError
    for name in _V4_PARAMETERS:
        if not parameters.get(name):
            raise S3Error(
                code, f"Query-string authentication version 4 requires {', '.join(_V4_PARAMETERS)}."
            )
    if parameters["X-Amz-Algorithm"] != ALGORITHM:
        raise S3Error(code, f"X-Amz-Algorithm only supports {ALGORITHM}.")
    access_key, date, region, service = _parse_credential(parameters["X-Amz-Credential"], code)
    amz_date = _parse_iso_basic(parameters["X-Amz-Date"])
    if amz_date is None:
        raise S3Error(code, "X-Amz-Date must be in the ISO8601 Long Format yyyyMMdd'T'HHmmss'Z'.")
    if _day(amz_date) != date:
        raise S3Error(code, "The date of X-Amz-Credential is not that of X-Amz-Date.")
    expires = parameters["X-Amz-Expires"]
    if not _EXPIRES.fullmatch(expires) or int(expires) > EXPIRES_SECONDS_MAX:
        raise S3Error(
            code, f"X-Amz-Expires must be a number of seconds from 0 to {EXPIRES_SECONDS_MAX}."
        )
    return Credentials(
        access_key=access_key,
        date=date,
        region=region,
        service=service,
        signed_headers=_parse_signed_headers(parameters["X-Amz-SignedHeaders"], code),
        signature=parameters["X-Amz-Signature"],
        amz_date=amz_date,
        payload_hash=_payload_hash(request, parameters) or UNSIGNED_PAYLOAD,
        presigned=True,
        expires=int(expires),
    )


def _parse_credential(credential: str, code: ErrorCode) -> tuple[str, str, str, str]:
    fields = credential.rsplit("/", 4)
    if len(fields) != 5 or not fields[0] or fields[3:] != ["s3", "aws4_request"]:
        raise S3Error(
            code,
            "The credential is malformed; expecting "
            '"<access key>/YYYYMMDD/<region>/s3/aws4_request".',
        )
    access_key, date, region, service, _ = fields
    return access_key, date, region, service


def _parse_signed_headers(text: str, code: ErrorCode) -> tuple[str, ...]:
    names = tuple(text.split(";"))
    # A name twice is never signed by a client, and would let a small header be hashed many times.
    if len(set(names)) != len(names):
        raise S3Error(code, "SignedHeaders must name each header once.")
    return names


def _time_of_headers(headers: Mapping[str, str]) -> datetime:
    at: datetime | None = None
    if (amz_date := headers.get("x-amz-date")) is not None:
        at = _parse_iso_basic(amz_date)
    elif (date := headers.get("date")) is not None:
        at = _parse_rfc_1123(date)
    if at is None:
        raise S3Error(
            ErrorCode.AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        )
    return at


def _parse_iso_basic(text: str) -> datetime | None:
    if not _ISO_BASIC.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _parse_rfc_1123(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    # "-0000" gives a naive time, which RFC 5322 wants read as UTC.
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _payload_hash(request: RequestHead, parameters: Mapping[str, str]) -> str | None:
    value = parameters.get("X-Amz-Content-Sha256")
    if value is None:
        value = request.headers.get("x-amz-content-sha256")
    if value is None or value in PAYLOAD_LITERALS or _SHA256_HEX.fullmatch(value):
        return value
    if value.startswith("STREAMING-AWS4-ECDSA"):
        raise S3Error(ErrorCode.NotImplemented, "Signature Version 4A is not supported.")
    raise S3Error(
        ErrorCode.InvalidArgument,
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING-* literal, or a valid sha256 "
        "value.",
        ArgumentName="x-amz-content-sha256",
    )


def _malformed_header(reason: str) -> S3Error:
    return S3Error(
        ErrorCode.AuthorizationHeaderMalformed,
        f"The authorization header is malformed; {reason}",
    )


def _v2_unsupported() -> S3Error:
    return S3Error(
        ErrorCode.InvalidRequest,
        f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.",
    )


def _refuse_session_token(request: RequestHead) -> None:
    if "x-amz-security-token" in request.headers or "X-Amz-Security-Token=" in request.raw_query:
        raise S3Error(ErrorCode.InvalidToken, "Session tokens are not supported.")


def _check_time(credentials: Credentials, now: datetime) -> None:
    if credentials.expires is None:
        if abs(now - credentials.amz_date) > SKEW_MAX:
            raise S3Error(
                ErrorCode.RequestTimeTooSkewed,
                RequestTime=credentials.timestamp,
                ServerTime=_iso(now),
                MaxAllowedSkewMilliseconds=SKEW_MAX // timedelta(milliseconds=1),
            )
        return
    expiry = credentials.amz_date + timedelta(seconds=credentials.expires)
    if now >= expiry:
        expired = S3Error(
            ErrorCode.AccessDenied,
            "Request has expired",
            Expires=_iso(expiry),
            ServerTime=_iso(now),
        )
        expired.fields["X-Amz-Expires"] = credentials.expires
        raise expired
    if credentials.amz_date - now > SKEW_MAX:
        raise S3Error(
            ErrorCode.AccessDenied,
            "Request is not valid yet",
            RequestTime=credentials.timestamp,
            ServerTime=_iso(now),
        )


def _check_all_signed(credentials: Credentials, request: RequestHead) -> None:
    signed = set(credentials.signed_headers)
    unsigned = [
        name
        for name in request.headers
        if (name[:6] == "x-amz-" or name == "host") and name not in signed
    ]
    if "host" not in signed and "host" not in unsigned:
        unsigned.append("host")
    if unsigned:
        raise S3Error(
            ErrorCode.AccessDenied,
            "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(unsigned),
        )


def _canonical_requests(
    credentials: Credentials, request: RequestHead, base_path: str
) -> Iterator[str]:
    """What the client may have signed: first the request as sent, then the known deviations.

    Every deviation addresses the same object, so accepting it grants nothing more.
    """
    names = credentials.signed_headers
    values = [request.headers[name] for name in names]
    tail = f"\n{';'.join(names)}\n{credentials.payload_hash}"
    query = _canonical_query(request.raw_query)
    yield (
        f"{request.method}\n{request.raw_path}\n{query}\n"
        f"{_canonical_headers(names, map(_collapse, values))}{tail}"
    )
    deviations = product(
        _header_forms(values),
        dict.fromkeys((query, _canonical_query(_reencoded_query(request.raw_query)))),
        _path_forms(request.raw_path, base_path),
    )
    for header_values, query_form, (path, host_suffix) in islice(deviations, 1, None):
        # A "host" is always there: `_check_all_signed` has seen to it.
        hosted = list(header_values)
        hosted[names.index("host")] += host_suffix
        yield (f"{request.method}\n{path}\n{query_form}\n{_canonical_headers(names, hosted)}{tail}")


def _canonical_headers(names: Iterable[str], values: Iterable[str]) -> str:
    return "".join([f"{name}:{value}\n" for name, value in zip(names, values, strict=True)])


def _collapse(value: str) -> str:
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


def _path_forms(raw_path: str, base_path: str) -> list[tuple[str, str]]:
    """The paths to try, each with what is appended to the host."""
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


def _day(at: datetime) -> str:
    return f"{at.year:04}{at.month:02}{at.day:02}"


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
