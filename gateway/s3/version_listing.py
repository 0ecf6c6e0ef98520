"""Listing versions: reads the request and cuts one page, of each key the newest version first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.listing import Page, parse_encoding_type, parse_limit, start_after
from gateway.s3.paging import SeekRows, cut_page
from gateway.s3.version_ids import parse_version_id


class VersionPosition(NamedTuple):
    """A place between versions: behind the one with this sequence number.

    Without one it is the place before all versions of the key.
    """

    key: bytes
    sequence: int | None = None


class VersionEntry(NamedTuple):
    """One version, or delete marker, in a listing.

    `etag` is ASCII without its quotes, `modified` microseconds since the epoch, `checksum` as in
    an ObjectEntry.
    """

    key: bytes
    sequence: int
    is_latest: bool
    is_marker: bool
    size: int
    etag: bytes
    modified: int
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class ListVersionsRequest:
    """ListObjectVersions. `start` is where the page starts; None: nothing can be there.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
    """

    prefix: bytes
    delimiter: bytes
    max_names: int
    url_encoded: bool
    key_marker: bytes
    version_id_marker: str
    start: VersionPosition | None


def parse_list_versions(query: Mapping[str, str]) -> ListVersionsRequest:
    """Read a ListObjectVersions request. Raises S3Error InvalidArgument."""
    prefix = query.get("prefix", "").encode()
    delimiter = query.get("delimiter", "").encode()
    key_marker = query.get("key-marker", "").encode()
    version_id_marker = query.get("version-id-marker", "")
    if version_id_marker and not key_marker:
        raise S3Error(
            ErrorCode.InvalidArgument,
            "A version-id marker cannot be specified without a key marker.",
            ArgumentName="version-id-marker",
            ArgumentValue=version_id_marker,
        )
    key = start_after(key_marker, prefix, delimiter)
    start = None if key is None else VersionPosition(key)
    if version_id_marker:
        sequence = parse_version_id(version_id_marker, "version-id-marker")
        if key == key_marker + b"\0" and sequence is not None:
            # Older versions of the same key follow; it is neither before the prefix nor in a group.
            start = VersionPosition(key_marker, sequence)
    return ListVersionsRequest(
        prefix=prefix,
        delimiter=delimiter,
        max_names=parse_limit(query, "max-keys"),
        url_encoded=parse_encoding_type(query),
        key_marker=key_marker,
        version_id_marker=version_id_marker,
        start=start,
    )


def list_versions_page(
    seek: SeekRows[VersionEntry, VersionPosition], request: ListVersionsRequest
) -> Page[VersionEntry, VersionPosition]:
    """Cut the page that `request` asks for out of the versions that `seek` reads.

    Every version and every common prefix counts towards max-keys. When truncated, `last` is the
    NextKeyMarker; the NextVersionIdMarker is the id of the last entry if its key is `last`.
    """
    return cut_page(
        seek,
        request.start,
        request.prefix,
        request.delimiter,
        request.max_names,
        behind=lambda entry: VersionPosition(entry.key, entry.sequence),
        at_key=VersionPosition,
    )
