"""Tests of gateway.s3.checksums."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.checksums import (
    BY_HEADER,
    ChecksumAlgorithm,
    ChecksumType,
    ExpectedChecksum,
    ObjectChecksum,
    UploadChecksum,
    combine_parts,
    completed_checksum,
    decode_digest,
    encode_digest,
    expected_checksum,
    expected_md5,
    expected_object_checksum,
    upload_checksum,
)
from gateway.s3.errors import ErrorCode, S3Error

CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5, *XXHASHES = ChecksumAlgorithm
COMPOSITE, FULL_OBJECT = ChecksumType
CRCS = [CRC32, CRC32C, CRC64NVME]
ZERO_CRC = "AAAAAA=="


def digest_of(algorithm: ChecksumAlgorithm, *pieces: bytes | bytearray | memoryview) -> bytes:
    hasher = algorithm.new()
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()


# The check values of the CRC catalogue, for "123456789".
# https://reveng.sourceforge.io/crc-catalogue/all.htm
@pytest.mark.parametrize(
    ("algorithm", "hex_digest"),
    [
        (CRC32, "cbf43926"),
        (CRC32C, "e3069283"),
        (CRC64NVME, "ae8b14860a799888"),
        (SHA1, hashlib.sha1(b"123456789").hexdigest()),
        (SHA256, hashlib.sha256(b"123456789").hexdigest()),
        (SHA512, hashlib.sha512(b"123456789").hexdigest()),
        (MD5, hashlib.md5(b"123456789").hexdigest()),
    ],
)
def test_digests_are_big_endian(algorithm: ChecksumAlgorithm, hex_digest: str) -> None:
    assert digest_of(algorithm, b"123456789").hex() == hex_digest
    assert digest_of(algorithm, *[b"%d" % digit for digit in range(1, 10)]).hex() == hex_digest
    assert digest_of(algorithm, memoryview(b"1234"), bytearray(b"56789")).hex() == hex_digest
    assert algorithm.digest_bytes == len(hex_digest) // 2


# https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
@pytest.mark.parametrize(
    ("algorithm", "hex_digest"),
    list(
        zip(
            XXHASHES,
            ("ef46db3751d8e999", "2d06800538d394c2", "99aa06d3014798d86001c324468d497f"),
            strict=True,
        )
    ),
)
def test_xxhashes_are_big_endian(algorithm: ChecksumAlgorithm, hex_digest: str) -> None:
    assert digest_of(algorithm).hex() == hex_digest
    assert algorithm.digest_bytes == len(hex_digest) // 2
    whole = digest_of(algorithm, bytes(1000))
    assert digest_of(algorithm, memoryview(bytes(999)), bytearray(1)) == whole
    hasher = algorithm.new()
    hasher.update(b"1")
    assert hasher.digest() == hasher.digest()


def test_each_algorithm_has_its_header() -> None:
    assert list(BY_HEADER) == [
        "x-amz-checksum-crc32",
        "x-amz-checksum-crc32c",
        "x-amz-checksum-crc64nvme",
        "x-amz-checksum-sha1",
        "x-amz-checksum-sha256",
        "x-amz-checksum-sha512",
        "x-amz-checksum-md5",
        "x-amz-checksum-xxhash64",
        "x-amz-checksum-xxhash3",
        "x-amz-checksum-xxhash128",
    ]


@given(st.sampled_from(ChecksumAlgorithm), st.binary())
def test_a_digest_sent_is_the_digest_expected(algorithm: ChecksumAlgorithm, data: bytes) -> None:
    digest = digest_of(algorithm, data)
    headers = {"host": "h", algorithm.header: b64encode(digest).decode()}
    expected = expected_checksum(headers)
    assert expected == ExpectedChecksum(algorithm, digest)
    expected.check(digest)
    headers["x-amz-sdk-checksum-algorithm"] = algorithm.name
    assert expected_checksum(headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-amz-checksum-mode": "ENABLED"},
        {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "COMPOSITE"},
    ],
)
def test_nothing_sent_is_nothing_expected(headers: dict[str, str]) -> None:
    assert expected_checksum(headers) is None
    assert expected_md5(headers) is None


def test_a_digest_may_come_in_the_trailer() -> None:
    headers = {"x-amz-trailer": "X-Amz-Checksum-CRC32", "x-amz-sdk-checksum-algorithm": "crc32"}
    expected = expected_checksum(headers)
    assert expected == ExpectedChecksum(CRC32, None)
    complete = expected.with_trailers({"x-amz-checksum-crc32": "AAAAAQ=="})
    assert complete == ExpectedChecksum(CRC32, b"\0\0\0\1")
    assert complete.with_trailers({}) is complete


def test_an_absent_trailer_is_malformed() -> None:
    with pytest.raises(S3Error) as raised:
        ExpectedChecksum(CRC32, None).with_trailers({})
    assert raised.value.code is ErrorCode.MalformedTrailerError


def test_a_malformed_trailer_value_is_an_invalid_request() -> None:
    with pytest.raises(S3Error) as raised:
        ExpectedChecksum(CRC32, None).with_trailers({"x-amz-checksum-crc32": "AAA="})
    assert raised.value.code is ErrorCode.InvalidRequest


@pytest.mark.parametrize("digest", [b"\0\0\0\1", None])
def test_another_digest_is_a_bad_digest(digest: bytes | None) -> None:
    with pytest.raises(S3Error) as raised:
        ExpectedChecksum(CRC32, digest).check(bytes(4))
    assert raised.value.code is ErrorCode.BadDigest
    assert raised.value.fields["CalculatedDigest"] == ZERO_CRC


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"x-amz-checksum-crc32": ""}, id="empty"),
        pytest.param({"x-amz-checksum-crc32": "AAAA"}, id="short"),
        pytest.param({"x-amz-checksum-crc32": "AAAAAAA="}, id="long"),
        pytest.param({"x-amz-checksum-crc32": "AAAAAA"}, id="no padding"),
        pytest.param({"x-amz-checksum-crc32": "AAAAAB=="}, id="stray bits"),
        pytest.param({"x-amz-checksum-crc32": "????????"}, id="no base64"),
        pytest.param({"x-amz-checksum-crc32": "\udcff" * 8}, id="no ASCII"),
        pytest.param({"x-amz-checksum-crc32": f"{ZERO_CRC},{ZERO_CRC}"}, id="twice"),
        pytest.param({"x-amz-checksum-crc32": f"{ZERO_CRC}-2"}, id="composite"),
        pytest.param({"x-amz-checksum-rot13": ZERO_CRC}, id="unknown"),
        pytest.param({"x-amz-checksum-crc32": ZERO_CRC, "x-amz-checksum-crc32c": ZERO_CRC}),
        pytest.param({"x-amz-checksum-crc32": ZERO_CRC, "x-amz-trailer": "x-amz-checksum-crc32"}),
        pytest.param({"x-amz-trailer": ""}, id="trailer empty"),
        pytest.param({"x-amz-trailer": "x-amz-checksum-rot13"}, id="trailer unknown"),
        pytest.param({"x-amz-trailer": "x-amz-checksum-type"}, id="trailer of no value"),
        pytest.param({"x-amz-trailer": "x-amz-checksum-crc32,x-amz-checksum-sha1"}),
        pytest.param({"x-amz-sdk-checksum-algorithm": "CRC32"}, id="named without value"),
        pytest.param({"x-amz-sdk-checksum-algorithm": "ROT13"}, id="named unknown"),
        pytest.param({"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": ZERO_CRC}),
        pytest.param(
            {"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-trailer": "x-amz-checksum-crc32"}
        ),
    ],
)
def test_a_contradictory_announcement_is_an_invalid_request(headers: dict[str, str]) -> None:
    with pytest.raises(S3Error) as raised:
        expected_checksum(headers)
    assert raised.value.code is ErrorCode.InvalidRequest


def test_content_md5_is_the_base64_of_16_bytes() -> None:
    digest = hashlib.md5(b"hello").digest()
    assert expected_md5({"content-md5": b64encode(digest).decode()}) == digest


@pytest.mark.parametrize(
    "value",
    ["", "hello", "AAAA", hashlib.md5().hexdigest(), b64encode(bytes(17)).decode(), "é"],
)
def test_any_other_content_md5_is_an_invalid_digest(value: str) -> None:
    with pytest.raises(S3Error) as raised:
        expected_md5({"content-md5": value})
    assert raised.value.code is ErrorCode.InvalidDigest


@given(st.binary(max_size=40))
def test_a_digest_has_one_spelling(digest: bytes) -> None:
    assert decode_digest(encode_digest(digest), len(digest)) == digest
    assert decode_digest(encode_digest(digest), len(digest) + 1) is None


@pytest.mark.parametrize(
    ("algorithm", "type_name", "expected"),
    [
        ("CRC32", None, UploadChecksum(CRC32, COMPOSITE)),
        ("crc32c", None, UploadChecksum(CRC32C, COMPOSITE)),
        ("CRC64NVME", None, UploadChecksum(CRC64NVME, FULL_OBJECT)),
        ("SHA1", None, UploadChecksum(SHA1, COMPOSITE)),
        ("CRC32", "FULL_OBJECT", UploadChecksum(CRC32, FULL_OBJECT)),
        ("CRC64NVME", "FULL_OBJECT", UploadChecksum(CRC64NVME, FULL_OBJECT)),
        ("SHA256", "COMPOSITE", UploadChecksum(SHA256, COMPOSITE)),
        (None, None, None),
        ("CRC64NVME", "COMPOSITE", ErrorCode.InvalidRequest),
        ("SHA1", "FULL_OBJECT", ErrorCode.InvalidRequest),
        ("SHA256", "FULL_OBJECT", ErrorCode.InvalidRequest),
        (None, "COMPOSITE", ErrorCode.InvalidRequest),
        ("ROT13", None, ErrorCode.InvalidRequest),
        ("", None, ErrorCode.InvalidRequest),
        ("CRC32", "HALF", ErrorCode.InvalidRequest),
    ],
)
def test_which_types_an_upload_may_ask_for(
    algorithm: str | None, type_name: str | None, expected: UploadChecksum | ErrorCode | None
) -> None:
    pairs = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": type_name}
    headers = {name: value for name, value in pairs.items() if value is not None}
    if isinstance(expected, ErrorCode):
        with pytest.raises(S3Error) as raised:
            upload_checksum(headers)
        assert raised.value.code is expected
    else:
        assert upload_checksum(headers) == expected


@given(st.sampled_from(CRCS), st.lists(st.binary(), max_size=8))
def test_a_full_object_checksum_is_that_of_the_bytes(
    algorithm: ChecksumAlgorithm, parts: list[bytes]
) -> None:
    digests = [(digest_of(algorithm, part), len(part)) for part in parts]
    combined = combine_parts(UploadChecksum(algorithm, FULL_OBJECT), digests)
    assert combined == ObjectChecksum(algorithm, digest_of(algorithm, *parts))
    assert combined.type is FULL_OBJECT
    assert combined.value == encode_digest(combined.digest)


@given(st.sampled_from(ChecksumAlgorithm), st.lists(st.binary(), min_size=1, max_size=8))
def test_a_composite_checksum_is_that_of_the_digests(
    algorithm: ChecksumAlgorithm, parts: list[bytes]
) -> None:
    digests = [digest_of(algorithm, part) for part in parts]
    sizes = [len(part) for part in parts]
    combined = combine_parts(UploadChecksum(algorithm, COMPOSITE), zip(digests, sizes, strict=True))
    assert combined.type is COMPOSITE
    assert combined.digest == digest_of(algorithm, b"".join(digests))
    assert combined.value == f"{encode_digest(combined.digest)}-{len(parts)}"


def test_a_sha_of_parts_is_never_that_of_the_bytes() -> None:
    with pytest.raises(ValueError, match="SHA256"):
        combine_parts(UploadChecksum(SHA256, FULL_OBJECT), [(bytes(32), 1)])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"x-amz-checksum-type": "COMPOSITE"}, None),
        ({"x-amz-checksum-crc32": ZERO_CRC}, ObjectChecksum(CRC32, bytes(4))),
        ({"x-amz-checksum-crc32": f"{ZERO_CRC}-3"}, ObjectChecksum(CRC32, bytes(4), 3)),
        (
            {"x-amz-checksum-crc32": ZERO_CRC, "x-amz-checksum-type": "FULL_OBJECT"},
            ObjectChecksum(CRC32, bytes(4)),
        ),
        ({"x-amz-checksum-crc32": f"{ZERO_CRC}-"}, ErrorCode.InvalidRequest),
        ({"x-amz-checksum-crc32": f"{ZERO_CRC}-x"}, ErrorCode.InvalidRequest),
        ({"x-amz-checksum-crc32": f"{ZERO_CRC}-²"}, ErrorCode.InvalidRequest),
        ({"x-amz-checksum-crc32": f"{ZERO_CRC}-100000"}, ErrorCode.InvalidRequest),
        ({"x-amz-checksum-crc32": "AAAA-1"}, ErrorCode.InvalidRequest),
        (
            {"x-amz-checksum-crc32": f"{ZERO_CRC}-3", "x-amz-checksum-type": "FULL_OBJECT"},
            ErrorCode.InvalidRequest,
        ),
        (
            {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA=", "x-amz-checksum-type": "COMPOSITE"},
            ErrorCode.InvalidRequest,
        ),
    ],
)
def test_what_complete_multipart_upload_may_announce(
    headers: dict[str, str], expected: ObjectChecksum | ErrorCode | None
) -> None:
    if isinstance(expected, ErrorCode):
        with pytest.raises(S3Error) as raised:
            expected_object_checksum(headers)
        assert raised.value.code is expected
    else:
        assert expected_object_checksum(headers) == expected


def part(algorithm: ChecksumAlgorithm, data: bytes) -> tuple[tuple[str, str], int]:
    return (algorithm.name, encode_digest(digest_of(algorithm, data))), len(data)


@pytest.mark.parametrize("algorithm", [SHA512, MD5, *XXHASHES])
def test_newer_algorithms_are_composite_only(algorithm: ChecksumAlgorithm) -> None:
    assert algorithm.types == (COMPOSITE,)
    whole = completed_checksum(
        UploadChecksum(algorithm, COMPOSITE), [part(algorithm, b"a"), part(algorithm, b"b")], None
    )
    assert whole is not None
    both = digest_of(algorithm, b"a") + digest_of(algorithm, b"b")
    assert whole.value == encode_digest(digest_of(algorithm, both)) + "-2"


def test_an_upload_without_a_checksum_has_none() -> None:
    assert completed_checksum(None, [(None, 5)], None) is None
    assert completed_checksum(None, [part(CRC32, b"a")], None) is None


def test_a_checksum_that_all_parts_have_may_be_announced_late() -> None:
    parts = [part(CRC32, b"1234"), part(CRC32, b"56789")]
    expected = ObjectChecksum(CRC32, digest_of(CRC32, b"123456789"))
    assert completed_checksum(None, parts, expected) == expected


PARTS = [part(CRC32, b"1234"), part(CRC32, b"56789")]
RIGHT = ObjectChecksum(CRC32, digest_of(CRC32, b"123456789"))


@pytest.mark.parametrize(
    ("upload", "parts", "expected", "declared", "code"),
    [
        (None, [(None, 5)], RIGHT, None, "InvalidRequest"),
        (None, [part(SHA1, b"a")], RIGHT, None, "InvalidRequest"),
        (None, PARTS, ObjectChecksum(CRC32, bytes(4)), None, "BadDigest"),
        (UploadChecksum(CRC32C, FULL_OBJECT), PARTS, RIGHT, None, "InvalidRequest"),
        (UploadChecksum(CRC32, COMPOSITE), PARTS, None, FULL_OBJECT, "InvalidRequest"),
        (
            UploadChecksum(CRC32, FULL_OBJECT),
            PARTS,
            ObjectChecksum(CRC32, bytes(4)),
            None,
            "BadDigest",
        ),
        (UploadChecksum(CRC32, COMPOSITE), PARTS, RIGHT, None, "BadDigest"),
    ],
)
def test_another_checksum_than_that_of_the_parts_is_refused(
    upload: UploadChecksum | None,
    parts: list[tuple[tuple[str, str] | None, int]],
    expected: ObjectChecksum | None,
    declared: ChecksumType | None,
    code: str,
) -> None:
    with pytest.raises(S3Error) as caught:
        completed_checksum(upload, parts, expected, declared)
    assert caught.value.code is ErrorCode[code]
