"""What every block store must do: a store's test class inherits this and gives it a `store`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from dsn.blockstore.base import Blockstore
from dsn.cid import digest_of
from dsn.dag_builder import build_file
from dsn.errors import BlockNotFoundError

BLOCKS = dict(build_file(bytes(range(256)) * 1024, "contract.bin"))
DIGEST, BLOCK = next(iter(BLOCKS.items()))


class BlockstoreContract:
    """Override the fixture `store` with an empty store."""

    @pytest.fixture
    def store(self) -> Blockstore:
        raise NotImplementedError

    def test_what_was_put_is_got(self, store: Blockstore) -> None:
        for digest, block in BLOCKS.items():
            store.put(digest, block)
        for digest, block in BLOCKS.items():
            assert store.has(digest)
            assert store.get(digest) == block

    def test_what_was_flushed_is_got(self, store: Blockstore) -> None:
        store.put(DIGEST, BLOCK)
        store.flush()
        assert store.get(DIGEST) == BLOCK

    def test_a_block_that_was_never_put_is_not_found(self, store: Blockstore) -> None:
        store.put(DIGEST, BLOCK)
        other = digest_of(b"other")
        assert not store.has(other)
        with pytest.raises(BlockNotFoundError) as missing:
            store.get(other)
        assert missing.value.digest == other

    def test_put_twice_is_put_once(self, store: Blockstore) -> None:
        store.put(DIGEST, BLOCK)
        store.flush()
        store.put(DIGEST, BLOCK)
        assert store.get(DIGEST) == BLOCK

    def test_a_flush_of_nothing_is_fine(self, store: Blockstore) -> None:
        store.flush()
        store.flush()

    def test_blocks_are_kept_by_value(self, store: Blockstore) -> None:
        buffer = bytearray(BLOCK)
        store.put(DIGEST, bytes(buffer))
        buffer[:] = bytes(len(buffer))
        assert store.get(DIGEST) == BLOCK

    def test_threads_may_share_a_store(self, store: Blockstore) -> None:
        def put_and_get(item: tuple[bytes, bytes]) -> bool:
            store.put(*item)
            return store.get(item[0]) == item[1]

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(put_and_get, [*BLOCKS.items()] * 8))
