"""Brings streams together whose MD5 is due at the same time, so that one core hashes them at once.

There is no timer: whatever was submitted while the last slice was being hashed joins the next one.
A stream alone never waits, and many share the chain of steps that one of them would occupy.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from dsn.md5 import LANES, Md5, update_side_by_side
from dsn.node import CHUNK_BYTES
from gateway.strand import Strand

# What is hashed of each stream before others may join: half a millisecond's worth, against some
# 20 microseconds that it costs to look for them.
SLICE_BYTES = 4 * CHUNK_BYTES


class Md5Lanes(Protocol):
    """Where the MD5 of large bodies is computed. One for each process."""

    def submit(self, md5: Md5, pieces: Sequence[memoryview]) -> asyncio.Future[None]:
        """Update `md5` beside the event loop; neither may be touched until that is done.

        What is submitted of one stream is taken in that order, also while some is under way.
        """

    def close(self) -> None:
        """Finish what was submitted, then stop."""


def new_md5_lanes(threads: Executor) -> Md5Lanes:
    """The kind that is fastest here; `threads` serve where there are no lanes."""
    return OneByOne(threads) if LANES == 1 else SideBySide()


class OneByOne:
    """Each stream in a thread of a pool that belongs to somebody else."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        # Of the streams that have submissions under way: their strand, and how many.
        self._under_way: dict[Md5, tuple[Strand, int]] = {}

    def submit(self, md5: Md5, pieces: Sequence[memoryview]) -> asyncio.Future[None]:
        strand, count = self._under_way.get(md5) or (Strand(self._threads), 0)
        self._under_way[md5] = strand, count + 1
        done = strand.submit(partial(md5.update, pieces))
        done.add_done_callback(lambda _: self._end(md5))
        return done

    def _end(self, md5: Md5) -> None:
        strand, count = self._under_way.pop(md5)
        if count > 1:
            self._under_way[md5] = strand, count - 1

    def close(self) -> None:
        """The pool is closed by its owner."""


class SideBySide:
    """All streams in one thread, up to LANES at a time."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, md5: Md5, pieces: Sequence[memoryview]) -> asyncio.Future[None]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="md5", daemon=True)
            self._thread.start()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(_Job(md5, pieces, done))
        return done

    def close(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        jobs: list[_Job] = []
        # The last job of each stream that has any; its next one follows that.
        last: dict[Md5, _Job] = {}
        is_closing = False
        while jobs or not is_closing:
            while not is_closing and len(jobs) < LANES and (not jobs or self._queue.qsize()):
                job = self._queue.get()
                if job is None:
                    is_closing = True
                else:
                    ahead = last.get(job.md5)
                    last[job.md5] = job
                    if ahead is None:
                        jobs.append(job)
                    else:
                        ahead.follower = job
                    del ahead
                del job
            _hash_slice(jobs)
            finished = [job for job in jobs if job.is_finished]
            if finished:
                jobs = [job for job in jobs if not job.is_finished]
                for job in finished:
                    if job.follower is None:
                        del last[job.md5]
                    else:
                        job.follower.error = job.error
                        jobs.append(job.follower)
                    del job
                _wake(finished)
            # What is done with is let go before the next wait.
            del finished


class _Job:
    """What one submission has still to do."""

    __slots__ = ("_at", "_pieces", "done", "error", "follower", "md5")

    def __init__(self, md5: Md5, pieces: Sequence[memoryview], done: asyncio.Future[None]) -> None:
        self.md5 = md5
        self.done = done
        self.error: Exception | None = None
        self.follower: _Job | None = None
        self._pieces = pieces
        self._at = 0

    @property
    def is_finished(self) -> bool:
        return self.error is not None or self._at >= len(self._pieces)

    def next_slice(self) -> Sequence[memoryview]:
        """Pieces that together reach SLICE_BYTES, or the last ones."""
        start, size = self._at, 0
        while self._at < len(self._pieces) and size < SLICE_BYTES:
            size += self._pieces[self._at].nbytes
            self._at += 1
        return self._pieces[start : self._at]


def _hash_slice(jobs: Sequence[_Job]) -> None:
    slices = [job.next_slice() for job in jobs]
    try:
        update_side_by_side([job.md5 for job in jobs], slices)
    except Exception:
        # Nothing was taken. Whoever is at fault fails alone.
        for job, pieces in zip(jobs, slices, strict=True):
            try:
                job.md5.update(pieces)
            except Exception as error:
                job.error = error


def _wake(finished: Sequence[_Job]) -> None:
    """One wake-up of their loop for all that ended together."""
    for loop in {job.done.get_loop() for job in finished}:
        # Where the loop is closed, nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(
                _tell, [job for job in finished if job.done.get_loop() is loop]
            )


def _tell(finished: Sequence[_Job]) -> None:
    for job in finished:
        if job.done.done():
            continue
        if job.error is None:
            job.done.set_result(None)
        else:
            job.done.set_exception(job.error)
