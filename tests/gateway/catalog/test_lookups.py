from __future__ import annotations

import asyncio
import itertools
import mmap
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.catalog import lookups
from gateway.catalog.database import Database, open_catalog


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "catalog.db")
    await database.open()
    yield database
    await database.close()


def thread_of(connection: sqlite3.Connection) -> int:
    connection.execute("SELECT 1").fetchone()
    return threading.get_ident()


def slowly(connection: sqlite3.Connection) -> int:
    time.sleep(2 * lookups.LOOP_SECONDS_MAX)
    return thread_of(connection)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time somebody asks, the disk was read once more."""
    monkeypatch.setattr(lookups, "disk_reads", itertools.count().__next__)


async def test_a_look_up_is_answered_by_the_event_loop(database: Database) -> None:
    assert await database.read(thread_of) == threading.get_ident()


@pytest.mark.usefixtures("slow_disk")
async def test_after_one_that_waited_for_the_disk_they_go_to_a_thread_for_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "THREAD_SECONDS", 0.2)
    here = threading.get_ident()
    assert await database.read(slowly) == here
    assert await database.read(thread_of) != here
    await asyncio.sleep(0.3)
    assert await database.read(thread_of) == here


@pytest.mark.usefixtures("slow_disk")
async def test_many_short_waits_for_the_disk_are_a_long_one(database: Database) -> None:
    def shortly(connection: sqlite3.Connection) -> int:
        time.sleep(lookups.LOOP_SECONDS_MAX / 3)
        return thread_of(connection)

    here = threading.get_ident()
    threads = await asyncio.gather(*(database.read(shortly) for _ in range(8)))
    assert threads[0] == here
    assert threads[-1] != here


async def test_one_that_had_to_wait_for_the_processor_changes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "disk_reads", lambda: 7)
    await database.read(slowly)
    assert await database.read(thread_of) == threading.get_ident()


@pytest.mark.parametrize("is_mapped", [True, False])
def test_a_page_that_is_not_in_memory_counts_as_read_from_the_disk(
    tmp_path: Path, is_mapped: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        before, bytes_before = lookups.disk_reads(), bytes_read()
        found = mapped[0] if is_mapped else os.pread(file.fileno(), 1, 0)[0]
    assert found == 0
    if bytes_read() == bytes_before:
        pytest.skip("no disk below the test's directory")
    assert lookups.disk_reads() > before


def bytes_read() -> int:
    """What the kernel says this thread has had read from disks."""
    try:
        fields = dict(
            line.split(": ") for line in Path("/proc/thread-self/io").read_text().splitlines()
        )
    except FileNotFoundError:
        pytest.skip("a kernel that does not count what is read from disks")
    return int(fields["read_bytes"])


@pytest.mark.usefixtures("slow_disk")
async def test_those_that_gather_meanwhile_each_get_their_own_answer(database: Database) -> None:
    queries = [lambda c, n=n: c.execute("SELECT 10 / ?, ?", (n, n)).fetchone() for n in range(9)]
    queries.append(lambda c: c.execute("SELECT * FROM nowhere"))
    for before in (thread_of, slowly):
        await database.read(before)
        outcomes = await asyncio.gather(*map(database.read, queries), return_exceptions=True)
        assert [row[1] for row in outcomes[:-1]] == list(range(9))
        assert isinstance(outcomes[-1], sqlite3.OperationalError)


@pytest.mark.usefixtures("slow_disk")
async def test_no_two_ever_run_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share what they keep, such as the versions that are known."""
    monkeypatch.setattr(lookups, "THREAD_SECONDS", 0.003)
    running = 0
    most = 0

    def query(connection: sqlite3.Connection) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        slowly(connection)
        running -= 1

    async def one(after: float) -> None:
        await asyncio.sleep(after)
        await database.read(query)

    await asyncio.gather(*(one(n / 1000) for n in range(40)))
    assert most == 1


async def test_a_catalog_that_is_locked_is_waited_for_in_a_thread(tmp_path: Path) -> None:
    locked, release = threading.Event(), threading.Event()

    def lock() -> None:
        other = open_catalog(tmp_path / "other.db")
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("COMMIT")
        locked.set()
        release.wait(10)
        other.close()

    holder = threading.Thread(target=lock)
    open_catalog(tmp_path / "other.db").close()
    holder.start()
    await asyncio.to_thread(locked.wait, 10)
    loop_connection = sqlite3.connect(
        tmp_path / "other.db", isolation_level=None, check_same_thread=False
    )
    waiting = sqlite3.connect(tmp_path / "other.db", timeout=10, check_same_thread=False)

    async def in_thread(query: lookups.Query[list[object]]) -> list[object]:
        return await asyncio.to_thread(query, waiting)

    looking = lookups.Lookups(loop_connection, in_thread)
    count = "SELECT count(*) FROM objects"
    found = asyncio.ensure_future(looking.read(lambda c: c.execute(count).fetchone()))
    await asyncio.sleep(0.1)
    assert not found.done()
    release.set()
    assert await found == (0,)
    holder.join()
    await looking.close()
    waiting.close()


@pytest.mark.usefixtures("slow_disk")
async def test_a_connection_that_is_gone_is_told_to_everybody() -> None:
    async def in_thread(query: lookups.Query[list[object]]) -> list[object]:
        raise ValueError("no active connection")

    looking = lookups.Lookups(sqlite3.connect(":memory:", isolation_level=None), in_thread)
    await looking.read(slowly)
    both = (looking.read(thread_of), looking.read(thread_of))
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError]
    await looking.close()
