"""Keeps what was written last in the page cache, and hands the pages of what is older back.

Bodies are read soon after they were written, or much later. And a page that was in use a moment ago
costs the next write next to nothing, while one that the kernel has to find anew may cost more than
everything else that an upload needs (docs/decisions/0003-write-back.md).
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress

from dsn.blockstore.segments.files import SegmentFiles

# What one process keeps cached of its writes: this part of the machine's memory.
_MEMORY_SHARE = 16
# Where the system takes no advice, the page cache is its own business alone.
_DONT_NEED: int | None = getattr(os, "POSIX_FADV_DONTNEED", None)


def default_bytes_max() -> int:
    """How many bytes of what was written stay cached, unless somebody says otherwise."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MEMORY_SHARE


class RecentWrites:
    """The last `bytes_max` bytes written. Thread-safe.

    Whatever is older is advised away once, shortly before new pages are needed. What is read after
    that is cached like any other file.
    """

    def __init__(self, files: SegmentFiles, bytes_max: int) -> None:
        self._files = files
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._spans: deque[tuple[int, int, int]] = deque()
        self._bytes = 0

    def add(self, segment: int, start: int, stop: int) -> None:
        """Note what was handed to the kernel for writing; let go of the oldest beyond the bound."""
        aged = []
        with self._lock:
            self._spans.append((segment, start, stop))
            self._bytes += stop - start
            while self._bytes > self._bytes_max:
                oldest = self._spans.popleft()
                self._bytes -= oldest[2] - oldest[1]
                aged.append(oldest)
        for span in aged:
            # It is advice: a segment that is gone, or a kernel that refuses, loses nothing.
            with suppress(OSError):
                self._let_go(*span)

    def _let_go(self, segment: int, start: int, stop: int) -> None:
        if _DONT_NEED is None:
            return
        fd = os.open(self._files.path(segment), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(fd, start, stop - start, _DONT_NEED)
        finally:
            os.close(fd)
