"""Cuts one page of rows that have several to a key: versions, and uploads in progress.

Where a key has one row, as in the listings of objects, the catalog folds by itself: see `listing`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from gateway.s3.listing import Folding, Page, successor


class Keyed(Protocol):
    """What lies at a key: a row, or a position between rows."""

    @property
    def key(self) -> bytes: ...


RowT = TypeVar("RowT", bound=Keyed)
RowT_co = TypeVar("RowT_co", bound=Keyed, covariant=True)
PositionT = TypeVar("PositionT", bound=Keyed)
PositionT_contra = TypeVar("PositionT_contra", bound=Keyed, contravariant=True)


class SeekRows(Protocol[RowT_co, PositionT_contra]):
    """Rows behind a position, with `key < stop` if given; in their order, at most `limit`."""

    def __call__(
        self, after: PositionT_contra, limit: int, stop: bytes | None
    ) -> Sequence[RowT_co]: ...


def cut_page(
    seek: SeekRows[RowT, PositionT],
    start: PositionT | None,
    prefix: bytes,
    delimiter: bytes,
    names_max: int,
    *,
    behind: Callable[[RowT], PositionT],
    at_key: Callable[[bytes], PositionT],
) -> Page[RowT, PositionT]:
    """The page that begins at `start` (None: nothing can be there) and has `names_max` names.

    `behind` is the position behind a row, `at_key` the one before all rows of a key. The cost
    depends on the size of the page alone: a group that folds into a common prefix is left by a
    seek behind it, never read to its end.
    """
    position, stop = start, successor(prefix)
    if position is None or (stop is not None and position.key >= stop) or not names_max:
        return Page((), ())
    folding = Folding(len(prefix), delimiter) if delimiter else None
    page = _Growing[RowT](names_max)
    batch = names_max + 1 if folding is None else _BATCH_MIN
    while True:
        limit = min(batch, page.room + 1)
        rows = seek(position, limit, stop)
        index = 0
        skipped = 0
        while index < len(rows):
            if not page.room:
                return Page(page.entries, page.common_prefixes, True, page.last, position)
            row = rows[index]
            group = folding.common_prefix(row.key) if folding is not None else None
            if group is None:
                page.add_row(row)
                position = behind(row)
                index += 1
                continue
            page.add_group(group)
            behind_group = successor(group)
            if behind_group is None:
                return Page(page.entries, page.common_prefixes)
            position = at_key(behind_group)
            following = bisect_left(rows, behind_group, lo=index + 1, key=_key_of)
            skipped += following - index - 1
            index = following
        if len(rows) < limit:
            return Page(page.entries, page.common_prefixes)
        # Rows inside a group are read for nothing: read few while they are many.
        batch = max(_BATCH_MIN, batch // 4) if skipped > limit // 2 else batch * 4


_BATCH_MIN = 8


@dataclass(slots=True)
class _Growing(Generic[RowT]):
    """A page while it fills; `room` is the number of names that it can still take."""

    room: int
    entries: list[RowT] = field(default_factory=list)
    common_prefixes: list[bytes] = field(default_factory=list)
    last: bytes | None = None

    def add_row(self, row: RowT) -> None:
        self.entries.append(row)
        self.last = row.key
        self.room -= 1

    def add_group(self, group: bytes) -> None:
        self.common_prefixes.append(group)
        self.last = group
        self.room -= 1


def _key_of(row: Keyed) -> bytes:
    return row.key
