"""What the catalog is asked but for listings: each SELECT as a function of a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from dsn.layout import Layout, decode_layout
from gateway.catalog.records import PartRecord
from gateway.catalog.sequence import sequence_micros
from gateway.s3.lifecycle import SETTING as LIFECYCLE_SETTING


@dataclass(frozen=True, slots=True)
class Usage:
    """How many versions there are, delete markers not counted, and how many bytes they have."""

    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BucketRow:
    """A bucket of an account; `created_us` in microseconds since 1970."""

    id: int
    name: str
    created_us: int


class ConfiguredBucket(NamedTuple):
    """A bucket, by its row id, and the document and the sequence number of one of its settings."""

    id: int
    account: str
    name: str
    sequence: int
    document: str


class Shown(NamedTuple):
    """What a key shows now, by numbers that change as soon as anything about it does.

    The sequence numbers of the version, of its last note, and of the lifecycle rules of its
    bucket; 0 for none.
    """

    version: int
    note: int
    rules: int


@dataclass(frozen=True)
class VersionRow:
    """One version of an object, whole; or a delete marker.

    `root` is a digest, `etag` 16 bytes of MD5; both are empty for a delete marker.
    """

    sequence: int
    bucket: int
    key: bytes
    root: bytes
    size: int
    etag: bytes
    part_sizes: tuple[tuple[int, int], ...]
    checksum: tuple[str, str, str] | None
    metadata: dict[str, str]
    encoded_layout: bytes
    log: int
    log_offset: int
    # What may change about it, as it was when this was read; `find_version` alone fills it in.
    notes: Mapping[str, str] = field(default_factory=dict, compare=False)
    # When a rule hides it, as x-amz-expiration says it; known of what was found by its key alone.
    expiration: str | None = field(default=None, compare=False)
    # What others make of the row, kept as long as the row itself is.
    derived: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_marker(self) -> bool:
        """Whether it is a delete marker, which has no bytes."""
        return not self.root

    @property
    def modified_us(self) -> int:
        """When it was committed, in microseconds since 1970."""
        return sequence_micros(self.sequence)

    @property
    def part_count(self) -> int:
        """How many parts it was completed from; 0 for a single PUT."""
        return sum(count for _, count in self.part_sizes)

    @cached_property
    def layout(self) -> Layout:
        """Where its nodes lie."""
        return decode_layout(self.encoded_layout)


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An open multipart upload; `created_us` in microseconds since 1970."""

    upload_id: str
    bucket: int
    key: bytes
    sequence: int
    metadata: dict[str, str]
    checksum: tuple[str, str] | None
    notes: dict[str, str] = field(default_factory=dict)
    opener: str | None = None

    @property
    def checksum_kind(self) -> str | None:
        """Algorithm and type of the checksum asked for: `CRC32 FULL_OBJECT`."""
        return " ".join(self.checksum) if self.checksum else None

    @property
    def created_us(self) -> int:
        """When it was created, in microseconds since 1970."""
        return sequence_micros(self.sequence)


# Whether a row of `buckets` is a bucket. What holds a version is one, should the record that made
# it anew be lost.
BUCKET_IS_THERE = "(made >= removed OR objects > 0)"
_BUCKET_CREATED = "iif(removed, max(made, removed), sequence)"
_BUCKET_COLUMNS = f"id, name, {_BUCKET_CREATED}"

_VERSION_COLUMNS = (
    "v.sequence, v.bucket, v.key, v.root, v.size, v.etag, v.part_sizes, v.checksum, v.metadata, "
    "v.layout, v.log, v.log_offset"
)

_UPLOAD_COLUMNS = "id, bucket, key, sequence, metadata, checksum, notes, opener"

# The number of parts of a row of `versions`; in `objects` it is a column.
PART_COUNT = (
    "iif(part_sizes IS NULL, 0, (SELECT sum(json_extract(value, '$[1]')) "
    "FROM json_each(CAST(part_sizes AS TEXT))))"
)

# Algorithm and type of the checksum of a row of `versions`; in `objects` it is a column.
CHECKSUM_KIND = "json_extract(checksum, '$[0]') || ' ' || json_extract(checksum, '$[1]')"

_SHOWN = f"""
SELECT o.sequence,
    coalesce((SELECT max(n.sequence) FROM notes n WHERE n.version = o.sequence), 0),
    coalesce((
        SELECT s.sequence FROM settings s
        WHERE s.bucket = o.bucket AND s.name = '{LIFECYCLE_SETTING}' AND s.document IS NOT NULL
    ), 0)
FROM objects o WHERE o.bucket = ? AND o.key = ?
"""


def find_bucket(connection: sqlite3.Connection, account: str, name: str) -> BucketRow | None:
    """The account's bucket of this name."""
    row = connection.execute(
        f"SELECT {_BUCKET_COLUMNS} FROM buckets "
        f"WHERE account = ? AND name = ? AND {BUCKET_IS_THERE}",
        (account, name),
    ).fetchone()
    return BucketRow(row[0], row[1], sequence_micros(row[2])) if row else None


def find_bucket_of_any(
    connection: sqlite3.Connection, name: str, account: str
) -> tuple[int, str] | None:
    """The row id and the account of a bucket of this name: the account's own, else the oldest."""
    row: tuple[int, str] | None = connection.execute(
        f"SELECT id, account FROM buckets WHERE name = ? AND {BUCKET_IS_THERE} "
        f"ORDER BY account = ? DESC, {_BUCKET_CREATED}, id LIMIT 1",
        (name, account),
    ).fetchone()
    return row


def find_usage(connection: sqlite3.Connection, account: str, bucket: str | None) -> Usage:
    """What an account holds, or one of its buckets."""
    row = connection.execute(
        "SELECT total(objects), total(bytes) FROM buckets "
        "WHERE account = ?1 AND (?2 IS NULL OR name = ?2)",
        (account, bucket),
    ).fetchone()
    return Usage(int(row[0]), int(row[1]))


def list_buckets(
    connection: sqlite3.Connection, account: str, *, start: str = "", limit: int = -1
) -> list[BucketRow]:
    """The buckets of the account with `start <= name`, by name; at most `limit` unless it is -1."""
    rows = connection.execute(
        f"SELECT {_BUCKET_COLUMNS} FROM buckets WHERE account = ? AND name >= ? "
        f"AND {BUCKET_IS_THERE} ORDER BY name LIMIT ?",
        (account, start, limit),
    )
    return [BucketRow(row[0], row[1], sequence_micros(row[2])) for row in rows]


def find_object(connection: sqlite3.Connection, bucket: int, key: bytes) -> VersionRow | None:
    """The version that a key shows now."""
    row = connection.execute(
        f"SELECT {_VERSION_COLUMNS} FROM objects o JOIN versions v ON v.sequence = o.sequence "
        "WHERE o.bucket = ? AND o.key = ?",
        (bucket, key),
    ).fetchone()
    return _version(row) if row else None


def find_shown(connection: sqlite3.Connection, bucket: int, key: bytes) -> Shown | None:
    """What a key shows now, by numbers."""
    row = connection.execute(_SHOWN, (bucket, key)).fetchone()
    return Shown(*row) if row else None


def last_note(connection: sqlite3.Connection, version: int) -> int:
    """The sequence number of the last change of a version's notes; 0 if there was none."""
    row = connection.execute(
        "SELECT coalesce(max(sequence), 0) FROM notes WHERE version = ?", (version,)
    ).fetchone()
    return int(row[0])


def find_notes(connection: sqlite3.Connection, version: int) -> dict[str, str]:
    """What is noted of the version with this sequence number, by name."""
    return dict(
        connection.execute(
            "SELECT name, document FROM notes WHERE version = ? AND document IS NOT NULL",
            (version,),
        )
    )


def find_settings(connection: sqlite3.Connection, name: str, setting: str) -> list[str]:
    """What the buckets of this name, of whatever account, are configured to."""
    rows = connection.execute(
        "SELECT s.document FROM buckets b JOIN settings s ON s.bucket = b.id "
        "WHERE b.name = ? AND s.name = ? AND s.document IS NOT NULL ORDER BY b.id",
        (name, setting),
    )
    return [row[0] for row in rows]


def buckets_with_setting(connection: sqlite3.Connection, setting: str) -> list[ConfiguredBucket]:
    """Every bucket that has this setting, by its row id, and what it is configured to."""
    rows = connection.execute(
        "SELECT b.id, b.account, b.name, s.sequence, s.document "
        "FROM settings s JOIN buckets b ON b.id = s.bucket "
        "WHERE s.name = ? AND s.document IS NOT NULL ORDER BY b.id",
        (setting,),
    )
    return [ConfiguredBucket(*row) for row in rows]


def setting_sequence(connection: sqlite3.Connection, bucket: int, name: str) -> int:
    """The sequence number of what a bucket is configured to under this name; 0 for nothing."""
    row = connection.execute(
        "SELECT sequence FROM settings WHERE bucket = ? AND name = ? AND document IS NOT NULL",
        (bucket, name),
    ).fetchone()
    return int(row[0]) if row else 0


def find_setting(connection: sqlite3.Connection, bucket: int, name: str) -> str | None:
    """What a bucket is configured to under this name."""
    row = connection.execute(
        "SELECT document FROM settings WHERE bucket = ? AND name = ?", (bucket, name)
    ).fetchone()
    return row[0] if row else None


def find_settings_named(
    connection: sqlite3.Connection, bucket: int, names: Sequence[str]
) -> dict[str, str]:
    """What a bucket is configured to under some names, of those that are set."""
    return dict(
        connection.execute(
            "SELECT name, document FROM settings WHERE bucket = ? AND document IS NOT NULL "
            f"AND name IN ({', '.join('?' * len(names))})",
            (bucket, *names),
        )
    )


def find_version(connection: sqlite3.Connection, sequence: int) -> VersionRow | None:
    """The version with this sequence number, its notes included."""
    row = connection.execute(
        f"SELECT {_VERSION_COLUMNS} FROM versions v WHERE v.sequence = ?", (sequence,)
    ).fetchone()
    return replace(_version(row), notes=find_notes(connection, sequence)) if row else None


def find_newest(connection: sqlite3.Connection, bucket: int, key: bytes) -> VersionRow | None:
    """The newest version of a key, which may be a delete marker."""
    row = connection.execute(
        f"SELECT {_VERSION_COLUMNS} FROM versions v WHERE v.bucket = ? AND v.key = ? "
        "ORDER BY v.sequence DESC LIMIT 1",
        (bucket, key),
    ).fetchone()
    return _version(row) if row else None


def version_sequences(connection: sqlite3.Connection, bucket: int, key: bytes) -> list[int]:
    """The sequence numbers of all versions of a key, delete markers too; the newest first."""
    rows = connection.execute(
        "SELECT sequence FROM versions WHERE bucket = ? AND key = ? ORDER BY sequence DESC",
        (bucket, key),
    )
    return [row[0] for row in rows]


def find_part_checksums(connection: sqlite3.Connection, sequence: int) -> bytes | None:
    """The digests of the parts of a version, side by side, where it has any."""
    row = connection.execute(
        "SELECT part_checksums FROM versions WHERE sequence = ?", (sequence,)
    ).fetchone()
    return row[0] if row else None


def has_versions(connection: sqlite3.Connection, bucket: int) -> bool:
    """Whether a bucket holds anything, hidden or not."""
    row = connection.execute("SELECT 1 FROM versions WHERE bucket = ?", (bucket,)).fetchone()
    return row is not None


def has_uploads(connection: sqlite3.Connection, bucket: int) -> bool:
    """Whether a bucket has an open upload."""
    row = connection.execute("SELECT 1 FROM uploads WHERE bucket = ?", (bucket,)).fetchone()
    return row is not None


def find_upload(
    connection: sqlite3.Connection, bucket: int, key: bytes, upload_id: str
) -> UploadRow | None:
    """The open upload with this id, if it is one of this key."""
    row = connection.execute(
        f"SELECT {_UPLOAD_COLUMNS} FROM uploads WHERE id = ? AND bucket = ? AND key = ?",
        (upload_id, bucket, key),
    ).fetchone()
    return _upload(row) if row else None


def seek_uploads(
    connection: sqlite3.Connection,
    bucket: int,
    after: tuple[bytes, str],
    stop: bytes | None,
    limit: int,
) -> list[UploadRow]:
    """Open uploads of a bucket behind (key, id) and before the key `stop`, by key and id."""
    query = f"SELECT {_UPLOAD_COLUMNS} FROM uploads WHERE bucket = ? AND (key, id) > (?, ?) "
    if stop is None:
        rows = connection.execute(query + "ORDER BY key, id LIMIT ?", (bucket, *after, limit))
    else:
        rows = connection.execute(
            query + "AND key < ? ORDER BY key, id LIMIT ?", (bucket, *after, stop, limit)
        )
    return [_upload(row) for row in rows]


def upload_sequence(connection: sqlite3.Connection, upload_id: str) -> int | None:
    """The sequence number of an open upload."""
    row = connection.execute("SELECT sequence FROM uploads WHERE id = ?", (upload_id,)).fetchone()
    return int(row[0]) if row else None


def list_parts(
    connection: sqlite3.Connection, upload_id: str, after: int = 0, limit: int = -1
) -> list[PartRecord]:
    """The parts of an upload behind a number, in ascending order; all of them by default."""
    rows = connection.execute(
        "SELECT sequence, upload_id, number, size, md5, start, segment, runs, digests_offset, "
        "digests_bytes, head_offset, head_bytes, tail_offset, tail_bytes, checksum FROM parts "
        "WHERE upload_id = ? AND number > ? ORDER BY number LIMIT ?",
        (upload_id, after, limit),
    )
    return [_part(row) for row in rows]


def part_sequences(connection: sqlite3.Connection, upload_id: str) -> dict[int, int]:
    """The sequence number of each part of an upload, by part number."""
    return dict(
        connection.execute("SELECT number, sequence FROM parts WHERE upload_id = ?", (upload_id,))
    )


def part_bytes_max(connection: sqlite3.Connection, upload_id: str) -> int:
    """The size of the largest part of an upload so far; 0 without parts."""
    row = connection.execute(
        "SELECT max(size) FROM parts WHERE upload_id = ?", (upload_id,)
    ).fetchone()
    return int(row[0] or 0)


def find_completion(connection: sqlite3.Connection, upload_id: str) -> VersionRow | None:
    """The version that a completed upload became."""
    row = connection.execute(
        f"SELECT {_VERSION_COLUMNS} FROM finished_uploads f "
        "JOIN versions v ON v.sequence = f.sequence WHERE f.id = ?",
        (upload_id,),
    ).fetchone()
    return _version(row) if row else None


def last_sequence(connection: sqlite3.Connection) -> int:
    """The highest sequence number that the catalog has seen; 0 when it is empty."""
    row = connection.execute("SELECT sequence FROM clock").fetchone()
    return int(row[0]) if row else 0


def applied_segments(connection: sqlite3.Connection) -> dict[int, int]:
    """Every segment that is here to stay, and up to where a log is applied."""
    return dict(connection.execute("SELECT id, applied FROM segments"))


def all_was_read(connection: sqlite3.Connection) -> bool:
    """Whether no record of any log has been lost to damage, as far as recovery saw."""
    return connection.execute("SELECT 1 FROM unread LIMIT 1").fetchone() is None


def applied_stop(connection: sqlite3.Connection, log: int) -> int:
    """Up to where a log is applied; 0 for one never heard of."""
    row = connection.execute("SELECT applied FROM segments WHERE id = ?", (log,)).fetchone()
    return int(row[0]) if row else 0


def part_segments(connection: sqlite3.Connection) -> set[int]:
    """The segments of the parts of open uploads."""
    return {row[0] for row in connection.execute("SELECT segment FROM parts")}


def _version(row: tuple[Any, ...]) -> VersionRow:
    values = list(row)
    values[6] = tuple(map(tuple, orjson.loads(values[6]))) if values[6] else ()
    values[7] = tuple(orjson.loads(values[7])) if values[7] else None
    values[8] = orjson.loads(values[8])
    return VersionRow(*values)


def _upload(row: tuple[Any, ...]) -> UploadRow:
    upload_id, bucket, key, sequence, metadata, checksum, notes, opener = row
    asked = tuple(orjson.loads(checksum)) if checksum else None
    return UploadRow(
        upload_id, bucket, key, sequence, orjson.loads(metadata), asked, orjson.loads(notes), opener
    )


def _part(row: tuple[Any, ...]) -> PartRecord:
    checksum = tuple(orjson.loads(row[14])) if row[14] else None
    fields = (*row[:8], (row[8], row[9]), (row[10], row[11]), (row[12], row[13]), checksum)
    return PartRecord(*fields)
