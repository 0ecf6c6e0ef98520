"""Short queries of the catalog, answered by the event loop itself while it need not wait for them.

What gathers during a turn of the loop is looked up together at its end: a hop to a thread and back
costs several times as much as look-ups whose pages are in memory. Only where a disk has to be
waited for, or another process, do they go over to a thread.
"""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

Query = Callable[[sqlite3.Connection], T]

# A look-up takes some 10 us. If those of a turn took this long, some have waited: for a disk, or
# just for the processor.
LOOP_SECONDS_MAX = 0.001
# After a wait for the disk the loop is spared further ones for so long.
THREAD_SECONDS = 1.0


class Lookups:
    """Look-ups of one process.

    `connection` is the event loop's own; `in_thread` runs a function of another one, in its thread.
    No two queries ever run at once, so that they may share what they keep without a lock.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        in_thread: Callable[[Query[list[Any]]], Awaitable[list[Any]]],
    ) -> None:
        # Whoever has the catalog locked is waited for in the thread.
        connection.execute("PRAGMA busy_timeout = 0")
        self._connection = connection
        self._in_thread = in_thread
        self._in_thread_until = 0.0
        self._waiting: deque[_Lookup] = deque()
        # From the first look-up that waits until none does any more.
        self._is_busy = False
        self._running: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Finish what waits, then let go of the loop's connection."""
        while self._is_busy:
            await (self._running or asyncio.sleep(0))
        self._connection.close()

    async def read(self, query: Query[T]) -> T:
        """What a query of some rows gives, or raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append(_Lookup(query, done))
        if not self._is_busy:
            self._is_busy = True
            loop.call_soon(self._start)
        return await done

    def _start(self) -> None:
        if time.monotonic() >= self._in_thread_until:
            self._run_here()
        if self._waiting:
            self._running = asyncio.create_task(self._run_in_thread(), name="look-ups")
        else:
            self._is_busy = False

    def _run_here(self) -> None:
        """Look up what waits, until the wait for a disk gets long."""
        reads = disk_reads()
        long_since = time.monotonic() + LOOP_SECONDS_MAX
        while self._waiting:
            lookup = self._waiting.popleft()
            outcome = _outcome(lookup.query, self._connection)
            if _is_locked(outcome):
                self._waiting.appendleft(lookup)
                return
            lookup.tell(outcome)
            now = time.monotonic()
            if now > long_since and disk_reads() > reads:
                self._in_thread_until = now + THREAD_SECONDS
                return

    async def _run_in_thread(self) -> None:
        while self._waiting:
            batch = tuple(self._waiting)
            self._waiting.clear()
            try:
                outcomes = await self._in_thread(partial(_outcomes, [each.query for each in batch]))
            except Exception as error:  # the connection is gone: everybody is told
                outcomes = [_Failure(error)] * len(batch)
            for lookup, outcome in zip(batch, outcomes, strict=True):
                lookup.tell(outcome)
        self._is_busy = False
        self._running = None


def disk_reads() -> int:
    """How often the disk was read so far for this thread: by system calls, and for mapped pages."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_inblock + usage.ru_majflt


class _Failure(NamedTuple):
    error: Exception


class _Lookup(NamedTuple):
    query: Query[Any]
    done: asyncio.Future[Any]

    def tell(self, outcome: Any) -> None:
        if self.done.cancelled():
            return
        if isinstance(outcome, _Failure):
            self.done.set_exception(outcome.error)
        else:
            self.done.set_result(outcome)


def _outcome(query: Query[Any], connection: sqlite3.Connection) -> Any:
    try:
        return query(connection)
    except Exception as error:  # the answer to whoever asked, not to the others
        return _Failure(error)


def _outcomes(queries: list[Query[Any]], connection: sqlite3.Connection) -> list[Any]:
    return [_outcome(query, connection) for query in queries]


def _is_locked(outcome: Any) -> bool:
    return (
        isinstance(outcome, _Failure)
        and isinstance(outcome.error, sqlite3.OperationalError)
        and getattr(outcome.error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
    )
