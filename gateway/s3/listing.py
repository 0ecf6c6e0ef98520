"""Listing the objects of a bucket: reads the request, and cuts one page out of sorted keys."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, NoReturn, Protocol, TypeVar
from urllib.parse import quote_from_bytes

from gateway.s3.errors import ErrorCode, S3Error

PAGE_NAMES_MAX = 1000


EntryT_co = TypeVar("EntryT_co", covariant=True)
PositionT = TypeVar("PositionT")

# One object in a listing: key, size in bytes, ETag in ASCII without its quotes, microseconds since
# the epoch, algorithm and type of its checksum (`CRC32 FULL_OBJECT`) if it has one. A plain tuple,
# as the catalog gives it out: a page has a thousand of them.
ObjectEntry = tuple[bytes, int, bytes, int, str | None]


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


class Folding(NamedTuple):
    """Keys fold into a common prefix at the first `delimiter` from their byte `begin` on.

    `begin` is the length of the listing's prefix. Delimiters are UTF-8: none ends in 0xff.
    """

    begin: int
    delimiter: bytes

    def common_prefix(self, key: bytes) -> bytes | None:
        """What the key folds into; None where it is listed itself."""
        found = key.find(self.delimiter, self.begin)
        return key[: found + len(self.delimiter)] if found >= 0 else None


@dataclass(frozen=True, slots=True)
class Page(Generic[EntryT_co, PositionT]):
    """One page of a listing.

    `last` is the last name on the page, a key or a common prefix. `next_position` is where the
    next page starts; both are None unless `is_truncated`.
    """

    entries: Sequence[EntryT_co]
    common_prefixes: Sequence[bytes]
    is_truncated: bool = False
    last: bytes | None = None
    next_position: PositionT | None = None


class Seek(Protocol):
    """Objects with `start <= key`, and `key < stop` if given; sorted by key, at most `limit`.

    With a `folding` only the first of those that fold into one common prefix is among them.
    """

    def __call__(
        self, start: bytes, stop: bytes | None, limit: int, folding: Folding | None
    ) -> Sequence[ObjectEntry]: ...


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
    token = query.get("continuation-token")
    if token:
        start: bytes | None = max(decode_token(token), prefix)
    else:
        # An empty token is the start, and is repeated in the answer as any other.
        start = start_after(after, prefix, delimiter)
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


def list_page(seek: Seek, request: ListRequest) -> Page[ObjectEntry, bytes]:
    """Cut the page that `request` asks for out of the bucket that `seek` reads, in one call."""
    start, stop, most = request.start, successor(request.prefix), request.max_names
    if start is None or (stop is not None and start >= stop) or not most:
        return Page((), ())
    folding = Folding(len(request.prefix), request.delimiter) if request.delimiter else None
    # The one too many tells whether the page is the last one.
    found = seek(start, stop, most + 1, folding)
    shown = found[:most]
    entries, common_prefixes = (shown, []) if folding is None else _folded(shown, folding)
    if len(found) <= most:
        return Page(entries, common_prefixes)
    key = shown[-1][0]
    if common_prefixes and key.startswith(common_prefixes[-1]):
        last = common_prefixes[-1]
        return Page(entries, common_prefixes, True, last, successor(last))
    return Page(entries, common_prefixes, True, key, key + b"\0")


def _folded(
    found: Iterable[ObjectEntry], folding: Folding
) -> tuple[list[ObjectEntry], list[bytes]]:
    entries, common_prefixes = [], []
    for entry in found:
        common_prefix = folding.common_prefix(entry[0])
        if common_prefix is None:
            entries.append(entry)
        else:
            common_prefixes.append(common_prefix)
    return entries, common_prefixes


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


_TOKEN_VERSION = b"\x01"


def _bytes(query: Mapping[str, str], name: str) -> bytes:
    return query.get(name, "").encode()


def _refuse_argument(name: str, value: str, message: str | None = None) -> NoReturn:
    raise S3Error(ErrorCode.InvalidArgument, message, ArgumentName=name, ArgumentValue=value)
