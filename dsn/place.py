"""Where a block lies: the segment and the offset at which its section starts."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A section of a segment: the segment's id and the offset in bytes of the section's start."""

    segment: int
    offset: int
