from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.timestamps import http_date, iso_timestamp, parse_http_date


def test_both_forms_name_the_same_second() -> None:
    micros = 1_772_366_399_999_999
    assert iso_timestamp(micros) == "2026-03-01T11:59:59.000Z"
    assert http_date(micros) == "Sun, 01 Mar 2026 11:59:59 GMT"


@given(st.integers(0, 4_000_000_000_000_000))
def test_written_dates_are_read_back(micros: int) -> None:
    assert parse_http_date(http_date(micros)) == micros // 1_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("Sun, 06 Nov 1994 08:49:37 +0000", 784111777),
        ("Sun, 06 Nov 1994 08:49:37 -0000", 784111777),
        ("Sun, 06 Nov 1994 09:49:37 +0100", 784111777),
        ("", None),
        ("yesterday", None),
        ("1994-11-06T08:49:37Z", None),
        ("Sun, 32 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
        ("Sun, 06 Nov 0001 08:49:37 +9999", None),
        ("Sun, 06 Nov 1994 " + "9" * 5000, None),
    ],
)
def test_dates_are_read_in_every_form(text: str, expected: int | None) -> None:
    assert parse_http_date(text) == expected


@given(st.text())
def test_any_text_is_a_date_or_none(text: str) -> None:
    assert parse_http_date(text) is None or isinstance(parse_http_date(text), int)
