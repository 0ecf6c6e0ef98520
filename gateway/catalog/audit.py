"""What `verify` and `rebuild` ask of the catalog: does it say what the records say, and add up?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

import orjson

from gateway.catalog.queries import BUCKET_IS_THERE, CHECKSUM_KIND, list_parts
from gateway.catalog.records import PartRecord


def version_names(
    connection: sqlite3.Connection,
) -> Iterator[tuple[str, str, bytes, int, int]]:
    """Account, bucket, key, sequence number and size of every version, in order of the commits.

    Delete markers are left out: they have nothing to read.
    """
    yield from connection.execute(
        "SELECT b.account, b.name, v.key, v.sequence, v.size FROM versions v "
        "JOIN buckets b ON b.id = v.bucket WHERE v.root <> x'' ORDER BY v.sequence"
    )


def has_version(connection: sqlite3.Connection, sequence: int) -> bool:
    """Whether there is, or was until its removal, a version with this sequence number."""
    row = connection.execute(
        "SELECT 1 FROM versions WHERE sequence = ?1 "
        "UNION ALL SELECT 1 FROM removals WHERE version = ?1",
        (sequence,),
    ).fetchone()
    return row is not None


def are_removed(connection: sqlite3.Connection, versions: Iterable[int]) -> bool:
    """Whether every one of these versions was removed, and is gone."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM removals WHERE version = ?1) "
        "AND NOT EXISTS (SELECT 1 FROM versions WHERE sequence = ?1)"
    )
    return all(connection.execute(query, (version,)).fetchone()[0] for version in versions)


def note_sequence(connection: sqlite3.Connection, version: int, name: str) -> int:
    """The sequence number of the last change of one note on a version; 0 if there was none."""
    row = connection.execute(
        "SELECT sequence FROM notes WHERE version = ? AND name = ?", (version, name)
    ).fetchone()
    return int(row[0]) if row else 0


def setting_sequence(connection: sqlite3.Connection, account: str, bucket: str, name: str) -> int:
    """The sequence number of the last change of a bucket's setting; 0 if there was none.

    The removal of the bucket is one, of all its settings.
    """
    row = connection.execute(
        "SELECT max(b.removed, coalesce(s.sequence, 0)) FROM buckets b "
        "LEFT JOIN settings s ON s.bucket = b.id AND s.name = ?3 "
        "WHERE b.account = ?1 AND b.name = ?2",
        (account, bucket, name),
    ).fetchone()
    return int(row[0]) if row else 0


def wrongly_counted(connection: sqlite3.Connection) -> Iterator[str]:
    """The name of every bucket that does not hold what is counted of it."""
    rows = connection.execute(
        "SELECT name FROM buckets b WHERE (objects, bytes) IS NOT "
        "(SELECT count(*), coalesce(sum(size), 0) FROM versions v "
        "WHERE v.bucket = b.id AND v.root <> x'')"
    )
    for (bucket,) in rows:
        yield bucket


def wrongly_listed(connection: sqlite3.Connection) -> Iterator[tuple[str, bytes, int]]:
    """Bucket, key and sequence number of every newest version that `objects` shows otherwise."""
    rows = connection.execute(
        "SELECT b.name, v.key, v.sequence, v.part_sizes, o.part_count, "
        "iif(v.root = x'', o.sequence IS NULL, "
        "o.sequence IS v.sequence AND o.size IS v.size AND o.etag IS v.etag "
        f"AND o.checksum IS (SELECT {CHECKSUM_KIND} FROM (SELECT v.checksum AS checksum))) "
        "FROM versions v JOIN buckets b ON b.id = v.bucket "
        "LEFT JOIN objects o ON o.bucket = v.bucket AND o.key = v.key WHERE v.sequence = "
        "(SELECT max(w.sequence) FROM versions w WHERE w.bucket = v.bucket AND w.key = v.key)"
    )
    for bucket, key, sequence, part_sizes, part_count, same in rows:
        try:
            count = sum(pair[1] for pair in orjson.loads(part_sizes)) if part_sizes else 0
        except (LookupError, TypeError, ValueError):
            count = -1
        if not same or part_count not in (None, count):
            yield bucket, key, sequence


def all_parts(connection: sqlite3.Connection) -> Iterator[tuple[str, str, bytes, PartRecord]]:
    """Every part of an open upload with its account, bucket and key."""
    uploads = connection.execute(
        "SELECT b.account, b.name, u.key, u.id FROM uploads u JOIN buckets b ON b.id = u.bucket"
    )
    for account, bucket, key, upload_id in uploads:
        for part in list_parts(connection, upload_id):
            yield account, bucket, key, part


def totals(connection: sqlite3.Connection) -> tuple[int, int, int, int]:
    """How many buckets, versions and open uploads there are, and the versions' bytes in all."""
    return (
        connection.execute(f"SELECT count(*) FROM buckets WHERE {BUCKET_IS_THERE}").fetchone()[0],
        connection.execute("SELECT count(*) FROM versions").fetchone()[0]
        - connection.execute("SELECT count(*) FROM versions WHERE root = x''").fetchone()[0],
        connection.execute("SELECT count(*) FROM uploads").fetchone()[0],
        connection.execute("SELECT coalesce(sum(size), 0) FROM versions").fetchone()[0],
    )
