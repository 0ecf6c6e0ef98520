"""A block store in memory, for tests and for what need not last."""

from __future__ import annotations

from dsn.errors import BlockNotFoundError


class MemoryBlockstore:
    """Blocks in a dict; durable as long as the process."""

    def __init__(self) -> None:
        self._blocks: dict[bytes, bytes] = {}

    def get(self, digest: bytes) -> bytes:
        try:
            return self._blocks[digest]
        except KeyError:
            raise BlockNotFoundError(digest) from None

    def has(self, digest: bytes) -> bool:
        return digest in self._blocks

    def put(self, digest: bytes, block: bytes) -> None:
        # A copy, so that a caller who reuses its buffer cannot change what is kept.
        self._blocks.setdefault(digest, bytes(block))

    def flush(self) -> None:
        pass
