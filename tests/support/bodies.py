"""Bodies to take in that behave as networks do: in any pieces, ending early, failing half-way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat


class FakeBody:
    """Gives `content` in pieces of the sizes asked for; then ends, or raises `error`.

    `announce` is what the request announced: True for the true length, None for nothing.
    """

    def __init__(
        self,
        content: bytes,
        sizes: Iterable[int] | None = None,
        *,
        announce: bool = True,
        error: Exception | None = None,
        stop: int | None = None,
        on_read: Callable[[int], None] | None = None,
    ) -> None:
        self.length: int | None = len(content) if announce else None
        self._content = memoryview(content)[: len(content) if stop is None else stop]
        self._sizes: Iterator[int] = iter(sizes) if sizes is not None else repeat(0)
        self._error = error
        self._at = 0
        self._on_read = on_read

    async def fill(self, views: Sequence[memoryview]) -> int:
        filled = 0
        for view in views:
            at = 0
            while at < len(view):
                if self._on_read is not None:
                    self._on_read(self._at)
                # A body that waits lets others run.
                await asyncio.sleep(0)
                rest = self._content[self._at :]
                if not rest:
                    if self._error is not None:
                        raise self._error
                    return filled
                taken = min(len(view) - at, len(rest), next(self._sizes, 0) or len(view))
                view[at : at + taken] = rest[:taken]
                self._at += taken
                at += taken
                filled += taken
        return filled


def random_sizes(seed: int, most: int = 100_000) -> Iterator[int]:
    """Endless piece sizes, the same for a seed."""
    chance = random.Random(seed)
    while True:
        yield chance.choice((1, 2, 100, 4096, chance.randint(1, most)))


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes without repeats, the same for a seed."""
    return random.Random(seed).randbytes(size)
