"""The digests of one body: MD5 always, the payload hash and additional checksums where asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

from dsn.md5 import new_md5
from gateway.md5_lanes import Md5Lanes
from gateway.s3.checksums import Hasher
from gateway.strand import Strand


class BodyDigests:
    """MD5 beside that of other bodies, because it is the slowest, and everything else in a thread.

    Both take the same pieces in the same order.
    """

    def __init__(self, others: Sequence[Hasher] = ()) -> None:
        self._md5 = new_md5()
        self._others = list(others)
        self._strand: Strand | None = None

    def add(self, hasher: Hasher) -> None:
        """Have one more digest computed; before the first piece."""
        self._others.append(hasher)

    @property
    def md5(self) -> bytes:
        """The MD5 of everything so far: 16 bytes."""
        return self._md5.digest()

    def update(self, pieces: Sequence[memoryview]) -> None:
        """Take the next pieces here and now: for few bytes."""
        self._md5.update(pieces)
        self._update_others(pieces)

    def submit(
        self, pieces: Sequence[memoryview], md5_lanes: Md5Lanes, threads: Executor
    ) -> list[asyncio.Future[None]]:
        """Have the next pieces taken beside the event loop, behind those submitted before."""
        jobs = [md5_lanes.submit(self._md5, pieces)]
        if self._others:
            if self._strand is None:
                self._strand = Strand(threads)
            jobs.append(self._strand.submit(partial(self._update_others, pieces)))
        return jobs

    def _update_others(self, pieces: Sequence[memoryview]) -> None:
        for hasher in self._others:
            for piece in pieces:
                hasher.update(piece)
