"""Turns records into rows: the one way in which the catalog changes.

Everything here is idempotent, so that a tail can be applied again after a crash, and gives the
same rows in whatever order the records come, so that logs can be read one after the other: of two
changes the later one by its sequence number wins, and what finishes an upload finishes it for good.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import orjson

from dsn.blockstore.segments.files import SegmentKind, kind_of
from dsn.layout import layout_segments
from dsn.place import Place
from gateway.catalog.queries import BUCKET_IS_THERE, CHECKSUM_KIND, PART_COUNT, find_bucket
from gateway.catalog.records import (
    AbortRecord,
    BucketRecord,
    BucketRemovalRecord,
    MarkerRecord,
    NoteRecord,
    ObjectRecord,
    PartRecord,
    Record,
    RemovalRecord,
    SettingRecord,
    UploadRecord,
)
from gateway.delete_policy import SETTING_NAME as DELETE_POLICY

# What `finished_uploads` holds for an upload that became no version.
ABORTED = 0


_INSERT_MARKER = (
    "INSERT INTO versions (sequence, bucket, key, root, size, etag, metadata, layout, log, "
    "log_offset) VALUES (?, ?, ?, x'', 0, x'', '{}', x'', ?, ?) ON CONFLICT DO NOTHING"
)
_FORGET_SHOWN = "DELETE FROM objects WHERE bucket = ? AND key = ?"
_SHOW_NEWEST = f"""
INSERT INTO objects (bucket, key, sequence, size, etag, part_count, checksum)
SELECT bucket, key, sequence, size, etag, {PART_COUNT}, {CHECKSUM_KIND} FROM (
    SELECT * FROM versions WHERE bucket = ? AND key = ? ORDER BY sequence DESC LIMIT 1
) WHERE root <> x''
"""


class Applier:
    """Applies the records of one transaction, in the order in which they are given.

    What single PUTs change is gathered and written together, because each statement by itself
    costs a group of small ones more than its rows do. `flush` before the catalog is looked at,
    and at the end.

    `in_order` says that every record is newer than all that the catalog holds, as in a commit. In
    a recovery it is not: an object may be hidden by a marker that was read before.
    """

    def __init__(self, connection: sqlite3.Connection, *, in_order: bool) -> None:
        self._connection = connection
        self._in_order = in_order
        self._sequence = 0
        self._versions: list[tuple[object, ...]] = []
        self._objects: list[tuple[object, ...]] = []
        self._markers: list[tuple[object, ...]] = []
        self._removals: list[tuple[int]] = []
        # Keys whose row in `objects` does not follow from the newest record alone.
        self._unsettled: set[tuple[int, bytes]] = set()
        self._segments: set[int] = set()
        # Rows that this transaction has seen, and which of them are removed.
        self._buckets: dict[tuple[str, str], tuple[int, int]] = {}
        self._removed_buckets: set[tuple[str, str]] = set()

    def apply(self, record: Record, place: Place) -> list[int]:
        """Apply one record, which lies at `place`; the segments that nothing needs from now on."""
        self._sequence = max(self._sequence, record.sequence)
        match record:
            case ObjectRecord():
                return self._apply_object(record, place)
            case PartRecord():
                return _apply_part(self._connection, record)
            case UploadRecord():
                bucket = self._bucket(record.account, record.bucket, record.sequence)
                _apply_upload(self._connection, record, bucket)
            case AbortRecord():
                return _finish_upload(self._connection, record.upload_id, ABORTED)
            case BucketRecord():
                bucket = self._bucket(record.account, record.bucket, record.sequence)
                _apply_creation(self._connection, record, bucket)
                self._removed_buckets.discard((record.account, record.bucket))
            case BucketRemovalRecord():
                bucket = self._bucket(record.account, record.bucket, record.sequence)
                _apply_bucket_removal(self._connection, record, bucket)
                self._removed_buckets.add((record.account, record.bucket))
            case SettingRecord():
                bucket = self._bucket(record.account, record.bucket, record.sequence)
                _apply_setting(self._connection, record, bucket)
            case NoteRecord():
                _apply_note(
                    self._connection, record.version, record.name, record.sequence, record.document
                )
            case MarkerRecord():
                bucket = self._bucket(record.account, record.bucket, record.sequence)
                self._markers.append(
                    (record.sequence, bucket, record.key, place.segment, place.offset)
                )
                self._unsettled.add((bucket, record.key))
            case RemovalRecord():
                bucket = self._bucket(record.account, record.bucket, record.sequence)
                self._removals += [(version,) for version in record.versions]
                self._unsettled.add((bucket, record.key))
        return []

    def is_removed(self, account: str, bucket: str) -> bool:
        """Whether a bucket that a record of this commit names is one that was removed."""
        return (account, bucket) in self._removed_buckets

    def has_bucket(self, account: str, bucket: str) -> bool:
        """Whether an account has this bucket, those that this transaction makes included."""
        if (account, bucket) in self._buckets:
            return not self.is_removed(account, bucket)
        return find_bucket(self._connection, account, bucket) is not None

    def flush(self) -> None:
        """Write what was gathered."""
        if not self._sequence:
            return
        self._connection.execute(
            "INSERT INTO clock (id, sequence) VALUES (1, ?) "
            "ON CONFLICT DO UPDATE SET sequence = max(sequence, excluded.sequence)",
            (self._sequence,),
        )
        self._connection.executemany(
            "INSERT INTO versions (sequence, bucket, key, root, size, etag, part_sizes, checksum, "
            "part_checksums, metadata, layout, log, log_offset) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            self._versions,
        )
        self._connection.executemany(
            "INSERT INTO objects (bucket, key, sequence, size, etag, part_count, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET sequence = excluded.sequence, "
            "size = excluded.size, etag = excluded.etag, part_count = excluded.part_count, "
            "checksum = excluded.checksum WHERE excluded.sequence > sequence",
            self._objects,
        )
        self._settle()
        if self._segments:
            adopt_segments(self._connection, self._segments)
        self._sequence = 0
        self._versions.clear()
        self._objects.clear()
        self._segments.clear()

    def _settle(self) -> None:
        """Make `objects` show what is left and not hidden of the keys that need a second look."""
        connection = self._connection
        if self._markers:
            connection.executemany(_INSERT_MARKER, self._markers)
        if self._removals:
            connection.executemany("INSERT OR IGNORE INTO removals VALUES (?)", self._removals)
            connection.executemany("DELETE FROM versions WHERE sequence = ?", self._removals)
        if not self._in_order and _hides_anything(connection):
            # What was applied just now may be older than what hides or removes it.
            connection.executemany(
                "DELETE FROM versions WHERE sequence = ?1 "
                "AND EXISTS (SELECT 1 FROM removals WHERE version = ?1)",
                [(row[0],) for row in (*self._versions, *self._markers)],
            )
            self._unsettled.update((row[0], row[1]) for row in self._objects)  # type: ignore[misc]
        if self._unsettled:
            connection.executemany(_FORGET_SHOWN, self._unsettled)
            connection.executemany(_SHOW_NEWEST, self._unsettled)
        self._markers.clear()
        self._removals.clear()
        self._unsettled.clear()

    def _apply_object(self, record: ObjectRecord, place: Place) -> list[int]:
        bucket = self._bucket(record.account, record.bucket, record.sequence)
        self._versions.append(
            (
                record.sequence,
                bucket,
                record.key,
                record.root,
                record.size,
                record.etag,
                orjson.dumps(record.part_sizes) if record.part_sizes else None,
                orjson.dumps(record.checksum).decode() if record.checksum else None,
                record.part_checksums,
                orjson.dumps(record.metadata),
                record.layout,
                place.segment,
                place.offset,
            )
        )
        self._objects.append(
            (
                bucket,
                record.key,
                record.sequence,
                record.size,
                record.etag,
                record.part_count,
                " ".join(record.checksum[:2]) if record.checksum else None,
            )
        )
        for name, document in record.notes.items():
            _apply_note(self._connection, record.sequence, name, record.sequence, document)
        used = layout_segments(record.layout)
        self._segments.update(s for s in used if kind_of(s) is not SegmentKind.LOG)
        if record.upload_id is None:
            return []
        voided = _finish_upload(self._connection, record.upload_id, record.sequence)
        return [segment for segment in voided if segment not in used]

    def _bucket(self, account: str, name: str, sequence: int) -> int:
        known = self._buckets.get((account, name))
        if known is not None and known[1] <= sequence:
            return known[0]
        bucket, is_there = bucket_id(self._connection, account, name, sequence)
        self._buckets[account, name] = (bucket, sequence)
        if not is_there:
            self._removed_buckets.add((account, name))
        return bucket


def bucket_id(
    connection: sqlite3.Connection, account: str, name: str, sequence: int
) -> tuple[int, bool]:
    """The bucket's row id; the row is made, or dated back, where it has to be.

    And whether it is there, rather than removed.
    """
    row = connection.execute(
        f"SELECT id, sequence, {BUCKET_IS_THERE} FROM buckets WHERE account = ? AND name = ?",
        (account, name),
    ).fetchone()
    if row is None:
        inserted = connection.execute(
            "INSERT INTO buckets (account, name, sequence) VALUES (?, ?, ?) RETURNING id",
            (account, name, sequence),
        ).fetchone()
        return int(inserted[0]), True
    if sequence < row[1]:
        connection.execute("UPDATE buckets SET sequence = ? WHERE id = ?", (sequence, row[0]))
    return int(row[0]), bool(row[2])


def adopt_segments(connection: sqlite3.Connection, segments: Iterable[int]) -> None:
    """Note segments that are here to stay."""
    connection.executemany(
        "INSERT INTO segments (id, applied) VALUES (?, 0) ON CONFLICT DO NOTHING",
        [(segment,) for segment in segments],
    )


def set_applied(connection: sqlite3.Connection, log: int, stop: int) -> None:
    """Note up to where a log's records are in the catalog."""
    connection.execute(
        "INSERT INTO segments (id, applied) VALUES (?, ?) "
        "ON CONFLICT DO UPDATE SET applied = max(applied, excluded.applied)",
        (log, stop),
    )


def note_unread(connection: sqlite3.Connection, log: int, start: int, stop: int) -> None:
    """Note a stretch of a log whose records are lost."""
    connection.execute(
        "INSERT INTO unread (log, start, stop) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (log, start, stop),
    )


def _hides_anything(connection: sqlite3.Connection) -> bool:
    """Whether there is a delete marker or a removal, anywhere in the catalog."""
    found = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM removals) OR EXISTS (SELECT 1 FROM versions WHERE root = x'')"
    ).fetchone()
    return bool(found[0])


def _apply_creation(connection: sqlite3.Connection, record: BucketRecord, bucket: int) -> None:
    connection.execute(
        "UPDATE buckets SET made = max(made, ?) WHERE id = ?", (record.sequence, bucket)
    )


def _apply_bucket_removal(
    connection: sqlite3.Connection, record: BucketRemovalRecord, bucket: int
) -> None:
    connection.execute(
        "UPDATE buckets SET removed = max(removed, ?) WHERE id = ?", (record.sequence, bucket)
    )
    # What operators decided is for the name, as quotas are: else who removes a bucket that hides
    # would be rid of what it denies.
    connection.execute(
        "DELETE FROM settings WHERE bucket = ? AND sequence < ? AND name <> ?",
        (bucket, record.sequence, DELETE_POLICY),
    )


def _apply_upload(connection: sqlite3.Connection, record: UploadRecord, bucket: int) -> None:
    if _is_finished(connection, record.upload_id):
        return
    connection.execute(
        "INSERT INTO uploads (id, bucket, key, sequence, metadata, checksum, notes, opener) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            record.upload_id,
            bucket,
            record.key,
            record.sequence,
            orjson.dumps(record.metadata),
            orjson.dumps(record.checksum).decode() if record.checksum else None,
            orjson.dumps(record.notes),
            record.opener,
        ),
    )


def _apply_setting(connection: sqlite3.Connection, record: SettingRecord, bucket: int) -> None:
    connection.execute(
        "INSERT INTO settings (bucket, name, sequence, document) SELECT ?1, ?2, ?3, ?4 "
        "FROM buckets b WHERE b.id = ?1 AND (b.removed < ?3 OR ?2 = ?5) "
        "ON CONFLICT DO UPDATE SET sequence = excluded.sequence, document = excluded.document "
        "WHERE excluded.sequence > settings.sequence",
        (bucket, record.name, record.sequence, record.document, DELETE_POLICY),
    )


def _apply_note(
    connection: sqlite3.Connection, version: int, name: str, sequence: int, document: str | None
) -> None:
    connection.execute(
        "INSERT INTO notes (version, name, sequence, document) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET sequence = excluded.sequence, document = excluded.document "
        "WHERE excluded.sequence > sequence",
        (version, name, sequence, document),
    )


def _apply_part(connection: sqlite3.Connection, record: PartRecord) -> list[int]:
    if _is_finished(connection, record.upload_id):
        return [record.segment]
    current = connection.execute(
        "SELECT sequence, segment FROM parts WHERE upload_id = ? AND number = ?",
        (record.upload_id, record.number),
    ).fetchone()
    if current is not None and current[0] >= record.sequence:
        return [] if current[1] == record.segment else [record.segment]
    connection.execute(
        "INSERT OR REPLACE INTO parts (upload_id, number, sequence, size, md5, start, segment, "
        "runs, digests_offset, digests_bytes, head_offset, head_bytes, tail_offset, tail_bytes, "
        "checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.upload_id,
            record.number,
            record.sequence,
            record.size,
            record.md5,
            record.start,
            record.segment,
            record.runs,
            *record.digests,
            *record.head,
            *record.tail,
            orjson.dumps(record.checksum).decode() if record.checksum else None,
        ),
    )
    return [] if current is None else [int(current[1])]


def drop_stray_parts(connection: sqlite3.Connection) -> None:
    """Drop the parts of uploads that no record opened; after a recovery has read every log."""
    connection.execute("DELETE FROM parts WHERE upload_id NOT IN (SELECT id FROM uploads)")


def _finish_upload(connection: sqlite3.Connection, upload_id: str, outcome: int) -> list[int]:
    """Close an upload for good; the segments of its parts."""
    connection.execute(
        "INSERT INTO finished_uploads (id, sequence) VALUES (?, ?) "
        "ON CONFLICT DO UPDATE SET sequence = max(sequence, excluded.sequence)",
        (upload_id, outcome),
    )
    segments = connection.execute(
        "DELETE FROM parts WHERE upload_id = ? RETURNING segment", (upload_id,)
    ).fetchall()
    connection.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
    return [int(row[0]) for row in segments]


def _is_finished(connection: sqlite3.Connection, upload_id: str) -> bool:
    row = connection.execute("SELECT 1 FROM finished_uploads WHERE id = ?", (upload_id,)).fetchone()
    return row is not None
