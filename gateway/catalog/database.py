"""The catalog's SQLite database: connections, and whole transactions as one hop to their thread.

A statement by itself through aiosqlite costs a hop to its thread and back; a transaction handed
over as one function costs the same hop once.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

T = TypeVar("T")

SCHEMA_VERSION = 1
_SCHEMA = Path(__file__).with_name("schema.sql")
_BUSY_SECONDS_MAX = 60.0
_PRAGMAS = """
PRAGMA journal_mode = WAL;
-- The records are the truth: what a crash of the machine takes from here is applied again.
PRAGMA synchronous = NORMAL;
PRAGMA cache_size = -16384;
PRAGMA mmap_size = 268435456;
PRAGMA temp_store = MEMORY;
-- Checkpoints run beside the commits, see Database.checkpoint; this is only the last resort.
PRAGMA wal_autocheckpoint = 16384;
"""


class CatalogVersionError(RuntimeError):
    """The catalog was written by another version of the program; `rebuild` makes a new one."""


def open_catalog(path: Path) -> sqlite3.Connection:
    """A connection to the catalog, created with its schema where it is missing."""
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS_MAX, isolation_level=None, check_same_thread=False
    )
    connection.executescript(_PRAGMAS)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{_SCHEMA.read_text()}\nPRAGMA user_version = {SCHEMA_VERSION};\n"
            "COMMIT;"
        )
    elif version != SCHEMA_VERSION:
        connection.close()
        raise CatalogVersionError(f"catalog version {version}, this program has {SCHEMA_VERSION}")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction, committed at the end and rolled back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.execute("COMMIT")


class WriterLock:
    """One writer at a time over all processes of a store, woken in turn.

    SQLite's own lock makes waiting processes sleep and try again; this one queues them.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the lock's file."""
        os.close(self._fd)


class Database:
    """The catalog for one process: a connection for writing and one for reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: aiosqlite.Connection | None = None
        self._reader: aiosqlite.Connection | None = None
        self._lock: WriterLock | None = None

    async def open(self) -> None:
        """Open both connections."""
        self._lock = WriterLock(self._path.with_suffix(".lock"))
        self._writer = await aiosqlite.Connection(lambda: open_catalog(self._path), 64)
        self._reader = await aiosqlite.Connection(lambda: open_catalog(self._path), 64)

    async def close(self) -> None:
        """Close them; what was handed over before is finished first."""
        for connection in (self._writer, self._reader):
            if connection is not None:
                await connection.close()
        if self._lock is not None:
            self._lock.close()

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in the reader's thread."""
        assert self._reader is not None
        return await _in_thread(self._reader, partial(query, self._reader._conn))

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run a change in the writer's thread, within one transaction over all processes."""
        assert self._writer is not None
        assert self._lock is not None
        connection, lock = self._writer._conn, self._lock

        def run() -> T:
            with lock, transaction(connection):
                return change(connection)

        return await _in_thread(self._writer, run)

    async def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the database, as far as readers allow."""
        await self.read(lambda c: c.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())


async def _in_thread(connection: aiosqlite.Connection, work: Callable[[], T]) -> T:
    # aiosqlite offers no public way to hand its thread a whole transaction.
    done: T = await connection._execute(work)  # type: ignore[no-untyped-call]
    return done
