"""Sizes as people write them."""

from __future__ import annotations

import pytest

from benchmarks.units import number_text, parse_size, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4KiB", 4096),
        ("5 MiB", 5 << 20),
        ("1GiB", 1 << 30),
        ("10k", 10_000),
        ("1M", 10**6),
        ("7", 7),
    ],
)
def test_size_is_parsed(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4 KiBs", "-1", "KiB"])
def test_what_is_no_size_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"), [(4096, "4KiB"), (5 << 20, "5MiB"), (1000, "1000"), (65_066, "65066")]
)
def test_size_is_shown_exactly(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,346"), (12.34, "12.3"), (1.234, "1.23"), (None, "-")]
)
def test_number_has_three_digits(value: float | None, text: str) -> None:
    assert number_text(value) == text
