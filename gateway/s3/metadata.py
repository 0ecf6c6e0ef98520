"""What a client stores beside the bytes: headers in, a frozen value, headers out again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.unsupported_headers import refuse_unsupported_headers

USER_PREFIX = "x-amz-meta-"
USER_BYTES_MAX = 2048
DEFAULT_CONTENT_TYPE = "binary/octet-stream"


@dataclass(frozen=True, slots=True)
class ObjectMetadata:
    """The metadata of one object.

    `user` are pairs of a lower-case name, without `x-amz-meta-`, and its value, in the order
    sent. The rest are header values as sent, None if there was none. Bytes that are not UTF-8 are
    lone surrogates in all of them (`surrogateescape`), and go out again as the bytes they were.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
    """

    user: tuple[tuple[str, str], ...] = ()
    content_type: str = DEFAULT_CONTENT_TYPE
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    expires: str | None = None
    website_redirect: str | None = None

    def response_headers(self) -> dict[str, str]:
        """The headers that give the metadata back; control bytes, if any came in, are spaces."""
        return {name: _CONTROL.sub(" ", value) for name, value in self._headers()}

    def to_record(self) -> dict[str, str]:
        """A plain dictionary to store: lower-case header names to values, no lone surrogates."""
        return dict(_to_entry(name.lower(), value) for name, value in self._headers())

    @classmethod
    def from_record(cls, record: Mapping[str, str]) -> ObjectMetadata:
        """The value that `to_record` wrote."""
        headers = dict(_from_entry(*entry) for entry in record.items())
        system = {
            attribute: headers[name.lower()]
            for name, attribute in _SYSTEM_HEADERS.items()
            if name.lower() in headers
        }
        user = tuple(
            (name.removeprefix(USER_PREFIX), value)
            for name, value in headers.items()
            if name.startswith(USER_PREFIX)
        )
        return cls(user, **system)

    def _headers(self) -> Iterable[tuple[str, str]]:
        for name, attribute in _SYSTEM_HEADERS.items():
            value = getattr(self, attribute)
            if value is not None:
                yield name, value
        for name, value in self.user:
            yield USER_PREFIX + name, value


def parse_metadata(
    headers: Iterable[tuple[str, str]], own_name: str | None = None
) -> ObjectMetadata:
    """Read the metadata out of the headers of PutObject or CreateMultipartUpload.

    `headers` are pairs in the order sent, repeated names included, those that presigning put
    in the query appended. Names fold to lower case, values are trimmed, repeated names joined
    with a comma. The header `own_name` is the server's own and dropped.

    Raises S3Error: MetadataTooLarge for more than 2048 bytes of user names and values;
    NotImplemented for a header that asks for encryption; InvalidRedirectLocation;
    InvalidStorageClass; InvalidArgument for a nameless or control bytes.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.lower()
        if name[:6] != "x-amz-" and name not in _SYSTEM_NAMES:
            continue
        value = raw_value.strip(" \t")
        found[name] = f"{found[name]},{value}" if name in found else value
    refuse_unsupported_headers(found)
    _check_storage_class(found)
    user = tuple(
        (name.removeprefix(USER_PREFIX), _check_value(name, value))
        for name, value in found.items()
        if name.startswith(USER_PREFIX) and name != own_name
    )
    _check_user(user)
    system = {
        attribute: _check_value(name, found[lower])
        for lower, (name, attribute) in _SYSTEM_NAMES.items()
        # An empty header is the same as none.
        if found.get(lower)
    }
    if "content_encoding" in system:
        stored = _without_aws_chunked(system.pop("content_encoding"))
        if stored:
            system["content_encoding"] = stored
    if "website_redirect" in system:
        _check_redirect(system["website_redirect"])
    return ObjectMetadata(user, **system)


def copied_metadata(source: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The record of a copy that takes over its source's: a redirect alone is as given, or none.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """

    def redirects(name: str) -> bool:
        return name.removesuffix(_LATIN_1) == REDIRECT

    return {name: value for name, value in source.items() if not redirects(name)} | {
        name: value for name, value in given.items() if redirects(name)
    }


def response_overrides(query: Mapping[str, str]) -> dict[str, str]:
    """The headers that `response-content-type=…` and its kin put in place of the stored ones.

    The caller allows them on authenticated requests only. Raises S3Error InvalidArgument for
    control bytes.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    return {
        name: _check_value(parameter, query[parameter])
        for parameter, name in _OVERRIDES.items()
        if query.get(parameter)
    }


def upload_algorithms(metadata: ObjectMetadata) -> tuple[str | None, str | None]:
    """The compression and the encryption that the client says it applied to the bytes.

    Auto Drive reads them from x-amz-meta-compression (`ZLIB`) and x-amz-meta-encryption
    (`AES_256_GCM`) and writes them into the root of the file, so they decide its CID. Any
    other value is plain user metadata.
    """
    user = dict(metadata.user)
    compression = COMPRESSION if user.get("compression") == COMPRESSION else None
    encryption = ENCRYPTION if user.get("encryption") == ENCRYPTION else None
    return compression, encryption


COMPRESSION = "ZLIB"
ENCRYPTION = "AES_256_GCM"

_SYSTEM_HEADERS = {
    "Content-Type": "content_type",
    "Cache-Control": "cache_control",
    "Content-Disposition": "content_disposition",
    "Content-Encoding": "content_encoding",
    "Content-Language": "content_language",
    "Expires": "expires",
    "x-amz-website-redirect-location": "website_redirect",
}
_SYSTEM_NAMES = {name.lower(): (name, attribute) for name, attribute in _SYSTEM_HEADERS.items()}
_OVERRIDES = {
    f"response-{name.lower()}": name for name in _SYSTEM_HEADERS if not name.startswith("x-amz-")
}
REDIRECT = "x-amz-website-redirect-location"
REDIRECT_BYTES_MAX = 2048
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
# Only queries and forms can carry such a name, and given back it would be another header.
_NO_NAME = re.compile("[\x00-\x20:\x7f]")
# Marks a record's entry whose text stands for bytes, one a character; no name ends like this.
_LATIN_1 = ":latin-1"

# All are stored alike: a class of AWS is a price, and permanent storage has only one.
_STORAGE_CLASSES = frozenset(
    {
        *("", "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING"),
        *("GLACIER", "GLACIER_IR", "DEEP_ARCHIVE", "EXPRESS_ONEZONE", "OUTPOSTS", "SNOW"),
    }
)


def _as_sent(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _to_entry(name: str, value: str) -> tuple[str, str]:
    """What a record, which is UTF-8, says of a header; of one that is not, that it is Latin-1."""
    if value.isascii():
        return name, value
    raw = _as_sent(value)
    try:
        return name, raw.decode()
    except UnicodeDecodeError:
        return name + _LATIN_1, raw.decode("latin-1")


def _from_entry(name: str, value: str) -> tuple[str, str]:
    if not name.endswith(_LATIN_1):
        return name, value
    raw = value.encode("latin-1")
    return name.removesuffix(_LATIN_1), raw.decode("utf-8", "surrogateescape")


def _check_value(name: str, value: str) -> str:
    if _CONTROL.search(value):
        _refuse_argument(name, value)
    return value


def _check_user(user: Iterable[tuple[str, str]]) -> None:
    size = 0
    for name, value in user:
        if not name or _NO_NAME.search(name):
            _refuse_argument(USER_PREFIX + name, value)
        size += len(name.encode()) + len(_as_sent(value))
    if size > USER_BYTES_MAX:
        raise S3Error(ErrorCode.MetadataTooLarge, Size=size, MaxSizeAllowed=USER_BYTES_MAX)


def _check_redirect(location: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-to-page-redirect.html"""
    if not location.startswith(("/", "http://", "https://")):
        raise S3Error(ErrorCode.InvalidRedirectLocation)
    if len(_as_sent(location)) > REDIRECT_BYTES_MAX:
        raise S3Error(
            ErrorCode.InvalidRedirectLocation,
            f"The length of website redirect location cannot exceed {REDIRECT_BYTES_MAX} bytes.",
        )


def _check_storage_class(headers: Mapping[str, str]) -> None:
    if headers.get("x-amz-storage-class", "") not in _STORAGE_CLASSES:
        raise S3Error(ErrorCode.InvalidStorageClass)


def _without_aws_chunked(value: str) -> str:
    """The encodings of the object, without the one that only frames the request."""
    encodings = [encoding.strip() for encoding in value.split(",")]
    kept = [encoding for encoding in encodings if encoding.lower() != "aws-chunked"]
    return value if len(kept) == len(encodings) else ",".join(filter(None, kept))


def _refuse_argument(name: str, value: str) -> NoReturn:
    raise S3Error(ErrorCode.InvalidArgument, ArgumentName=name, ArgumentValue=value)
