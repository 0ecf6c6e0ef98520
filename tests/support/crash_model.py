"""What a store must hold after any crash, decided by a model: no person looks at the results.

A write that was acknowledged is there unless a later one replaced it; one that was not is there
whole or not at all. What a check has seen stays: nothing may turn up behind it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import md5
from time import monotonic

from blake3 import blake3

from dsn.cid import cid_text
from dsn.dag_builder import build_file


@dataclass(frozen=True)
class Content:
    """Bytes that can be made again: pieces of (seed, size), one for each part."""

    pieces: tuple[tuple[str, int], ...]
    is_multipart: bool = False

    @property
    def size(self) -> int:
        return sum(size for _, size in self.pieces)

    def data(self) -> bytes:
        return b"".join(make_bytes(*piece) for piece in self.pieces)

    @property
    def etag(self) -> str:
        """The ETag without its quotes."""
        digests = [piece_md5(*piece) for piece in self.pieces]
        if self.is_multipart:
            return f"{md5(b''.join(digests)).hexdigest()}-{len(digests)}"
        return digests[0].hex()

    def cid(self, name: str) -> str:
        """The CID that these bytes have under a name."""
        return content_cid(self.pieces, name)


def make_bytes(seed: str, size: int) -> bytes:
    """Bytes that nothing else has, fast and always the same for a seed."""
    return blake3(seed.encode()).digest(length=size) if size else b""


@lru_cache(100_000)
def piece_md5(seed: str, size: int) -> bytes:
    return md5(make_bytes(seed, size)).digest()


@lru_cache(100_000)
def content_cid(pieces: tuple[tuple[str, int], ...], name: str) -> str:
    data = b"".join(make_bytes(*piece) for piece in pieces)
    blocks = deque(build_file(data, name), maxlen=1)
    return cid_text(blocks[0][0])


class WrongError(AssertionError):
    """The store broke its promise."""


@dataclass(eq=False)
class Write:
    """A write that was begun; `stop` is when it was acknowledged, or when its server was gone."""

    content: Content | None
    start: float
    stop: float | None = None
    acknowledged: bool = False


@dataclass
class Register:
    """One name (a key, a part, an upload): the writes to it that may still be what it shows."""

    writes: list[Write] = field(default_factory=lambda: [Write(None, 0.0, 0.0, True)])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, content: Content | None) -> Write:
        """A write is about to be sent."""
        write = Write(content, monotonic())
        with self._lock:
            self.writes.append(write)
        return write

    def acknowledge(self, write: Write) -> None:
        """The write was acknowledged."""
        write.stop = write.stop or monotonic()
        write.acknowledged = True

    def lose(self, write: Write) -> None:
        """No answer will come: it happened before now, or never will."""
        write.stop = monotonic()

    def refuse(self, write: Write) -> None:
        """The write was refused: it may not show."""
        with self._lock:
            self.writes.remove(write)

    def allowed(self, read_start: float | None = None) -> list[Content | None]:
        """What a read that begins at `read_start` (now, by default) may show."""
        at = monotonic() if read_start is None else read_start
        with self._lock:
            writes = list(self.writes)
        newest = max(w.start for w in writes if w.acknowledged and (w.stop or 0.0) <= at)
        return [w.content for w in writes if w.stop is None or w.stop >= newest]

    def snapshot(self) -> Register:
        """The register as it is now; writes that go on no longer change it."""
        with self._lock:
            return Register([replace(write) for write in self.writes])

    def settle(self, shown: Content | None) -> None:
        """A check has seen this while nothing else went on: it is what the register holds."""
        self.writes = [Write(shown, 0.0, 0.0, True)]


def match(
    what: str, allowed: Iterable[Content | None], etag: str | None, size: int | None = None
) -> Content | None:
    """The content that an answer shows; WrongError where it is none of the allowed."""
    allowed = list(allowed)
    for content in allowed:
        if content is None:
            if etag is None:
                return None
        elif content.etag == etag and size in (None, content.size):
            return content
    sizes = [content.size if content else None for content in allowed]
    raise WrongError(f"{what} shows {etag} of {size} bytes, not one of {sizes}")
