"""MD5 in the making: of several streams side by side where the machine can, else hashlib's.

The extension behind it is optional. Without it, or on a machine without vectors, nothing changes
but the speed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, cast

try:
    from dsn import _md5_lanes
except ImportError:
    _md5_lanes = None  # type: ignore[assignment]

# Pairs of streams without vectors are faster than hashlib, but two cores with hashlib as well.
_VECTOR_LANES_MIN = 8

LANES: int = 1
"""How many streams are worth being updated together; 1 where that is slower than threads."""

if _md5_lanes is not None and _md5_lanes.LANES >= _VECTOR_LANES_MIN:
    LANES = _md5_lanes.LANES


class Md5(Protocol):
    """The MD5 of one stream in the making. Nobody else may use it while it is updated."""

    def update(self, pieces: Sequence[memoryview], /) -> None:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """The MD5 of everything so far: 16 bytes."""


class HashlibMd5:
    """The MD5 that Python brings along."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)

    def update(self, pieces: Sequence[memoryview], /) -> None:
        for piece in pieces:
            self._md5.update(piece)

    def digest(self) -> bytes:
        return self._md5.digest()


def new_md5() -> Md5:
    """The MD5 of nothing yet, of the kind that is fastest here."""
    return HashlibMd5() if LANES == 1 else _md5_lanes.State()


def update_side_by_side(md5s: Sequence[Md5], pieces: Sequence[Sequence[memoryview]]) -> None:
    """Take the next pieces of each stream, at the speed of the longest one up to LANES streams.

    `md5s` come from `new_md5`. With several lanes it takes all bytes, or none where it raises.
    """
    if LANES == 1:
        for md5, own in zip(md5s, pieces, strict=True):
            md5.update(own)
    else:
        _md5_lanes.update_many(cast("Sequence[_md5_lanes.State]", md5s), pieces)
