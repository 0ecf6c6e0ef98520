from __future__ import annotations

import pytest

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.etags import composite_etag
from gateway.s3.part_list import (
    RequestedPart,
    gives_etag,
    match_parts,
    parse_part_number,
    part_span,
)
from gateway.s3.ranges import ByteSpan
from gateway.s3.upload_listing import PartEntry

CRC = ("ChecksumCRC32", "AAAAAA==")
STORED = {
    1: PartEntry(1, 10, "aa", 0, (CRC, ("ChecksumSHA1", "x"))),
    2: PartEntry(2, 9, "bb", 0),
    4: PartEntry(4, 10, "cc", 0),
    9: PartEntry(9, 0, "dd", 0),
}


def match(*parts: RequestedPart) -> list[int]:
    return [part.number for part in match_parts(parts, STORED, part_bytes_min=10)]


def part(number: int, etag: str, *checksums: tuple[str, str]) -> RequestedPart:
    return RequestedPart(number, etag, checksums)


@pytest.mark.parametrize(
    "parts",
    [
        (part(1, "aa"),),
        (part(1, '"aa"'), part(4, "CC")),
        (part(1, "aa", CRC), part(4, "cc"), part(9, "dd")),
        (part(4, "cc"), part(9, "dd")),
        (part(2, "bb"),),
        (part(9, '"dd"'),),
    ],
)
def test_list_picks_stored_parts(parts: tuple[RequestedPart, ...]) -> None:
    assert match(*parts) == [wanted.number for wanted in parts]


@pytest.mark.parametrize(
    ("parts", "code", "fields"),
    [
        ((), "MalformedXML", {}),
        ((part(4, "cc"), part(1, "aa")), "InvalidPartOrder", {}),
        ((part(1, "aa"), part(1, "aa")), "InvalidPartOrder", {}),
        # The order is checked before anything is looked up.
        ((part(4, "x"), part(3, "x")), "InvalidPartOrder", {}),
        ((part(3, "aa"),), "InvalidPart", {"PartNumber": 3, "ETag": "aa"}),
        ((part(1, '"bb"'),), "InvalidPart", {"PartNumber": 1, "ETag": '"bb"'}),
        ((part(1, ""),), "InvalidPart", {"PartNumber": 1, "ETag": ""}),
        (
            (part(1, "aa", ("ChecksumCRC32", "other")),),
            "InvalidPart",
            {"PartNumber": 1, "ETag": "aa"},
        ),
        ((part(2, "bb", CRC),), "InvalidPart", {"PartNumber": 2, "ETag": "bb"}),
        (
            (part(1, "aa"), part(2, "bb"), part(4, "cc")),
            "EntityTooSmall",
            {"ProposedSize": 9, "MinSizeAllowed": 10, "PartNumber": 2, "ETag": '"bb"'},
        ),
    ],
)
def test_list_that_fits_nothing_is_refused(
    parts: tuple[RequestedPart, ...], code: str, fields: dict[str, str | int]
) -> None:
    with pytest.raises(S3Error) as caught:
        match(*parts)
    assert caught.value.code is ErrorCode[code]
    assert caught.value.fields == fields


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("10000", 10000), ("007", 7)])
def test_part_numbers(text: str, number: int) -> None:
    assert parse_part_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "-1", "+1", "10001", "1.0", "x", "１", "9" * 5000])
def test_part_numbers_are_1_to_10000(text: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_part_number(text)
    assert caught.value.code is ErrorCode.InvalidArgument


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1, ByteSpan(0, 5)), (2, ByteSpan(5, 10)), (3, ByteSpan(10, 12)), (4, None)],
)
def test_a_part_lies_behind_those_before_it(number: int, expected: ByteSpan | None) -> None:
    """Four parts, the last one empty: it has no byte to name."""
    assert part_span(number, ((5, 2), (2, 1), (0, 1)), 12) == expected


def test_an_object_put_in_one_piece_is_its_only_part() -> None:
    assert part_span(1, (), 7) == ByteSpan(0, 7)
    with pytest.raises(S3Error) as refused:
        part_span(2, (), 7)
    assert refused.value.code is ErrorCode.InvalidPartNumber


A, B = "0cc175b9c0f1b6a831c399e269772661", "92eb5ffee6ae2fec3ad71c777531578f"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((part(1, A), part(2, B)), True),
        ((part(3, f'"{A}"'), part(7, B.upper())), True),
        ((part(1, B), part(2, A)), False),
        ((part(1, A),), False),
        ((), False),
        ((part(1, A), part(2, "x")), False),
    ],
)
def test_the_list_of_an_object_gives_its_etag(
    parts: tuple[RequestedPart, ...], expected: bool
) -> None:
    etag = composite_etag((bytes.fromhex(A), bytes.fromhex(B)))
    assert gives_etag(parts, etag) is expected
