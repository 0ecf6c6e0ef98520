"""The catalog's SQLite database: connections, and whole transactions as one hop to their thread.

A statement by itself through aiosqlite costs a hop to its thread and back; a transaction handed
over as one function costs the same hop once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

from gateway.catalog.lookups import Lookups

T = TypeVar("T")

SCHEMA_VERSION = 6
_SCHEMA = Path(__file__).with_name("schema.sql")
_BUSY_SECONDS_MAX = 60.0
_PRAGMAS = """
PRAGMA journal_mode = WAL;
-- The records are the truth: what a crash of the machine takes from here is applied again.
PRAGMA synchronous = NORMAL;
PRAGMA cache_size = -8192;
PRAGMA mmap_size = 268435456;
PRAGMA temp_store = MEMORY;
-- Checkpoints run beside the commits, see Database.checkpoint; this is only the last resort.
PRAGMA wal_autocheckpoint = 16384;
"""


class CatalogVersionError(RuntimeError):
    """The catalog was written by another version of the program; the text says what helps."""


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
        command = "serve" if version < SCHEMA_VERSION else "rebuild"
        raise CatalogVersionError(
            f"the catalog has version {version}, this program {SCHEMA_VERSION}; "
            f"dsn-gateway {command} makes it anew"
        )
    return connection


def outdated_applied(path: Path) -> dict[int, int] | None:
    """Up to where a catalog of an earlier version has applied each log; None for another one.

    Its tables are not what this program expects, but for this one, which every version has.
    """
    if not path.exists():
        return None
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not 0 < version < SCHEMA_VERSION:
            return None
        return dict(connection.execute("SELECT id, applied FROM segments"))


def remove_catalog(path: Path) -> None:
    """Remove a catalog that nobody has open, if it is there."""
    # Its log first: a new catalog must never find the log of an old one.
    for suffix in ("-wal", "-shm", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction, committed at the end and rolled back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A COMMIT that fails may leave the transaction open, too.
        connection.rollback()
        raise


class WriterLock:
    """One writer at a time over all processes of a store, woken in turn.

    SQLite's own lock makes waiting processes sleep and try again; this one queues them. Its file
    says which log the holder is writing to, so that the next one sees where a holder has died.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def begin(self, log: int) -> None:
        """Note that from now on this log may be ahead of the catalog."""
        os.pwrite(self._fd, log.to_bytes(8, "big"), 0)

    def end(self) -> None:
        """Note that the catalog has caught up."""
        os.pwrite(self._fd, bytes(8), 0)

    def interrupted(self) -> int | None:
        """The log that somebody began to write to without coming to the end."""
        return int.from_bytes(os.pread(self._fd, 8, 0), "big") or None

    def close(self) -> None:
        """Let go of the lock's file."""
        os.close(self._fd)


def writer_lock(catalog: Path) -> WriterLock:
    """The lock of a catalog's writers."""
    return WriterLock(catalog.with_suffix(".lock"))


class Database:
    """The catalog for one process: connections for writing, look-ups, scans and upkeep.

    Each has a thread of its own, so that a long listing or a checkpoint does not hold up a look-up;
    the event loop has one besides (`lookups`).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections: list[aiosqlite.Connection] = []

    async def open(self) -> None:
        """Open the connections."""
        self._lock = writer_lock(self._path)
        for _ in range(4):
            connection = aiosqlite.Connection(lambda: open_catalog(self._path), 64)
            self._connections.append(await connection)
        self._writer, reader, self._scanner, self._keeper = self._connections
        self._lookups = Lookups(
            await asyncio.to_thread(open_catalog, self._path),
            lambda query: _in_thread(reader, partial(query, reader._conn)),
        )

    async def close(self) -> None:
        """Close them; what was handed over before is finished first."""
        if self._connections:
            await self._lookups.close()
        for connection in self._connections:
            await connection.close()
        if self._connections:
            self._lock.close()

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a short query, at the end of the turn of the loop or, to wait, in a thread."""
        return await self._lookups.read(query)

    async def scan(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query that may take milliseconds, in a thread where no look-up waits for it."""
        return await _in_thread(self._scanner, partial(query, self._scanner._conn))

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run a change in the writer's thread, within one transaction over all processes."""
        connection, lock = self._writer._conn, self._lock

        def run() -> T:
            with lock:
                with transaction(connection):
                    done = change(connection)
                lock.end()
                return done

        return await _in_thread(self._writer, run)

    @property
    def writer_lock(self) -> WriterLock:
        """The lock that a change runs under."""
        return self._lock

    async def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the database, as far as readers allow."""
        connection = self._keeper._conn
        await _in_thread(
            self._keeper, lambda: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        )


async def _in_thread(connection: aiosqlite.Connection, work: Callable[[], T]) -> T:
    # aiosqlite offers no public way to hand its thread a whole transaction.
    done: T = await connection._execute(work)  # type: ignore[no-untyped-call]
    return done
