"""The digests of one body: MD5 always, the payload hash and additional checksums where asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from gateway.s3.checksums import Hasher

Lane = Callable[[Sequence[memoryview]], None]


class BodyDigests:
    """MD5 in a lane of its own, because it is the slowest, and everything else in another.

    Lanes run in parallel, each over the same pieces in the same order.
    """

    def __init__(self, others: Sequence[Hasher] = ()) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._others = list(others)

    def add(self, hasher: Hasher) -> None:
        """Have one more digest computed; before the first piece."""
        self._others.append(hasher)

    @property
    def md5(self) -> bytes:
        """The MD5 of everything so far: 16 bytes."""
        return self._md5.digest()

    def lanes(self) -> list[Lane]:
        """Functions that take the next pieces, one for each lane."""
        return [self._update_md5, self._update_others] if self._others else [self._update_md5]

    def update(self, pieces: Sequence[memoryview]) -> None:
        """Take the next pieces in every lane, one after the other."""
        for lane in self.lanes():
            lane(pieces)

    def _update_md5(self, pieces: Sequence[memoryview]) -> None:
        for piece in pieces:
            self._md5.update(piece)

    def _update_others(self, pieces: Sequence[memoryview]) -> None:
        for hasher in self._others:
            for piece in pieces:
                hasher.update(piece)
