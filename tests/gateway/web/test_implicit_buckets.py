"""A bucket that nobody made: its first write makes it, or is refused where the operator says so."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.web_gateway import WebGateway, statuses, web_gateway


@pytest.fixture(scope="module", params=[True, False], ids=["implicit", "explicit"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebGateway]:
    folder = tmp_path_factory.mktemp("implicit")
    with web_gateway(
        folder / "data", implicit_buckets=request.param, delete_policy="hide"
    ) as started:
        yield started


@pytest.fixture
def implicit(request: pytest.FixtureRequest, gateway: WebGateway) -> bool:
    return bool(request.node.callspec.params["gateway"])


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [("PUT", "fresh-put/k", {}), ("POST", "fresh-upload/k", {"uploads": ""})],
)
def test_first_write(
    gateway: WebGateway, implicit: bool, method: str, path: str, query: dict[str, str]
) -> None:
    answer = gateway.wire.call(method, path, b"x" if method == "PUT" else b"", **query)
    assert (answer.status, answer.code) == ((200, "") if implicit else (404, "NoSuchBucket"))
    if not implicit:
        bucket = path.partition("/")[0]
        assert gateway.wire.call("HEAD", bucket).status == 404
        assert gateway.wire.call("PUT", bucket).status == 200
        assert gateway.wire.call(method, path, b"", **query).status == 200


def test_location_of_what_may_come(gateway: WebGateway, implicit: bool) -> None:
    answer = gateway.wire.call("GET", "never-made", location="")
    assert answer.status == (200 if implicit else 404)


def test_refusal_comes_before_the_body(gateway: WebGateway, implicit: bool) -> None:
    lines = ("Content-Length: 5", "Expect: 100-continue", "Connection: close")
    head = gateway.head("PUT", "nowhere/k", *lines)
    # Where the bucket is made the body is asked for; else the status comes without it.
    answer = gateway.raw(head + b"hello" if implicit else head)
    assert statuses(answer) == ([100, 200] if implicit else [404])


def test_a_bucket_removed_while_a_body_comes_in(gateway: WebGateway, implicit: bool) -> None:
    call = gateway.wire.call
    assert call("PUT", "going").status == 200
    lines = ("Content-Length: 5", "Expect: 100-continue", "Connection: close")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as slow:
        slow.sendall(gateway.head("PUT", "going/k", *lines))
        assert b" 100 " in slow.recv(1000), "it was admitted"
        assert call("DELETE", "going").status == 204
        slow.sendall(b"hello")
        answer = b"".join(iter(lambda: slow.recv(1 << 16), b""))
    assert statuses(answer) == ([200] if implicit else [404])
    assert call("HEAD", "going").status == (200 if implicit else 404)
