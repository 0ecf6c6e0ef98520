"""Metadata goes out as the bytes that came in, whatever encoding a client has in mind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import COMPLETE

VALUES = [
    "caf\xe9".encode("latin-1"),
    "caf\xe9 \U0001f600".encode(),
    "\xa0caf\xe9\xa0".encode(),
    bytes(range(0x80, 0x100)),
    "\xe9".encode("latin-1") + "\xe9".encode(),
    b"=?UTF-8?Q?caf=C3=A9?=",
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    directory: Path = tmp_path_factory.mktemp("metadata")
    with web_gateway(directory / "data") as running:
        yield running


@pytest.mark.parametrize("value", VALUES)
def test_a_value_comes_back_byte_for_byte(gateway: WebGateway, value: bytes) -> None:
    call = gateway.wire.call
    # http.client takes and gives header bytes as Latin-1.
    sent = {"x-amz-meta-a": value.decode("latin-1"), "x-amz-meta-b": "plain"}
    disposition = b'attachment; filename="%s"' % value
    sent["content-disposition"] = disposition.decode("latin-1")
    assert call("PUT", "bucket/put", b"content", headers=sent).status == 200
    upload_id = call("POST", "bucket/parts", uploads="", headers=sent).texts("UploadId")[0]
    part = call("PUT", "bucket/parts", b"content", partNumber=1, uploadId=upload_id)
    document = COMPLETE % part.headers["etag"].encode()
    assert call("POST", "bucket/parts", document, uploadId=upload_id).status == 200
    assert call("PUT", "bucket/copy", headers={"x-amz-copy-source": "/bucket/put"}).status == 200
    for key in ("put", "parts", "copy"):
        for method in ("GET", "HEAD"):
            answer = call(method, f"bucket/{key}")
            assert {name: answer.headers[name] for name in sent} == sent


def test_repeated_values_are_joined_as_they_are(gateway: WebGateway) -> None:
    lines = "Content-Length: 0", "x-amz-meta-a: \xa0x\xa0", "x-amz-meta-a: \xa0y\xa0"
    put = gateway.head("PUT", "bucket/twice", *lines, "Connection: close")
    assert gateway.raw(put).startswith(b"HTTP/1.1 200 ")
    found = gateway.wire.call("HEAD", "bucket/twice").headers["x-amz-meta-a"]
    assert found.encode("latin-1") == "\xa0x\xa0,\xa0y\xa0".encode()


def test_metadata_survives_a_restart_and_a_catalog_made_anew(tmp_path: Path) -> None:
    value = VALUES[0].decode("latin-1")
    with web_gateway(tmp_path / "data") as gateway:
        gateway.wire.call("PUT", "bucket/k", b"content", headers={"x-amz-meta-a": value})
    for catalog in (tmp_path / "data").glob("catalog.db*"):
        catalog.unlink()
    with web_gateway(tmp_path / "data") as gateway:
        assert gateway.wire.call("HEAD", "bucket/k").headers["x-amz-meta-a"] == value
