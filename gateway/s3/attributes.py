"""GetObjectAttributes: which attributes are asked for, and which of the parts are on the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from gateway.s3.checksums import ChecksumAlgorithm, encode_digest
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.listing import PAGE_NAMES_MAX, parse_count

MAX_PARTS = "x-amz-max-parts"
PART_MARKER = "x-amz-part-number-marker"


class Attribute(Enum):
    """What GetObjectAttributes can be asked for; a value is the name on the wire."""

    ETAG = "ETag"
    CHECKSUM = "Checksum"
    PARTS = "ObjectParts"
    STORAGE_CLASS = "StorageClass"
    SIZE = "ObjectSize"


@dataclass(frozen=True, slots=True)
class AttributesRequest:
    """A GetObjectAttributes request; of the parts, those behind number `part_marker`."""

    attributes: frozenset[Attribute]
    max_parts: int
    part_marker: int


@dataclass(frozen=True, slots=True)
class AttributedPart:
    """One part: its size in bytes, and its checksum as XML elements."""

    number: int
    size: int
    checksums: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class AttributedParts:
    """A page of the parts of an object that has `count` of them."""

    count: int
    parts: Sequence[AttributedPart]
    is_truncated: bool

    @property
    def next_marker(self) -> int:
        """The number of the last part on the page; 0 for an empty one."""
        return self.parts[-1].number if self.parts else 0


def parse_attributes(headers: Mapping[str, str]) -> AttributesRequest:
    """Read the headers (lower-case names) of GetObjectAttributes.

    Raises S3Error: InvalidRequest without x-amz-object-attributes, InvalidArgument for an unknown
    attribute and for numbers that are none.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html
    """
    value = headers.get("x-amz-object-attributes", "")
    names = [name.strip() for name in value.split(",") if name.strip()]
    if not names:
        raise S3Error(
            ErrorCode.InvalidRequest,
            "The x-amz-object-attributes header specifying the attributes to be retrieved is "
            "either missing or empty",
        )
    known = {attribute.value: attribute for attribute in Attribute}
    if not known.keys() >= set(names):
        raise S3Error(
            ErrorCode.InvalidArgument,
            "Invalid attribute name specified.",
            ArgumentName="x-amz-object-attributes",
            ArgumentValue=value,
        )
    return AttributesRequest(
        frozenset(known[name] for name in names),
        min(parse_count(headers, MAX_PARTS, default=PAGE_NAMES_MAX), PAGE_NAMES_MAX),
        parse_count(headers, PART_MARKER, default=0),
    )


def attributed_parts(
    request: AttributesRequest,
    part_sizes: Sequence[tuple[int, int]],
    algorithm: ChecksumAlgorithm | None,
    digests: bytes,
) -> AttributedParts:
    """The page of parts that a request asks for.

    `part_sizes` are (bytes, how many parts in a row); `digests` are those of all parts, side by
    side, empty where there are none.
    """
    count = sum(repeated for _, repeated in part_sizes)
    sizes = (size for size, repeated in part_sizes for _ in range(repeated))
    numbered = islice(enumerate(sizes, start=1), request.part_marker, None)
    parts = [
        AttributedPart(number, size, tuple(_elements(algorithm, digests, number)))
        for number, size in islice(numbered, request.max_parts)
    ]
    return AttributedParts(count, parts, request.part_marker + len(parts) < count)


def part_checksum(algorithm: ChecksumAlgorithm, digests: bytes, number: int) -> str | None:
    """The checksum of one part out of those of all, in base64; None where there is none."""
    start = (number - 1) * algorithm.digest_bytes
    digest = digests[start : start + algorithm.digest_bytes]
    return encode_digest(digest) if len(digest) == algorithm.digest_bytes else None


def _elements(
    algorithm: ChecksumAlgorithm | None, digests: bytes, number: int
) -> Iterator[tuple[str, str]]:
    value = part_checksum(algorithm, digests, number) if algorithm is not None else None
    if algorithm is not None and value is not None:
        yield f"Checksum{algorithm.name}", value
