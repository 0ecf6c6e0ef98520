"""How ownership, policy, lists and public access block are weighed against each other."""

from __future__ import annotations

import json

import pytest

from gateway.s3.access import BucketAccess
from gateway.s3.acl import Acl, Grant, Group, Permission
from gateway.s3.actions import DELETE_OBJECT, GET_OBJECT, LIST_BUCKET, PUT_OBJECT, Action
from gateway.s3.bucket_policy import BucketPolicy, Requester, parse_policy
from gateway.s3.bucket_settings import (
    ENFORCED,
    NOTHING_BLOCKED,
    OBJECT_WRITER,
    PREFERRED,
    PublicAccessBlock,
)

OWNER, LENA, ANYBODY = Requester("main", "K"), Requester("lena", "L"), Requester(None)
PUBLIC_READ = Acl("main", (Grant(Group.ALL_USERS, Permission.READ),))
OF_LENA = Acl("lena", (Grant("lena", Permission.FULL_CONTROL),))


def policy(effect: str, principal: object = "*", action: str = "s3:*") -> BucketPolicy:
    statement = {
        "Effect": effect,
        "Principal": principal,
        "Action": action,
        "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"],
    }
    return parse_policy(json.dumps({"Statement": statement}))


ALLOW, DENY = policy("Allow"), policy("Deny")
FOR_LENA = policy("Allow", {"AWS": "lena"})


def access(
    bucket_policy: BucketPolicy | None = None,
    acl: Acl | None = None,
    ownership: str = OBJECT_WRITER,
    **block: bool,
) -> BucketAccess:
    blocked = PublicAccessBlock(**block) if block else NOTHING_BLOCKED
    return BucketAccess("main", "b", ownership, acl or Acl.private("main"), bucket_policy, blocked)


def may(
    decides: BucketAccess, requester: Requester, action: Action, object_acl: Acl | None = None
) -> bool:
    key = b"k" if action.on_object else None
    return decides.permits(requester, action, key, {}, object_acl)


@pytest.mark.parametrize("action", [GET_OBJECT, PUT_OBJECT, LIST_BUCKET, DELETE_OBJECT])
@pytest.mark.parametrize("ownership", [ENFORCED, PREFERRED, OBJECT_WRITER])
def test_what_nobody_shares_is_its_owners(action: Action, ownership: str) -> None:
    decides = access(ownership=ownership)
    assert may(decides, OWNER, action)
    assert not may(decides, LENA, action)
    assert not may(decides, ANYBODY, action)


@pytest.mark.parametrize("action", [GET_OBJECT, PUT_OBJECT, LIST_BUCKET, DELETE_OBJECT])
def test_a_policy_allows_and_denies(action: Action) -> None:
    for requester in (OWNER, LENA, ANYBODY):
        assert may(access(ALLOW), requester, action)
        assert not may(access(DENY), requester, action)
    assert may(access(FOR_LENA, ownership=ENFORCED), LENA, action)
    assert not may(access(FOR_LENA), ANYBODY, action)


def test_a_denial_wins_over_lists() -> None:
    assert not may(access(DENY, PUBLIC_READ), LENA, LIST_BUCKET)
    assert not may(access(DENY), LENA, GET_OBJECT, OF_LENA)
    assert access(DENY).denies(OWNER, GET_OBJECT, b"k", {})
    assert not access(ALLOW).denies(OWNER, GET_OBJECT, b"k", {})


def test_lists_of_buckets_and_of_objects_are_for_different_things() -> None:
    decides = access(acl=PUBLIC_READ)
    assert may(decides, ANYBODY, LIST_BUCKET)
    assert not may(decides, ANYBODY, GET_OBJECT)
    assert not may(decides, ANYBODY, PUT_OBJECT)
    assert may(access(), ANYBODY, GET_OBJECT, PUBLIC_READ)
    assert not may(access(), ANYBODY, LIST_BUCKET, PUBLIC_READ)
    writable = Acl("main", (Grant("lena", Permission.WRITE),))
    assert may(access(acl=writable), LENA, PUT_OBJECT)
    assert may(access(acl=writable), LENA, DELETE_OBJECT)
    assert not may(access(acl=writable), LENA, DELETE_OBJECT.for_version())
    assert not may(access(acl=writable), LENA, GET_OBJECT)


def test_lists_do_not_count_where_the_owner_is_enforced() -> None:
    decides = access(acl=PUBLIC_READ, ownership=ENFORCED)
    assert not may(decides, ANYBODY, LIST_BUCKET)
    assert not may(decides, ANYBODY, GET_OBJECT, PUBLIC_READ)
    assert may(decides, OWNER, GET_OBJECT, OF_LENA)
    assert not decides.needs_object(GET_OBJECT)
    assert access().needs_object(GET_OBJECT)
    assert not access().needs_object(PUT_OBJECT)


def test_an_object_of_another_account_is_that_ones() -> None:
    assert may(access(), LENA, GET_OBJECT, OF_LENA)
    assert not may(access(), OWNER, GET_OBJECT, OF_LENA)
    # What the bucket's policy says is about what belongs to the bucket's account.
    assert not may(access(ALLOW), ANYBODY, GET_OBJECT, OF_LENA)
    shared = Acl("lena", (Grant("main", Permission.READ),))
    assert may(access(), OWNER, GET_OBJECT, shared)
    # It can always be superseded and hidden.
    assert may(access(), OWNER, PUT_OBJECT, OF_LENA)
    assert may(access(), OWNER, DELETE_OBJECT, OF_LENA)


def test_blocks() -> None:
    assert not may(access(acl=PUBLIC_READ, ignore_acls=True), ANYBODY, LIST_BUCKET)
    assert not may(access(ignore_acls=True), LENA, GET_OBJECT, PUBLIC_READ)
    assert not may(access(ALLOW, restrict_buckets=True), LENA, GET_OBJECT)
    assert may(access(ALLOW, restrict_buckets=True), OWNER, GET_OBJECT)
    assert may(access(FOR_LENA, restrict_buckets=True), LENA, GET_OBJECT)
    assert may(access(ALLOW, block_acls=True, block_policy=True), ANYBODY, GET_OBJECT)


@pytest.mark.parametrize(
    ("ownership", "account", "canned", "owner"),
    [
        (ENFORCED, "lena", "", "main"),
        (PREFERRED, "lena", "", "lena"),
        (PREFERRED, "lena", "bucket-owner-full-control", "main"),
        (PREFERRED, "lena", "private", "lena"),
        (OBJECT_WRITER, "lena", "bucket-owner-full-control", "lena"),
        (OBJECT_WRITER, "main", "", "main"),
        (OBJECT_WRITER, None, "", "main"),
    ],
)
def test_whose_a_new_object_is(
    ownership: str, account: str | None, canned: str, owner: str
) -> None:
    assert access(ownership=ownership).owner_of_new(account, canned) == owner
