from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multiformats import varint as oracle

from dsn.varint import (
    UVARINT_MAX,
    InvalidVarintError,
    encode_uvarint,
    read_uvarint,
    uvarint_bytes,
)


@given(st.integers(0, UVARINT_MAX), st.binary(max_size=3))
@example(0, b"")
@example(127, b"")
@example(128, b"")
@example(1 << 31, b"")
@example(UVARINT_MAX, b"")
def test_a_number_reads_as_it_was_written(value: int, before: bytes) -> None:
    encoded = encode_uvarint(value)
    assert encoded == oracle.encode(value)
    assert uvarint_bytes(value) == len(encoded)
    at = len(before)
    assert read_uvarint(before + encoded + b"\xff", at) == (value, at + len(encoded))


@pytest.mark.parametrize("value", [-1, UVARINT_MAX + 1])
def test_a_number_out_of_range_is_not_written(value: int) -> None:
    with pytest.raises(ValueError, match="not a varint"):
        encode_uvarint(value)


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        ("", "cut short"),
        ("80", "cut short"),
        ("ffff", "cut short"),
        ("8000", "padded"),
        ("ff8000", "padded"),
        ("ffffffffffffffffff01", "longer"),
    ],
)
def test_a_second_spelling_of_a_number_is_refused(encoded: str, reason: str) -> None:
    with pytest.raises(InvalidVarintError, match=reason):
        read_uvarint(bytes.fromhex(encoded))
