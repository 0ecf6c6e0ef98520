"""Lifecycle rules of a bucket, of which one action has a meaning here: to abort stale uploads.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpu-abort-incomplete-mpu-lifecycle-config.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lxml import etree

from gateway.s3.address import KEY_BYTES_MAX
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.timestamps import http_date
from gateway.s3.xml_tree import (
    XML_BYTES_MAX,
    children_of,
    fields_of,
    name_of,
    parse_document,
    refuse_malformed,
    text_of,
    texts_of,
)
from gateway.s3.xml_writer import configuration, escape

RULES_MAX = 1000
ID_CHARACTERS_MAX = 255
DAY_US = 86_400_000_000
# The year 10000, which no date can show.
DATES_STOP_US = 2_932_897 * DAY_US
_DIGITS_MAX = 18

_ABORT = "AbortIncompleteMultipartUpload"
_UNSUPPORTED = frozenset(
    {
        *("Expiration", "Transition"),
        *("NoncurrentVersionExpiration", "NoncurrentVersionTransition"),
    }
)


# What a rule was found to have that is kept under no name of its own.
_UNSUPPORTED_ACTION = "UnsupportedAction"
_OBJECT_CONDITIONS = "ObjectConditions"
_ACTION_DATE = re.compile(r"\d{4}-\d\d-\d\dT00:00:00(?:\.0+)?(?:Z|\+00:00)", re.ASCII)


@dataclass(frozen=True, slots=True)
class AbortRule:
    """Uploads below a prefix are aborted so many days after they were created."""

    prefix: bytes
    days: int
    name: str = ""

    def created_us_max(self, now_us: int) -> int:
        """Uploads created up to this moment are due, both in microseconds since 1970.

        As on AWS an upload is due at the midnight (UTC) that follows its last day.
        """
        return now_us // DAY_US * DAY_US - self.days * DAY_US

    def due_us(self, created_us: int) -> int:
        """When an upload that was created at this moment is due."""
        return -(-created_us // DAY_US) * DAY_US + self.days * DAY_US


def read_lifecycle(body: bytes) -> str:
    """Read the body of PutBucketLifecycleConfiguration; the document to keep and to give back.

    Raises S3Error: MalformedXML; InvalidArgument or InvalidRequest for a rule that AWS refuses;
    NotImplemented for an action that would remove or move objects, which are permanent.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
    """
    root = parse_document(body, "LifecycleConfiguration")
    rules = [_read_rule(rule) for rule in children_of(root, {"Rule"})]
    if not 1 <= len(rules) <= RULES_MAX:
        refuse_malformed()
    names = [rule["ID"] for rule in rules if "ID" in rule]
    if len(set(names)) < len(names):
        raise S3Error(
            ErrorCode.InvalidArgument,
            "Rule ID must be unique. Found same ID for more than one rule",
        )
    # Last, as whoever sends nonsense learns that first.
    if any(_UNSUPPORTED_ACTION in rule for rule in rules):
        raise S3Error(
            ErrorCode.NotImplemented,
            f"Objects are permanent: of lifecycle rules only {_ABORT} is supported.",
        )
    kept = configuration("LifecycleConfiguration", "".join(map(_canonical_rule, rules)))
    # What is escaped may be longer than what came, and must be small enough to be read again.
    if len(kept.encode()) > XML_BYTES_MAX:
        refuse_malformed()
    return kept


def abort_rules(document: str) -> tuple[AbortRule, ...]:
    """The enabled rules in what `read_lifecycle` made."""
    root = parse_document(document.encode(), "LifecycleConfiguration")
    return tuple(
        AbortRule(rule["Prefix"].encode(), int(rule["Days"]), rule.get("ID", ""))
        for rule in map(_read_rule, children_of(root, {"Rule"}))
        if rule["Status"] == "Enabled"
    )


def abort_headers(rules: Iterable[AbortRule], key: bytes, created_us: int) -> dict[str, str]:
    """The headers that say when an upload will be aborted, and by which rule; perhaps none.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html
    """
    fitting = [rule for rule in rules if key.startswith(rule.prefix)]
    if not fitting:
        return {}
    first = min(fitting, key=lambda rule: rule.days)
    due_us = first.due_us(created_us)
    # A rule that waits for thousands of years has no date.
    headers = {"x-amz-abort-date": http_date(due_us)} if due_us < DATES_STOP_US else {}
    if first.name:
        headers["x-amz-abort-rule-id"] = " ".join(first.name.split())
    return headers


def _read_rule(element: etree._Element) -> Mapping[str, str]:
    """The fields of a rule: Status, Prefix, Days, whether there was a Filter, perhaps an ID."""
    rule: dict[str, str] = {}
    for child in children_of(element, {"ID", "Status", "Prefix", "Filter", _ABORT} | _UNSUPPORTED):
        name = name_of(child)
        if name in rule:
            refuse_malformed()
        if name in _UNSUPPORTED:
            _check_action(child)
            rule[_UNSUPPORTED_ACTION] = name
        elif name == "Filter":
            prefix = _read_filter(child)
            rule["Filter"] = prefix or ""
            if prefix is None:
                rule[_OBJECT_CONDITIONS] = "there"
        elif name == _ABORT:
            rule[_ABORT] = "there"
            rule["Days"] = _read_days(child)
        else:
            rule[name] = text_of(child) if name == "Prefix" else text_of(child).strip()
    if ("Filter" in rule) == ("Prefix" in rule):
        refuse_malformed()
    if _ABORT not in rule and _UNSUPPORTED_ACTION not in rule:
        refuse_malformed()
    if rule.get("Status") not in ("Enabled", "Disabled"):
        refuse_malformed()
    if len(rule.get("ID", "")) > ID_CHARACTERS_MAX:
        raise S3Error(
            ErrorCode.InvalidArgument,
            f"ID length should not exceed allowed limit of {ID_CHARACTERS_MAX}",
        )
    if len(rule.get("Prefix", rule.get("Filter", "")).encode()) > KEY_BYTES_MAX:
        raise S3Error(ErrorCode.InvalidRequest, f"The maximum size of a prefix is {KEY_BYTES_MAX}.")
    if _OBJECT_CONDITIONS in rule and _ABORT in rule:
        raise S3Error(
            ErrorCode.InvalidRequest, f"{_ABORT} cannot be specified with Tags or object sizes."
        )
    if "Filter" in rule:
        rule["Prefix"] = rule["Filter"]
    return rule


def _read_filter(element: etree._Element) -> str | None:
    """The prefix of a filter, which may be empty; None for other conditions, on objects."""
    prefixes: list[str] = []
    for child in children_of(
        element, {"Prefix", "Tag", "And", "ObjectSizeGreaterThan", "ObjectSizeLessThan"}
    ):
        if name_of(child) != "Prefix":
            return None
        prefixes.append(text_of(child))
    if len(prefixes) > 1:
        refuse_malformed()
    return prefixes[0] if prefixes else ""


def _check_action(element: etree._Element) -> None:
    """Refuse an action that AWS would refuse, by S3Error InvalidArgument or MalformedXML."""
    for child in fields_of(element):
        text = text_of(child).strip()
        if name_of(child) == "Date" and _ACTION_DATE.fullmatch(text) is None:
            refuse_malformed()
        if name_of(child) == "Days" and name_of(element) == "Expiration" and not _is_positive(text):
            raise S3Error(
                ErrorCode.InvalidArgument,
                "'Days' for Expiration action must be a positive integer",
            )


def _is_positive(text: str) -> bool:
    return _is_number(text) and int(text) > 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX


def _read_days(element: etree._Element) -> str:
    days = texts_of(element, {"DaysAfterInitiation"}).get("DaysAfterInitiation", "")
    if not _is_number(days.removeprefix("-")):
        refuse_malformed()
    if not 1 <= int(days) <= 2**31 - 1:
        raise S3Error(
            ErrorCode.InvalidArgument,
            f"'DaysAfterInitiation' for {_ABORT} action must be a positive integer",
        )
    return str(int(days))


def _canonical_rule(rule: Mapping[str, str]) -> str:
    name = f"<ID>{escape(rule['ID'])}</ID>" if rule.get("ID") else ""
    prefix = f"<Prefix>{escape(rule['Prefix'])}</Prefix>"
    if "Filter" in rule:
        prefix = f"<Filter>{prefix}</Filter>"
    return (
        f"<Rule>{name}{prefix}<Status>{rule['Status']}</Status><{_ABORT}>"
        f"<DaysAfterInitiation>{rule['Days']}</DaysAfterInitiation></{_ABORT}></Rule>"
    )
