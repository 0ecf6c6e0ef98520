"""The part list of CompleteMultipartUpload, checked against the parts that are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.etags import composite_etag, part_digest, quote_etag, unquote_etag
from gateway.s3.ranges import ByteSpan

PART_NUMBER_MAX = 10_000
PART_BYTES_MIN = 5 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RequestedPart:
    """A part as the client names it; `etag` as sent, quoted or not.

    `checksums` are pairs of an XML element and its base64 value: `("ChecksumCRC32", "AAAAAA==")`.
    """

    number: int
    etag: str
    checksums: tuple[tuple[str, str], ...] = ()


class StoredPart(Protocol):
    """A part that was uploaded: its size in bytes, its ETag unquoted."""

    @property
    def number(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def etag(self) -> str: ...
    @property
    def checksums(self) -> tuple[tuple[str, str], ...]: ...


PartT = TypeVar("PartT", bound=StoredPart)


def match_parts(
    requested: Sequence[RequestedPart],
    stored: Mapping[int, PartT],
    *,
    part_bytes_min: int = PART_BYTES_MIN,
) -> list[PartT]:
    """The stored parts that make up the object, in order; parts not requested are left out.

    `stored` is keyed by part number. Raises S3Error: MalformedXML for an empty list,
    InvalidPartOrder unless numbers ascend (gaps are fine), InvalidPart for a number, ETag or
    checksum that is not a stored part's, EntityTooSmall for a part below `part_bytes_min` that
    is not the last.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    """
    if not requested:
        raise S3Error(ErrorCode.MalformedXML)
    for earlier, later in pairwise(requested):
        if later.number <= earlier.number:
            raise S3Error(ErrorCode.InvalidPartOrder)
    parts = [_match(part, stored.get(part.number)) for part in requested]
    for part in parts[:-1]:
        if part.size < part_bytes_min:
            raise S3Error(
                ErrorCode.EntityTooSmall,
                ProposedSize=part.size,
                MinSizeAllowed=part_bytes_min,
                PartNumber=part.number,
                ETag=quote_etag(part.etag),
            )
    return parts


def gives_etag(requested: Sequence[RequestedPart], etag: str) -> bool:
    """Whether an object of these parts has this ETag (unquoted)."""
    try:
        return composite_etag(part_digest(part.etag) for part in requested) == etag
    except ValueError:
        return False


def require_checksums(requested: Sequence[RequestedPart], algorithm: str) -> None:
    """Refuse a list without the checksums of its parts: a COMPOSITE upload's has them.

    Raises S3Error InvalidRequest.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    """
    for part in requested:
        if f"Checksum{algorithm}" not in dict(part.checksums):
            raise S3Error(
                ErrorCode.InvalidRequest,
                f"The upload was created using a {algorithm.lower()} checksum. The complete "
                "request must include the checksum for each part. It was missing for part "
                f"{part.number} in the request.",
            )


def part_span(
    number: int, part_sizes: Sequence[tuple[int, int]], object_bytes: int
) -> ByteSpan | None:
    """Where a part lies in its object; None for an empty object, which has no range to name.

    `part_sizes` are (bytes, how many parts in a row), none for an object put in one piece, which
    counts as its own only part. Raises S3Error InvalidPartNumber for a part beyond the last.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    start, first = 0, 1
    for size, count in part_sizes or ((object_bytes, 1),):
        if number < first + count:
            start += (number - first) * size
            return ByteSpan(start, start + size) if size else None
        start += size * count
        first += count
    raise S3Error(
        ErrorCode.InvalidPartNumber, ActualPartCount=first - 1, PartNumberRequested=number
    )


def parse_part_number(text: str) -> int:
    """Read a partNumber, 1 to 10000. Raises S3Error InvalidArgument."""
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= PART_NUMBER_MAX:
        return int(text)
    raise S3Error(
        ErrorCode.InvalidArgument,
        f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive",
        ArgumentName="partNumber",
        ArgumentValue=text,
    )


def _match(wanted: RequestedPart, stored: PartT | None) -> PartT:
    if (
        stored is None
        or unquote_etag(wanted.etag).lower() != stored.etag.lower()
        # A checksum we never computed cannot be vouched for either.
        or not set(wanted.checksums) <= set(stored.checksums)
    ):
        raise S3Error(ErrorCode.InvalidPart, PartNumber=wanted.number, ETag=wanted.etag)
    return stored
