"""What is announced of the rules of a bucket, and how often the catalog is asked for them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.catalog.database import open_catalog
from gateway.catalog.records import ObjectRecord
from gateway.catalog.sequence import WORKER_BITS
from gateway.expirations import ExpirationDates
from gateway.s3.lifecycle_rules import DAY_US

BUCKET = 7
RULES = (
    "<LifecycleConfiguration><Rule><ID>{}</ID><Prefix>tmp/</Prefix><Status>Enabled</Status>"
    "<Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>"
)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_catalog(tmp_path / "catalog.db")) as connection:
        yield connection


def configure(catalog: sqlite3.Connection, sequence: int, name: str) -> None:
    row = (BUCKET, "lifecycle", sequence, RULES.format(name))
    catalog.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?, ?)", row)


def put(key: bytes) -> ObjectRecord:
    return ObjectRecord(1 << WORKER_BITS, "main", "bucket", key, b"r", 1, b"e", b"")


def test_rules_are_read_once_for_each_number(catalog: sqlite3.Connection) -> None:
    dates = ExpirationDates(DAY_US, lambda: 0.0)
    asked: list[str] = []
    catalog.set_trace_callback(asked.append)
    for number, name in ((5, "first"), (6, "second")):
        configure(catalog, number, name)
        asked.clear()
        for _ in range(3):
            text = dates.text(catalog, BUCKET, number, put(b"tmp/k"))
            assert text == f'expiry-date="Sat, 03 Jan 1970 00:00:00 GMT", rule-id="{name}"'
            assert dates.text(catalog, BUCKET, number, put(b"other")) is None
        assert len(asked) == 1


def test_rules_of_many_buckets_are_let_go(catalog: sqlite3.Connection) -> None:
    dates = ExpirationDates(DAY_US, lambda: 0.0)
    configure(catalog, 1, "first")
    for number in range(1, 200):
        assert dates.text(catalog, BUCKET, number, put(b"tmp/k")) is not None
    assert len(dates._known) < 100


def test_that_there_are_no_rules_is_believed_for_a_moment(catalog: sqlite3.Connection) -> None:
    now = 100.0
    dates = ExpirationDates(DAY_US, lambda: now)
    assert not dates.lacks_rules(BUCKET)
    assert dates.text(catalog, BUCKET, 0, put(b"tmp/k")) is None
    assert dates.lacks_rules(BUCKET)
    assert not dates.lacks_rules(BUCKET + 1)
    now += 1.0
    assert not dates.lacks_rules(BUCKET)
