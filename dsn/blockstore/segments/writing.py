"""Appends to one segment: positions, short writes, and what a failed sync means.

A failed `fdatasync` poisons the segment: the kernel may have dropped the pages and will not say so
again, so nothing is retried and nothing more is acknowledged from it.
https://www.usenix.org/conference/atc20/presentation/rebello
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence

from dsn.blockstore.segments.files import SegmentFiles, encode_segment_header
from dsn.blockstore.segments.recent_writes import RecentWrites
from dsn.errors import PoisonedSegmentError

Buffer = bytes | bytearray | memoryview

# How much is appended before the kernel is asked to begin writing it to disk.
WRITE_BACK_BYTES = 4 << 20
# How much of a large segment is reserved on disk at a time: pages that have their place already
# cost half as much to write, and lie in one stretch.
RESERVE_BYTES = 16 << 20
_IOV_MAX = 1024
_SYNC_FILE_RANGE_WRITE = 2
_FALLOC_FL_KEEP_SIZE = 1


def _find(name: str, *arguments: type[ctypes._SimpleCData[int]]) -> Callable[..., int] | None:
    """A function of the C library that only Linux has; None elsewhere."""
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function.argtypes = arguments
    return function


# Where they are missing, the sync at the end does all of it.
_sync_file_range = _find(
    "sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint
)
_fallocate = _find("fallocate", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def write_fully(fd: int, buffers: Sequence[Buffer], offset: int) -> int:
    """`pwritev` all of the buffers at `offset`; how many bytes that were.

    A short write is continued, so that a full disk shows as the OSError it is.
    """
    start = offset
    for first in range(0, len(buffers), _IOV_MAX):
        batch = list(buffers[first : first + _IOV_MAX])
        while batch:
            written = os.pwritev(fd, batch, offset)
            offset += written
            while batch and written >= len(batch[0]):
                written -= len(batch.pop(0))
            if batch:
                batch[0] = memoryview(batch[0])[written:]
    return offset - start


class SegmentWriter:
    """The one writer of a segment. Not thread-safe: its owner makes one call at a time."""

    def __init__(
        self,
        files: SegmentFiles,
        segment: int,
        recent: RecentWrites | None = None,
        *,
        reserves: bool = False,
    ) -> None:
        """Create the segment. `recent` is told what went to the disk.

        With `reserves` blocks are set aside ahead of the end: for what is synced once, at its end.
        """
        self.files = files
        self.segment = segment
        self._recent = recent
        self._reserves = reserves
        self._fd = files.create(segment)
        self.end = len(encode_segment_header(segment))
        self.durable_end = 0
        self._write_back_end = 0
        self._noted_end = 0
        self._reserved_end = 0
        self._poisoned = False
        self._name_is_durable = False

    def append(self, buffers: Sequence[Buffer]) -> int:
        """Write sections behind the end; the offset of the first. Not durable before `sync`.

        On an OSError the end stays where it was: the next append overwrites what was torn.
        """
        if self._poisoned:
            raise PoisonedSegmentError(self.segment)
        start = self.end
        if self._reserves:
            self._reserve(start + sum(map(len, buffers)))
        self.end += write_fully(self._fd, buffers, start)
        if self.end - self._write_back_end >= WRITE_BACK_BYTES:
            self._begin_write_back()
        return start

    def sync(self) -> None:
        """Make all that was appended durable, and the segment's name with it."""
        if self._poisoned:
            raise PoisonedSegmentError(self.segment)
        try:
            if self._reserved_end > self.end:
                # Also gives back what lies behind the end and was never part of the file.
                os.ftruncate(self._fd, self.end)
                self._reserved_end = self.end
            os.fdatasync(self._fd)
            if not self._name_is_durable:
                self.files.sync_name(self.segment)
                self._name_is_durable = True
        except OSError:
            self._poisoned = True
            raise
        self.durable_end = self._write_back_end = self.end
        # A log is synced after every few kilobytes, which are not worth a note each.
        if self.end - self._noted_end >= WRITE_BACK_BYTES:
            self._note_written()

    def _reserve(self, stop: int) -> None:
        """Have the disk set blocks aside up to `stop` and beyond; the file stays as long as it is.

        Another hint: a file system that cannot, or is full, says so again when it is written to.
        """
        if stop > self._reserved_end and _fallocate is not None:
            start = max(self._reserved_end, self.end)
            self._reserved_end = stop + RESERVE_BYTES
            _fallocate(self._fd, _FALLOC_FL_KEEP_SIZE, start, self._reserved_end - start)

    def _begin_write_back(self) -> None:
        """Have the disk busy while the body still comes in, so that the sync finds little to do.

        A hint without a promise: its errors show again at the sync, which is what counts.
        """
        if _sync_file_range is not None:
            length = self.end - self._write_back_end
            _sync_file_range(self._fd, self._write_back_end, length, _SYNC_FILE_RANGE_WRITE)
        self._write_back_end = self.end
        self._note_written()

    def _note_written(self) -> None:
        if self._recent is not None and self.end > self._noted_end:
            self._recent.add(self.segment, self._noted_end, self.end)
        self._noted_end = self.end

    def cut_back(self, end: int) -> None:
        """Durably drop what lies behind `end`; if that fails the segment is poisoned."""
        if self._poisoned:
            raise PoisonedSegmentError(self.segment)
        try:
            os.ftruncate(self._fd, end)
            os.fdatasync(self._fd)
        except OSError:
            self._poisoned = True
            raise
        self.end = self.durable_end = end
        self._write_back_end = min(self._write_back_end, end)
        self._noted_end = min(self._noted_end, end)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes that were appended before, synced or not."""
        return os.pread(self._fd, length, offset)

    def close(self) -> None:
        """Let go of the descriptor; the file stays."""
        if self._fd >= 0:
            self._note_written()
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Close and unlink: the body was refused or cut, nothing of it may stay."""
        self.close()
        self.files.remove(self.segment)
