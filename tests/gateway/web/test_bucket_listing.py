"""ListBuckets over HTTP: pages, prefixes and regions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import Answer

NAMES = ["alpha-1", "alpha-2", "alpha-3", "beta-1"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(tmp_path_factory.mktemp("buckets") / "data") as started:
        for name in reversed(NAMES):
            assert started.wire.call("PUT", name).status == 200
        yield started


def ask(gateway: WebGateway, **query: object) -> Answer:
    return gateway.wire.call("GET", "", **{k.replace("_", "-"): v for k, v in query.items()})


@pytest.mark.parametrize("most", [1, 2, 3, 4, 10_000])
def test_pages_hold_every_bucket_once(gateway: WebGateway, most: int) -> None:
    found: list[str] = []
    query: dict[str, object] = {"max_buckets": most}
    while True:
        answer = ask(gateway, **query)
        names = answer.texts("Name")
        assert len(names) <= most
        found += names
        tokens = answer.texts("ContinuationToken")
        if not tokens:
            break
        assert len(names) == most
        query["continuation_token"] = tokens[0]
    assert found == NAMES


def test_prefix_is_repeated_and_kept_over_pages(gateway: WebGateway) -> None:
    first = ask(gateway, prefix="alpha", max_buckets=2)
    assert first.texts("Name") == NAMES[:2]
    assert first.texts("Prefix") == ["alpha"]
    token = first.texts("ContinuationToken")[0]
    rest = ask(gateway, prefix="alpha", max_buckets=2, continuation_token=token)
    assert rest.texts("Name") == NAMES[2:3]
    assert rest.texts("ContinuationToken") == []


def test_regions(gateway: WebGateway) -> None:
    assert ask(gateway).texts("BucketRegion") == []
    assert ask(gateway, bucket_region="us-east-1").texts("BucketRegion") == ["us-east-1"] * 4
    assert ask(gateway, bucket_region="eu-west-1").texts("Name") == []


def test_bad_pages_are_refused(gateway: WebGateway) -> None:
    for query in ({"max_buckets": 0}, {"max_buckets": 10_001}, {"continuation_token": "x"}):
        answer = ask(gateway, **query)
        assert (answer.status, answer.code) == (400, "InvalidArgument")
