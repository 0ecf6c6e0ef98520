from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import KeyStore
from gateway.maintenance import rebuild
from gateway.rights import ALL_RIGHTS, Limits
from tests.support.bodies import noise
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import Answer, Wire

CHUNK = 65_066
MIB = 1 << 20


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(tmp_path_factory.mktemp("copies") / "data") as started:
        yield started


@pytest.fixture
def wire(gateway: WebGateway) -> Wire:
    return gateway.wire


def copy(wire: Wire, source: str, target: str, **headers: str) -> Answer:
    sent = {"x-amz-copy-source": source}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return wire.call("PUT", target, headers=sent)


def stored_bytes(gateway: WebGateway) -> int:
    return sum(file.stat().st_size for file in (gateway.data_dir / "segments").rglob("*.car"))


@pytest.mark.parametrize("size", [0, 10, CHUNK, CHUNK + 1, 3_000_000])
def test_a_copy_is_the_same_bytes_under_another_name(gateway: WebGateway, size: int) -> None:
    wire, body = gateway.wire, noise(size)
    wire.call(
        "PUT", f"box/source{size}", body, headers={"x-amz-meta-a": "1", "Content-Type": "t/x"}
    )
    before = stored_bytes(gateway)
    done = copy(wire, f"/box/source{size}", f"box/copy{size}")
    assert done.status == 200
    assert stored_bytes(gateway) - before < 1000
    found = wire.call("GET", f"box/copy{size}")
    assert found.body == body
    source = wire.call("HEAD", f"box/source{size}").headers
    for name in ("etag", "x-amz-meta-cid", "x-amz-meta-a", "content-type", "content-length"):
        assert found.headers[name] == source[name]
    assert done.texts("ETag") == ["&quot;" + hashlib.md5(body).hexdigest() + "&quot;"]
    assert len(done.texts("LastModified")) == 1
    assert b"<CopyObjectResult xmlns=" in done.body


def test_a_copy_survives_its_source(wire: Wire) -> None:
    wire.call("PUT", "box/over", b"first")
    assert copy(wire, "box/over", "box/kept").status == 200
    wire.call("PUT", "box/over", b"second")
    assert wire.call("GET", "box/kept").body == b"first"


def test_replace_takes_the_metadata_of_the_request(wire: Wire) -> None:
    wire.call("PUT", "box/meta", b"x", headers={"x-amz-meta-a": "1", "Cache-Control": "no-store"})
    replaced = {"x-amz-metadata-directive": "REPLACE", "x-amz-meta-b": "2"}
    assert copy(wire, "box/meta", "box/replaced", **replaced).status == 200
    headers = wire.call("HEAD", "box/replaced").headers
    assert headers["x-amz-meta-b"] == "2"
    assert headers["content-type"] == "binary/octet-stream"
    assert not {"x-amz-meta-a", "cache-control"} & headers.keys()
    # Without REPLACE what the request says of the metadata is not looked at.
    assert copy(wire, "box/meta", "box/same", **{"x-amz-meta-b": "2"}).status == 200
    headers = wire.call("HEAD", "box/same").headers
    assert (headers["x-amz-meta-a"], headers["cache-control"]) == ("1", "no-store")
    assert "x-amz-meta-b" not in headers


def test_a_redirect_is_not_copied(wire: Wire) -> None:
    redirect = "x-amz-website-redirect-location"
    wire.call("PUT", "box/redirected", b"x", headers={redirect: "/a", "x-amz-meta-a": "1"})
    copy(wire, "box/redirected", "box/plain-copy")
    headers = wire.call("HEAD", "box/plain-copy").headers
    assert redirect not in headers
    assert headers["x-amz-meta-a"] == "1"
    copy(wire, "box/redirected", "box/redirected", **{redirect: "/b"})
    headers = wire.call("HEAD", "box/redirected").headers
    assert (headers[redirect], headers["x-amz-meta-a"]) == ("/b", "1")


def test_a_copy_onto_itself_has_to_change_something(wire: Wire) -> None:
    wire.call("PUT", "box/self", b"x", headers={"x-amz-meta-mtime": "1"})
    refused = copy(wire, "box/self", "box/self")
    assert (refused.status, refused.code) == (400, "InvalidRequest")
    replaced = {"x-amz-metadata-directive": "REPLACE", "x-amz-meta-mtime": "2"}
    assert copy(wire, "box/self", "box/self", **replaced).status == 200
    found = wire.call("GET", "box/self")
    assert (found.body, found.headers["x-amz-meta-mtime"]) == (b"x", "2")


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("box/absent", 404, "NoSuchKey"),
        ("no-bucket/k", 404, "NoSuchBucket"),
        ("bbb", 400, "InvalidArgument"),
        ("", 400, "InvalidArgument"),
        ("box/%zz", 400, "InvalidArgument"),
    ],
)
def test_a_copy_of_nothing_is_refused(wire: Wire, source: str, status: int, code: str) -> None:
    wire.call("PUT", "box/any", b"x")
    done = copy(wire, source, "box/of-nothing")
    assert (done.status, done.code) == (status, code)
    assert wire.call("HEAD", "box/of-nothing").status == 404


def test_an_older_version_is_copied_back(wire: Wire) -> None:
    versions = [
        wire.call("PUT", "box/past", body).headers["x-amz-version-id"] for body in (b"1", b"2")
    ]
    done = copy(wire, f"box/past?versionId={versions[0]}", "box/past")
    assert done.status == 200
    assert done.headers["x-amz-copy-source-version-id"] == versions[0]
    assert done.headers["x-amz-version-id"] > versions[1]
    assert wire.call("GET", "box/past").body == b"1"
    newest = done.headers["x-amz-version-id"]
    assert copy(wire, f"box/past?versionId={newest}", "box/past").code == "InvalidRequest"


@pytest.mark.parametrize(
    ("version_id", "code"),
    [("0000000000000001", "NoSuchVersion"), ("null", "NoSuchVersion"), ("?", "InvalidArgument")],
)
def test_a_copy_of_no_version_is_refused(wire: Wire, version_id: str, code: str) -> None:
    wire.call("PUT", "box/versioned", b"x")
    assert copy(wire, f"box/versioned?versionId={version_id}", "box/k").code == code


def test_a_copy_makes_its_bucket(wire: Wire) -> None:
    wire.call("PUT", "box/seed", b"x")
    assert copy(wire, "box/seed", "new-bucket/k").status == 200
    assert wire.call("GET", "new-bucket/k").body == b"x"
    assert copy(wire, "box/seed", "Bad_Bucket/k").code == "InvalidBucketName"


def test_keys_are_bytes_in_a_copy_source(wire: Wire) -> None:
    for key, source in (
        ("100%25 a+b", "box/100%2525%20a%2Bb"),
        ("x?versionId=1", "box/x%3FversionId=1"),
    ):
        wire.call("PUT", f"box/{key}", key.encode())
        assert copy(wire, source, "box/decoded").status == 200
        assert wire.call("GET", "box/decoded").body == key.encode()


def test_conditions_on_source_and_destination(wire: Wire) -> None:
    etag = wire.call("PUT", "box/cond", b"x").headers["etag"]
    wire.call("PUT", "box/there", b"y")
    for headers, status in (
        ({"x-amz-copy-source-if-match": etag}, 200),
        ({"x-amz-copy-source-if-match": '"other"'}, 412),
        ({"x-amz-copy-source-if-none-match": etag}, 412),
        ({"x-amz-copy-source-if-none-match": '"other"'}, 200),
        ({"if-none-match": "*"}, 412),
        ({"if-match": etag}, 200),
        ({"if-match": '"other"'}, 412),
    ):
        assert copy(wire, "box/cond", "box/there", **headers).status == status, headers
    assert copy(wire, "box/cond", "box/new", **{"if-none-match": "*"}).status == 200
    assert copy(wire, "box/cond", "box/absent", **{"if-match": etag}).status == 404


def test_one_of_many_copies_to_a_free_name_wins(gateway: WebGateway) -> None:
    gateway.wire.call("PUT", "box/racer", b"x")
    statuses: list[int] = []

    def race() -> None:
        wire = Wire(gateway.port, gateway.access_key, timeout=20)
        statuses.append(copy(wire, "box/racer", "box/goal", **{"if-none-match": "*"}).status)
        wire.close()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, *[412] * 7]


def test_a_copy_onto_itself_never_brings_back_what_was_replaced(gateway: WebGateway) -> None:
    replaced = {"x-amz-metadata-directive": "REPLACE", "x-amz-meta-mtime": "1"}
    start = threading.Barrier(2)

    def touch() -> None:
        wire = Wire(gateway.port, gateway.access_key, timeout=20)
        for _ in range(50):
            start.wait()
            assert copy(wire, "box/touched", "box/touched", **replaced).status == 200
            start.wait()
        wire.close()

    gateway.wire.call("PUT", "box/touched", b"0")
    thread = threading.Thread(target=touch)
    thread.start()
    for number in range(50):
        start.wait()
        gateway.wire.call("PUT", "box/touched", b"%d" % number)
        start.wait()
        assert gateway.wire.call("GET", "box/touched").body == b"%d" % number
    thread.join()


def test_a_damaged_source_makes_no_part(gateway: WebGateway) -> None:
    wire = gateway.wire
    wire.call("PUT", "box/damaged", noise(3_000_000, seed=9))
    version = gateway.run(gateway.worker._services.objects.get("main", "box", b"damaged"))
    run = version.layout.runs[0]
    path = next((gateway.data_dir / "segments").rglob(f"*{run.segment:016x}*.car"))
    with path.open("r+b") as file:
        file.seek(run.offset + 1000)
        file.write(b"damage")
    upload_id = start(wire, "box/from-damaged")
    done = copy_part(wire, "box/from-damaged", upload_id, 1, "box/damaged")
    assert (done.status, done.code) == (500, "InternalError")
    assert not wire.call("GET", "box/from-damaged", uploadId=upload_id).texts("PartNumber")
    summed = copy(wire, "box/damaged", "box/c", **{"x-amz-checksum-algorithm": "SHA256"})
    assert (summed.status, summed.code) == (500, "InternalError")
    assert wire.call("HEAD", "box/c").status == 404


def test_a_copy_keeps_the_checksum_or_gets_another(wire: Wire) -> None:
    body = noise(200_000)
    sha1 = "x-amz-checksum-sha1"
    value = wire.call("PUT", "box/plain", body, headers={}).headers
    assert sha1 not in value
    done = copy(wire, "box/plain", "box/summed", **{"x-amz-checksum-algorithm": "SHA1"})
    expected = done.texts("ChecksumSHA1")
    assert done.texts("ChecksumType") == ["FULL_OBJECT"]
    shown = {"x-amz-checksum-mode": "ENABLED"}
    assert wire.call("HEAD", "box/summed", headers=shown).headers[sha1] == expected[0]
    put = wire.call("PUT", "box/again", body, headers={sha1: expected[0]})
    assert put.status == 200
    kept = copy(wire, "box/again", "box/kept-sum")
    assert kept.texts("ChecksumSHA1") == expected
    assert wire.call("HEAD", "box/kept-sum", headers=shown).headers[sha1] == expected[0]


def test_a_key_copies_only_what_it_may_read(gateway: WebGateway) -> None:
    gateway.wire.call("PUT", "box/secret/k", b"x")
    gateway.wire.call("PUT", "box/own/k", b"y")
    limits = Limits(ALL_RIGHTS, prefixes=("own/",))
    key = KeyStore(gateway.data_dir).create(key_only=True, limits=limits)
    wire = Wire(gateway.port, key.access_key, timeout=20)
    assert copy(wire, "box/secret/k", "box/own/taken").code == "AccessDenied"
    upload_id = start(wire, "box/own/parts")
    taken = copy_part(wire, "box/own/parts", upload_id, 1, "box/secret/k")
    assert taken.code == "AccessDenied"
    assert copy(wire, "box/own/k", "box/own/copy").status == 200
    assert copy(wire, "box/own/k", "box/secret/copy").code == "AccessDenied"
    wire.close()


def test_another_owner_of_the_source_is_denied(wire: Wire) -> None:
    wire.call("PUT", "box/owned", b"x")
    done = copy(wire, "box/owned", "box/k", **{"x-amz-source-expected-bucket-owner": "somebody"})
    assert (done.status, done.code) == (403, "AccessDenied")


def test_copies_are_the_same_after_a_rebuild(tmp_path: Path) -> None:
    data, body = tmp_path / "data", noise(200_000)
    with web_gateway(data) as gateway:
        gateway.wire.call("PUT", "box/k", body)
        copy(
            gateway.wire,
            "box/k",
            "box/c",
            **{"x-amz-metadata-directive": "REPLACE", "x-amz-meta-a": "1"},
        )
        before = gateway.wire.call("HEAD", "box/c").headers
    rebuild(data)
    with web_gateway(data) as gateway:
        found = gateway.wire.call("GET", "box/c")
        assert found.body == body
        for name in ("etag", "last-modified", "x-amz-meta-a", "x-amz-meta-cid"):
            assert found.headers[name] == before[name]


# Parts


def start(wire: Wire, key: str, **headers: str) -> str:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return wire.call("POST", key, headers=sent, uploads="").texts("UploadId")[0]


def copy_part(
    wire: Wire,
    key: str,
    upload_id: str,
    number: int,
    source: str,
    span: str | None = None,
    **headers: str,
) -> Answer:
    sent = {"x-amz-copy-source": source, **headers}
    if span is not None:
        sent["x-amz-copy-source-range"] = span
    return wire.call("PUT", key, headers=sent, partNumber=number, uploadId=upload_id)


def complete(wire: Wire, key: str, upload_id: str, etags: dict[int, str]) -> Answer:
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in etags.items()
    )
    document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    return wire.call("POST", key, document, uploadId=upload_id)


@pytest.mark.parametrize("part_bytes", [100, CHUNK, MIB, 2_500_000])
def test_an_object_copied_by_parts_is_stored_once(gateway: WebGateway, part_bytes: int) -> None:
    wire, body = gateway.wire, noise(min(3_000_000, part_bytes * 3 + 17))
    key = f"box/by-parts{part_bytes}"
    wire.call("PUT", "box/whole", body)
    cid = wire.call("HEAD", "box/whole").headers["x-amz-meta-cid"]
    before = stored_bytes(gateway)
    upload_id = start(wire, key)
    etags = {}
    for number, at in enumerate(range(0, len(body), part_bytes), start=1):
        piece = body[at : at + part_bytes]
        last = at + len(piece) - 1
        done = copy_part(wire, key, upload_id, number, "/box/whole", f"bytes={at}-{last}")
        assert done.status == 200
        assert b"<CopyPartResult xmlns=" in done.body
        etags[number] = hashlib.md5(piece).hexdigest()
        assert done.texts("ETag") == [f"&quot;{etags[number]}&quot;"]
    assert complete(wire, key, upload_id, etags).status == 200
    found = wire.call("GET", key)
    assert found.body == body
    # What is written are the fragments at the borders, list nodes and records.
    assert stored_bytes(gateway) - before < 3 * CHUNK * len(etags)
    assert found.headers["x-amz-meta-cid"] != cid  # the root carries the other name


def test_a_part_at_any_offset_of_its_source(wire: Wire) -> None:
    body = noise(400_000)
    wire.call("PUT", "box/shifted", body)
    upload_id = start(wire, "box/mixed")
    own = noise(100_001)
    first = wire.call("PUT", "box/mixed", own, partNumber=1, uploadId=upload_id).headers["etag"]
    second = copy_part(wire, "box/mixed", upload_id, 2, "box/shifted", "bytes=12345-333333")
    third = copy_part(wire, "box/mixed", upload_id, 3, "box/shifted")
    etags = {1: first, 2: second.texts("ETag")[0], 3: third.texts("ETag")[0]}
    assert complete(wire, "box/mixed", upload_id, etags).status == 200
    assert wire.call("GET", "box/mixed").body == own + body[12345:333334] + body


def test_an_empty_source_is_an_empty_part(wire: Wire) -> None:
    wire.call("PUT", "box/nothing", b"")
    upload_id = start(wire, "box/empty-parts")
    done = copy_part(wire, "box/empty-parts", upload_id, 1, "box/nothing")
    etag = done.texts("ETag")[0]
    assert complete(wire, "box/empty-parts", upload_id, {1: etag}).status == 200
    assert wire.call("GET", "box/empty-parts").body == b""


def test_a_copied_part_has_the_checksum_of_its_upload(wire: Wire) -> None:
    wire.call("PUT", "box/for-sum", b"123456789")
    upload_id = start(wire, "box/summed-part", **{"x-amz-checksum-algorithm": "CRC32"})
    done = copy_part(wire, "box/summed-part", upload_id, 1, "box/for-sum")
    assert done.texts("ChecksumCRC32") == ["y/Q5Jg=="]  # the check value of CRC-32


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"source": "box/absent"}, 404, "NoSuchKey"),
        ({"source": "absent/k"}, 404, "NoSuchBucket"),
        ({"source": "box"}, 400, "InvalidArgument"),
        ({"span": "0-2"}, 400, "InvalidArgument"),
        ({"span": "bytes=0-10"}, 416, "InvalidRange"),
        ({"upload_id": "unknown"}, 404, "NoSuchUpload"),
        ({"number": 0}, 400, "InvalidArgument"),
        ({"number": 10_001}, 400, "InvalidArgument"),
        ({"x-amz-copy-source-if-match": "other"}, 412, "PreconditionFailed"),
        ({"x-amz-copy-source-if-none-match": "*"}, 412, "PreconditionFailed"),
    ],
)
def test_a_part_copy_is_refused(
    wire: Wire, changes: dict[str, Any], status: int, code: str
) -> None:
    wire.call("PUT", "box/ten", b"0123456789")
    upload_id = start(wire, "box/refused")
    call: dict[str, Any] = {"upload_id": upload_id, "number": 1, "source": "box/ten", **changes}
    done = copy_part(wire, "box/refused", **call)
    assert (done.status, done.code) == (status, code)
    assert not wire.call("GET", "box/refused", uploadId=upload_id).texts("PartNumber")
