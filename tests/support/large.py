"""Bodies of many gigabytes, made as they are sent: no two of their leaves are alike."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from blake3 import blake3

_BASE_BYTES = 1 << 20
_PAGE_BYTES = 4096
_PAGES = _BASE_BYTES // _PAGE_BYTES


class LargeBody:
    """A mebibyte of noise, again and again, with a counter at the start of every 4 KiB of it."""

    def __init__(self, seed: str, size: int) -> None:
        self.size = size
        self._base = blake3(seed.encode()).digest(length=_BASE_BYTES)

    def pieces(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes from `start` to `stop`; a piece is valid until the next one is asked for."""
        buffer = bytearray(self._base)
        view = memoryview(buffer)
        counters = view.cast("Q")[:: _PAGE_BYTES // 8]
        while start < stop:
            number, skip = divmod(start, _BASE_BYTES)
            counters[:] = memoryview(array("Q", range(number * _PAGES, (number + 1) * _PAGES)))
            taken = min(stop - start, _BASE_BYTES - skip)
            yield view[skip : skip + taken]
            start += taken

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop` at once."""
        return b"".join(bytes(piece) for piece in self.pieces(start, stop))
