"""obstore (Rust's object_store) with its default settings, on http and https."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.server import GatewayServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

MIB = 1 << 20


@pytest.fixture
def store(either_server: GatewayServer, bucket: str) -> Any:
    stores = pytest.importorskip("obstore.store")
    options: dict[str, Any] = {"allow_http": True}
    if either_server.tls_cert:
        # It takes no certificate of an authority, only a switch.
        options = {"allow_invalid_certificates": True}
    either_server.s3().create_bucket(Bucket=bucket)
    return stores.S3Store(
        bucket,
        endpoint=either_server.endpoint,
        access_key_id=either_server.access_key,
        secret_access_key=either_server.secret,
        region="us-east-1",
        client_options=options,
        retry_config={"max_retries": 0},
    )


@pytest.mark.parametrize("size", [0, 1, 65067, 12 * MIB])
def test_object_comes_back(store: Any, size: int) -> None:
    content = random.Random(size).randbytes(size)
    store.put("folder/k", content, attributes={"Content-Type": "text/x-odd", "who": "me"})
    found = store.get("folder/k")
    assert bytes(found.bytes()) == content
    assert found.attributes["Content-Type"] == "text/x-odd"
    assert store.head("folder/k")["size"] == size


def test_create_is_for_one_of_many_writers(store: Any) -> None:
    exceptions = pytest.importorskip("obstore.exceptions")

    def create(number: int) -> bool:
        try:
            store.put("k", b"%d" % number, mode="create")
        except exceptions.AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(8)))
    assert made.count(True) == 1
    assert bytes(store.get("k").bytes()) == b"%d" % made.index(True)


def test_update_takes_the_etag_it_read(store: Any) -> None:
    exceptions = pytest.importorskip("obstore.exceptions")
    first = store.put("k", b"1")
    second = store.put("k", b"2", mode={"e_tag": first["e_tag"]})
    assert second["e_tag"] != first["e_tag"]
    with pytest.raises(exceptions.PreconditionError):
        store.put("k", b"3", mode={"e_tag": first["e_tag"]})
    assert bytes(store.get("k").bytes()) == b"2"


def test_ranges(store: Any) -> None:
    content = random.Random(1).randbytes(300_000)
    store.put("k", content)
    assert bytes(store.get_range("k", start=65_060, length=20)) == content[65_060:65_080]
    suffix = store.get("k", options={"range": {"suffix": 11}})
    assert bytes(suffix.bytes()) == content[-11:]
    pieces = store.get_ranges("k", starts=[0, 100, 299_999], lengths=[1, 50, 1])
    assert [bytes(piece) for piece in pieces] == [content[:1], content[100:150], content[-1:]]


def test_listings(store: Any) -> None:
    names = ["a/1", "a/b/2", "top"]
    for name in names:
        store.put(name, b"x")
    found = [item["path"] for page in store.list() for item in page]
    assert sorted(found) == names
    folded = store.list_with_delimiter()
    assert list(folded["common_prefixes"]) == ["a"]
    assert [item["path"] for item in folded["objects"]] == ["top"]
