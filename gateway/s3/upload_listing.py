"""Listing multipart uploads and their parts: reads the requests and cuts one page."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from gateway.s3.listing import (
    Folding,
    Page,
    parse_count,
    parse_encoding_type,
    parse_limit,
    start_after,
    successor,
)


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
UploadT_co = TypeVar("UploadT_co", bound=UploadRow, covariant=True)
PartT = TypeVar("PartT", bound=PartRow)


class UploadEntry(NamedTuple):
    """One upload in a listing; `initiated` in microseconds since the epoch."""

    key: bytes
    upload_id: str
    initiated: int


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


class SeekUploads(Protocol[UploadT_co]):
    """Uploads with `(key, upload_id) > after`, and `key < stop` if given.

    Sorted by key, then id, at most `limit`. Ids that grow with time make this the order of S3:
    by key, then by initiation.
    """

    def __call__(
        self, after: UploadPosition, limit: int, stop: bytes | None
    ) -> Sequence[UploadT_co]: ...


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
    seek: SeekUploads[UploadT], request: ListUploadsRequest
) -> Page[UploadT, UploadPosition]:
    """Cut the page that `request` asks for out of the uploads that `seek` reads.

    The cost depends on the size of the page alone: a group that folds into a common prefix is
    left by a seek behind it, never read to its end.

    When truncated, `last` is the NextKeyMarker; the NextUploadIdMarker is the id of the last
    entry if its key is `last`, else empty.
    """
    position, stop, most = request.start, successor(request.prefix), request.max_uploads
    if position is None or (stop is not None and position.key >= stop) or not most:
        return Page((), ())
    folding = Folding(len(request.prefix), request.delimiter) if request.delimiter else None
    page = _Growing[UploadT](most)
    batch = most + 1 if folding is None else _BATCH_MIN
    while True:
        limit = min(batch, page.room + 1)
        rows = seek(position, limit, stop)
        index = 0
        skipped = 0
        while index < len(rows):
            if not page.room:
                return page.truncated(position)
            row = rows[index]
            group = folding.common_prefix(row.key) if folding is not None else None
            if group is None:
                page.add_row(row)
                position = UploadPosition(row.key, row.upload_id)
                index += 1
                continue
            page.add_group(group)
            behind = successor(group)
            if behind is None:
                return page.whole()
            position = UploadPosition(behind, "")
            following = bisect_left(rows, behind, lo=index + 1, key=_key_of)
            skipped += following - index - 1
            index = following
        if len(rows) < limit:
            return page.whole()
        # Rows inside a group are read for nothing: read few while they are many.
        batch = max(_BATCH_MIN, batch // 4) if skipped > limit // 2 else batch * 4


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


_BATCH_MIN = 8


@dataclass(slots=True)
class _Growing(Generic[UploadT]):
    """A page while it fills; `room` is the number of names that it can still take."""

    room: int
    entries: list[UploadT] = field(default_factory=list)
    common_prefixes: list[bytes] = field(default_factory=list)
    last: bytes | None = None

    def add_row(self, row: UploadT) -> None:
        self.entries.append(row)
        self.last = row.key
        self.room -= 1

    def add_group(self, group: bytes) -> None:
        self.common_prefixes.append(group)
        self.last = group
        self.room -= 1

    def whole(self) -> Page[UploadT, UploadPosition]:
        return Page(self.entries, self.common_prefixes)

    def truncated(self, position: UploadPosition) -> Page[UploadT, UploadPosition]:
        return Page(self.entries, self.common_prefixes, True, self.last, position)


def _key_of(row: UploadRow) -> bytes:
    return row.key
