from __future__ import annotations

import pytest

from gateway.s3.conditions import (
    Conditions,
    allows_range,
    check_read,
    check_write,
    parse_conditions,
)
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.timestamps import http_date

MODIFIED = 1_700_000_000
NOW = MODIFIED + 1000


def date(seconds: int) -> str:
    return http_date(seconds * 1_000_000)


EARLIER, SAME, LATER, FUTURE = (date(MODIFIED + by) for by in (-1, 0, 1, 5000))


def conditions(**headers: str) -> Conditions:
    return parse_conditions({name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"if_match": '"e"'}, 200),
        ({"if_match": "e"}, 200),
        ({"if_match": "*"}, 200),
        ({"if_match": '"x", "e"'}, 200),
        ({"if_match": '"x"'}, 412),
        ({"if_match": 'W/"e"'}, 412),
        ({"if_none_match": '"e"'}, 304),
        ({"if_none_match": "e"}, 304),
        ({"if_none_match": 'W/"e"'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"x"'}, 200),
        ({"if_modified_since": EARLIER}, 200),
        ({"if_modified_since": SAME}, 304),
        ({"if_modified_since": LATER}, 304),
        ({"if_modified_since": FUTURE}, 200),
        ({"if_modified_since": "soon"}, 200),
        ({"if_unmodified_since": EARLIER}, 412),
        ({"if_unmodified_since": SAME}, 200),
        ({"if_unmodified_since": FUTURE}, 200),
        ({"if_unmodified_since": "soon"}, 200),
        # A true If-Match overrides If-Unmodified-Since, a missed If-None-Match the other date.
        ({"if_match": "e", "if_unmodified_since": EARLIER}, 200),
        ({"if_match": "x", "if_unmodified_since": LATER}, 412),
        ({"if_none_match": "x", "if_modified_since": SAME}, 200),
        ({"if_none_match": "e", "if_modified_since": EARLIER}, 304),
        # What can fail is checked before what can be spared.
        ({"if_match": "x", "if_none_match": "e"}, 412),
        ({"if_match": "e", "if_none_match": "e"}, 304),
        ({"if_unmodified_since": EARLIER, "if_none_match": "e"}, 412),
    ],
)
def test_reading_follows_the_order_of_the_rfc(headers: dict[str, str], expected: int) -> None:
    try:
        found = check_read(conditions(**headers), "e", MODIFIED, now_seconds=NOW)
    except S3Error as error:
        assert error.code is ErrorCode.PreconditionFailed
        assert error.status == expected
    else:
        assert (304 if found else 200) == expected


@pytest.mark.parametrize(
    ("headers", "current", "expected"),
    [
        ({}, None, None),
        ({}, "e", None),
        ({"if_none_match": "*"}, None, None),
        ({"if_none_match": "*"}, "e", ErrorCode.PreconditionFailed),
        ({"if_none_match": '"e"'}, "e", ErrorCode.PreconditionFailed),
        ({"if_none_match": '"x"'}, "e", None),
        ({"if_match": '"e"'}, "e", None),
        ({"if_match": "e"}, "e", None),
        ({"if_match": "*"}, "e", None),
        ({"if_match": '"x"'}, "e", ErrorCode.PreconditionFailed),
        ({"if_match": '"e"'}, None, ErrorCode.NoSuchKey),
        ({"if_match": "*"}, None, ErrorCode.NoSuchKey),
        ({"if_unmodified_since": date(0)}, "e", None),
    ],
)
def test_writing_keeps_what_the_client_has_not_seen(
    headers: dict[str, str], current: str | None, expected: ErrorCode | None
) -> None:
    if expected is None:
        check_write(conditions(**headers), current)
        return
    with pytest.raises(S3Error) as caught:
        check_write(conditions(**headers), current)
    assert caught.value.code is expected


@pytest.mark.parametrize(
    ("if_range", "expected"),
    [('"e"', True), ('"x"', False), ('W/"e"', False), ("*", False), (SAME, True), (LATER, False)],
)
def test_range_counts_only_for_the_state_it_was_meant_for(if_range: str, expected: bool) -> None:
    assert allows_range(conditions(if_range=if_range), "e", MODIFIED) is expected


def test_range_counts_without_if_range() -> None:
    assert allows_range(conditions(), "e", MODIFIED)
