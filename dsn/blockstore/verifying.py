"""A block store that trusts no other: what it reads is hashed before it is handed on."""

from __future__ import annotations

from dsn.blockstore.base import Blockstore
from dsn.cid import digest_of
from dsn.errors import BlockMismatchError


class VerifyingBlockstore:
    """Wraps a store; `get` raises BlockMismatchError rather than return wrong bytes."""

    def __init__(self, store: Blockstore) -> None:
        self._store = store

    def get(self, digest: bytes) -> bytes:
        block = self._store.get(digest)
        if digest_of(block) != digest:
            raise BlockMismatchError(digest)
        return block

    def has(self, digest: bytes) -> bool:
        return self._store.has(digest)

    def put(self, digest: bytes, block: bytes) -> None:
        self._store.put(digest, block)

    def flush(self) -> None:
        self._store.flush()
