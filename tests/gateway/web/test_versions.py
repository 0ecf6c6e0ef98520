"""Versions over HTTP: each has an id that leads back to it, for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import Wire


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    data_dir: Path = tmp_path_factory.mktemp("versions")
    with web_gateway(data_dir) as running:
        yield running


@pytest.fixture
def wire(gateway: WebGateway) -> Wire:
    return gateway.wire


def put(wire: Wire, path: str, body: bytes) -> str:
    answer = wire.call("PUT", path, body)
    assert answer.status == 200
    return answer.headers["x-amz-version-id"]


def test_every_put_is_a_version_that_stays_readable(wire: Wire) -> None:
    ids = [put(wire, "bucket/k", body) for body in (b"one", b"two", b"three")]
    assert sorted(set(ids)) == ids
    for method in ("GET", "HEAD"):
        newest = wire.call(method, "bucket/k")
        assert newest.headers["x-amz-version-id"] == ids[2]
    for sent, version in zip((b"one", b"two", b"three"), ids, strict=True):
        got = wire.call("GET", "bucket/k", versionId=version)
        assert (got.status, got.body, got.headers["x-amz-version-id"]) == (200, sent, version)
        head = wire.call("HEAD", "bucket/k", versionId=version)
        assert (head.status, head.headers["content-length"]) == (200, str(len(sent)))


def test_complete_names_its_version(wire: Wire) -> None:
    upload = wire.call("POST", "bucket/parts", uploads="").texts("UploadId")[0]
    etag = wire.call("PUT", "bucket/parts", b"x", uploadId=upload, partNumber=1).headers["etag"]
    body = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    )
    done = wire.call("POST", "bucket/parts", body.encode(), uploadId=upload)
    version = done.headers["x-amz-version-id"]
    assert wire.call("GET", "bucket/parts", versionId=version).body == b"x"
    again = wire.call("POST", "bucket/parts", body.encode(), uploadId=upload)
    assert again.headers["x-amz-version-id"] == version


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_version_of_another_key_bucket_or_nobody_is_not_there(wire: Wire, method: str) -> None:
    version = put(wire, "bucket/mine", b"x")
    put(wire, "bucket/other", b"x")
    put(wire, "bucket2/mine", b"x")
    for path, asked in (
        ("bucket/other", version),
        ("bucket2/mine", version),
        ("bucket/mine", "0000000000000001"),
        ("bucket/mine", "null"),
    ):
        answer = wire.call(method, path, versionId=asked)
        assert (answer.status, answer.code) == (404, "NoSuchVersion" if method == "GET" else "")


def test_what_is_no_version_id_is_told(wire: Wire) -> None:
    answer = wire.call("GET", "bucket/k", versionId="3/L4kqtJlcp")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert answer.texts("ArgumentName") == ["versionId"]
    assert wire.call("PUT", "bucket/k", b"x", versionId="0000000000000001").status == 501


def test_listing_shows_every_version_the_newest_first(wire: Wire) -> None:
    first, second = put(wire, "listed/a", b"1"), put(wire, "listed/a", b"22")
    third = put(wire, "listed/b & c", b"333")
    put(wire, "listed/d/e", b"")
    page = wire.call("GET", "listed", versions="", delimiter="/")
    assert page.texts("VersionId") == [second, first, third]
    assert page.texts("IsLatest") == ["true", "false", "true"]
    assert page.texts("Size") == ["2", "1", "3"]
    assert page.texts("Key") == ["a", "a", "b &amp; c"]
    assert page.texts("Prefix") == ["", "d/"]
    one = wire.call("GET", "listed", **{"versions": "", "max-keys": 1})
    assert one.texts("NextKeyMarker") == ["a"]
    assert one.texts("NextVersionIdMarker") == [second]
    assert one.texts("IsTruncated") == ["true"]
    rest = wire.call(
        "GET",
        "listed",
        **{"versions": "", "key-marker": "a", "version-id-marker": second, "encoding-type": "url"},
    )
    assert rest.texts("Key") == ["a", "b%20%26%20c", "d/e"]


def test_versioning_is_on_and_cannot_be_suspended(wire: Wire) -> None:
    put(wire, "bucket/k", b"x")
    assert wire.call("GET", "bucket", versioning="").texts("Status") == ["Enabled"]

    def set_to(content: str) -> tuple[int, str]:
        body = f"<VersioningConfiguration>{content}</VersioningConfiguration>"
        answer = wire.call("PUT", "bucket", body.encode(), versioning="")
        return answer.status, answer.code

    assert set_to("<Status>Enabled</Status>") == (200, "")
    assert set_to("<Status>Suspended</Status>") == (409, "InvalidBucketState")
    assert set_to("<Status>On</Status>") == (400, "MalformedXML")
    assert set_to("") == (400, "MalformedXML")
    assert wire.call("PUT", "nowhere", b"<a/>", versioning="").code == "NoSuchBucket"
    assert wire.call("GET", "nowhere", versions="").code == "NoSuchBucket"
