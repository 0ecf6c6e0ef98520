"""Bodies: no two blocks alike, any piece can be checked."""

from __future__ import annotations

import hashlib

import pytest

from benchmarks.data import BLOCK_BYTES, WINDOW_BYTES, Body, Window


@pytest.mark.parametrize(
    "size", [0, 1, 100, BLOCK_BYTES, BLOCK_BYTES + 1, WINDOW_BYTES, 3 * WINDOW_BYTES + 777]
)
def test_body_has_its_size_and_hash(size: int) -> None:
    window = Window(1)
    data = window.bytes_of(Body(size, 7))
    assert len(data) == size
    assert window.sha256(Body(size, 7)) == hashlib.sha256(data).hexdigest()


def test_no_two_blocks_are_alike() -> None:
    window = Window(1)
    first, second = Body(5 * WINDOW_BYTES, 0), Body(5 * WINDOW_BYTES, 5 * 64)
    data = window.bytes_of(first) + window.bytes_of(second)
    blocks = {data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)}
    assert len(blocks) == len(data) // BLOCK_BYTES


def test_same_stamp_is_same_body_and_other_seed_is_not() -> None:
    body = Body(100_000, 42)
    assert Window(1).bytes_of(body) == Window(1).bytes_of(body)
    assert Window(1).bytes_of(body) != Window(2).bytes_of(body)


def test_body_survives_what_the_window_showed_before() -> None:
    fresh, used = Window(1), Window(1)
    used.show(Body(10 * BLOCK_BYTES, 1000), 0)
    used.show(Body(BLOCK_BYTES, 5), 0)
    assert used.bytes_of(Body(WINDOW_BYTES, 5)) == fresh.bytes_of(Body(WINDOW_BYTES, 5))


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (4095, 2), (WINDOW_BYTES - 3, 600_000)])
def test_any_piece_matches_in_its_place_only(offset: int, length: int) -> None:
    body = Body(4 * WINDOW_BYTES, 99)
    data = Window(1).bytes_of(body)
    piece = bytearray(data[offset : offset + length])
    checker = Window(1)
    assert checker.matches(body, offset, memoryview(piece))
    assert not checker.matches(body, offset + 1, memoryview(piece))
    piece[-1] ^= 1
    assert not checker.matches(body, offset, memoryview(piece))


def test_more_than_the_body_does_not_match() -> None:
    assert not Window(1).matches(Body(10, 0), 5, memoryview(bytes(6)))
