"""What tests over the wire have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.keys import KeyStore
from tests.support.sharing import Shared
from tests.support.web_gateway import web_gateway
from tests.support.wire import Wire


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    data_dir = tmp_path_factory.mktemp("shared") / "data"
    with web_gateway(data_dir, global_buckets=True, delete_policy="hide") as gateway:
        keys = KeyStore(data_dir)
        lena = keys.create(key_only=True, account="lena")
        yield Shared(
            gateway,
            keys,
            gateway.wire,
            Wire(gateway.port, lena.access_key, timeout=20),
            Wire(gateway.port, None, timeout=20),
        )
