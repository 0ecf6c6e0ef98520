"""Bucket policies: what they decide, what of them is refused, and whether they are public."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.actions import ACTIONS, BY_OPERATION, GET_OBJECT, PUT_OBJECT, Action
from gateway.s3.bucket_policy import (
    POLICY_BYTES_MAX,
    Effect,
    Requester,
    parse_policy,
    read_policy,
    resource_arn,
)
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.operations import Operation
from gateway.web.dispatch import HANDLERS

ANYBODY = Requester(None)
LENA = Requester("lena", "LENAKEY")
LIST = BY_OPERATION[Operation.ListObjectsV2][0]


def statement(**changes: Any) -> dict[str, Any]:
    members = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::b/*",
        **changes,
    }
    return {name: value for name, value in members.items() if value is not None}


def document(*statements: dict[str, Any], **members: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **members})


def said(
    policy: str,
    requester: Requester = LENA,
    action: Action = GET_OBJECT,
    key: bytes | None = b"k",
    **context: list[str],
) -> Effect | None:
    kept = read_policy(policy.encode(), "b")
    named = {name.replace("_", ":", 1): values for name, values in context.items()}
    return parse_policy(kept).decide(requester, action, resource_arn("b", key), named)


@pytest.mark.parametrize(
    ("principal", "requester", "included"),
    [
        ("*", ANYBODY, True),
        ({"AWS": "*"}, ANYBODY, True),
        ({"AWS": ["*"]}, LENA, True),
        ({"AWS": "lena"}, LENA, True),
        ({"AWS": "lena"}, ANYBODY, False),
        ({"AWS": "arn:aws:iam::lena:root"}, LENA, True),
        ({"AWS": "arn:aws:iam::main:root"}, LENA, False),
        ({"AWS": ["main", "arn:aws:iam:::user/lena"]}, LENA, True),
        ({"AWS": "arn:aws:iam::lena:user/LENAKEY"}, LENA, True),
        ({"AWS": "arn:aws:iam::lena:user/OTHER"}, LENA, False),
        ({"AWS": "arn:aws:iam::main:user/LENAKEY"}, LENA, False),
        ({"AWS": "arn:aws:iam::lena:user/1f0c~22ab"}, Requester("lena", "1f0c~22ab"), True),
        ({"CanonicalUser": "lena"}, LENA, True),
        ({"CanonicalUser": "lena"}, Requester("main", "lena"), False),
    ],
)
def test_principals(principal: object, requester: Requester, included: bool) -> None:
    found = said(document(statement(Principal=principal)), requester)
    assert found is (Effect.ALLOW if included else None)


def test_denial_of_all_but_some() -> None:
    policy = document(
        statement(Effect="Deny", Principal=None, NotPrincipal={"AWS": ["lena", "main"]})
    )
    assert said(policy, LENA) is None
    assert said(policy, ANYBODY) is Effect.DENY
    assert said(policy, Requester("other")) is Effect.DENY


@pytest.mark.parametrize(
    ("pattern", "action", "covered"),
    [
        ("s3:GetObject", GET_OBJECT, True),
        ("S3:getobject", GET_OBJECT, True),
        ("s3:GetObject", GET_OBJECT.for_version(), False),
        ("s3:GetObject*", GET_OBJECT.for_version(), True),
        ("s3:*", PUT_OBJECT, True),
        ("*", PUT_OBJECT, True),
        (["s3:ListBucket", "s3:PutObject"], PUT_OBJECT, True),
        ("s3:Put?bject", PUT_OBJECT, True),
        ("s3:Put*", GET_OBJECT, False),
    ],
)
def test_actions(pattern: object, action: Action, covered: bool) -> None:
    everything = ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]
    found = said(document(statement(Action=pattern, Resource=everything)), action=action)
    assert found is (Effect.ALLOW if covered else None)
    found = said(document(statement(Action=None, NotAction=pattern)), action=action)
    assert found is (None if covered else Effect.ALLOW)


@pytest.mark.parametrize(
    ("pattern", "key", "covered"),
    [
        ("arn:aws:s3:::b/*", b"k", True),
        ("arn:aws:s3:::b/*", b"a/b\n", True),
        ("arn:aws:s3:::b/k", b"k", True),
        ("arn:aws:s3:::b/k", b"kk", False),
        ("arn:aws:s3:::b/home/*/x", b"home/a/b/x", True),
        ("arn:aws:s3:::b/\u00e9?", "\u00e9\u00e9".encode(), True),
        ("arn:aws:s3:::*", b"k", True),
        ("arn:aws:s3:::b", b"k", False),
        ("arn:aws:s3:::b", None, True),
        ("arn:aws:s3:::b/*", None, False),
        (["arn:aws:s3:::b", "arn:aws:s3:::b/*"], None, True),
    ],
)
def test_resources(pattern: object, key: bytes | None, covered: bool) -> None:
    policy = document(statement(Resource=pattern, Action="*"))
    assert said(policy, key=key) is (Effect.ALLOW if covered else None)
    policy = document(statement(NotResource=pattern, Resource=None, Action="*"))
    assert said(policy, key=key) is (None if covered else Effect.ALLOW)


def test_denial_wins_in_any_order() -> None:
    allow, deny = statement(), statement(Effect="Deny", Resource="arn:aws:s3:::b/k")
    for policy in (document(allow, deny), document(deny, allow)):
        assert said(policy) is Effect.DENY
        assert said(policy, key=b"other") is Effect.ALLOW


def test_conditions_limit_a_statement() -> None:
    policy = document(
        statement(Effect="Deny", Condition={"Bool": {"aws:SecureTransport": "false"}})
    )
    assert said(policy, aws_securetransport=["false"]) is Effect.DENY
    assert said(policy, aws_securetransport=["true"]) is None


def test_which_actions_depend_on_tags() -> None:
    tagged = {"StringEquals": {"s3:ExistingObjectTag/a": "b"}}
    policy = parse_policy(document(statement(Condition=tagged), statement(Action="s3:Put*")))
    assert policy.needs_tags(GET_OBJECT)
    assert not policy.needs_tags(PUT_OBJECT)


def test_what_was_asked_before_is_not_asked_again() -> None:
    condition = {"StringEquals": {"s3:x-amz-acl": "private"}}
    allow = document(statement(Action="s3:PutObject", Condition=condition))
    assert said(allow, action=PUT_OBJECT) is None
    waived = frozenset({"s3:x-amz-acl"})
    resource = resource_arn("b", b"k")
    assert parse_policy(allow).decide(LENA, PUT_OBJECT, resource, {}, waived) is Effect.ALLOW
    condition = {"StringNotEquals": {"s3:x-amz-acl": "private"}}
    deny = document(statement(Effect="Deny", Action="s3:PutObject", Condition=condition))
    assert said(deny, action=PUT_OBJECT) is Effect.DENY
    assert parse_policy(deny).decide(LENA, PUT_OBJECT, resource, {}, waived) is None


FROM_HOME = {"IpAddress": {"aws:SourceIp": "192.168.0.0/16"}}


@pytest.mark.parametrize(
    ("changes", "public"),
    [
        ({}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": ["lena", "*"]}}, True),
        ({"Principal": {"AWS": "lena"}}, False),
        ({"Effect": "Deny"}, False),
        ({"Condition": FROM_HOME}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}, True),
        ({"Condition": {"StringLike": {"aws:Referer": "https://a.example/*"}}}, True),
    ],
)
def test_public(changes: dict[str, Any], public: bool) -> None:
    assert parse_policy(document(statement(**changes))).is_public is public


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "MalformedPolicy"),
        ("[]", "MalformedPolicy"),
        ("nonsense", "MalformedPolicy"),
        ("[" * 100_000, "MalformedPolicy"),
        ('{"Statement": []}', "MalformedPolicy"),
        ("{}", "MalformedPolicy"),
        ('{"Statement": [], "Statement": []}', "MalformedPolicy"),
        (document(statement(), Version="2020-01-01"), "MalformedPolicy"),
        (document(statement(), Comment="x"), "MalformedPolicy"),
        (document(statement(Effect="Maybe")), "MalformedPolicy"),
        (document(statement(Effect=["Allow"])), "MalformedPolicy"),
        (document(statement(Extra=1)), "MalformedPolicy"),
        (document(statement(Principal=None)), "MalformedPolicy"),
        (document(statement(Principal=None, NotPrincipal="*")), "MalformedPolicy"),
        (document(statement(NotPrincipal="*")), "MalformedPolicy"),
        (document(statement(Principal="lena")), "MalformedPolicy"),
        (document(statement(Principal={})), "MalformedPolicy"),
        (document(statement(Principal={"AWS": []})), "MalformedPolicy"),
        (document(statement(Principal={"AWS": "arn:aws:iam::lena:role/x"})), "MalformedPolicy"),
        (document(statement(Principal={"AWS": "len*"})), "MalformedPolicy"),
        (document(statement(Principal={"Service": "s3.amazonaws.com"})), "MalformedPolicy"),
        (document(statement(Action="s3:GetNothing")), "MalformedPolicy"),
        (document(statement(Action="iam:GetUser")), "MalformedPolicy"),
        (document(statement(Action=[])), "MalformedPolicy"),
        (document(statement(NotAction="s3:GetObject")), "MalformedPolicy"),
        (document(statement(Resource="b/*")), "MalformedPolicy"),
        (document(statement(Resource="arn:aws:s3:::/k")), "MalformedPolicy"),
        (document(statement(Resource="arn:aws:s3:::other/*")), "MalformedPolicy"),
        (document(statement(Resource=["arn:aws:s3:::b/*", "arn:aws:s3:::c"])), "MalformedPolicy"),
        (document(statement(Resource=7)), "MalformedPolicy"),
        (document(statement(Action="\ud800")), "MalformedPolicy"),
        (document(statement(Resource="arn:aws:s3:::b/${aws:username}/*")), "NotImplemented"),
        (
            document(
                statement(
                    Effect="Deny",
                    Action="s3:PutObject*",
                    Condition={"StringEquals": {"s3:RequestObjectTag/a": "b"}},
                )
            ),
            "NotImplemented",
        ),
        # It would do nothing: no action is on what is named, or none has what is asked of it.
        (document(statement(Resource="arn:aws:s3:::b")), "MalformedPolicy"),
        (document(statement(Action=["s3:GetObject", "s3:ListBucket"])), "MalformedPolicy"),
        (document(statement(Action="s3:CreateBucket", Resource="*")), "MalformedPolicy"),
        (document(statement(Condition={"StringLike": {"s3:prefix": "a*"}})), "MalformedPolicy"),
        (
            document(
                statement(
                    Action=["s3:GetObject", "s3:DeleteObject"],
                    Condition={"StringEquals": {"s3:ExistingObjectTag/a": "b"}},
                )
            ),
            "MalformedPolicy",
        ),
        (
            document(
                statement(
                    Action="s3:PutObjectVersionTagging",
                    Condition={"ForAllValues:StringLike": {"s3:RequestObjectTagKeys": "a"}},
                )
            ),
            "NotImplemented",
        ),
        (document(statement(), Version=[]), "MalformedPolicy"),
        (document(statement(), Version={}), "MalformedPolicy"),
        (" " * POLICY_BYTES_MAX + document(statement()), "MalformedPolicy"),
    ],
)
def test_what_is_refused(text: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_policy(text.encode(), "b")
    assert caught.value.code is ErrorCode[code]


@pytest.mark.timeout(10)
def test_a_policy_that_repeats_itself_is_read_at_once() -> None:
    spellings = itertools.islice(itertools.product(*zip("ifmatch", "IFMATCH", strict=True)), 100)
    keys = {f"s3:{name[:2]}-{name[2:]}": "x" for name in map("".join, spellings)}
    text = document(statement(Action=["*"] * 1500, Condition={"StringEquals": keys}))
    assert read_policy(text.encode(), "b") == text


def test_documents_are_kept_as_sent() -> None:
    text = document(statement(Sid="caf\u00e9"), Id="x").replace(",", " ,\n")
    assert read_policy(text.encode(), "b") == text
    with pytest.raises(S3Error):
        read_policy(b"\xff", "b")


@given(
    st.sampled_from([ANYBODY, LENA, Requester("main", "K")]),
    st.sampled_from([GET_OBJECT, PUT_OBJECT, LIST]),
    st.booleans(),
)
def test_nothing_is_allowed_that_no_statement_allows(
    requester: Requester, action: Action, denied: bool
) -> None:
    grant = statement(Principal={"AWS": "lena"}, Action=["s3:GetObject"])
    deny = statement(Effect="Deny", Action="s3:*", Resource="arn:aws:s3:::*")
    found = said(document(grant, *([deny] if denied else [])), requester, action)
    wanted = Effect.ALLOW if requester == LENA and action is GET_OBJECT else None
    assert found is (Effect.DENY if denied else wanted)


def test_every_operation_has_its_actions() -> None:
    by_themselves = {Operation.ListBuckets, Operation.CreateBucket, Operation.DeleteObjects}
    assert HANDLERS.keys() - by_themselves == BY_OPERATION.keys()
    assert all(name.startswith("s3:") for name in ACTIONS)
