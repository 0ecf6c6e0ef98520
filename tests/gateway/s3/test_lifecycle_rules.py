from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.lifecycle_rules import (
    DAY_US,
    AbortRule,
    ExpirationRule,
    ObjectFilter,
    abort_headers,
    expiration_text,
)

EVERYTHING = ObjectFilter()


def days(number: int, where: ObjectFilter = EVERYTHING, name: str = "r") -> ExpirationRule:
    return ExpirationRule(name, where, days=number)


def date(day: int, where: ObjectFilter = EVERYTHING, name: str = "r") -> ExpirationRule:
    return ExpirationRule(name, where, date_us=day * DAY_US)


@pytest.mark.parametrize(
    ("created_days", "now_days", "due"),
    [
        (10.5, 13.4, False),
        (10.5, 13.6, False),
        (10.5, 13.99, False),
        (10.5, 14.0, True),
        (10.0, 13.0, True),
        (10.0, 12.99, False),
    ],
)
def test_due_at_the_midnight_after_its_days(
    created_days: float, now_days: float, due: bool
) -> None:
    for rule in (AbortRule(b"", 3), days(3)):
        limit = rule.created_us_max(int(now_days * DAY_US))
        assert (int(created_days * DAY_US) <= limit) is due


@pytest.mark.parametrize(
    ("created_days", "now_days", "due"),
    [
        (10.5, 19.99, False),
        (10.5, 20.0, True),
        (10.5, 25.0, True),
        # A rule with a date is also for what comes after it.
        (20.5, 20.6, True),
    ],
)
def test_due_on_its_date(created_days: float, now_days: float, due: bool) -> None:
    limit = date(20).created_us_max(int(now_days * DAY_US))
    assert (int(created_days * DAY_US) <= limit) is due


@given(
    number=st.integers(1, 400),
    created_us=st.integers(0, 40_000 * DAY_US),
    day_us=st.sampled_from([DAY_US, 2_000_000, 1_000_000]),
)
def test_due_at_the_moment_that_is_announced(number: int, created_us: int, day_us: int) -> None:
    for rule in (
        AbortRule(b"", number, day_us=day_us),
        ExpirationRule("r", EVERYTHING, days=number, day_us=day_us),
    ):
        due_us = rule.due_us(created_us)
        assert due_us % day_us == 0
        assert number * day_us <= due_us - created_us < (number + 1) * day_us
        assert rule.created_us_max(due_us) >= created_us
        assert rule.created_us_max(due_us - 1) < created_us


def test_first_rule_to_apply_is_announced_for_an_upload() -> None:
    rules = (AbortRule(b"tmp/", 7, "late"), AbortRule(b"tmp/", 2, "a\nb"), AbortRule(b"x", 1))
    assert abort_headers(rules, b"tmp/k", DAY_US + 5) == {
        "x-amz-abort-date": "Mon, 05 Jan 1970 00:00:00 GMT",
        "x-amz-abort-rule-id": "a b",
    }
    assert abort_headers(rules, b"other", 0) == {}
    assert abort_headers((AbortRule(b"", 2**31 - 1),), b"k", 0) == {}
    assert abort_headers((AbortRule(b"", 2_932_896),), b"k", 0) == {
        "x-amz-abort-date": "Fri, 31 Dec 9999 00:00:00 GMT"
    }


TAGGING = "a=1&b=x+y"


@pytest.mark.parametrize(
    ("where", "applies"),
    [
        (ObjectFilter(), True),
        (ObjectFilter(b"tmp/"), True),
        (ObjectFilter(b"tmp/key"), True),
        (ObjectFilter(b"tmp/key/"), False),
        (ObjectFilter(b"TMP/"), False),
        (ObjectFilter(tags=(("a", "1"),)), True),
        (ObjectFilter(tags=(("b", "x y"), ("a", "1"))), True),
        (ObjectFilter(tags=(("a", "2"),)), False),
        (ObjectFilter(tags=(("a", "1"), ("c", "1"))), False),
        (ObjectFilter(size_greater_than=99), True),
        (ObjectFilter(size_greater_than=100), False),
        (ObjectFilter(size_less_than=101), True),
        (ObjectFilter(size_less_than=100), False),
        (ObjectFilter(size_greater_than=99, size_less_than=101), True),
        (ObjectFilter(b"tmp/", (("a", "1"),), 99, 101), True),
        (ObjectFilter(b"x", (("a", "1"),), 99, 101), False),
    ],
)
def test_object_must_meet_all_conditions(where: ObjectFilter, applies: bool) -> None:
    assert days(1, where).applies_to(b"tmp/key", 100, TAGGING) is applies
    assert days(1, where).applies_to(b"tmp/key", 100, None) is (applies and not where.tags)


def test_first_rule_to_apply_is_announced_for_an_object() -> None:
    rules = (
        days(7, name="late"),
        days(3, ObjectFilter(b"tmp/"), "a b/é"),
        days(1, ObjectFilter(b"other/"), "other"),
        date(9, ObjectFilter(b"tmp/dated/"), "dated"),
        date(2, ObjectFilter(b"tmp/passed/"), "passed"),
    )

    def said(key: bytes, created_us: int = 4 * DAY_US + 5) -> str | None:
        return expiration_text(rules, key, 1, None, created_us)

    assert said(b"k") == 'expiry-date="Tue, 13 Jan 1970 00:00:00 GMT", rule-id="late"'
    assert said(b"tmp/k") == 'expiry-date="Fri, 09 Jan 1970 00:00:00 GMT", rule-id="a%20b%2F%C3%A9"'
    assert said(b"tmp/dated/k", 7 * DAY_US) == (
        'expiry-date="Sat, 10 Jan 1970 00:00:00 GMT", rule-id="dated"'
    )
    assert said(b"tmp/passed/k") == 'expiry-date="Sat, 03 Jan 1970 00:00:00 GMT", rule-id="passed"'
    assert expiration_text((), b"k", 1, None, 0) is None
    assert expiration_text((days(2**31 - 1),), b"k", 1, None, 0) is None
