"""What a run is made of, as plain values: sets of objects, cases, and stages for the generator."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from benchmarks.data import BLOCK_BYTES, Body
from benchmarks.s3_requests import Target


@dataclass(frozen=True)
class ObjectSet:
    """Keys and bodies by number, the same in every process and without a list of them.

    `sizes` are pairs of size and weight. `duplicates` is the share of objects that carry the body
    of one of the first ten. With a `fanout` keys lie three levels deep, so many in each folder.
    """

    prefix: str
    sizes: tuple[tuple[int, int], ...]
    stamp: int
    count: int = 0
    duplicates: float = 0.0
    fanout: int = 0

    def key(self, number: int) -> str:
        if self.fanout:
            upper, name = divmod(number, self.fanout)
            top, middle = divmod(upper, self.fanout)
            return f"{self.prefix}/{top:04d}/{middle:04d}/{name:04d}"
        return f"{self.prefix}/{number:08d}"

    def body(self, number: int) -> Body:
        if self.duplicates and random.Random(number).random() < self.duplicates:
            number %= 10
        size = self._size(number)
        return Body(size, self.stamp + number * self._blocks_each)

    @cached_property
    def _blocks_each(self) -> int:
        return max(1, *(-(-size // BLOCK_BYTES) for size, _ in self.sizes))

    @cached_property
    def _table(self) -> list[int]:
        # One period of sizes in a fixed random order.
        table = [size for size, weight in self.sizes for _ in range(weight)]
        random.Random(1).shuffle(table)
        return table

    def _size(self, number: int) -> int:
        return self._table[number % len(self._table)]

    @property
    def bytes(self) -> int:
        """The whole set."""
        return sum(self.body(number).size for number in range(self.count))


@dataclass(frozen=True)
class Case:
    """One measurement: a source of requests with its arguments at one concurrency.

    `parameters` are what reports show and what `compare` matches. `reads` and `writes` name object
    sets; `before` is what happens first, untimed: nothing, `drop-cache` or `restart`.
    """

    scenario: str
    source: str
    connections: int
    parameters: dict[str, Any] = field(default_factory=dict)
    reads: tuple[tuple[int, int], ...] = ()
    reads_count: int = 0
    fanout: int = 0
    writes: tuple[tuple[int, int], ...] = ()
    duplicates: float = 0.0
    before: str = ""
    seconds: float | None = None
    count: int | None = None
    rate: float | None = None
    limits: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """One line that tells it from the others."""
        text = " ".join(f"{name}={_shown(value)}" for name, value in self.parameters.items())
        return f"{self.scenario} {text}".strip()


@dataclass(frozen=True)
class Stage:
    """What one generator process does, told by the coordinator."""

    target: Target
    source: str
    parameters: dict[str, Any]
    connections: int
    process: int
    processes: int
    seed: int
    reads: ObjectSet | None = None
    writes: ObjectSet | None = None
    seconds: float | None = None
    count: int | None = None
    rate: float | None = None
    verify: bool = False
    timeout_seconds: float = 120.0
    tls_insecure: bool = False


def _shown(value: object) -> str:
    from benchmarks.units import size_text

    return size_text(value) if isinstance(value, int) and value >= 1024 else str(value)
