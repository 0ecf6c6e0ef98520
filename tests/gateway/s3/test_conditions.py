from __future__ import annotations

import pytest

from gateway.s3.conditions import (
    Conditions,
    allows_range,
    check_delete,
    check_read,
    check_write,
    parse_conditions,
    parse_delete_conditions,
    read_delete_conditions,
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


NOON = 1_772_366_400


@pytest.mark.parametrize(
    ("etag", "modified", "size", "failed"),
    [
        (None, None, None, None),
        ('"e"', "Sun, 01 Mar 2026 12:00:00 GMT", "7", None),
        ("e", "2026-03-01T12:00:00Z", None, None),
        ("*", "2026-03-01T13:00:00+01:00", None, None),
        ('"x", "e"', None, None, None),
        ('"x"', None, "7", "If-Match"),
        ('W/"e"', None, None, "If-Match"),
        (None, "2026-03-01T12:00:01", None, "x-amz-if-match-last-modified-time"),
        ("e", None, "0", "x-amz-if-match-size"),
    ],
)
def test_deletion_only_of_what_is_expected(
    etag: str | None, modified: str | None, size: str | None, failed: str | None
) -> None:
    conditions = read_delete_conditions(etag, modified, size)
    if failed is None:
        check_delete(conditions, "e", NOON, 7)
        return
    with pytest.raises(S3Error) as caught:
        check_delete(conditions, "e", NOON, 7)
    assert caught.value.code is ErrorCode.PreconditionFailed
    assert caught.value.fields == {"Condition": failed}


def test_delete_marker_has_no_etag() -> None:
    check_delete(read_delete_conditions("*", None, "0"), None, NOON, 0)
    with pytest.raises(S3Error):
        check_delete(read_delete_conditions("e", None, None), None, NOON, 0)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("x-amz-if-match-size", "-1", ErrorCode.InvalidArgument),
        ("x-amz-if-match-size", "1" * 20, ErrorCode.InvalidArgument),
        ("x-amz-if-match-last-modified-time", "noon", ErrorCode.InvalidArgument),
        ("if-none-match", "*", ErrorCode.NotImplemented),
        ("if-unmodified-since", "Sun, 01 Mar 2026 12:00:00 GMT", ErrorCode.NotImplemented),
    ],
)
def test_condition_that_cannot_be_held_to_refuses_the_deletion(
    name: str, value: str, code: ErrorCode
) -> None:
    with pytest.raises(S3Error) as caught:
        parse_delete_conditions({name: value})
    assert caught.value.code is code
