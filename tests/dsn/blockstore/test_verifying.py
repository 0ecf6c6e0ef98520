from __future__ import annotations

import pytest

from dsn.blockstore.base import Blockstore
from dsn.blockstore.memory import MemoryBlockstore
from dsn.blockstore.verifying import VerifyingBlockstore
from dsn.errors import BlockMismatchError
from tests.dsn.blockstore.contract import BLOCK, DIGEST, BlockstoreContract


class TestVerifyingBlockstore(BlockstoreContract):
    @pytest.fixture
    def store(self) -> Blockstore:
        return VerifyingBlockstore(MemoryBlockstore())

    def test_a_rotten_block_is_not_handed_on(self) -> None:
        beneath = MemoryBlockstore()
        beneath.put(DIGEST, BLOCK[:-1] + b"?")
        with pytest.raises(BlockMismatchError) as rotten:
            VerifyingBlockstore(beneath).get(DIGEST)
        assert rotten.value.digest == DIGEST
