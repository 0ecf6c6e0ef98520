"""Runs the jobs of one stream in worker threads, one at a time and in their order.

A job may be submitted before the one ahead of it has ended: it then begins at once, in the same
thread, without a turn of the event loop in between.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress


class Strand:
    """The jobs of one stream. After one that failed, those that were waiting fail with its error.

    `submit` belongs to the event loop.
    """

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[], None], asyncio.Future[None]]] = deque()
        self._is_running = False

    def submit(self, work: Callable[[], None]) -> asyncio.Future[None]:
        """Have `work` done after everything that was submitted before."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((work, done))
            is_idle, self._is_running = not self._is_running, True
        if is_idle:
            self._threads.submit(self._run)
        return done

    def _run(self) -> None:
        error: BaseException | None = None
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return
                work, done = self._waiting.popleft()
            if error is None:
                try:
                    work()
                except BaseException as raised:
                    error = raised
            # Where the loop is closed, nobody waits any more.
            with suppress(RuntimeError):
                done.get_loop().call_soon_threadsafe(_tell, done, error)
            # What is done with is let go before the next wait.
            del work, done


def _tell(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
