"""What every block store promises."""

from __future__ import annotations

from typing import Protocol


class Blockstore(Protocol):
    """Keeps blocks by the BLAKE3 digest (32 bytes) of their bytes.

    * A block never changes and never goes away. Putting it again changes nothing.
    * What was put can be read at once, by whoever holds the same store.
    * What was put before `flush` was called is on stable storage when `flush` returns.
    * A store does not have to hash: the caller of `put` vouches for the digest, and whoever does
      not trust a medium wraps it in `VerifyingBlockstore`.
    * All methods block, and all may be called from any thread.
    """

    def get(self, digest: bytes) -> bytes:
        """The block; BlockNotFoundError when the store does not hold it."""

    def has(self, digest: bytes) -> bool:
        """Whether `get` would find the block."""

    def put(self, digest: bytes, block: bytes) -> None:
        """Keep a block whose digest is already known."""

    def flush(self) -> None:
        """Make everything that was put so far durable; OSError when that cannot be promised."""
