"""The rows that records give, in whatever order they are read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest

from dsn.layout import Layout, encode_layout
from dsn.place import Place
from gateway.catalog.apply import Applier
from gateway.catalog.database import open_catalog, remove_catalog, transaction
from gateway.catalog.queries import find_notes, find_setting
from gateway.catalog.records import (
    AbortRecord,
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

LAYOUT = encode_layout(Layout((), ()))
EMPTY = {"root": bytes(32), "size": 0, "etag": bytes(16), "layout": LAYOUT}


def put(sequence: int, key: bytes = b"k", **more: object) -> ObjectRecord:
    return ObjectRecord(sequence, "main", "bucket", key, **EMPTY, **more)  # type: ignore[arg-type]


def setting(sequence: int, document: str | None, name: str = "cors") -> SettingRecord:
    return SettingRecord(sequence, "main", "bucket", name, document)


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
