"""Bucket policies: who may do what with a bucket and its objects, in the language of IAM.

Pure: a policy is read from its document, and decides questions. What else counts, ownership and
access control lists, is weighed by the caller.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-policy-language-overview.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from gateway.s3.actions import ACTIONS, PUT_OBJECT_TAGGING, Action
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.policy_conditions import (
    EXISTING_TAG,
    REQUEST_TAG,
    Condition,
    Context,
    Matcher,
    Null,
    glob_matcher,
    is_known_of,
    read_conditions,
    refuse_policy,
)

POLICY_BYTES_MAX = 20 * 1024
_ARN = "arn:aws:s3:::"
_VERSIONS = frozenset({"2008-10-17", "2012-10-17"})
_MEMBERS = frozenset(
    {
        *("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction"),
        *("Resource", "NotResource", "Condition"),
    }
)
_ACCOUNT = r"[A-Za-z0-9_.-]{1,64}"
# The last is how Ceph's gateway names a user: there it is the account.
_PRINCIPALS = (
    re.compile(rf"(?P<account>{_ACCOUNT})"),
    re.compile(rf"arn:aws:iam::(?P<account>{_ACCOUNT}):root"),
    re.compile(rf"arn:aws:iam::(?P<account>{_ACCOUNT}):user/(?P<key>[A-Za-z0-9_.~-]{{1,128}})"),
    re.compile(rf"arn:aws:iam:::user/(?P<account>{_ACCOUNT})"),
)


class Effect(Enum):
    """What a statement says of a request that it is about."""

    ALLOW = "Allow"
    DENY = "Deny"


class Requester(NamedTuple):
    """Who asks: an account and the name of one of its keys. None for a request without a key."""

    account: str | None
    key_name: str = ""


@dataclass(frozen=True, slots=True)
class Principals:
    """Whom a statement is about: anybody, whole accounts, or single keys of accounts."""

    anybody: bool
    accounts: frozenset[str]
    keys: frozenset[Requester]
    excluded: bool = False

    def include(self, requester: Requester) -> bool:
        """Whether it is about who asks."""
        found = self.anybody or requester.account in self.accounts or requester in self.keys
        return found is not self.excluded


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. Its patterns are excluded where it says NotAction or NotResource."""

    effect: Effect
    principals: Principals
    actions: tuple[Matcher, ...]
    resources: tuple[Matcher, ...]
    conditions: tuple[Condition | Null, ...]
    not_actions: bool = False
    not_resources: bool = False

    def covers(self, action: Action) -> bool:
        """Whether it is about this action."""
        return _any(self.actions, action.name.lower()) is not self.not_actions

    def applies(
        self,
        requester: Requester,
        action: Action,
        resource: str,
        context: Context,
        waived: Collection[str] = (),
    ) -> bool:
        """Whether it is about a request.

        Conditions on `waived` keys were looked at before: they neither hinder a permission nor
        make a denial.
        """
        if not (
            self.covers(action)
            and self.principals.include(requester)
            and _any(self.resources, resource) is not self.not_resources
        ):
            return False
        for condition in self.conditions:
            if _is_waived(condition.key, waived):
                if self.effect is Effect.DENY:
                    return False
            elif not condition.holds(context):
                return False
        return True

    @property
    def is_public(self) -> bool:
        """Whether it opens something to anybody, from anywhere.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
        """
        return (
            self.effect is Effect.ALLOW
            and self.principals.anybody
            and not any(condition.narrows for condition in self.conditions)
        )


@dataclass(frozen=True, slots=True)
class BucketPolicy:
    """The statements of a policy.

    `named` are, of each statement, the resources that it names, and the actions on them.
    """

    statements: tuple[Statement, ...]
    named: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = field(default=(), compare=False)

    def decide(
        self,
        requester: Requester,
        action: Action,
        resource: str,
        context: Context,
        waived: Collection[str] = (),
    ) -> Effect | None:
        """What the policy says: a denial wins over all else, None leaves it to others.

        For `waived` see `Statement.applies`.
        """
        found = None
        for statement in self.statements:
            if statement.applies(requester, action, resource, context, waived):
                if statement.effect is Effect.DENY:
                    return Effect.DENY
                found = Effect.ALLOW
        return found

    def needs_tags(self, action: Action) -> bool:
        """Whether what it says of this action depends on the tags that an object has."""
        return is_known_of(EXISTING_TAG, action.name.lower()) and any(
            condition.key.startswith(EXISTING_TAG)
            for statement in self.statements
            if statement.covers(action)
            for condition in statement.conditions
        )

    @property
    def is_public(self) -> bool:
        """Whether it opens something to everybody."""
        return any(statement.is_public for statement in self.statements)


def resource_arn(bucket: str, key: bytes | None = None) -> str:
    """The name of a bucket or of an object in policies."""
    return f"{_ARN}{bucket}" if key is None else f"{_ARN}{bucket}/{key.decode()}"


def read_policy(body: bytes, bucket: str) -> str:
    """Check the body of PutBucketPolicy; the document to keep, as it was sent.

    Raises S3Error: MalformedPolicy; NotImplemented for what would not be evaluated.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html
    """
    if len(body) > POLICY_BYTES_MAX:
        refuse_policy(f"Policies must be at most {POLICY_BYTES_MAX} bytes.")
    try:
        document = body.decode()
    except ValueError:
        refuse_policy("Policies must be valid JSON in UTF-8.")
    policy = parse_policy(document)
    for statement, (patterns, actions) in zip(policy.statements, policy.named, strict=True):
        for pattern in patterns:
            name = pattern.removeprefix(_ARN).partition("/")[0]
            if not glob_matcher(name)(bucket):
                refuse_policy("Policy has invalid resource", pattern)
        _check_actions(statement, patterns, actions, bucket)
    return document


def _check_actions(
    statement: Statement, patterns: Sequence[str], names: Sequence[str], bucket: str
) -> None:
    """Refuse an action that is on nothing of what its statement names, and a condition on what
    its actions do not have: they would do nothing.

    Raises S3Error: MalformedPolicy, or NotImplemented for tags in a body, which is read after all
    this was decided.
    """
    # A bucket has no slash in its name, a star may stand for one.
    on_objects = any("/" in p or "*" in p.removeprefix(_ARN) for p in patterns)
    on_bucket = any(glob_matcher(pattern)(resource_arn(bucket)) for pattern in patterns)
    fitting = {known for known, is_on in ACTIONS.items() if (on_objects if is_on else on_bucket)}
    keys = {condition.key for condition in statement.conditions}
    having = {key: {known for known in ACTIONS if is_known_of(key, known)} for key in keys}
    seen: set[frozenset[str]] = set()
    for name in dict.fromkeys(map(str.lower, names)):
        matches = glob_matcher(name)
        meant = frozenset(known for known in ACTIONS if matches(known))
        if meant in seen:
            continue
        seen.add(meant)
        if meant.isdisjoint(fitting):
            refuse_policy("Action does not apply to any resource(s) in statement", name)
        for key, known in having.items():
            if meant.isdisjoint(known):
                refuse_policy(
                    "Conditions do not apply to combination of actions and resources in statement",
                    key,
                )
    for key in keys:
        of_request = key.startswith(REQUEST_TAG) or key == "s3:requestobjecttagkeys"
        if of_request and any(statement.covers(action) for action in _PUT_TAGS):
            raise S3Error(
                ErrorCode.NotImplemented, f"{key} is not supported for s3:PutObjectTagging."
            )


_PUT_TAGS = (PUT_OBJECT_TAGGING, PUT_OBJECT_TAGGING.for_version())


@lru_cache(256)
def parse_policy(document: str) -> BucketPolicy:
    """The policy in a document; raises as `read_policy`."""
    try:
        policy = json.loads(document, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        refuse_policy("Policies must be valid JSON and the first byte must be '{'")
    if not isinstance(policy, dict) or policy.keys() - {"Version", "Id", "Statement"}:
        refuse_policy("Policies have the members Version, Id and Statement.")
    version = policy.get("Version", "2008-10-17")
    if not isinstance(version, str) or version not in _VERSIONS:
        refuse_policy("The policy must contain a valid version string")
    listed = policy.get("Statement")
    listed = listed if isinstance(listed, list) else [listed]
    if not listed:
        refuse_policy("Missing required field Statement")
    statements = tuple(_read_statement(statement) for statement in listed)
    return BucketPolicy(statements, tuple(_named(statement) for statement in listed))


def _named(statement: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    resources = _texts(statement.get("Resource", statement.get("NotResource")), "resource")
    # What excludes names leaves enough over.
    names = "Action" if "Resource" in statement else ""
    return tuple(resources), tuple(_texts(statement[names], "action")) if names in statement else ()


def _read_statement(statement: object) -> Statement:
    if not isinstance(statement, dict):
        refuse_policy("Missing required field Statement")
    if unknown := statement.keys() - _MEMBERS:
        refuse_policy("Unknown field", sorted(unknown)[0])
    try:
        effect = Effect(statement.get("Effect"))
    except ValueError:
        refuse_policy("Invalid effect", str(statement.get("Effect")))
    principals, not_principals = _either(statement, "Principal")
    actions, not_actions = _either(statement, "Action")
    resources, not_resources = _either(statement, "Resource")
    if not_principals and effect is Effect.ALLOW:
        refuse_policy("Allow with NotPrincipal is not allowed.")
    found = _texts(resources, "resource")
    for resource in found:
        if not resource.startswith(_ARN) or resource.startswith(f"{_ARN}/"):
            refuse_policy("Policy has invalid resource", resource)
    conditions = read_conditions(statement.get("Condition", {}))
    names = _texts(actions, "action")
    return Statement(
        effect,
        _read_principals(principals, excluded=not_principals),
        tuple(_action_matcher(name) for name in names),
        tuple(glob_matcher(resource) for resource in found),
        conditions,
        not_actions,
        not_resources,
    )


def _either(statement: Mapping[str, Any], name: str) -> tuple[object, bool]:
    """What a statement says under a name, and whether it is what it excludes."""
    if (name in statement) == (f"Not{name}" in statement):
        refuse_policy(f"Missing required field {name}")
    return (statement[name], False) if name in statement else (statement[f"Not{name}"], True)


def _read_principals(given: object, *, excluded: bool) -> Principals:
    accounts: set[str] = set()
    keys: set[Requester] = set()
    anybody = given == "*"
    if not anybody:
        if not isinstance(given, dict) or not given or given.keys() - {"AWS", "CanonicalUser"}:
            refuse_policy("Invalid principal in policy", str(given)[:200])
        for text in (text for value in given.values() for text in _texts(value, "principal")):
            found = next(filter(None, (form.fullmatch(text) for form in _PRINCIPALS)), None)
            if text == "*":
                anybody = True
            elif found is None:
                refuse_policy("Invalid principal in policy", text)
            elif "key" in found.groupdict():
                keys.add(Requester(found["account"], found["key"]))
            else:
                accounts.add(found["account"])
    return Principals(anybody, frozenset(accounts), frozenset(keys), excluded)


def _action_matcher(name: str) -> Matcher:
    # Names of actions have no case.
    matches = glob_matcher(name.lower())
    if name != "*" and not any(matches(known) for known in ACTIONS):
        refuse_policy("Policy has invalid action", name)
    return matches


def _texts(given: object, what: str) -> list[str]:
    listed = given if isinstance(given, list) else [given]
    texts = [text for text in listed if isinstance(text, str) and text]
    if not texts or len(texts) < len(listed):
        refuse_policy(f"Policy has invalid {what}")
    if any("${" in text for text in texts):
        raise S3Error(ErrorCode.NotImplemented, "Variables in policies are not supported.")
    return texts


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("repeated member")
    return dict(pairs)


def _is_waived(key: str, waived: Collection[str]) -> bool:
    return key in waived or (key.startswith(REQUEST_TAG) and REQUEST_TAG in waived)


def _any(matchers: tuple[Matcher, ...], text: str) -> bool:
    return any(matches(text) for matches in matchers)
