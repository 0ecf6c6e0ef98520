"""Sequence numbers: they order the records of a store over all its processes and restarts.

A number is microseconds since 1970, shifted by ten bits, plus the worker's number, so it is also
the time of the change. It never goes back, even when a clock does: not within a process, and not
from one process to the next, because each group starts behind the last number in the catalog.
"""

from __future__ import annotations

from collections.abc import Callable

WORKER_BITS = 10


def sequence_micros(sequence: int) -> int:
    """When the change happened, in microseconds since 1970."""
    return sequence >> WORKER_BITS


class SequenceClock:
    """Hands out the sequence numbers of one worker. Not thread-safe: the committer calls it."""

    def __init__(
        self, worker: int, *, last: int, wall_ns: Callable[[], int], steady_ns: Callable[[], int]
    ) -> None:
        """`last` is the highest number in the catalog: the clock starts behind it."""
        self._worker = worker
        self._last = last
        self._steady_ns = steady_ns
        # The steady clock is the same for every process of the machine, so workers agree.
        start_us = max(wall_ns() // 1000, sequence_micros(last) + 1)
        self._offset_us = start_us - steady_ns() // 1000

    def follow(self, sequence: int) -> None:
        """Stay behind a number that another worker gave."""
        self._last = max(self._last, sequence)

    def next(self) -> int:
        """A number higher than every one before."""
        now_us = self._offset_us + self._steady_ns() // 1000
        number = now_us << WORKER_BITS | self._worker
        if number <= self._last:
            number = (sequence_micros(self._last) + 1) << WORKER_BITS | self._worker
        self._last = number
        return number
