from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.maintenance import rebuild, verify
from gateway.s3.checksums import ChecksumAlgorithm, encode_digest
from tests.support.bodies import noise
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import Answer, Wire

SHOWN = {"x-amz-checksum-mode": "ENABLED"}
EVERYTHING = {"x-amz-object-attributes": "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(tmp_path_factory.mktemp("checksums") / "data") as started:
        yield started


@pytest.fixture
def wire(gateway: WebGateway) -> Wire:
    return gateway.wire


def checksum(algorithm: ChecksumAlgorithm, *pieces: bytes) -> str:
    hasher = algorithm.new()
    for piece in pieces:
        hasher.update(piece)
    return encode_digest(hasher.digest())


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def attributes(wire: Wire, key: str, **headers: str) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return wire.call("GET", key, headers={**EVERYTHING, **given}, attributes="")


def upload(
    wire: Wire,
    key: str,
    bodies: list[bytes],
    create: dict[str, str],
    complete: dict[str, str] | None = None,
    *,
    lists_checksums: bool = True,
) -> Answer:
    upload_id = wire.call("POST", key, headers=create, uploads="").texts("UploadId")[0]
    parts = ""
    for number, body in enumerate(bodies, start=1):
        done = wire.call("PUT", key, body, partNumber=number, uploadId=upload_id)
        parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{done.headers['etag']}</ETag>"
        algorithm = create.get("x-amz-checksum-algorithm", "")
        if algorithm and lists_checksums:
            value = done.headers[f"x-amz-checksum-{algorithm.lower()}"]
            parts += f"<Checksum{algorithm}>{value}</Checksum{algorithm}>"
        parts += "</Part>"
    document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    return wire.call("POST", key, document, headers=complete, uploadId=upload_id)


@pytest.mark.parametrize("algorithm", ChecksumAlgorithm)
@pytest.mark.parametrize("size", [0, 1000, 2_000_000])
def test_every_checksum_is_checked_kept_and_shown(
    wire: Wire, algorithm: ChecksumAlgorithm, size: int
) -> None:
    body, key = noise(size), f"box/{algorithm.name}-{size}"
    value = checksum(algorithm, body)
    wrong = wire.call("PUT", key, body, headers={algorithm.header: checksum(algorithm, b"x")})
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    assert wire.call("HEAD", key).status == 404
    right = wire.call("PUT", key, body, headers={algorithm.header: value})
    assert right.headers[algorithm.header] == value
    assert right.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    for method in ("GET", "HEAD"):
        assert algorithm.header not in wire.call(method, key).headers
        assert wire.call(method, key, headers=SHOWN).headers[algorithm.header] == value
        part = wire.call(method, key, headers=SHOWN, partNumber=1)
        assert part.headers[algorithm.header] == value
        if size:
            ranged = wire.call(method, key, headers={**SHOWN, "range": "bytes=0-1"})
            assert algorithm.header not in ranged.headers


def test_listings_say_which_checksum_there_is(wire: Wire) -> None:
    wire.call("PUT", "listed/none", b"x")
    wire.call(
        "PUT",
        "listed/sha1",
        b"x",
        headers={"x-amz-checksum-sha1": checksum(ChecksumAlgorithm.SHA1, b"x")},
    )
    upload(wire, "listed/parts", [b"x"], {"x-amz-checksum-algorithm": "CRC32"})
    for query in ({"list-type": 2}, {"versions": ""}, {}):
        page = wire.call("GET", "listed", **query)
        assert page.texts("ChecksumAlgorithm") == ["CRC32", "SHA1"]
        assert page.texts("ChecksumType") == ["COMPOSITE", "FULL_OBJECT"]


def test_open_uploads_say_which_checksum_is_asked_for(wire: Wire) -> None:
    asked = {"x-amz-checksum-algorithm": "CRC32C", "x-amz-checksum-type": "FULL_OBJECT"}
    upload_id = wire.call("POST", "pending/k", headers=asked, uploads="").texts("UploadId")[0]
    for page in (
        wire.call("GET", "pending", uploads=""),
        wire.call("GET", "pending/k", uploadId=upload_id),
    ):
        assert page.texts("ChecksumAlgorithm") == ["CRC32C"]
        assert page.texts("ChecksumType") == ["FULL_OBJECT"]


def test_parts_are_read_with_their_own_checksum(wire: Wire) -> None:
    bodies = [noise(100_000), noise(70_000)]
    asked = {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"}
    done = upload(wire, "box/by-parts", bodies, asked)
    assert done.texts("ChecksumCRC32") == [crc32(b"".join(bodies))]
    for method in ("GET", "HEAD"):
        for number, body in enumerate(bodies, start=1):
            part = wire.call(method, "box/by-parts", headers=SHOWN, partNumber=number)
            assert part.status == 206
            assert part.headers["x-amz-checksum-crc32"] == crc32(body)
            assert part.headers["x-amz-checksum-type"] == "FULL_OBJECT"
            assert part.headers["x-amz-mp-parts-count"] == "2"
            assert part.headers["content-length"] == str(len(body))
    found = attributes(wire, "box/by-parts")
    assert found.texts("ChecksumCRC32") == [crc32(b"".join(bodies)), *map(crc32, bodies)]
    copied = wire.call("PUT", "box/copied-parts", headers={"x-amz-copy-source": "box/by-parts"})
    assert copied.texts("ChecksumCRC32") == done.texts("ChecksumCRC32")
    assert attributes(wire, "box/copied-parts").texts("ChecksumCRC32") == found.texts(
        "ChecksumCRC32"
    )


@pytest.mark.parametrize(
    ("complete", "code"),
    [
        ({"x-amz-checksum-crc32": crc32(b"onetwo")}, ""),
        ({"x-amz-checksum-crc32": crc32(b"onetwo"), "x-amz-checksum-type": "FULL_OBJECT"}, ""),
        ({"x-amz-checksum-crc32": crc32(b"other")}, "BadDigest"),
        ({"x-amz-checksum-sha1": checksum(ChecksumAlgorithm.SHA1, b"onetwo")}, "InvalidRequest"),
        ({"x-amz-checksum-type": "COMPOSITE"}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": "nonsense"}, "InvalidRequest"),
    ],
)
def test_complete_announces_the_checksum_of_the_object(
    wire: Wire, complete: dict[str, str], code: str
) -> None:
    key = f"box/announced-{hashlib.md5(str(complete).encode()).hexdigest()}"
    asked = {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"}
    done = upload(wire, key, [b"one", b"two"], asked, complete)
    assert done.code == code
    assert wire.call("HEAD", key).status == (404 if code else 200)


@pytest.mark.parametrize(
    ("algorithm", "kind", "code"),
    [
        ("CRC32", "", "InvalidRequest"),
        ("SHA256", "COMPOSITE", "InvalidRequest"),
        ("CRC32", "FULL_OBJECT", ""),
        ("CRC64NVME", "", ""),
    ],
)
def test_composite_upload_is_completed_with_the_checksums_of_its_parts(
    wire: Wire, algorithm: str, kind: str, code: str
) -> None:
    key = f"box/unlisted-{algorithm}-{kind}"
    asked = {"x-amz-checksum-algorithm": algorithm}
    if kind:
        asked["x-amz-checksum-type"] = kind
    done = upload(wire, key, [b"one", b"two"], asked, lists_checksums=False)
    assert done.code == code
    assert ("missing for part 1 in the request" in done.body.decode()) == bool(code)
    assert wire.call("HEAD", key).status == (404 if code else 200)


def test_a_checksum_that_was_never_computed_is_not_vouched_for(wire: Wire) -> None:
    announced = {"x-amz-checksum-crc32": crc32(b"one")}
    assert upload(wire, "box/unsummed", [b"one"], {}, announced).code == "InvalidRequest"


def test_attributes_of_an_object(wire: Wire) -> None:
    wire.call("PUT", "box/plain", b"12345")
    found = attributes(wire, "box/plain")
    assert found.status == 200
    assert found.body.endswith(
        b'<GetObjectAttributesResponse xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<ETag>" + hashlib.md5(b"12345").hexdigest().encode() + b"</ETag>"
        b"<StorageClass>STANDARD</StorageClass><ObjectSize>5</ObjectSize>"
        b"</GetObjectAttributesResponse>"
    )
    assert {"last-modified", "x-amz-version-id"} <= found.headers.keys()
    only = attributes(wire, "box/plain", **{"x-amz-object-attributes": "ObjectSize"})
    assert only.texts("ObjectSize") == ["5"]
    assert b"ETag" not in only.body


def test_attributes_of_an_older_version(wire: Wire) -> None:
    first = wire.call("PUT", "box/changing", b"12345").headers["x-amz-version-id"]
    wire.call("PUT", "box/changing", b"123")
    found = wire.call("GET", "box/changing", headers=EVERYTHING, attributes="", versionId=first)
    assert found.texts("ObjectSize") == ["5"]


def test_attributes_come_in_pages_of_parts(wire: Wire) -> None:
    upload(wire, "box/paged", [b"1", b"22", b"333"], {})
    found = attributes(wire, "box/paged", x_amz_max_parts="1", x_amz_part_number_marker="1")
    assert found.texts("PartsCount") == ["3"]
    assert found.texts("PartNumber") == ["2"]
    assert found.texts("Size") == ["2"]
    assert found.texts("NextPartNumberMarker") == ["2"]
    assert found.texts("IsTruncated") == ["true"]


@pytest.mark.parametrize(
    ("key", "headers", "status", "code"),
    [
        ("box/absent", {}, 404, "NoSuchKey"),
        ("absent/k", {}, 404, "NoSuchBucket"),
        ("box/there", {"x-amz-object-attributes": ""}, 400, "InvalidRequest"),
        ("box/there", {"x-amz-object-attributes": "Colour"}, 400, "InvalidArgument"),
    ],
)
def test_attributes_are_refused(
    wire: Wire, key: str, headers: dict[str, str], status: int, code: str
) -> None:
    wire.call("PUT", "box/there", b"x")
    answer = attributes(wire, key, **headers)
    assert (answer.status, answer.code) == (status, code)


def test_checksums_are_the_same_after_a_rebuild(tmp_path: Path) -> None:
    data, bodies = tmp_path / "data", [noise(100_000), noise(10)]
    with web_gateway(data) as gateway:
        upload(gateway.wire, "box/k", bodies, {"x-amz-checksum-algorithm": "XXHASH3"})
        before = attributes(gateway.wire, "box/k")
        listed = gateway.wire.call("GET", "box").body
    rebuild(data)
    assert not verify(data).damages
    with web_gateway(data) as gateway:
        after = attributes(gateway.wire, "box/k")
        assert len(after.texts("ChecksumXXHASH3")) == 3
        assert after.body == before.body
        assert gateway.wire.call("GET", "box").body == listed
