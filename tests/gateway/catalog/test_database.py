from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.catalog.database import (
    CatalogVersionError,
    open_catalog,
    transaction,
)


@pytest.fixture
def connection(tmp_path: Path):
    opened = open_catalog(tmp_path / "catalog.db")
    yield opened
    opened.close()


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    for _ in range(2):
        connection = open_catalog(tmp_path / "catalog.db")
        connection.execute(
            "INSERT INTO buckets (account, name, sequence) VALUES ('a', 'b', 1)"
            " ON CONFLICT DO NOTHING"
        )
        assert connection.execute("SELECT count(*) FROM buckets").fetchone() == (1,)
        connection.close()


@pytest.mark.parametrize(("version", "helps"), [(1, "gateway serve"), (999, "gateway rebuild")])
def test_another_version_is_refused(
    connection: sqlite3.Connection, tmp_path: Path, version: int, helps: str
) -> None:
    connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(CatalogVersionError, match=helps):
        open_catalog(tmp_path / "catalog.db")


def test_an_error_rolls_the_transaction_back(connection: sqlite3.Connection) -> None:
    with pytest.raises(KeyError), transaction(connection):
        connection.execute("INSERT INTO buckets (account, name, sequence) VALUES ('a', 'b', 1)")
        raise KeyError
    assert connection.execute("SELECT count(*) FROM buckets").fetchone() == (0,)


def test_a_commit_that_fails_leaves_no_transaction_open(connection: sqlite3.Connection) -> None:
    """Else no transaction could begin any more."""
    connection.executescript(
        "PRAGMA foreign_keys = ON; CREATE TABLE parent (id INTEGER PRIMARY KEY);"
        "CREATE TABLE child (id REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);"
    )
    with pytest.raises(sqlite3.IntegrityError), transaction(connection):
        connection.execute("INSERT INTO child VALUES (1)")
    with transaction(connection):
        connection.execute("INSERT INTO parent VALUES (1)")
    assert connection.execute("SELECT count(*) FROM child").fetchone() == (0,)
