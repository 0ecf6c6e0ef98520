from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.keys import KeyStore
from gateway.maintenance import rebuild
from gateway.rights import Limits, Right
from tests.support.bodies import noise
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import Answer, Wire


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    folder = tmp_path_factory.mktemp("renames")
    with web_gateway(folder / "data", delete_policy="hide") as started:
        yield started


@pytest.fixture
def wire(gateway: WebGateway) -> Wire:
    return gateway.wire


def rename(wire: Wire, source: str, target: str, **headers: str) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"x-amz-rename-source": source, **given}
    return wire.call("PUT", target, headers=sent, renameObject="")


def test_a_rename_moves_the_name_and_keeps_the_past(wire: Wire) -> None:
    body = noise(200_000)
    sent = {"x-amz-meta-a": "1", "x-amz-tagging": "b=2"}
    put = wire.call("PUT", "box/old name", body, headers=sent)
    done = rename(wire, "/old%20name", "box/new")
    assert (done.status, done.body) == (200, b"")
    found = wire.call("GET", "box/new")
    assert found.body == body
    assert found.headers["x-amz-meta-a"] == "1"
    assert found.headers["x-amz-tagging-count"] == "1"
    assert found.headers["x-amz-meta-cid"] == put.headers["x-amz-meta-cid"]
    gone = wire.call("GET", "box/old name")
    assert (gone.status, gone.headers["x-amz-delete-marker"]) == (404, "true")
    past = wire.call("GET", "box/old name", versionId=put.headers["x-amz-version-id"])
    assert past.body == body
    listed = wire.call("GET", "box", prefix="new").texts("Key")
    assert listed == ["new"]
    assert rename(wire, "old%20name", "box/again").code == "NoSuchKey"


def test_conditions_of_a_rename(wire: Wire) -> None:
    etag = wire.call("PUT", "box/from", b"x").headers["etag"]
    wire.call("PUT", "box/to", b"y")
    for headers, status in (
        ({"if-none-match": "*"}, 412),
        ({"if-match": "other"}, 412),
        ({"x-amz-rename-source-if-match": "other"}, 412),
        ({"x-amz-rename-source-if-none-match": etag}, 412),
        ({"if-modified-since": "Thu, 19 Nov 2026 12:00:00 GMT"}, 501),
        ({"x-amz-rename-source-if-match": etag}, 200),
    ):
        before = wire.call("GET", "box/to").body
        assert rename(wire, "from", "box/to", **headers).status == status, headers
        assert wire.call("HEAD", "box/from").status == (404 if status == 200 else 200)
        assert before == b"y"
    assert wire.call("GET", "box/to").body == b"x"


@pytest.mark.parametrize(
    ("source", "target", "status", "code"),
    [
        ("absent", "box/k", 404, "NoSuchKey"),
        ("k", "nowhere/x", 404, "NoSuchBucket"),
        ("there", "box/there", 400, "InvalidRequest"),
        ("/", "box/k", 400, "InvalidArgument"),
        ("%zz", "box/k", 400, "InvalidArgument"),
    ],
)
def test_a_rename_is_refused(wire: Wire, source: str, target: str, status: int, code: str) -> None:
    wire.call("PUT", "box/there", b"x")
    done = rename(wire, source, target)
    assert (done.status, done.code) == (status, code)
    assert wire.call("GET", "box/there").body == b"x"


def test_a_rename_names_its_source(wire: Wire) -> None:
    assert wire.call("PUT", "box/k", renameObject="").code == "InvalidRequest"


def test_a_key_that_may_only_create_renames_nothing(gateway: WebGateway) -> None:
    gateway.wire.call("PUT", "box/kept", b"x")
    limits = Limits(frozenset({Right.CREATE, Right.READ}))
    key = KeyStore(gateway.data_dir).create(key_only=True, limits=limits)
    wire = Wire(gateway.port, key.access_key, timeout=20)
    assert rename(wire, "kept", "box/taken").code == "AccessDenied"
    wire.close()
    assert gateway.wire.call("GET", "box/kept").body == b"x"


def test_where_nothing_may_be_hidden_nothing_is_renamed(tmp_path: Path) -> None:
    with web_gateway(tmp_path / "data") as gateway:
        gateway.wire.call("PUT", "box/k", b"x")
        done = rename(gateway.wire, "k", "box/new")
        assert (done.status, done.code) == (403, "AccessDenied")
        assert gateway.wire.call("HEAD", "box/new").status == 404
        assert gateway.wire.call("GET", "box/k").body == b"x"


def test_a_rename_is_the_same_after_a_rebuild(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with web_gateway(data, delete_policy="hide") as gateway:
        gateway.wire.call("PUT", "box/k", b"x")
        rename(gateway.wire, "k", "box/new")
        before = gateway.wire.call("GET", "box", versions="").body
    rebuild(data)
    with web_gateway(data, delete_policy="hide") as gateway:
        assert gateway.wire.call("GET", "box", versions="").body == before
        assert gateway.wire.call("GET", "box/new").body == b"x"
        assert gateway.wire.call("GET", "box/k").status == 404
