from __future__ import annotations

import pytest

from dsn.blockstore.base import Blockstore
from dsn.blockstore.memory import MemoryBlockstore
from tests.dsn.blockstore.contract import BlockstoreContract


class TestMemoryBlockstore(BlockstoreContract):
    @pytest.fixture
    def store(self) -> Blockstore:
        return MemoryBlockstore()
