from __future__ import annotations

import pytest

from gateway.s3.attributes import (
    Attribute,
    attributed_parts,
    parse_attributes,
    part_checksum,
)
from gateway.s3.checksums import ChecksumAlgorithm
from gateway.s3.errors import ErrorCode, S3Error

NAMES = "x-amz-object-attributes"
CRC32 = ChecksumAlgorithm.CRC32


@pytest.mark.parametrize(
    ("value", "attributes"),
    [
        ("ETag", {Attribute.ETAG}),
        ("ETag,ObjectSize", {Attribute.ETAG, Attribute.SIZE}),
        (" Checksum , ObjectParts,", {Attribute.CHECKSUM, Attribute.PARTS}),
        ("StorageClass,StorageClass", {Attribute.STORAGE_CLASS}),
    ],
)
def test_attributes_are_a_list(value: str, attributes: set[Attribute]) -> None:
    request = parse_attributes({NAMES: value})
    assert request.attributes == attributes
    assert (request.max_parts, request.part_marker) == (1000, 0)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "InvalidRequest"),
        ({NAMES: ""}, "InvalidRequest"),
        ({NAMES: " , "}, "InvalidRequest"),
        ({NAMES: "etag"}, "InvalidArgument"),
        ({NAMES: "ETag,Colour"}, "InvalidArgument"),
        ({NAMES: "ETag", "x-amz-max-parts": "-1"}, "InvalidArgument"),
        ({NAMES: "ETag", "x-amz-part-number-marker": "one"}, "InvalidArgument"),
    ],
)
def test_other_attributes_are_refused(headers: dict[str, str], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_attributes(headers)
    assert caught.value.code is ErrorCode[code]


@pytest.mark.parametrize(
    ("limit", "marker", "numbers", "is_truncated"),
    [
        ("", "", [1, 2, 3, 4], False),
        ("5000", "", [1, 2, 3, 4], False),
        ("2", "", [1, 2], True),
        ("2", "1", [2, 3], True),
        ("2", "2", [3, 4], False),
        ("0", "0", [], True),
        ("1", "9", [], False),
    ],
)
def test_parts_come_in_pages(
    limit: str, marker: str, numbers: list[int], is_truncated: bool
) -> None:
    headers = {NAMES: "ObjectParts", "x-amz-max-parts": limit, "x-amz-part-number-marker": marker}
    page = attributed_parts(parse_attributes(headers), [(5, 3), (2, 1)], None, b"")
    assert [part.number for part in page.parts] == numbers
    assert [part.size for part in page.parts] == [2 if n == 4 else 5 for n in numbers]
    assert (page.count, page.is_truncated) == (4, is_truncated)
    assert page.next_marker == (numbers[-1] if numbers else 0)


def test_parts_have_their_checksums() -> None:
    request = parse_attributes({NAMES: "ObjectParts", "x-amz-part-number-marker": "1"})
    page = attributed_parts(request, [(5, 2)], CRC32, b"\0\0\0\1\0\0\0\2")
    assert [part.checksums for part in page.parts] == [(("ChecksumCRC32", "AAAAAg=="),)]
    assert part_checksum(CRC32, b"\0\0\0\1", 1) == "AAAAAQ=="
    assert part_checksum(CRC32, b"\0\0\0\1", 2) is None
