"""Additions to the digest index that are not yet written: found at once, written in batches.

Nothing is lost with them: what a crash takes is read again from the segments, from their marks on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from dsn.blockstore.digest_index import DigestIndex
from dsn.place import Place


class PendingIndex:
    """A digest index whose additions wait in memory until `flush`.

    A background thread calls `flush` when `due`, or every few seconds. Each process sees its own
    waiting additions and everybody's flushed ones: at worst a block is stored twice.
    """

    def __init__(
        self, index: DigestIndex, *, entries_due: int = 1 << 14, entries_max: int = 1 << 16
    ) -> None:
        """A flush is due at `entries_due`; an entry takes about 400 bytes until then."""
        self._index = index
        self._entries_due = entries_due
        self._entries_max = entries_max
        # An addition moves from _recent to _moving to the index, and is in the next before it
        # leaves the last. Lookups take hold of them in that order, so they need no lock.
        self._recent: dict[bytes, Place] = {}
        self._moving: dict[bytes, Place] = {}
        self._recent_marks: dict[int, int] = {}
        self._moving_marks: dict[int, int] = {}
        self._adding = threading.Lock()
        self._flushing = threading.Lock()

    def __len__(self) -> int:
        return len(self._recent) + len(self._moving)

    @property
    def due(self) -> bool:
        """Whether enough is waiting for a flush to be worth its wait for the disk."""
        return len(self._recent) >= self._entries_due

    def lookup(self, digests: Sequence[bytes]) -> list[Place | None]:
        """The place of each digest, in the order asked; None where there is none."""
        recent, moving = self._recent, self._moving
        if not recent and not moving:
            return self._index.lookup(digests)
        places = [moving.get(digest) or recent.get(digest) for digest in digests]
        absent = [digest for digest, place in zip(digests, places, strict=True) if place is None]
        if not absent:
            return places
        indexed = iter(self._index.lookup(absent))
        return [next(indexed) if place is None else place for place in places]

    def add(
        self, entries: Iterable[tuple[bytes, int, int]], marks: Mapping[int, int] | None = None
    ) -> None:
        """Note the additions in memory.

        Returns at once, unless flushes were neglected until `entries_max` wait: then it flushes.
        """
        with self._adding:
            for digest, segment, offset in entries:
                self._recent.setdefault(digest, Place(segment, offset))
            _raise_marks(self._recent_marks, marks or {})
        if len(self) >= self._entries_max:
            self.flush()

    def flush(self) -> int:
        """Write what waits, in one transaction; returns how many digests were new to the index.

        If it fails, everything keeps waiting for the next flush.
        """
        with self._flushing:
            with self._adding:
                # What an earlier, failed flush left behind is older, and so wins.
                moving = self._recent | self._moving
                _raise_marks(self._moving_marks, self._recent_marks)
                self._moving = moving
                self._recent, self._recent_marks = {}, {}
            if not moving and not self._moving_marks:
                return 0
            new = self._index.add(
                ((digest, *place) for digest, place in moving.items()), self._moving_marks
            )
            self._moving, self._moving_marks = {}, {}
            return new


def _raise_marks(marks: dict[int, int], newer: Mapping[int, int]) -> None:
    for segment, stop in newer.items():
        marks[segment] = max(stop, marks.get(segment, 0))
