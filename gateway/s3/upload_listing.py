"""Listing multipart uploads and their parts: reads the requests and cuts one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from gateway.s3.listing import (
    Page,
    parse_count,
    parse_encoding_type,
    parse_limit,
    start_after,
)
from gateway.s3.paging import SeekRows, cut_page


class UploadPosition(NamedTuple):
    """A place between uploads: behind `(key, upload_id)`. No upload has an empty id."""

    key: bytes
    upload_id: str


class UploadRow(Protocol):
    """An upload in progress, with its key and id."""

    @property
    def key(self) -> bytes: ...

    @property
    def upload_id(self) -> str: ...


class PartRow(Protocol):
    """A part, with its number."""

    @property
    def number(self) -> int: ...


UploadT = TypeVar("UploadT", bound=UploadRow)
PartT = TypeVar("PartT", bound=PartRow)


class UploadEntry(NamedTuple):
    """One upload in a listing; `initiated` in microseconds since the epoch.

    `checksum` is the algorithm and the type asked for, as in an ObjectEntry. `owner` is the account
    that the object will belong to, if it is not that of the bucket.
    """

    key: bytes
    upload_id: str
    initiated: int
    checksum: str | None = None
    owner: str | None = None


class PartEntry(NamedTuple):
    """One part in a listing; `etag` unquoted, `modified` in microseconds since the epoch.

    `checksums` are pairs of an XML element and its base64 value: `("ChecksumCRC32", "AAAAAA==")`.
    """

    number: int
    size: int
    etag: str
    modified: int
    checksums: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ListUploadsRequest:
    """ListMultipartUploads. `start` is where the page starts; None: nothing can be there.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
    """

    prefix: bytes
    delimiter: bytes
    max_uploads: int
    url_encoded: bool
    key_marker: bytes
    upload_id_marker: str
    start: UploadPosition | None


@dataclass(frozen=True, slots=True)
class ListPartsRequest:
    """ListParts: at most `max_parts` parts with numbers above `marker`.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html
    """

    marker: int
    max_parts: int
    url_encoded: bool


@dataclass(frozen=True, slots=True)
class PartsPage(Generic[PartT]):
    """One page of parts; `next_marker` is the number of its last part, 0 if it has none."""

    parts: Sequence[PartT]
    is_truncated: bool
    next_marker: int


def parse_list_uploads(query: Mapping[str, str]) -> ListUploadsRequest:
    """Read a ListMultipartUploads request. Raises S3Error InvalidArgument.

    An upload-id-marker without a key-marker is ignored, as S3 says.
    """
    prefix = query.get("prefix", "").encode()
    delimiter = query.get("delimiter", "").encode()
    key_marker = query.get("key-marker", "").encode()
    upload_id_marker = query.get("upload-id-marker", "") if key_marker else ""
    key = start_after(key_marker, prefix, delimiter)
    start = None if key is None else UploadPosition(key, "")
    if upload_id_marker and key == key_marker + b"\0":
        # Uploads of the same key may follow; it is neither before the prefix nor in a group.
        start = UploadPosition(key_marker, upload_id_marker)
    return ListUploadsRequest(
        prefix=prefix,
        delimiter=delimiter,
        max_uploads=parse_limit(query, "max-uploads"),
        url_encoded=parse_encoding_type(query),
        key_marker=key_marker,
        upload_id_marker=upload_id_marker,
        start=start,
    )


def list_uploads_page(
    seek: SeekRows[UploadT, UploadPosition], request: ListUploadsRequest
) -> Page[UploadT, UploadPosition]:
    """Cut the page that `request` asks for out of the uploads that `seek` reads.

    `seek` finds uploads by key, then id: ids that grow with time make this the order of S3, by
    key, then by initiation. When truncated, `last` is the NextKeyMarker; the NextUploadIdMarker
    is the id of the last entry if its key is `last`, else empty.
    """
    return cut_page(
        seek,
        request.start,
        request.prefix,
        request.delimiter,
        request.max_uploads,
        behind=lambda row: UploadPosition(row.key, row.upload_id),
        at_key=lambda key: UploadPosition(key, ""),
    )


def parse_list_parts(query: Mapping[str, str]) -> ListPartsRequest:
    """Read a ListParts request. Raises S3Error InvalidArgument."""
    return ListPartsRequest(
        marker=parse_count(query, "part-number-marker", default=0),
        max_parts=parse_limit(query, "max-parts"),
        url_encoded=parse_encoding_type(query),
    )


def parts_page(rows: Sequence[PartT], request: ListPartsRequest) -> PartsPage[PartT]:
    """Cut one page from sorted parts with numbers above the marker.

    One part more than `max_parts` must be among them if there is one.
    """
    parts = rows[: request.max_parts]
    truncated = bool(parts) and len(rows) > len(parts)
    return PartsPage(parts, truncated, parts[-1].number if parts else 0)
