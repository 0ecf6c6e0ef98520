"""Says where the nodes of one file lie: runs of leaves and the places of its link nodes.

A layout is what lets a read go straight to the bytes, whatever the size of the store. It is
derived data in the sense that the nodes can also be found by digest, one by one; it is kept with
the object because one row is cheaper than a million look-ups.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from dsn.errors import InvalidLayoutError
from dsn.framing import FULL_SECTION_BYTES
from dsn.place import Place
from dsn.varint import read_uvarint, write_uvarint

LAYOUT_VERSION = 1

# Past this many runs, leaves that exist elsewhere are stored again rather than pointed at, unless
# they continue the run before them: it bounds a layout, and the seeks of a read.
RUNS_MAX = 100_000


class Run(NamedTuple):
    """`leaves` consecutive leaf sections in one segment, the first one at `offset`.

    `stride` is the distance between two of them: a full section, or 0 where one stored leaf
    stands for all of them (a stretch of zeros, say).
    """

    segment: int
    offset: int
    leaves: int
    stride: int = FULL_SECTION_BYTES


class RunList:
    """Collects the places of a file's leaves, in file order, into as few runs as possible."""

    __slots__ = ("_count", "_offset", "_runs", "_segment", "_stride")

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._segment = -1
        self._offset = 0
        self._count = 0
        self._stride = FULL_SECTION_BYTES

    def __len__(self) -> int:
        return len(self._runs) + (1 if self._count else 0)

    def extends(self, segment: int, offset: int) -> bool:
        """Whether a leaf at this place would continue the last run."""
        if segment != self._segment:
            return False
        distance = offset - self._offset
        if self._count == 1:
            return distance in (0, FULL_SECTION_BYTES)
        return distance == self._stride * self._count

    def append(self, segment: int, offset: int, count: int = 1) -> None:
        """Add `count` consecutive leaves, the first one at `offset` of `segment`."""
        if self._count and segment == self._segment:
            distance = offset - self._offset
            if distance == FULL_SECTION_BYTES * self._count and (
                self._stride == FULL_SECTION_BYTES or self._count == 1
            ):
                self._stride = FULL_SECTION_BYTES
                self._count += count
                return
            if distance == 0 and count == 1 and (self._stride == 0 or self._count == 1):
                self._stride = 0
                self._count += 1
                return
        self._close_run()
        self._segment, self._offset, self._count = segment, offset, count
        self._stride = FULL_SECTION_BYTES

    def extend(self, runs: Iterable[Run]) -> None:
        """Add whole runs behind what is here."""
        for run in runs:
            if run.stride == FULL_SECTION_BYTES or run.leaves == 1:
                self.append(run.segment, run.offset, run.leaves)
            else:
                for _ in range(run.leaves):
                    self.append(run.segment, run.offset)

    def runs(self) -> tuple[Run, ...]:
        """The runs collected so far."""
        last = (Run(self._segment, self._offset, self._count, self._stride),)
        return (*self._runs, *(last if self._count else ()))

    def _close_run(self) -> None:
        if self._count:
            self._runs.append(Run(self._segment, self._offset, self._count, self._stride))
            self._count = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a file's nodes lie.

    `runs` hold the leaves in file order; `links` the link nodes level by level, left to right,
    the root last (Auto Drive's write order). A file of one node has no runs and one link: itself.
    """

    runs: tuple[Run, ...]
    links: tuple[Place, ...]
    _stops: list[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stops", list(accumulate(run.leaves for run in self.runs)))

    @property
    def leaf_count(self) -> int:
        """How many leaves the runs hold."""
        return self._stops[-1] if self._stops else 0

    def covering(self, first: int, count: int) -> Iterator[Run]:
        """The runs, cut to fit, that hold the leaves `first` to `first + count - 1`."""
        at = bisect_right(self._stops, first)
        while count > 0:
            if at >= len(self.runs):
                raise InvalidLayoutError(f"leaf {first} is beyond the {self.leaf_count} that lie")
            run = self.runs[at]
            skipped = first - (self._stops[at] - run.leaves)
            taken = min(count, run.leaves - skipped)
            yield Run(run.segment, run.offset + skipped * run.stride, taken, run.stride)
            first += taken
            count -= taken
            at += 1

    def segments(self) -> set[int]:
        """Every segment that this file's nodes lie in."""
        return {run.segment for run in self.runs} | {place.segment for place in self.links}


def encode_layout(layout: Layout) -> bytes:
    """The layout as bytes: a table of segments, then runs and places that index into it."""
    segments = {segment: i for i, segment in enumerate(sorted(layout.segments()))}
    out = bytearray([LAYOUT_VERSION])
    write_uvarint(out, len(segments))
    for segment in segments:
        out += segment.to_bytes(8, "big")
    write_uvarint(out, len(layout.runs))
    for run in layout.runs:
        write_uvarint(out, segments[run.segment])
        write_uvarint(out, run.offset)
        write_uvarint(out, run.leaves << 1 | (run.stride == 0))
    write_uvarint(out, len(layout.links))
    for place in layout.links:
        write_uvarint(out, segments[place.segment])
        write_uvarint(out, place.offset)
    return bytes(out)


def decode_layout(encoded: bytes) -> Layout:
    """The layout that `encode_layout` wrote; anything else raises InvalidLayoutError."""
    try:
        return _decode_layout(encoded)
    except (IndexError, ValueError) as error:
        raise InvalidLayoutError(str(error)) from error


def layout_segments(encoded: bytes) -> set[int]:
    """Every segment that an encoded layout names: its first part; InvalidLayoutError."""
    try:
        return set(_segment_table(encoded)[0])
    except (IndexError, ValueError) as error:
        raise InvalidLayoutError(str(error)) from error


def _segment_table(encoded: bytes) -> tuple[list[int], int]:
    """The segments in order, and where the table ends."""
    if not encoded or encoded[0] != LAYOUT_VERSION:
        raise InvalidLayoutError("unknown layout version")
    count, start = read_uvarint(encoded, 1)
    stop = start + 8 * count
    if stop > len(encoded):
        raise InvalidLayoutError("the table of segments is cut short")
    return [int.from_bytes(encoded[at : at + 8], "big") for at in range(start, stop, 8)], stop


def _decode_layout(encoded: bytes) -> Layout:
    segments, at = _segment_table(encoded)
    runs = []
    run_count, at = read_uvarint(encoded, at)
    for _ in range(run_count):
        segment, at = read_uvarint(encoded, at)
        offset, at = read_uvarint(encoded, at)
        counted, at = read_uvarint(encoded, at)
        stride = 0 if counted & 1 else FULL_SECTION_BYTES
        runs.append(Run(segments[segment], offset, counted >> 1, stride))
    links = []
    link_count, at = read_uvarint(encoded, at)
    for _ in range(link_count):
        segment, at = read_uvarint(encoded, at)
        offset, at = read_uvarint(encoded, at)
        links.append(Place(segments[segment], offset))
    if at != len(encoded):
        raise InvalidLayoutError("bytes behind the end of the layout")
    return Layout(tuple(runs), tuple(links))
