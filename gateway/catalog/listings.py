"""Walks of listings: rows of one bucket in the order of their keys, from one position on.

The cost of a page is that of what it shows, whatever lies beside or below
(docs/decisions/0005-listing.md).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from gateway.catalog.queries import CHECKSUM_KIND, PART_COUNT
from gateway.catalog.sequence import WORKER_BITS, sequence_micros
from gateway.s3.listing import Folding, ObjectEntry, successor
from gateway.s3.version_listing import VersionEntry, VersionPosition

# An ObjectEntry, put together by SQLite: in Python nothing is left to do for each row.
_ENTRY_COLUMNS = (
    "o.key, o.size, "
    "CAST(lower(hex(o.etag)) || iif(o.part_count, '-' || o.part_count, '') AS BLOB), "
    f"o.sequence >> {WORKER_BITS}, o.checksum"
)

_VERSION_ENTRY_COLUMNS = (
    "key, sequence, root = x'', size, "
    f"CAST(lower(hex(etag)) || iif(part_sizes IS NULL, '', '-' || {PART_COUNT}) AS BLOB), "
    f"{CHECKSUM_KIND}"
)

# From one name to the next by a search of the tree: behind a key, or behind all that starts with
# its common prefix. The cost is that of the names, whatever lies below them.
_NAMES = f"""
WITH RECURSIVE names (key) AS (
    SELECT * FROM (
        SELECT key FROM objects WHERE bucket = :bucket AND key >= :start AND {{before_stop}}
        ORDER BY key LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT key FROM objects WHERE bucket = :bucket AND {{before_stop}} AND key >=
            CASE WHEN instr(substr(names.key, :begin), :delimiter) > 0
            THEN CAST(
                substr(names.key, 1, :begin - 2 + instr(substr(names.key, :begin), :delimiter))
                || :behind AS BLOB)
            ELSE CAST(names.key || x'00' AS BLOB) END
        ORDER BY key LIMIT 1
    )
    FROM names WHERE names.key IS NOT NULL LIMIT :limit
)
SELECT {_ENTRY_COLUMNS} FROM names CROSS JOIN objects o ON o.bucket = :bucket AND o.key = names.key
"""
_NAMES_TO_STOP = _NAMES.format(before_stop="objects.key < :stop")
_NAMES_TO_END = _NAMES.format(before_stop="TRUE")
# Of a delimited page, so many rows are read at first in the hope that none of them folds.
_UNFOLDED_MIN = 32


def seek_versions(
    connection: sqlite3.Connection,
    after: VersionPosition,
    limit: int,
    stop: bytes | None,
    *,
    bucket: int,
) -> list[VersionEntry]:
    """Versions and delete markers of a bucket behind a position, before the key `stop`.

    By key, the newest of each first.
    """
    found: list[VersionEntry] = []
    start, compare = after.key, ">="
    latest_of: bytes | None = None
    if after.sequence is not None:
        newer = connection.execute(
            "SELECT 1 FROM versions WHERE bucket = ? AND key = ? AND sequence >= ?",
            (bucket, after.key, after.sequence),
        ).fetchone()
        rows = connection.execute(
            f"SELECT {_VERSION_ENTRY_COLUMNS} FROM versions WHERE bucket = ? AND key = ? "
            "AND sequence < ? ORDER BY sequence DESC LIMIT ?",
            (bucket, after.key, after.sequence, limit),
        )
        latest_of = after.key if newer else None
        found, compare = _version_entries(rows, latest_of), ">"
    rest = limit - len(found)
    if rest:
        query = (
            f"SELECT {_VERSION_ENTRY_COLUMNS} FROM versions WHERE bucket = ? AND key {compare} ? "
        )
        order = "ORDER BY key, sequence DESC LIMIT ?"
        if stop is None:
            rows = connection.execute(query + order, (bucket, start, rest))
        else:
            rows = connection.execute(f"{query}AND key < ? {order}", (bucket, start, stop, rest))
        found += _version_entries(rows, None)
    return found


def _version_entries(
    rows: Iterable[tuple[Any, ...]], latest_of: bytes | None
) -> list[VersionEntry]:
    """Rows as entries: of each key the first one is the latest, but of `latest_of` none."""
    entries = []
    for key, sequence, is_marker, size, etag, kind in rows:
        is_latest, latest_of = key != latest_of, key
        modified = sequence_micros(sequence)
        entry = VersionEntry(key, sequence, is_latest, bool(is_marker), size, etag, modified, kind)
        entries.append(entry)
    return entries


def seek_objects(
    connection: sqlite3.Connection,
    start: bytes,
    stop: bytes | None,
    limit: int,
    folding: Folding | None,
    *,
    bucket: int,
) -> list[ObjectEntry]:
    """The first `limit` objects of a bucket from `start` on, before `stop`, in byte order.

    With a `folding` only the first of those that fold into one common prefix is among them.
    """
    if folding is None:
        return _rows(connection, bucket, start, stop, limit)
    # Row after row is cheaper than name after name, as long as there is nothing to leave out.
    found: list[ObjectEntry] = []
    batch = _UNFOLDED_MIN
    while len(found) < limit:
        asked = min(batch, limit - len(found))
        rows = _rows(connection, bucket, start, stop, asked)
        for at, entry in enumerate(rows):
            common_prefix = folding.common_prefix(entry[0])
            if common_prefix is not None:
                found += rows[: at + 1]
                behind = successor(common_prefix)
                assert behind is not None, "no delimiter ends in 0xff"
                rest = limit - len(found)
                return found + _names(connection, bucket, behind, stop, rest, folding)
        found += rows
        if len(rows) < asked:
            break
        start = rows[-1][0] + b"\0"
        batch *= 4
    return found


def _rows(
    connection: sqlite3.Connection, bucket: int, start: bytes, stop: bytes | None, limit: int
) -> list[ObjectEntry]:
    query = f"SELECT {_ENTRY_COLUMNS} FROM objects o WHERE o.bucket = ? AND o.key >= ? "
    if stop is None:
        rows = connection.execute(query + "ORDER BY o.key LIMIT ?", (bucket, start, limit))
    else:
        rows = connection.execute(
            query + "AND o.key < ? ORDER BY o.key LIMIT ?", (bucket, start, stop, limit)
        )
    return rows.fetchall()


def _names(
    connection: sqlite3.Connection,
    bucket: int,
    start: bytes,
    stop: bytes | None,
    limit: int,
    folding: Folding,
) -> list[ObjectEntry]:
    arguments = {
        "bucket": bucket,
        "start": start,
        "stop": stop,
        "limit": limit,
        "begin": folding.begin + 1,  # SQL counts from 1
        "delimiter": folding.delimiter,
        "behind": successor(folding.delimiter),
    }
    query = _NAMES_TO_END if stop is None else _NAMES_TO_STOP
    return connection.execute(query, arguments).fetchall()


def seek_shown(
    connection: sqlite3.Connection, bucket: int, start: bytes, stop: bytes | None, limit: int
) -> list[tuple[bytes, int, int]]:
    """The first `limit` keys of a bucket from `start` on, before `stop`, in byte order.

    Each with the sequence number and the size, in bytes, of the version that it shows.
    """
    query = "SELECT key, sequence, size FROM objects WHERE bucket = ? AND key >= ? "
    if stop is None:
        rows = connection.execute(query + "ORDER BY key LIMIT ?", (bucket, start, limit))
    else:
        rows = connection.execute(
            query + "AND key < ? ORDER BY key LIMIT ?", (bucket, start, stop, limit)
        )
    return rows.fetchall()


def seek_newest(
    connection: sqlite3.Connection, bucket: int, start: bytes, stop: bytes | None, limit: int
) -> list[tuple[bytes, int, bool]]:
    """The first `limit` keys of a bucket that have a past, from `start` on, before `stop`.

    In byte order, each with the sequence number of its newest version, and whether that is a
    delete marker and all that there is.
    """
    before_stop = "" if stop is None else "AND key < :stop "
    # Of the versions the index alone is read: what there is but one of, and not shown, is a marker.
    rows = connection.execute(
        "SELECT key, newest, versions = 1 AND NOT EXISTS ("
        "SELECT 1 FROM objects o WHERE o.bucket = :bucket AND o.key = found.key) FROM ("
        "SELECT key, max(sequence) AS newest, count(*) AS versions FROM versions "
        f"WHERE bucket = :bucket AND key >= :start {before_stop}"
        "GROUP BY key ORDER BY key LIMIT :limit) AS found",
        {"bucket": bucket, "start": start, "stop": stop, "limit": limit},
    )
    return [(key, newest, bool(is_lone)) for key, newest, is_lone in rows]
