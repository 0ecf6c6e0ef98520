"""Conditions of bucket policies: what a statement asks of a request besides who wants what.

A condition is an operator, a key of the request's context and the values that it is compared with.
What cannot be evaluated here is refused when a policy is put, so that none is ever ignored.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import NoReturn

from gateway.s3.errors import ErrorCode, S3Error

Context = Mapping[str, Sequence[str]]
"""What is known of a request: condition keys, as `condition_key` spells them, to their values."""

Matcher = Callable[[str], bool]

STARS_MAX = 64

EXISTING_TAG = "s3:existingobjecttag/"
REQUEST_TAG = "s3:requestobjecttag/"

KEYS = frozenset(
    {
        "aws:currenttime",
        "aws:epochtime",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principaltype",
        "aws:referer",
        "aws:securetransport",
        "aws:sourceip",
        "aws:useragent",
        "aws:userid",
        "aws:username",
        "s3:authtype",
        "s3:delimiter",
        "s3:if-match",
        "s3:if-none-match",
        "s3:max-keys",
        "s3:prefix",
        "s3:requestobjecttagkeys",
        "s3:resourceaccount",
        "s3:signatureversion",
        "s3:versionid",
        "s3:x-amz-acl",
        "s3:x-amz-content-sha256",
        "s3:x-amz-copy-source",
        "s3:x-amz-grant-full-control",
        "s3:x-amz-grant-read",
        "s3:x-amz-grant-read-acp",
        "s3:x-amz-grant-write",
        "s3:x-amz-grant-write-acp",
        "s3:x-amz-metadata-directive",
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
        "s3:x-amz-server-side-encryption-customer-algorithm",
        "s3:x-amz-storage-class",
    }
)
"""The keys that are evaluated, besides the tags of EXISTING_TAG and REQUEST_TAG.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
"""

_UNREADABLE = (ValueError, OverflowError, InvalidOperation)
_LISTING = frozenset({"s3:listbucket", "s3:listbucketversions"})
_PUTTING = frozenset({"s3:putobject"})
_TAGGING = frozenset({"s3:putobjecttagging", "s3:putobjectversiontagging"})
_GRANTING = _PUTTING | {"s3:putobjectacl", "s3:putobjectversionacl", "s3:putbucketacl"}
_OF_EXISTING = _TAGGING | {
    *("s3:getobject", "s3:getobjectversion"),
    *("s3:getobjectattributes", "s3:getobjectversionattributes"),
    *("s3:getobjectacl", "s3:getobjectversionacl", "s3:putobjectacl", "s3:putobjectversionacl"),
    *("s3:getobjecttagging", "s3:getobjectversiontagging"),
    *("s3:deleteobjecttagging", "s3:deleteobjectversiontagging"),
}
# Of which requests these are known; the other keys are of all.
_ACTIONS_OF_KEYS = {
    "s3:prefix": _LISTING,
    "s3:delimiter": _LISTING,
    "s3:max-keys": _LISTING,
    "s3:requestobjecttagkeys": _PUTTING | _TAGGING,
    "s3:if-match": _PUTTING | {"s3:deleteobject"},
    "s3:if-none-match": _PUTTING,
    "s3:x-amz-acl": _GRANTING,
    "s3:x-amz-grant-full-control": _GRANTING,
    "s3:x-amz-grant-read": _GRANTING,
    "s3:x-amz-grant-read-acp": _GRANTING,
    "s3:x-amz-grant-write": _GRANTING,
    "s3:x-amz-grant-write-acp": _GRANTING,
    "s3:x-amz-copy-source": _PUTTING,
    "s3:x-amz-metadata-directive": _PUTTING,
    "s3:x-amz-server-side-encryption": _PUTTING,
    "s3:x-amz-server-side-encryption-aws-kms-key-id": _PUTTING,
    "s3:x-amz-server-side-encryption-customer-algorithm": _PUTTING,
    "s3:x-amz-storage-class": _PUTTING,
}

# Who or from where: a statement for anybody that fixes one of them is not for everybody.
_NARROWING = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:sourceip",
        "aws:userid",
        "aws:username",
    }
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. A `negated` operator holds where no value matches.

    `absent` is what it amounts to for a request without the key. `quantifier` is "all" or "any"
    for a key of many values, "" for the others. `narrows` says that it holds for some fixed
    principals or addresses alone.
    """

    key: str
    matchers: tuple[Matcher, ...]
    negated: bool
    absent: bool
    quantifier: str
    narrows: bool

    def holds(self, context: Context) -> bool:
        """Whether it is so of a request."""
        given = context.get(self.key)
        if not given:
            return self.absent
        found = (
            any(matches(value) for matches in self.matchers) is not self.negated for value in given
        )
        return all(found) if self.quantifier == "all" else any(found)


@dataclass(frozen=True, slots=True)
class Null:
    """Whether the context has the key, whatever its value."""

    key: str
    wants_absent: bool
    narrows: bool = False

    def holds(self, context: Context) -> bool:
        """Whether it is so of a request."""
        return bool(context.get(self.key)) is not self.wants_absent


def condition_key(name: str) -> str:
    """A condition key in one spelling: names have no case, but for those of tags within them."""
    lower = name.lower()
    for prefix in (EXISTING_TAG, REQUEST_TAG):
        if lower.startswith(prefix):
            return prefix + name[len(prefix) :]
    return lower


def is_known_of(key: str, action: str) -> bool:
    """Whether a request for an action (lower case) has a condition key at all.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
    """
    if key.startswith(EXISTING_TAG):
        return action in _OF_EXISTING
    if key.startswith(REQUEST_TAG):
        return action in _PUTTING or action in _TAGGING
    if key == "s3:versionid":
        return "version" in action
    actions = _ACTIONS_OF_KEYS.get(key)
    return actions is None or action in actions


def read_conditions(block: object) -> tuple[Condition | Null, ...]:
    """Read the Condition of a statement: all of them must hold.

    Raises S3Error: MalformedPolicy; NotImplemented for a key that is not evaluated here.
    """
    if not isinstance(block, dict):
        refuse_policy("Conditions must be an object of operators.")
    conditions: list[Condition | Null] = []
    for name, tests in block.items():
        if not isinstance(tests, dict):
            refuse_policy(f"{name} must be an object of condition keys.")
        for key, values in tests.items():
            conditions.append(_read_condition(name, key, _texts(key, values)))
    return tuple(conditions)


def refuse_policy(message: str, detail: str = "") -> NoReturn:
    """Raise S3Error MalformedPolicy, with what of the policy is meant."""
    if detail:
        # JSON may hold what XML cannot.
        shown = detail.encode("ascii", "backslashreplace").decode()[:200]
        raise S3Error(ErrorCode.MalformedPolicy, message, Detail=shown) from None
    raise S3Error(ErrorCode.MalformedPolicy, message) from None


def glob_matcher(pattern: str) -> Matcher:
    """Whether a text is what a pattern with `*` and `?` describes.

    Raises S3Error MalformedPolicy for more than STARS_MAX stars: each is a search of its own.
    """
    if pattern.count("*") > STARS_MAX:
        refuse_policy(f"Patterns have at most {STARS_MAX} stars", pattern)
    compiled = _compiled(pattern)
    return lambda text: compiled.fullmatch(text) is not None


@lru_cache(1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    first, *middle = (
        "".join("." if character == "?" else re.escape(character) for character in piece)
        for piece in pattern.split("*")
    )
    last = middle.pop() if middle else None
    # Each piece where it fits first, and never elsewhere (atomic groups): else a pattern of many
    # stars would be tried in all its ways.
    expression = first + "".join(f"(?>.*?{piece})" for piece in middle if piece)
    if last is not None:
        expression += f".*{last}"
    return re.compile(expression, re.DOTALL)


def _read_condition(name: str, key: str, values: list[str]) -> Condition | Null:
    spelled = condition_key(key)
    if spelled not in KEYS and not _is_tag(spelled):
        if spelled.startswith(("aws:", "s3:")):
            raise S3Error(ErrorCode.NotImplemented, f"The condition key {key} is not supported.")
        refuse_policy("Policy has an invalid condition key", key)
    quantifier, colon, operator = name.rpartition(":")
    if colon and quantifier not in _QUANTIFIERS:
        refuse_policy("Invalid Condition type", name)
    if operator == "Null":
        return Null(
            spelled, _boolean(values[0]) if len(values) == 1 else refuse_policy("Null", key)
        )
    if_exists = operator.endswith("IfExists")
    operator = operator.removesuffix("IfExists")
    if operator in _NEGATIONS:
        operator, negated = _NEGATIONS[operator], True
    else:
        negated = False
    make = _OPERATORS.get(operator)
    if make is None:
        refuse_policy("Invalid Condition type", name)
    try:
        matchers = tuple(make(value) for value in values)
    except _UNREADABLE:
        refuse_policy(f"Invalid value for {name}", key)
    mode = _QUANTIFIERS.get(quantifier, "")
    # Nothing is a subset of everything; a key that is not there is also not what it must not be.
    absent = if_exists or mode == "all" or (negated and mode != "any")
    narrows = (
        spelled in _NARROWING
        and not (negated or if_exists or mode == "all")
        and not any(_is_broad(operator, value) for value in values)
    )
    return Condition(spelled, matchers, negated, absent, mode, narrows)


def _is_tag(key: str) -> bool:
    return any(
        key.startswith(prefix) and len(key) > len(prefix) for prefix in (EXISTING_TAG, REQUEST_TAG)
    )


def _texts(key: str, values: object) -> list[str]:
    listed = values if isinstance(values, list) else [values]
    texts = []
    for value in listed:
        if isinstance(value, bool):
            texts.append(str(value).lower())
        elif isinstance(value, (str, int, float)):
            texts.append(str(value))
        else:
            refuse_policy("Condition values must be texts", key)
    if not texts:
        refuse_policy("Condition without a value", key)
    if any("${" in text for text in texts):
        raise S3Error(ErrorCode.NotImplemented, "Variables in policies are not supported.")
    return texts


def _equals(value: str) -> Matcher:
    return lambda given: given == value


def _equals_ignoring_case(value: str) -> Matcher:
    folded = value.casefold()
    return lambda given: given.casefold() == folded


def _boolean(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        refuse_policy("Invalid value for a boolean condition", value)
    return value.lower() == "true"


def _bool_matcher(value: str) -> Matcher:
    wanted = str(_boolean(value)).lower()
    return lambda given: given.lower() == wanted


def _network_matcher(value: str) -> Matcher:
    network = ipaddress.ip_network(value, strict=False)

    def matches(given: str) -> bool:
        try:
            address = ipaddress.ip_address(given)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address) in network

    return matches


def _numeric(compare: Callable[[Decimal, Decimal], bool]) -> Callable[[str], Matcher]:
    return _ordered(Decimal, compare)


def _dated(compare: Callable[[Decimal, Decimal], bool]) -> Callable[[str], Matcher]:
    return _ordered(_seconds, compare)


def _ordered(
    read: Callable[[str], Decimal], compare: Callable[[Decimal, Decimal], bool]
) -> Callable[[str], Matcher]:
    def make(value: str) -> Matcher:
        limit = read(value)
        if not limit.is_finite():
            raise ValueError(value)

        def matches(given: str) -> bool:
            try:
                return compare(read(given), limit)
            except _UNREADABLE:
                return False

        return matches

    return make


def _seconds(text: str) -> Decimal:
    """Seconds since 1970 of a date in ISO 8601, or as they are."""
    if text.isascii() and text.isdigit():
        return Decimal(text)
    date = datetime.fromisoformat(text)
    return Decimal((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())


def _is_broad(operator: str, value: str) -> bool:
    """Whether a value leaves it as good as open who or from where.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
    """
    if operator == "IpAddress":
        network = ipaddress.ip_network(value, strict=False)
        return network.prefixlen < (8 if network.version == 4 else 32)
    return "*" in value or "?" in value


_QUANTIFIERS = {"ForAllValues": "all", "ForAnyValue": "any"}

_NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}

_OPERATORS: dict[str, Callable[[str], Matcher]] = {
    "StringEquals": _equals,
    "StringEqualsIgnoreCase": _equals_ignoring_case,
    "StringLike": glob_matcher,
    "NumericEquals": _numeric(lambda given, limit: given == limit),
    "NumericLessThan": _numeric(lambda given, limit: given < limit),
    "NumericLessThanEquals": _numeric(lambda given, limit: given <= limit),
    "NumericGreaterThan": _numeric(lambda given, limit: given > limit),
    "NumericGreaterThanEquals": _numeric(lambda given, limit: given >= limit),
    "DateEquals": _dated(lambda given, limit: given == limit),
    "DateLessThan": _dated(lambda given, limit: given < limit),
    "DateLessThanEquals": _dated(lambda given, limit: given <= limit),
    "DateGreaterThan": _dated(lambda given, limit: given > limit),
    "DateGreaterThanEquals": _dated(lambda given, limit: given >= limit),
    "Bool": _bool_matcher,
    "IpAddress": _network_matcher,
    # In ARNs both match patterns.
    "ArnEquals": glob_matcher,
    "ArnLike": glob_matcher,
}
