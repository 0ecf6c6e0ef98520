"""Bounds the memory that bodies in flight may use, all requests of a process together."""

from __future__ import annotations

import asyncio
from collections import deque

from dsn.chunker import SLAB_BYTES, Slab
from gateway.s3.errors import ErrorCode, S3Error

WAIT_SECONDS_MAX = 20.0
_SPARE_SLABS_MAX = 16


class ByteBudget:
    """A number of bytes that requests take from and give back, first come first served.

    Whoever waits longer than `wait_seconds_max` gets S3Error(SlowDown).
    """

    def __init__(self, bytes_max: int, wait_seconds_max: float = WAIT_SECONDS_MAX) -> None:
        self.bytes_max = bytes_max
        self._free = bytes_max
        self._wait_seconds_max = wait_seconds_max
        self._waiters: deque[tuple[asyncio.Future[None], int]] = deque()

    @property
    def bytes_in_use(self) -> int:
        """How many bytes are taken."""
        return self.bytes_max - self._free

    def try_take(self, count: int) -> bool:
        """Take `count` bytes if they are free and nobody waits for them."""
        if self._waiters or count > self._free:
            return False
        self._free -= count
        return True

    async def take(self, count: int) -> None:
        """Take `count` bytes (at most the whole budget), waiting for them if need be."""
        count = min(count, self.bytes_max)
        if self.try_take(count):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (future, count)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                await future
        except BaseException as error:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif future.done() and not future.cancelled():
                self._free += count
            self._wake()
            if isinstance(error, TimeoutError):
                raise S3Error(ErrorCode.SlowDown, headers={"Retry-After": "5"}) from error
            raise

    def give(self, count: int) -> None:
        """Give back what was taken."""
        self._free += min(count, self.bytes_max)
        self._wake()

    def _wake(self) -> None:
        while self._waiters and self._waiters[0][1] <= self._free:
            future, count = self._waiters.popleft()
            if not future.done():
                self._free -= count
                future.set_result(None)


class SlabPool:
    """Lends slabs out of a budget and keeps a few for the next stream."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._spare: list[Slab] = []
        self._lent = 0

    async def take(self) -> Slab:
        """A slab with nothing in it; S3Error(SlowDown) when none comes free in time."""
        await self._budget.take(SLAB_BYTES)
        return self._lend()

    def try_take(self) -> Slab | None:
        """A slab with nothing in it, if there is memory for one and nobody waits for it."""
        return self._lend() if self._budget.try_take(SLAB_BYTES) else None

    def try_take_more(self) -> Slab | None:
        """As `try_take`, but only as long as what is lent will be kept: to make one is dear."""
        return self.try_take() if self._lent < _SPARE_SLABS_MAX else None

    def give(self, slab: Slab) -> None:
        """Hand a slab back; nobody may look at it any more."""
        self._lent -= 1
        if len(self._spare) < _SPARE_SLABS_MAX:
            self._spare.append(slab)
        self._budget.give(SLAB_BYTES)

    def _lend(self) -> Slab:
        slab = self._spare.pop() if self._spare else Slab()
        self._lent += 1
        slab.filled = 0
        return slab
