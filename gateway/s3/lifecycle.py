"""The lifecycle configuration of a bucket: read strictly, and written as it is kept.

Two actions have a meaning where nothing is forgotten: to abort stale uploads, and to hide what a
key shows (Expiration). Those that would remove versions or move objects are refused.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NoReturn

from lxml import etree

from gateway.s3.address import KEY_BYTES_MAX
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.lifecycle_rules import DAY_US, AbortRule, ExpirationRule, ObjectFilter
from gateway.s3.tagging import OBJECT_TAGS_MAX, check_tags
from gateway.s3.timestamps import MICROSECONDS
from gateway.s3.xml_tree import (
    XML_BYTES_MAX,
    boolean_of,
    children_of,
    fields_of,
    name_of,
    parse_document,
    refuse_malformed,
    text_of,
    texts_of,
)
from gateway.s3.xml_writer import configuration, escape

SETTING = "lifecycle"
"""The name of the setting that holds the rules of a bucket."""

RULES_MAX = 1000
ID_CHARACTERS_MAX = 255
DAYS_MAX = 2**31 - 1
_DIGITS_MAX = 18

_ROOT = "LifecycleConfiguration"
_ABORT = "AbortIncompleteMultipartUpload"
_MARKER = "ExpiredObjectDeleteMarker"
_CONDITIONS = frozenset({"Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan"})
_UNSUPPORTED = frozenset(
    {"Transition", "NoncurrentVersionExpiration", "NoncurrentVersionTransition"}
)
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Expiration:
    """When objects expire. Exactly one of the three is given; `date` is `2030-01-31`."""

    days: int | None = None
    date: str | None = None
    removes_markers: bool | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    """One rule. `element` is where its filter came from: Prefix, or Filter, or Filter with And."""

    name: str
    is_enabled: bool
    filter: ObjectFilter
    element: str
    abort_days: int | None
    expiration: _Expiration | None
    has_unsupported_action: bool


def read_lifecycle(body: bytes, new_id: Callable[[], str]) -> str:
    """Read the body of PutBucketLifecycleConfiguration; the document to keep and to give back.

    `new_id` makes the ID of a rule that comes without. Raises S3Error: MalformedXML;
    InvalidArgument, InvalidRequest, or as `check_tags`, for a rule that AWS refuses;
    NotImplemented for an action that would remove versions or move objects, which are permanent.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
    """
    rules = list(_rules(body))
    if not 1 <= len(rules) <= RULES_MAX:
        refuse_malformed()
    names = [rule.name for rule in rules if rule.name]
    if len(set(names)) < len(names):
        raise S3Error(
            ErrorCode.InvalidArgument,
            "Rule ID must be unique. Found same ID for more than one rule",
        )
    # Last, as whoever sends nonsense learns that first.
    if any(rule.has_unsupported_action for rule in rules):
        raise S3Error(
            ErrorCode.NotImplemented,
            f"Objects are permanent: lifecycle rules may hide them (Expiration) and stop uploads "
            f"({_ABORT}), but not move them or remove versions.",
        )
    named = (rule if rule.name else replace(rule, name=new_id()) for rule in rules)
    kept = configuration(_ROOT, "".join(map(_canonical_rule, named)))
    # What is escaped may be longer than what came, and must be small enough to be read again.
    if len(kept.encode()) > XML_BYTES_MAX:
        refuse_malformed()
    return kept


def abort_rules(document: str, day_us: int = DAY_US) -> tuple[AbortRule, ...]:
    """The enabled rules for uploads in what `read_lifecycle` made.

    `day_us` is how long a day is to them, in microseconds.
    """
    return tuple(
        AbortRule(rule.filter.prefix, rule.abort_days, rule.name, day_us)
        for rule in _rules(document.encode())
        if rule.is_enabled and rule.abort_days is not None
    )


def expiration_rules(document: str, day_us: int = DAY_US) -> tuple[ExpirationRule, ...]:
    """The enabled rules that hide objects in what `read_lifecycle` made; as `abort_rules`."""
    found = []
    for rule in _rules(document.encode()):
        expiration = rule.expiration
        if not rule.is_enabled or expiration is None or expiration.removes_markers is not None:
            continue
        date_us = None if expiration.date is None else _date_us(expiration.date)
        found.append(ExpirationRule(rule.name, rule.filter, expiration.days, date_us, day_us))
    return tuple(found)


def marker_prefixes(document: str) -> set[bytes]:
    """Below which prefixes the enabled rules in what `read_lifecycle` made remove lone markers."""
    return {
        rule.filter.prefix
        for rule in _rules(document.encode())
        if rule.is_enabled and rule.expiration is not None and rule.expiration.removes_markers
    }


def expiring_prefixes(document: str) -> set[bytes]:
    """Below which prefixes the rules in what `read_lifecycle` made expire, enabled or not."""
    return {rule.filter.prefix for rule in _rules(document.encode()) if rule.expiration is not None}


def _rules(document: bytes) -> Iterator[_Rule]:
    return map(_read_rule, children_of(parse_document(document, _ROOT), {"Rule"}))


def _read_rule(element: etree._Element) -> _Rule:
    fields: dict[str, etree._Element] = {}
    names = {"ID", "Status", "Prefix", "Filter", "Expiration", _ABORT} | _UNSUPPORTED
    for child in children_of(element, names):
        if name_of(child) in _UNSUPPORTED:
            _check_unsupported(child)
        # There may be a Transition for each storage class.
        if name_of(child) in fields and name_of(child) not in _UNSUPPORTED:
            refuse_malformed()
        fields[name_of(child)] = child
    if ("Filter" in fields) == ("Prefix" in fields):
        refuse_malformed()
    where, origin = (
        _read_filter(fields["Filter"])
        if "Filter" in fields
        else (ObjectFilter(text_of(fields["Prefix"]).encode()), "Prefix")
    )
    rule = _Rule(
        text_of(fields["ID"]).strip() if "ID" in fields else "",
        _is_enabled(fields.get("Status")),
        where,
        origin,
        _read_abort_days(fields[_ABORT]) if _ABORT in fields else None,
        _read_expiration(fields["Expiration"]) if "Expiration" in fields else None,
        not _UNSUPPORTED.isdisjoint(fields),
    )
    if rule.abort_days is None and rule.expiration is None and not rule.has_unsupported_action:
        refuse_malformed()
    _check_rule(rule)
    return rule


def _check_rule(rule: _Rule) -> None:
    if len(rule.name) > ID_CHARACTERS_MAX:
        raise S3Error(
            ErrorCode.InvalidArgument,
            f"ID length should not exceed allowed limit of {ID_CHARACTERS_MAX}",
        )
    if len(rule.filter.prefix) > KEY_BYTES_MAX:
        _refuse_request(f"The maximum size of a prefix is {KEY_BYTES_MAX}.")
    if rule.filter.is_prefix_only:
        return
    # Uploads and delete markers have neither tags nor a size.
    if rule.abort_days is not None:
        _refuse_request(f"{_ABORT} cannot be specified with Tags or object sizes.")
    if rule.expiration is not None and rule.expiration.removes_markers is not None:
        _refuse_request(f"{_MARKER} cannot be specified with Tags or object sizes.")


def _is_enabled(element: etree._Element | None) -> bool:
    status = "" if element is None else text_of(element).strip()
    if status not in ("Enabled", "Disabled"):
        refuse_malformed()
    return status == "Enabled"


def _read_filter(element: etree._Element) -> tuple[ObjectFilter, str]:
    """The conditions of a Filter, which has one, or an And of several, or none."""
    children = list(children_of(element, _CONDITIONS | {"And"}))
    if len(children) > 1:
        refuse_malformed()
    if children and name_of(children[0]) == "And":
        conditions = list(children_of(children[0], _CONDITIONS))
        if not conditions:
            refuse_malformed()
        return _read_conditions(conditions), "And"
    return _read_conditions(children), "Filter"


def _read_conditions(elements: list[etree._Element]) -> ObjectFilter:
    tags: list[tuple[str, str]] = []
    values: dict[str, str] = {}
    for element in elements:
        name = name_of(element)
        if name == "Tag":
            tags.append(_read_tag(element))
        elif name in values:
            refuse_malformed()
        else:
            values[name] = text_of(element)
    if len({key for key, _ in tags}) < len(tags):
        _refuse_request("Duplicate Tag Keys are not allowed.")
    above = _read_size(values.get("ObjectSizeGreaterThan"))
    below = _read_size(values.get("ObjectSizeLessThan"))
    if below is not None and below <= (above or 0):
        _refuse_request(
            "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'."
        )
    prefix = values.get("Prefix", "").encode()
    return ObjectFilter(prefix, check_tags(tags, OBJECT_TAGS_MAX), above, below)


def _read_tag(element: etree._Element) -> tuple[str, str]:
    fields = texts_of(element, {"Key", "Value"})
    if fields.keys() != {"Key", "Value"}:
        refuse_malformed()
    return fields["Key"], fields["Value"]


def _read_size(text: str | None) -> int | None:
    if text is None:
        return None
    size = _read_number(text)
    if size < 0:
        _refuse_request("Object sizes of a Filter must not be negative.")
    return size


def _read_expiration(element: etree._Element) -> _Expiration:
    fields = texts_of(element, {"Days", "Date", _MARKER})
    if len(fields) != 1:
        refuse_malformed()
    if "Days" in fields:
        return _Expiration(days=_read_days(fields["Days"], "'Days' for Expiration action"))
    if "Date" in fields:
        return _Expiration(date=_read_date(fields["Date"]))
    return _Expiration(removes_markers=boolean_of(fields[_MARKER]))


def _read_abort_days(element: etree._Element) -> int:
    days = texts_of(element, {"DaysAfterInitiation"}).get("DaysAfterInitiation", "")
    return _read_days(days, f"'DaysAfterInitiation' for {_ABORT} action")


def _check_unsupported(element: etree._Element) -> None:
    """Refuse the date of a transition that AWS would refuse."""
    for child in fields_of(element):
        if name_of(child) == "Date":
            _read_date(text_of(child).strip())


def _read_days(text: str, what: str) -> int:
    days = _read_number(text)
    if not 1 <= days <= DAYS_MAX:
        raise S3Error(ErrorCode.InvalidArgument, f"{what} must be a positive integer")
    return days


def _read_number(text: str) -> int:
    text = text.strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS_MAX):
        refuse_malformed()
    return int(text)


def _read_date(text: str) -> str:
    """The day of an ISO 8601 time, which is a midnight in UTC, as `2030-01-31`."""
    if _DATE.fullmatch(text) is None:
        refuse_malformed()
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        refuse_malformed()
    if moment != moment.replace(hour=0, minute=0, second=0, microsecond=0):
        raise S3Error(ErrorCode.InvalidArgument, "'Date' must be at midnight GMT")
    return moment.date().isoformat()


def _date_us(date: str) -> int:
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()) * MICROSECONDS


def _refuse_request(message: str) -> NoReturn:
    raise S3Error(ErrorCode.InvalidRequest, message)


def _canonical_rule(rule: _Rule) -> str:
    status = "Enabled" if rule.is_enabled else "Disabled"
    return (
        f"<Rule><ID>{escape(rule.name)}</ID>{_canonical_filter(rule)}<Status>{status}</Status>"
        f"{_canonical_actions(rule)}</Rule>"
    )


def _canonical_filter(rule: _Rule) -> str:
    where = rule.filter
    parts = [
        f"<Tag><Key>{escape(key)}</Key><Value>{escape(value)}</Value></Tag>"
        for key, value in where.tags
    ]
    if where.size_greater_than is not None:
        parts.append(f"<ObjectSizeGreaterThan>{where.size_greater_than}</ObjectSizeGreaterThan>")
    if where.size_less_than is not None:
        parts.append(f"<ObjectSizeLessThan>{where.size_less_than}</ObjectSizeLessThan>")
    if where.prefix or not parts:
        parts.insert(0, f"<Prefix>{escape(where.prefix.decode())}</Prefix>")
    conditions = "".join(parts)
    match rule.element:
        case "Prefix":
            return conditions
        case "And":
            return f"<Filter><And>{conditions}</And></Filter>"
        case _:
            return f"<Filter>{conditions}</Filter>"


def _canonical_actions(rule: _Rule) -> str:
    actions = ""
    match rule.expiration:
        case _Expiration(days=int(days)):
            actions = f"<Expiration><Days>{days}</Days></Expiration>"
        case _Expiration(date=str(date)):
            actions = f"<Expiration><Date>{date}T00:00:00.000Z</Date></Expiration>"
        case _Expiration(removes_markers=bool(removes)):
            marker = f"<{_MARKER}>{str(removes).lower()}</{_MARKER}>"
            actions = f"<Expiration>{marker}</Expiration>"
    if rule.abort_days is not None:
        after = f"<DaysAfterInitiation>{rule.abort_days}</DaysAfterInitiation>"
        actions += f"<{_ABORT}>{after}</{_ABORT}>"
    return actions
