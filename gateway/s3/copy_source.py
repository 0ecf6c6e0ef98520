"""Where a copy comes from and what it takes over: the x-amz-copy-source header and its kin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn
from urllib.parse import unquote_to_bytes

from gateway.s3.address import KEY_BYTES_MAX, check_bucket_name
from gateway.s3.checksums import ChecksumAlgorithm, copied_checksum
from gateway.s3.conditions import COPY_PREFIX, RENAME_PREFIX, Conditions, parse_source_conditions
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.metadata import REDIRECT
from gateway.s3.ranges import ByteSpan

COPY_SOURCE = "x-amz-copy-source"
COPY_SOURCE_RANGE = "x-amz-copy-source-range"
RENAME_SOURCE = "x-amz-rename-source"


class CopySource(NamedTuple):
    """The object that a copy is made of; `version_id` is None for what its key shows now."""

    bucket: str
    key: bytes
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class CopyWish:
    """What CopyObject asks for besides its source and its destination.

    `checksum` is the algorithm that the copy is to have a checksum of, None for the source's own.
    `changes` tells whether a copy of an object onto itself would change anything.
    """

    conditions: Conditions
    replaces_metadata: bool
    replaces_tags: bool
    checksum: ChecksumAlgorithm | None = None
    changes: bool = False


def parse_copy_source(value: str) -> CopySource:
    """Read x-amz-copy-source: `/bucket/key` or `bucket/key`, `?versionId=…` behind it.

    It is percent-decoded once, its slashes too, and `+` is a plus sign; what follows the last
    literal `?versionId=` is the version. Raises S3Error InvalidArgument for anything else.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """
    raw, found, version_id = value.rpartition("?versionId=")
    path = _decode((raw if found else value).encode("utf-8", "surrogateescape"), value)
    bucket, slash, key = path.removeprefix(b"/").partition(b"/")
    if not (bucket and slash and key):
        _refuse(value, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    if len(key) > KEY_BYTES_MAX:
        _refuse(value, "Invalid copy source object key")
    name = bucket.decode()
    try:
        check_bucket_name(name)
    except S3Error:
        _refuse(value, "Invalid copy source bucket name")
    return CopySource(name, key, version_id if found else None)


def parse_copy_wish(headers: Mapping[str, str]) -> CopyWish:
    """Read what the headers of CopyObject (lower-case names) ask for.

    Raises S3Error: InvalidArgument for an unknown directive, InvalidRequest for an unknown
    checksum algorithm.
    """
    replaces_metadata = _replaces(headers, "x-amz-metadata-directive", "metadata")
    replaces_tags = _replaces(headers, "x-amz-tagging-directive", "tagging")
    checksum = copied_checksum(headers)
    changed = any(headers.get(name) for name in ("x-amz-storage-class", REDIRECT))
    changes = replaces_metadata or checksum is not None or changed
    return CopyWish(
        parse_source_conditions(headers, COPY_PREFIX),
        replaces_metadata,
        replaces_tags,
        checksum,
        changes,
    )


def parse_rename_source(headers: Mapping[str, str]) -> bytes:
    """Read x-amz-rename-source: a key of the same bucket, percent-encoded, perhaps with a slash.

    Raises S3Error: InvalidRequest without the header, InvalidArgument for what is no key.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_RenameObject.html
    """
    value = headers.get(RENAME_SOURCE)
    if value is None:
        raise S3Error(ErrorCode.InvalidRequest, f"Missing required header: {RENAME_SOURCE}")
    key = _decode(value.removeprefix("/").encode("utf-8", "surrogateescape"), value, RENAME_SOURCE)
    if not 0 < len(key) <= KEY_BYTES_MAX:
        _refuse(value, "Invalid rename source object key", RENAME_SOURCE)
    return key


def parse_rename_wish(headers: Mapping[str, str]) -> CopyWish:
    """What RenameObject asks for besides source and destination: all of it goes along.

    Raises S3Error NotImplemented for dates as conditions on the destination.
    """
    for name in ("if-modified-since", "if-unmodified-since"):
        if name in headers:
            raise S3Error(ErrorCode.NotImplemented, Header=name)
    conditions = parse_source_conditions(headers, RENAME_PREFIX)
    return CopyWish(conditions, replaces_metadata=False, replaces_tags=False)


def copy_span(header: str | None, size: int) -> ByteSpan:
    """The span of a source of `size` bytes that UploadPartCopy takes: all of it by default.

    Raises S3Error: InvalidArgument unless the header is `bytes=first-last`, InvalidRange where
    the source has no such bytes, as Ceph's gateway and its tests have it (AWS: InvalidArgument).

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
    """
    if header is None:
        return ByteSpan(0, size)
    match = _RANGE.fullmatch(header)
    if match is None or int(match[1]) > int(match[2]):
        raise S3Error(
            ErrorCode.InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
            ArgumentName=COPY_SOURCE_RANGE,
            ArgumentValue=header,
        )
    span = ByteSpan(int(match[1]), int(match[2]) + 1)
    if span.stop > size:
        raise S3Error(
            ErrorCode.InvalidRange,
            f"Range specified is not valid for source object of size: {size}",
            RangeRequested=header,
            ActualObjectSize=size,
        )
    return span


_BROKEN_ESCAPE = re.compile(b"%(?![0-9A-Fa-f]{2})")
_RANGE = re.compile("bytes=([0-9]{1,19})-([0-9]{1,19})")


def _replaces(headers: Mapping[str, str], name: str, subject: str) -> bool:
    """Whether a directive (COPY by default) says REPLACE. Raises S3Error InvalidArgument."""
    directive = headers.get(name, "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise S3Error(
            ErrorCode.InvalidArgument,
            f"Unknown {subject} directive.",
            ArgumentName=name,
            ArgumentValue=directive,
        )
    return directive == "REPLACE"


def _decode(raw: bytes, value: str, header: str = COPY_SOURCE) -> bytes:
    decoded = unquote_to_bytes(raw)
    try:
        decoded.decode()
    except UnicodeDecodeError:
        _refuse(value, "Invalid encoding of the source.", header)
    if _BROKEN_ESCAPE.search(raw) or b"\0" in decoded:
        _refuse(value, "Invalid encoding of the source.", header)
    return decoded


def _refuse(value: str, message: str, header: str = COPY_SOURCE) -> NoReturn:
    raise S3Error(ErrorCode.InvalidArgument, message, ArgumentName=header, ArgumentValue=value)
