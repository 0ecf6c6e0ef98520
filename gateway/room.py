"""Refuses a body that the disk has no room for, before it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gateway.s3.errors import ErrorCode, S3Error

_LOOK_AGAIN_SECONDS = 0.5


class Room:
    """The free space of a data directory, less a reserve that keeps the catalog able to commit."""

    def __init__(self, data_dir: Path, reserve_bytes: int, clock: Callable[[], float]) -> None:
        self._data_dir = data_dir
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._looked = float("-inf")
        self._free = 0

    def check(self, body_bytes: int) -> None:
        """S3Error(InsufficientStorage) unless a body of so many bytes fits."""
        now = self._clock()
        if now - self._looked >= _LOOK_AGAIN_SECONDS:
            found = os.statvfs(self._data_dir)
            self._free = found.f_bavail * found.f_frsize
            self._looked = now
        if self._free - body_bytes < self._reserve_bytes:
            raise S3Error(ErrorCode.InsufficientStorage)
