"""Conditions of bucket policies: operators on values that are there, absent, or many."""

from __future__ import annotations

import pytest

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.policy_conditions import STARS_MAX, glob_matcher, read_conditions

CONTEXT = {
    "aws:currenttime": ["2026-06-01T12:00:00.000Z"],
    "aws:epochtime": ["1780315200"],
    "aws:securetransport": ["false"],
    "aws:sourceip": ["10.1.2.3"],
    "aws:principalarn": ["arn:aws:iam::main:user/KEY"],
    "aws:useragent": ["rclone/v1.60"],
    "s3:max-keys": ["100"],
    "s3:prefix": ["home/ann/"],
    "s3:requestobjecttagkeys": ["team", "cost"],
    "s3:existingobjecttag/class": ["open"],
}


def holds(operator: str, key: str, *values: object) -> bool:
    conditions = read_conditions({operator: {key: list(values)}})
    return all(condition.holds(CONTEXT) for condition in conditions)


@pytest.mark.parametrize(
    ("operator", "key", "values", "expected"),
    [
        ("StringEquals", "s3:prefix", ["home/ann/"], True),
        ("StringEquals", "S3:Prefix", ["home/bob/", "home/ann/"], True),
        ("StringEquals", "s3:prefix", ["home/*"], False),
        ("StringEquals", "s3:prefix", ["HOME/ann/"], False),
        ("StringEqualsIgnoreCase", "s3:prefix", ["HOME/ann/"], True),
        ("StringNotEquals", "s3:prefix", ["home/bob/"], True),
        ("StringNotEquals", "s3:prefix", ["home/bob/", "home/ann/"], False),
        ("StringNotEqualsIgnoreCase", "s3:prefix", ["HOME/ann/"], False),
        ("StringLike", "s3:prefix", ["home/*"], True),
        ("StringLike", "s3:prefix", ["home/???/"], True),
        ("StringLike", "s3:prefix", ["home"], False),
        ("StringNotLike", "s3:prefix", ["tmp/*"], True),
        ("StringEquals", "S3:existingObjectTag/class", ["open"], True),
        ("StringEquals", "s3:ExistingObjectTag/Class", ["open"], False),
        ("StringEquals", "s3:ExistingObjectTag/other", ["open"], False),
        # A key that is not there.
        ("StringEquals", "s3:delimiter", ["/"], False),
        ("StringLike", "s3:delimiter", ["*"], False),
        ("StringNotEquals", "s3:delimiter", ["/"], True),
        ("StringEqualsIfExists", "s3:delimiter", ["/"], True),
        ("StringEqualsIfExists", "s3:prefix", ["/"], False),
        ("StringNotEqualsIfExists", "s3:delimiter", ["/"], True),
        ("Null", "s3:delimiter", ["true"], True),
        ("Null", "s3:delimiter", [False], False),
        ("Null", "s3:prefix", [True], False),
        ("Null", "s3:prefix", ["false"], True),
        # Numbers and dates.
        ("NumericEquals", "s3:max-keys", [100], True),
        ("NumericNotEquals", "s3:max-keys", ["100.0"], False),
        ("NumericLessThan", "s3:max-keys", ["100"], False),
        ("NumericLessThanEquals", "s3:max-keys", ["100"], True),
        ("NumericGreaterThan", "s3:max-keys", ["99.5"], True),
        ("NumericGreaterThanEquals", "s3:max-keys", ["101"], False),
        ("NumericLessThan", "s3:prefix", ["100"], False),
        ("DateLessThan", "aws:CurrentTime", ["2026-06-01T12:00:01Z"], True),
        ("DateGreaterThan", "aws:CurrentTime", ["2026-06-01T14:00:01+02:00"], False),
        ("DateGreaterThanEquals", "aws:CurrentTime", ["2026-06-01T12:00:00"], True),
        ("DateLessThanEquals", "aws:EpochTime", ["2026-06-01T12:00:00Z"], True),
        ("DateEquals", "aws:EpochTime", ["1780315200"], True),
        ("DateNotEquals", "aws:EpochTime", ["1780315200"], False),
        ("Bool", "aws:SecureTransport", [False], True),
        ("Bool", "aws:SecureTransport", ["true"], False),
        # Addresses and names of principals.
        ("IpAddress", "aws:SourceIp", ["10.0.0.0/8"], True),
        ("IpAddress", "aws:SourceIp", ["10.1.2.3", "::/0"], True),
        ("IpAddress", "aws:SourceIp", ["192.168.0.0/16"], False),
        ("IpAddress", "aws:UserAgent", ["10.0.0.0/8"], False),
        ("NotIpAddress", "aws:SourceIp", ["192.168.0.0/16"], True),
        ("ArnLike", "aws:PrincipalArn", ["arn:aws:iam::main:user/*"], True),
        ("ArnEquals", "aws:PrincipalArn", ["arn:aws:iam::lena:user/*"], False),
        ("ArnNotLike", "aws:PrincipalArn", ["arn:aws:iam::lena:user/*"], True),
        ("ArnNotEquals", "aws:PrincipalArn", ["arn:aws:iam::main:user/KEY"], False),
        # Keys of many values.
        ("ForAnyValue:StringEquals", "s3:RequestObjectTagKeys", ["team"], True),
        ("ForAnyValue:StringEquals", "s3:RequestObjectTagKeys", ["x"], False),
        ("ForAllValues:StringEquals", "s3:RequestObjectTagKeys", ["team"], False),
        ("ForAllValues:StringLike", "s3:RequestObjectTagKeys", ["t*", "c*"], True),
        ("ForAllValues:StringEquals", "s3:delimiter", ["x"], True),
        ("ForAnyValue:StringEquals", "s3:delimiter", ["x"], False),
        ("ForAnyValue:StringNotEquals", "s3:RequestObjectTagKeys", ["team"], True),
        ("ForAnyValue:StringNotEquals", "s3:delimiter", ["x"], False),
        ("ForAllValues:StringNotEquals", "s3:RequestObjectTagKeys", ["team"], False),
    ],
)
def test_conditions(operator: str, key: str, values: list[object], expected: bool) -> None:
    assert holds(operator, key, *values) is expected


def test_all_conditions_are_read() -> None:
    block = {
        "StringLike": {"s3:prefix": "home/*", "aws:UserAgent": "rclone/*"},
        "Bool": {"aws:SecureTransport": True},
    }
    assert [c.holds(CONTEXT) for c in read_conditions(block)] == [True, True, False]


@pytest.mark.parametrize(
    ("block", "code"),
    [
        ([], "MalformedPolicy"),
        ({"StringEquals": "x"}, "MalformedPolicy"),
        ({"StringEquals": {"s3:prefix": []}}, "MalformedPolicy"),
        ({"StringEquals": {"s3:prefix": [None]}}, "MalformedPolicy"),
        ({"StringEquals": {"s3:prefix": {"a": "b"}}}, "MalformedPolicy"),
        ({"StringEquals": {"prefix": "x"}}, "MalformedPolicy"),
        ({"StringEquals": {"s3:ExistingObjectTag/": "x"}}, "NotImplemented"),
        ({"StringEquals": {"aws:SourceVpce": "x"}}, "NotImplemented"),
        ({"StringEquals": {"s3:TlsVersion": "1.2"}}, "NotImplemented"),
        ({"StringEquals": {"s3:prefix": "${aws:username}/"}}, "NotImplemented"),
        ({"StringMatches": {"s3:prefix": "x"}}, "MalformedPolicy"),
        ({"ForSome:StringEquals": {"s3:prefix": "x"}}, "MalformedPolicy"),
        ({"BinaryEquals": {"s3:prefix": "eA=="}}, "MalformedPolicy"),
        ({"NumericLessThan": {"s3:max-keys": "many"}}, "MalformedPolicy"),
        ({"NumericLessThan": {"s3:max-keys": "inf"}}, "MalformedPolicy"),
        ({"DateLessThan": {"aws:CurrentTime": "tomorrow"}}, "MalformedPolicy"),
        ({"Bool": {"aws:SecureTransport": "maybe"}}, "MalformedPolicy"),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/40"}}, "MalformedPolicy"),
        ({"Null": {"s3:prefix": ["true", "false"]}}, "MalformedPolicy"),
        ({"StringLike": {"s3:prefix": "*" * (STARS_MAX + 1)}}, "MalformedPolicy"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(block: object, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_conditions(block)
    assert caught.value.code is ErrorCode[code]


@pytest.mark.parametrize(
    ("operator", "key", "value", "narrows"),
    [
        ("StringEquals", "aws:PrincipalAccount", "lena", True),
        ("StringLike", "aws:userid", "K*", False),
        ("StringEqualsIfExists", "aws:userid", "K", False),
        ("StringNotEquals", "aws:userid", "K", False),
        ("ForAllValues:StringEquals", "aws:userid", "K", False),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::lena:user/K", True),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8", True),
        ("IpAddress", "aws:SourceIp", "0.0.0.0/0", False),
        ("IpAddress", "aws:SourceIp", "::/0", False),
        ("IpAddress", "aws:SourceIp", "2001:db8::/32", True),
        ("NotIpAddress", "aws:SourceIp", "10.0.0.0/8", False),
        ("StringEquals", "s3:prefix", "x", False),
        ("Null", "aws:userid", "true", False),
    ],
)
def test_which_conditions_say_who(operator: str, key: str, value: str, narrows: bool) -> None:
    (condition,) = read_conditions({operator: {key: value}})
    assert condition.narrows is narrows


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("*", "", True),
        ("*", "a/b\nc", True),
        ("a*", "a", True),
        ("a*c", "abc", True),
        ("a*c", "ac", True),
        ("a*c", "acb", False),
        ("*ab*ab", "abab", True),
        ("*ab*ab", "ab", False),
        ("a*bc*c", "abcbc", True),
        ("?", "", False),
        ("?", "\u00e9", True),
        ("a?c*", "abc", True),
        ("[a]", "a", False),
        ("a.c", "abc", False),
        ("**x**", "x", True),
    ],
)
def test_globs(pattern: str, text: str, expected: bool) -> None:
    assert glob_matcher(pattern)(text) is expected


@pytest.mark.timeout(60)
def test_a_glob_of_many_stars_comes_to_an_end() -> None:
    # In a pattern that is tried in all its ways this takes longer than the universe is old.
    assert not glob_matcher("a*" * STARS_MAX + "b")("a" * 1024)
    assert not glob_matcher("*?a" * STARS_MAX + "b")("a" * 8192)
