"""Reads the credentials of a request, from its Authorization header or its query; verifies nothing.

`find_claim` names the access key, which is all that a key without a secret needs;
`parse_authorization` reads what `gateway.s3.sigv4.verify` then checks, `parse_v2` what
`gateway.s3.sigv2.verify_v2` does.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import _lru_cache_wrapper, lru_cache
from operator import itemgetter
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

from gateway.s3.errors import ErrorCode, S3Error

T = TypeVar("T")

ALGORITHM = "AWS4-HMAC-SHA256"
ALGORITHM_V2 = "AWS"
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

# A client sends the same credentials with every request but for the signature, and all requests of
# a second have one date. Longer texts than these are read anew, so that memory stays bounded.
_REMEMBERED_MAX = 1024
_REMEMBERED_CHARS_MAX = 1024
_DATE_CHARS = 8
_BLANKS = " \t"
_REGION_CHARS_MAX = 64


class RequestHead(NamedTuple):
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
            joined[name] = f"{joined[name]},{value.strip(_BLANKS)}" if name in joined else value
        return cls(method, raw_path, raw_query, joined)


class Scheme(Enum):
    """Where a request carries its credentials, and of which signature version they are."""

    V4_HEADER = "V4 header"
    V4_QUERY = "V4 query"
    V2_HEADER = "V2 header"
    V2_QUERY = "V2 query"


class Claim(NamedTuple):
    """Who a request says it comes from; nothing about it is verified.

    `payload_hash` is 64 lower-case hex digits or one of `PAYLOAD_LITERALS`.
    """

    access_key: str
    scheme: Scheme
    payload_hash: str


class Signer(NamedTuple):
    """What a client's requests of one day have in common: whose key signs, and which headers.

    `date` is the day of the scope (`yyyymmdd`), `scope` is `date/region/service/aws4_request` as
    the string to sign has it, `signed_set` holds the names of `signed_headers`, and
    `joined_headers` is the text they came as. `lines % pick(headers)` are their canonical lines,
    the values as they are.
    """

    access_key: str
    date: str
    region: str
    service: str
    scope: str
    signed_headers: tuple[str, ...]
    signed_set: frozenset[str]
    joined_headers: str
    lines: str
    pick: Callable[[Mapping[str, str]], tuple[str, ...]]


class SigningTime(NamedTuple):
    """When a request was signed, in UTC; `timestamp` is `yyyymmddThhmmssZ`."""

    at: datetime
    timestamp: str

    @classmethod
    def of(cls, at: datetime) -> SigningTime:
        """Whole seconds of a time in UTC."""
        day = f"{at.year:04}{at.month:02}{at.day:02}"
        return cls(at, f"{day}T{at.hour:02}{at.minute:02}{at.second:02}Z")

    @property
    def day(self) -> str:
        """`yyyymmdd`."""
        return self.timestamp[:8]


class Credentials(NamedTuple):
    """The parsed, not yet verified, SigV4 credentials of a request.

    `expires` is the lifetime in seconds of a presigned request and None otherwise. `signature` is
    the client's text, of whatever shape. `payload_hash` is 64 lower-case hex digits or one of
    `PAYLOAD_LITERALS`.
    """

    signer: Signer
    signature: str
    time: SigningTime
    payload_hash: str
    expires: int | None = None

    @property
    def presigned(self) -> bool:
        """Whether they came in the query."""
        return self.expires is not None


class CredentialsV2(NamedTuple):
    """The parsed, not yet verified, SigV2 credentials of a request.

    `date` is the line of the string to sign that has the time, `at` is when a request with a
    header was signed, or until when a presigned one is valid.
    """

    signature: str
    date: str
    at: datetime
    presigned: bool


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
            fields, _ = _split_signature(rest)
            # Without commas all of it may be the signature's field.
            access_key = _remembered(_find_access_key, fields) or _find_access_key.__wrapped__(rest)
            place = Scheme.V4_HEADER
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
    for an x-amz-content-sha256 that is neither a hash nor a known literal; InvalidRequest for a
    missing x-amz-content-sha256; AccessDenied for a missing date. Credentials of Signature
    Version 2 are malformed here.
    """
    header, parameters = _credential_sources(request)
    if header:
        return _parse_header(request, header)
    if parameters:
        return _parse_query(request, parameters)
    return None


def parse_v2(request: RequestHead) -> CredentialsV2:
    """The SigV2 credentials of a request in which `find_claim` found such.

    Raises S3Error: AccessDenied for what is missing or no time.
    """
    header, _, rest = request.headers.get("authorization", "").strip().partition(" ")
    if header == "AWS":
        headers = request.headers
        time = _time_of_headers(headers, mail_dates=True)
        # A client that cannot set Date sends x-amz-date, and signs an empty line in its place.
        date = "" if "x-amz-date" in headers else headers["date"]
        return CredentialsV2(rest.strip().rpartition(":")[2], date, time.at, presigned=False)
    parameters = _credential_parameters(request.raw_query)
    signature, expires = parameters.get("Signature", ""), parameters.get("Expires", "")
    if not signature or not expires:
        raise S3Error(
            ErrorCode.AccessDenied,
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
            "parameters",
        )
    if not _EPOCH_SECONDS.fullmatch(expires):
        raise S3Error(
            ErrorCode.AccessDenied, f"Invalid date (should be seconds since epoch): {expires}"
        )
    return CredentialsV2(
        signature, expires, datetime.fromtimestamp(int(expires), UTC), presigned=True
    )


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
    {
        *_V4_PARAMETERS,
        *("X-Amz-Content-Sha256", "X-Amz-Security-Token"),
        *("AWSAccessKeyId", "Expires", "Signature"),
    }
)
_CREDENTIAL = re.compile(r"Credential=([^,\s]+)")
_SIGNATURE = re.compile(r"(?:^|,)\s*Signature=([^,]*)")
_ISO_BASIC = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_HEX = "0123456789abcdef"
_EXPIRES = re.compile(r"-?[0-9]+")
# Up to the year 9999.
_EPOCH_SECONDS = re.compile(r"[0-9]{1,11}")


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


def _remembered(read: _lru_cache_wrapper[T], text: str) -> T:
    """What `read` makes of a text; one that is too long to be remembered is read anew."""
    return read(text) if len(text) <= _REMEMBERED_CHARS_MAX else read.__wrapped__(text)


@lru_cache(maxsize=_REMEMBERED_MAX)
def _find_access_key(fields: str) -> str:
    """The access key that the fields of an Authorization header name; `` for none."""
    match = _CREDENTIAL.search(fields)
    return _claimed_access_key(match[1]) if match else ""


def _split_signature(text: str) -> tuple[str, str | None]:
    """The fields of an Authorization header without the signature, and the signature."""
    fields, found, signature = text.rpartition("Signature=")
    fields = fields.rstrip()
    if found and fields.endswith(",") and "," not in signature:
        # Where nearly all clients have it: at the end.
        return fields[:-1], signature
    match = _SIGNATURE.search(text)
    if match is None:
        return text, None
    return text[: match.start()] + text[match.end() :], match[1]


def _parse_header(request: RequestHead, header: str) -> Credentials:
    scheme, _, rest = header.partition(" ")
    if scheme == "AWS":
        raise S3Error(
            ErrorCode.InvalidArgument,
            "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature",
            ArgumentName="Authorization",
        )
    if not rest or scheme != ALGORITHM:
        raise S3Error(
            ErrorCode.InvalidArgument,
            f"Unsupported Authorization Type: use {ALGORITHM}.",
            ArgumentName="Authorization",
        )
    fields, signature = _split_signature(rest)
    signer = _remembered(_parse_signer, fields)
    if not signature:
        raise _malformed_header("Signature is missing.")
    time = _time_of_headers(request.headers)
    if time.day != signer.date:
        raise _malformed_header("the date of the credential is not that of x-amz-date.")
    payload_hash = _payload_hash(request, {})
    if payload_hash is None:
        raise S3Error(
            ErrorCode.InvalidRequest,
            "Missing required header for this request: x-amz-content-sha256",
        )
    return Credentials(signer, signature, time, payload_hash)


@lru_cache(maxsize=_REMEMBERED_MAX)
def _parse_signer(text: str) -> Signer:
    """Read the fields of an Authorization header, of which the signature is taken out."""
    fields: dict[str, str] = {}
    for field in text.split(","):
        name, equals, value = field.strip().partition("=")
        if not equals or name in fields or name == "Signature":
            raise _malformed_header("the authorization header is not a list of name=value.")
        fields[name] = value
    for name in ("Credential", "SignedHeaders"):
        if not fields.get(name):
            raise _malformed_header(f"{name} is missing.")
    return _signer(
        fields["Credential"], fields["SignedHeaders"], ErrorCode.AuthorizationHeaderMalformed
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
    signer = _signer(parameters["X-Amz-Credential"], parameters["X-Amz-SignedHeaders"], code)
    time = _parse_iso_basic(parameters["X-Amz-Date"])
    if time is None:
        raise S3Error(code, "X-Amz-Date must be in the ISO8601 Long Format yyyyMMdd'T'HHmmss'Z'.")
    if time.day != signer.date:
        raise S3Error(code, "The date of X-Amz-Credential is not that of X-Amz-Date.")
    expires = _parse_expires(parameters["X-Amz-Expires"])
    payload_hash = _payload_hash(request, parameters) or UNSIGNED_PAYLOAD
    return Credentials(signer, parameters["X-Amz-Signature"], time, payload_hash, expires)


def _parse_expires(text: str) -> int:
    """The lifetime of a presigned request in seconds; each fault as AWS words it."""
    reason = None
    if not _EXPIRES.fullmatch(text):
        reason = "X-Amz-Expires should be a number"
    elif text.startswith("-"):
        reason = "X-Amz-Expires must be non-negative"
    elif len(text) > 18 or int(text) > EXPIRES_SECONDS_MAX:
        reason = (
            "X-Amz-Expires must be less than a week (in seconds); that is, the given "
            f"X-Amz-Expires must be less than {EXPIRES_SECONDS_MAX} seconds"
        )
    if reason is not None:
        raise S3Error(ErrorCode.AuthorizationQueryParametersError, reason)
    return int(text)


def parse_scope(credential: str, code: ErrorCode) -> tuple[str, str, str, str]:
    """Access key, date, region and service of a credential; S3Error of this code if malformed."""
    fields = credential.rsplit("/", 4)
    is_scope = len(fields) == 5 and fields[3:] == ["s3", "aws4_request"]
    # Signing keys are remembered by date and region, before anything is proved.
    if (
        not is_scope
        or not fields[0]
        or len(fields[1]) != _DATE_CHARS
        or len(fields[2]) > _REGION_CHARS_MAX
    ):
        raise S3Error(
            code,
            "The credential is malformed; expecting "
            '"<access key>/YYYYMMDD/<region>/s3/aws4_request".',
        )
    access_key, date, region, service, _ = fields
    return access_key, date, region, service


def _signer(credential: str, signed_headers: str, code: ErrorCode) -> Signer:
    access_key, date, region, service = parse_scope(credential, code)
    names = tuple(signed_headers.split(";"))
    signed_set = frozenset(names)
    # A name twice is never signed by a client, and would let a small header be hashed many times.
    if len(signed_set) != len(names):
        raise S3Error(code, "SignedHeaders must name each header once.")
    scope = f"{date}/{region}/{service}/aws4_request"
    lines = "".join([name.replace("%", "%%") + ":%s\n" for name in names])
    pick = itemgetter(*names)
    return Signer(
        access_key, date, region, service, scope, names, signed_set, signed_headers, lines, pick
    )


def _time_of_headers(headers: Mapping[str, str], *, mail_dates: bool = False) -> SigningTime:
    """When a request says it was signed; `mail_dates` takes RFC 1123 in x-amz-date, too."""
    time: SigningTime | None = None
    if (amz_date := headers.get("x-amz-date")) is not None:
        time = _parse_iso_basic(amz_date)
        if time is None and mail_dates:
            time = _parse_rfc_1123(amz_date)
    elif (date := headers.get("date")) is not None:
        time = _parse_rfc_1123(date)
    if time is None:
        raise S3Error(
            ErrorCode.AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        )
    return time


def _parse_iso_basic(text: str) -> SigningTime | None:
    return _read_iso_basic(text) if len(text) == 16 else None


@lru_cache(maxsize=_REMEMBERED_MAX)
def _read_iso_basic(text: str) -> SigningTime | None:
    if not _ISO_BASIC.fullmatch(text):
        return None
    try:
        return SigningTime(datetime.fromisoformat(text), text)
    except ValueError:
        return None


def _parse_rfc_1123(text: str) -> SigningTime | None:
    try:
        at = parsedate_to_datetime(text)
        # "-0000" gives a naive time, which RFC 5322 wants read as UTC.
        utc = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # A clock of computers does not know what was before.
    return SigningTime.of(utc) if utc.year >= 1970 else None


def _payload_hash(request: RequestHead, parameters: Mapping[str, str]) -> str | None:
    value = parameters.get("X-Amz-Content-Sha256")
    if value is None:
        value = request.headers.get("x-amz-content-sha256")
    # Nothing is left of it, so all of it is hexadecimal.
    if value is None or value in PAYLOAD_LITERALS or (len(value) == 64 and not value.strip(_HEX)):
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
