"""The rows that records give, in whatever order they are read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest

from dsn.layout import Layout, encode_layout
from dsn.place import Place
from gateway.catalog.apply import Applier
from gateway.catalog.audit import totals
from gateway.catalog.database import open_catalog, remove_catalog, transaction
from gateway.catalog.queries import (
    BucketRow,
    find_bucket,
    find_notes,
    find_setting,
    list_buckets,
)
from gateway.catalog.records import (
    AbortRecord,
    BucketRecord,
    BucketRemovalRecord,
    MarkerRecord,
    NoteRecord,
    ObjectRecord,
    Record,
    RemovalRecord,
    SettingRecord,
    UploadRecord,
    decode_record,
    encode_record,
)
from gateway.catalog.sequence import WORKER_BITS, sequence_micros

LAYOUT = encode_layout(Layout((), ()))
EMPTY = {"root": bytes(32), "size": 0, "etag": bytes(16), "layout": LAYOUT}


def put(sequence: int, key: bytes = b"k", **more: object) -> ObjectRecord:
    return ObjectRecord(sequence, "main", "bucket", key, **EMPTY, **more)  # type: ignore[arg-type]


def setting(sequence: int, document: str | None, name: str = "cors") -> SettingRecord:
    return SettingRecord(sequence, "main", "bucket", name, document)


def made(sequence: int) -> BucketRecord:
    return BucketRecord(sequence, "main", "bucket")


def bucket_removal(sequence: int) -> BucketRemovalRecord:
    return BucketRemovalRecord(sequence, "main", "bucket")


def note(sequence: int, version: int, document: str | None, name: str = "tagging") -> NoteRecord:
    return NoteRecord(sequence, "main", "bucket", b"k", version, name, document)


def marker(sequence: int, key: bytes = b"k") -> MarkerRecord:
    return MarkerRecord(sequence, "main", "bucket", key)


def removal(sequence: int, *versions: int, key: bytes = b"k") -> RemovalRecord:
    return RemovalRecord(sequence, "main", "bucket", key, versions)


def rows(
    path: Path, records: Iterable[Record], *, at_once: bool, in_order: bool = False
) -> dict[str, list[object]]:
    """What the tables hold after these records, but for the ids of buckets."""
    remove_catalog(path)
    connection = open_catalog(path)
    connection.execute("PRAGMA synchronous = OFF")
    groups = [list(records)] if at_once else [[record] for record in records]
    for group in groups:
        with transaction(connection):
            applier = Applier(connection, in_order=in_order)
            for record in group:
                # The place of a record does not depend on when it is read.
                applier.apply(record, Place(1, record.sequence))
            applier.flush()
    tables = ("buckets", "versions", "removals", "objects", "uploads")
    tables += ("settings", "notes", "finished_uploads")
    found = {table: sorted(connection.execute(f"SELECT * FROM {table}")) for table in tables}
    connection.close()
    return found


HISTORIES = {
    "a setting made, changed and removed": [
        setting(1, "first"),
        setting(2, "second"),
        setting(3, None),
        setting(4, "other", "lifecycle"),
    ],
    "a setting made again": [setting(1, "first"), setting(2, None), setting(3, "")],
    "a note changed and removed": [
        put(1),
        note(2, 1, "a=1"),
        note(3, 1, None),
        note(4, 1, "x", "z"),
    ],
    "a note of the put, changed": [put(1, notes={"tagging": "a=1"}), note(2, 1, "a=2"), put(3)],
    "notes of two versions": [
        put(1, notes={"tagging": "a=1"}),
        put(2, notes={"tagging": "a=2"}),
        note(3, 1, "a=3"),
    ],
    "notes of an upload": [
        UploadRecord(1, "main", "bucket", b"k", "u", notes={"tagging": "a=1"}),
        put(2, upload_id="u", notes={"tagging": "a=1"}),
        note(3, 2, "a=2"),
    ],
    "a key hidden": [put(1), put(2), marker(3)],
    "a key hidden and put again": [put(1), marker(2), put(3), put(4, b"other")],
    "a key hidden twice and shown again": [put(1), marker(2), marker(3), removal(4, 3, 2)],
    "one of two markers removed": [put(1), marker(2), marker(3), removal(4, 2)],
    "a key hidden that was never there": [marker(1), put(2, b"k2"), marker(3, b"k2")],
    "a scratch key removed": [put(1), put(2), removal(3, 2, 1), put(4)],
    "the newest of two versions removed": [put(1), put(2), removal(3, 2)],
    "a version of an upload hidden and removed": [
        UploadRecord(1, "main", "bucket", b"k", "u"),
        put(2, upload_id="u", part_sizes=((5, 2), (3, 1))),
        marker(3),
        removal(4, 3),
    ],
    "checksums of a key shown again": [
        put(1, checksum=("CRC32", "FULL_OBJECT", "AAAAAA==")),
        put(2),
        put(
            3,
            part_sizes=((5, 2),),
            checksum=("SHA1", "COMPOSITE", "x-2"),
            part_checksums=bytes(range(40)),
        ),
        removal(4, 3, 2),
    ],
    "a bucket removed": [made(1), setting(2, "c"), bucket_removal(3)],
    "a bucket removed and made anew": [
        made(1),
        setting(2, "c"),
        bucket_removal(3),
        made(4),
        setting(5, "d", "lifecycle"),
    ],
    "a bucket removed twice": [
        setting(1, "c"),
        bucket_removal(2),
        made(3),
        setting(4, "d"),
        bucket_removal(5),
    ],
    "a bucket removed that scratch was in": [put(1), removal(2, 1), bucket_removal(3)],
    "a bucket made anew by a write": [made(1), bucket_removal(2), put(3), made(4), put(5)],
    "a bucket with a policy, removed": [
        setting(1, "deny", "delete-policy"),
        bucket_removal(2),
        made(3),
        setting(4, "hide", "delete-policy"),
    ],
    "an upload with notes, aborted": [
        UploadRecord(1, "main", "bucket", b"k", "u", notes={"tagging": "a=1"}),
        AbortRecord(2, "u"),
    ],
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_order_of_the_records_does_not_matter(history: list[Record], tmp_path: Path) -> None:
    expected = rows(tmp_path / "catalog.db", history, at_once=True)
    for order in itertools.permutations(history):
        for at_once in (True, False):
            assert rows(tmp_path / "catalog.db", order, at_once=at_once) == expected
    for at_once in (True, False):
        live = rows(tmp_path / "catalog.db", history, at_once=at_once, in_order=True)
        assert live == expected


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_records_come_back_from_their_blocks(history: list[Record]) -> None:
    for record in history:
        assert decode_record(encode_record(record, 5, 7), 7) == (record, 5)


def find_after(path: Path, *history: Record) -> BucketRow | None:
    remove_catalog(path)
    connection = open_catalog(path)
    with transaction(connection):
        applier = Applier(connection, in_order=False)
        for record in history:
            applier.apply(record, Place(1, 1))
        applier.flush()
    found = find_bucket(connection, "main", "bucket")
    assert list_buckets(connection, "main") == ([found] if found else [])
    assert totals(connection)[0] == (found is not None)
    connection.close()
    return found


def test_bucket_is_there_until_it_is_removed_and_when_it_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    day = 86_400_000_000 << WORKER_BITS
    history = made(day), bucket_removal(2 * day), made(3 * day)
    for count, created in ((1, day), (2, None), (3, 3 * day)):
        for order in itertools.permutations(history[:count]):
            found = find_after(path, *order)
            assert (found and found.created_us) == (created and sequence_micros(created))


def test_version_is_never_in_no_bucket(tmp_path: Path) -> None:
    """The record that made the bucket anew may be in a log that is lost."""
    assert find_after(tmp_path / "catalog.db", made(1), bucket_removal(2), put(3)) is not None


def test_what_was_removed_is_not_there(tmp_path: Path) -> None:
    connection = open_catalog(tmp_path / "catalog.db")
    with transaction(connection):
        applier = Applier(connection, in_order=True)
        for record in (
            put(1, notes={"tagging": "a=1", "retention": "r"}),
            note(2, 1, None),
            setting(3, "c"),
            setting(4, None, "lifecycle"),
        ):
            applier.apply(record, Place(1, 1))
        applier.flush()
    (bucket,) = connection.execute("SELECT id FROM buckets").fetchone()
    assert find_notes(connection, 1) == {"retention": "r"}
    assert find_setting(connection, bucket, "cors") == "c"
    assert find_setting(connection, bucket, "lifecycle") is None
    assert find_setting(connection, bucket, "nothing") is None
    connection.close()
