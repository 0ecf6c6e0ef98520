"""Listing the objects of a bucket: reads the request, and cuts one page out of sorted keys."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, NoReturn, Protocol, TypeVar
from urllib.parse import quote_from_bytes

from gateway.s3.errors import ErrorCode, S3Error

PAGE_NAMES_MAX = 1000


class Keyed(Protocol):
    """Anything with a key in bytes."""

    @property
    def key(self) -> bytes: ...


RowT = TypeVar("RowT", bound=Keyed)
RowT_co = TypeVar("RowT_co", bound=Keyed, covariant=True)
PositionT = TypeVar("PositionT")


class ObjectEntry(NamedTuple):
    """One object in a listing. `etag` is unquoted, `modified` in microseconds since the epoch."""

    key: bytes
    size: int
    etag: str
    modified: int
    checksum_algorithm: str | None = None
    checksum_type: str | None = None


@dataclass(frozen=True, slots=True)
class ListRequest:
    """ListObjects (version 1) or ListObjectsV2 (version 2).

    `max_names` is max-keys, already limited to 1000; an absent prefix, delimiter or marker is
    empty. `start` is the first key, inclusive, that the page may hold (None: there is none);
    marker, start-after and token are kept for the answer, which repeats them.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
    """

    version: int
    prefix: bytes
    delimiter: bytes
    max_names: int
    url_encoded: bool
    start: bytes | None
    marker: bytes = b""
    start_after: bytes = b""
    continuation_token: str | None = None
    fetch_owner: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[RowT_co, PositionT]):
    """One page of a listing.

    `last` is the last name on the page, a key or a common prefix. `next_position` is where the
    next page starts; both are None unless `is_truncated`.
    """

    entries: Sequence[RowT_co]
    common_prefixes: Sequence[bytes]
    is_truncated: bool = False
    last: bytes | None = None
    next_position: PositionT | None = None


class Seek(Protocol[RowT_co]):
    """Rows with `start <= row.key`, and `row.key < stop` if given; sorted by key, at most `limit`.

    All calls for one page must see the same state of the bucket.
    """

    def __call__(self, start: bytes, limit: int, stop: bytes | None) -> Sequence[RowT_co]: ...


def parse_list_objects(query: Mapping[str, str]) -> ListRequest:
    """Read a ListObjects request (version 1). Raises S3Error InvalidArgument."""
    prefix, delimiter = _bytes(query, "prefix"), _bytes(query, "delimiter")
    marker = _bytes(query, "marker")
    return ListRequest(
        version=1,
        prefix=prefix,
        delimiter=delimiter,
        max_names=parse_limit(query, "max-keys"),
        url_encoded=parse_encoding_type(query),
        start=start_after(marker, prefix, delimiter),
        marker=marker,
    )


def parse_list_objects_v2(query: Mapping[str, str]) -> ListRequest:
    """Read a ListObjectsV2 request; a token wins over start-after.

    Raises S3Error InvalidArgument.
    """
    if query.get("list-type", "2") != "2":
        _refuse_argument("list-type", query["list-type"])
    prefix, delimiter = _bytes(query, "prefix"), _bytes(query, "delimiter")
    after = _bytes(query, "start-after")
    token = query.get("continuation-token") or None
    if token is None:
        start = start_after(after, prefix, delimiter)
    else:
        start = max(decode_token(token), prefix)
    return ListRequest(
        version=2,
        prefix=prefix,
        delimiter=delimiter,
        max_names=parse_limit(query, "max-keys"),
        url_encoded=parse_encoding_type(query),
        start=start,
        start_after=after,
        continuation_token=token,
        fetch_owner=query.get("fetch-owner") == "true",
    )


def list_page(seek: Seek[RowT], request: ListRequest) -> Page[RowT, bytes]:
    """Cut the page that `request` asks for out of the bucket that `seek` reads.

    The cost depends on the size of the page alone: a group that folds into a common prefix is
    left by a seek behind it, never read to its end.
    """
    stop = successor(request.prefix)
    if request.start is None or (stop is not None and request.start >= stop):
        return Page((), ())
    return fold_page(
        seek=lambda start, limit: seek(start, limit, stop),
        start=request.start,
        after_row=lambda row: row.key + b"\0",
        after_group=successor,
        prefix=request.prefix,
        delimiter=request.delimiter,
        max_names=request.max_names,
    )


def fold_page(
    *,
    seek: Callable[[PositionT, int], Sequence[RowT]],
    start: PositionT,
    after_row: Callable[[RowT], PositionT],
    after_group: Callable[[bytes], PositionT | None],
    prefix: bytes,
    delimiter: bytes,
    max_names: int,
) -> Page[RowT, PositionT]:
    """Walk sorted rows that all start with `prefix`, folding them at the first delimiter after it.

    `seek(position, limit)` returns at most `limit` rows from a position on; `after_row` and
    `after_group` name the positions behind a row, and behind all keys that start with a common
    prefix (None if nothing can come there). A common prefix counts once, like a key.
    """
    if max_names == 0:
        return Page((), ())
    page = _Growing[RowT](max_names)
    position: PositionT = start
    batch = max_names + 1 if not delimiter else _BATCH_MIN
    while True:
        limit = min(batch, page.room + 1)
        rows = seek(position, limit)
        index = 0
        skipped = 0
        while index < len(rows):
            if not page.room:
                return page.truncated(position)
            row = rows[index]
            end = row.key.find(delimiter, len(prefix)) if delimiter else -1
            if end < 0:
                page.add_row(row)
                position = after_row(row)
                index += 1
                continue
            group = row.key[: end + len(delimiter)]
            page.add_group(group)
            behind, beyond = after_group(group), successor(group)
            if behind is None or beyond is None:
                return page.whole()
            position = behind
            following = bisect_left(rows, beyond, lo=index + 1, key=_key_of)
            skipped += following - index - 1
            index = following
        if len(rows) < limit:
            return page.whole()
        # Rows inside a group are read for nothing: read few while they are many.
        batch = max(_BATCH_MIN, batch // 4) if skipped > limit // 2 else batch * 4


def start_after(marker: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The first key, inclusive, of a listing that continues after `marker`; None if there is none.

    A marker that is a common prefix, or lies inside its group, continues behind the group: a
    common prefix was already listed where its group began.
    """
    if not marker or marker < prefix:
        return prefix
    if delimiter and marker.startswith(prefix):
        end = marker.find(delimiter, len(prefix))
        if end >= 0:
            return successor(marker[: end + len(delimiter)])
    return marker + b"\0"


def successor(prefix: bytes) -> bytes | None:
    """The smallest bytes above everything that starts with `prefix`; None if there are none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None


def encode_token(position: bytes) -> str:
    """The continuation token for the position where the next page starts."""
    return base64.urlsafe_b64encode(_TOKEN_VERSION + position).decode()


def decode_token(token: str) -> bytes:
    """The position in a token of `encode_token`. Raises S3Error InvalidArgument."""
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    if not raw.startswith(_TOKEN_VERSION):
        _refuse_argument(
            "continuation-token", token, "The continuation token provided is incorrect."
        )
    return raw[len(_TOKEN_VERSION) :]


def encode_name(name: bytes, *, url_encoded: bool) -> str:
    """A key or prefix as a listing shows it: percent-encoded if asked for, `/` untouched."""
    return quote_from_bytes(name) if url_encoded else name.decode()


def parse_limit(query: Mapping[str, str], name: str) -> int:
    """Read max-keys and its kin: absent is 1000, more is 1000. Raises S3Error InvalidArgument."""
    return min(parse_count(query, name, default=PAGE_NAMES_MAX), PAGE_NAMES_MAX)


def parse_count(query: Mapping[str, str], name: str, *, default: int) -> int:
    """Read a number from 0 to 2^31 - 1; empty is absent. Raises S3Error InvalidArgument."""
    text = query.get(name) or ""
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**31):
        message = f"Argument {name} must be an integer between 0 and 2147483647."
        _refuse_argument(name, text, message)
    return int(text)


def parse_encoding_type(query: Mapping[str, str]) -> bool:
    """Whether names are to be percent-encoded. Raises S3Error InvalidArgument."""
    value = query.get("encoding-type", "")
    if value not in ("", "url"):
        _refuse_argument("encoding-type", value, "Invalid Encoding Method specified in Request")
    return value == "url"


_BATCH_MIN = 8
_TOKEN_VERSION = b"\x01"


@dataclass(slots=True)
class _Growing(Generic[RowT]):
    """A page while it fills; `room` is the number of names that it can still take."""

    room: int
    entries: list[RowT] = field(default_factory=list)
    common_prefixes: list[bytes] = field(default_factory=list)
    last: bytes | None = None

    def add_row(self, row: RowT) -> None:
        self.entries.append(row)
        self.last = row.key
        self.room -= 1

    def add_group(self, group: bytes) -> None:
        self.common_prefixes.append(group)
        self.last = group
        self.room -= 1

    def whole(self) -> Page[RowT, PositionT]:
        return Page(self.entries, self.common_prefixes)

    def truncated(self, position: PositionT) -> Page[RowT, PositionT]:
        return Page(self.entries, self.common_prefixes, True, self.last, position)


def _key_of(row: Keyed) -> bytes:
    return row.key


def _bytes(query: Mapping[str, str], name: str) -> bytes:
    return query.get(name, "").encode()


def _refuse_argument(name: str, value: str, message: str | None = None) -> NoReturn:
    raise S3Error(ErrorCode.InvalidArgument, message, ArgumentName=name, ArgumentValue=value)
