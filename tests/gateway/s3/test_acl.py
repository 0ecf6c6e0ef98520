"""Access control lists: canned ones, headers, documents, and whom they permit what."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.s3.acl import (
    GRANTS_MAX,
    Acl,
    Grant,
    Group,
    Permission,
    acl_of,
    check_acl_body,
    check_acl_headers,
    read_acl,
    wished_acl,
    write_acl,
)
from gateway.s3.errors import ErrorCode, S3Error

FULL, READ, WRITE = Permission.FULL_CONTROL, Permission.READ, Permission.WRITE
ALL, AUTHENTICATED = Group.ALL_USERS, Group.AUTHENTICATED_USERS
ACCOUNTS = {"main", "lena"}
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def wished(headers: dict[str, str], owner: str = "lena") -> Acl | None:
    return wished_acl(headers, owner, "main", ACCOUNTS.__contains__)


def policy(*grants: str, owner: str = "<Owner><ID>main</ID></Owner>") -> bytes:
    content = f"{owner}<AccessControlList>{''.join(grants)}</AccessControlList>"
    return f"<AccessControlPolicy>{content}</AccessControlPolicy>".encode()


def grant(grantee: str, permission: str = "READ", kind: str = "CanonicalUser") -> str:
    return (
        f'<Grant><Grantee {XSI} xsi:type="{kind}">{grantee}</Grantee>'
        f"<Permission>{permission}</Permission></Grant>"
    )


@pytest.mark.parametrize(
    ("canned", "grants"),
    [
        ("private", []),
        ("public-read", [(ALL, READ)]),
        ("public-read-write", [(ALL, READ), (ALL, WRITE)]),
        ("authenticated-read", [(AUTHENTICATED, READ)]),
        ("bucket-owner-read", [("main", READ)]),
        ("bucket-owner-full-control", [("main", FULL)]),
        (
            "log-delivery-write",
            [(Group.LOG_DELIVERY, WRITE), (Group.LOG_DELIVERY, Permission.READ_ACP)],
        ),
        ("aws-exec-read", []),
    ],
)
def test_canned(canned: str, grants: list[tuple[str | Group, Permission]]) -> None:
    acl = wished({"x-amz-acl": canned})
    assert acl == Acl("lena", tuple(Grant(*each) for each in [*grants, ("lena", FULL)]))
    # To the bucket's own account it gives nothing that it has not.
    own = wished({"x-amz-acl": canned}, owner="main")
    assert own is not None
    assert own.grants.count(Grant("main", FULL)) == 1
    assert Grant("main", READ) not in own.grants


def test_header_grants() -> None:
    acl = wished(
        {
            "x-amz-grant-full-control": "id=main",
            "x-amz-grant-read": f'id="lena", uri="{AUTHENTICATED.value}"',
            "x-amz-grant-write-acp": "ID=main",
            "x-amz-meta-a": "b",
        }
    )
    expected = (
        ("lena", READ),
        (AUTHENTICATED, READ),
        ("main", Permission.WRITE_ACP),
        ("main", FULL),
    )
    assert acl == Acl("lena", tuple(Grant(*each) for each in expected))
    assert wished({"x-amz-meta-a": "b"}) is None


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-acl": "nonsense"}, "InvalidArgument"),
        ({"x-amz-acl": "private", "x-amz-grant-read": "id=main"}, "InvalidRequest"),
        ({"x-amz-grant-read": "id=nobody"}, "InvalidArgument"),
        ({"x-amz-grant-read": "main"}, "InvalidArgument"),
        ({"x-amz-grant-read": ""}, "InvalidArgument"),
        ({"x-amz-grant-read": "uri=http://example.com/all"}, "InvalidArgument"),
        ({"x-amz-grant-read": "emailAddress=a@example.com"}, "UnresolvableGrantByEmailAddress"),
        ({"x-amz-grant-delete": "id=main"}, "InvalidArgument"),
        ({"x-amz-grant-read": ",".join(["id=main"] * (GRANTS_MAX + 1))}, "InvalidArgument"),
    ],
)
def test_headers_that_are_refused(headers: dict[str, str], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        wished(headers)
    assert caught.value.code is ErrorCode[code]


def test_documents() -> None:
    body = policy(
        grant("<ID>main</ID><DisplayName>x</DisplayName>", "FULL_CONTROL"),
        grant(f"<URI>{ALL.value}</URI>", "READ", "Group"),
        grant("<ID>lena</ID>", "WRITE_ACP"),
    )
    acl = read_acl(body, "main", ACCOUNTS.__contains__)
    assert acl.grants == (
        Grant("main", FULL),
        Grant(ALL, READ),
        Grant("lena", Permission.WRITE_ACP),
    )
    assert acl_of(acl.to_document()) == acl
    written = write_acl(acl)
    again = read_acl(written, "main", ACCOUNTS.__contains__)
    assert sorted(map(repr, again.grants)) == sorted(map(repr, acl.grants))
    kinds = [
        next(iter(element.attrib.values()))
        for element in etree.fromstring(written).iter("{*}Grantee")
    ]
    assert kinds == ["Group", "CanonicalUser", "CanonicalUser"]


def test_lists_may_be_empty_and_name_no_owner() -> None:
    assert read_acl(policy(), "main", ACCOUNTS.__contains__) == Acl("main", ())
    assert read_acl(policy(owner=""), "main", ACCOUNTS.__contains__) == Acl("main", ())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<AccessControlPolicy>", "MalformedXML"),
        (policy(grant("<ID>main</ID>", "OWN")), "MalformedXML"),
        (policy(grant("<DisplayName>main</DisplayName>")), "MalformedXML"),
        (policy(grant(f"<ID>main</ID><URI>{ALL.value}</URI>")), "MalformedXML"),
        (policy(grant("<ID>nobody</ID>")), "InvalidArgument"),
        (policy(grant("<URI>http://example.com</URI>")), "InvalidArgument"),
        (
            policy(grant("<EmailAddress>a@example.com</EmailAddress>")),
            "UnresolvableGrantByEmailAddress",
        ),
        (policy(owner="<Owner><ID>lena</ID></Owner>"), "AccessDenied"),
        (policy(owner="<Owner><ID>main</ID></Owner>" * 2), "MalformedXML"),
        (policy(*[grant("<ID>main</ID>")] * (GRANTS_MAX + 1)), "InvalidArgument"),
    ],
)
def test_documents_that_are_refused(body: bytes, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_acl(body, "main", ACCOUNTS.__contains__)
    assert caught.value.code is ErrorCode[code]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (policy(grant("<ID>main</ID>", "FULL_CONTROL")), ""),
        (policy(grant("<ID>main</ID>", "READ")), "AccessControlListNotSupported"),
        (policy(), "AccessControlListNotSupported"),
        (policy(owner="<Owner><ID>lena</ID></Owner>"), "AccessControlListNotSupported"),
        (b"nonsense", "MalformedXML"),
    ],
)
def test_where_there_are_no_lists_what_is_so_is_accepted(body: bytes, code: str) -> None:
    if not code:
        check_acl_body(body, "main")
        return
    with pytest.raises(S3Error) as caught:
        check_acl_body(body, "main")
    assert caught.value.code is ErrorCode[code]


@pytest.mark.parametrize("acl", ["", "private", "bucket-owner-full-control", "bucket-owner-read"])
def test_private_headers_say_what_is_so(acl: str) -> None:
    check_acl_headers({"x-amz-acl": acl})
    check_acl_headers({})


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("x-amz-acl", "public-read", "AccessControlListNotSupported"),
        ("x-amz-acl", "aws-exec-read", "AccessControlListNotSupported"),
        ("x-amz-grant-read", "id=1", "AccessControlListNotSupported"),
        ("x-amz-acl", "nonsense", "InvalidArgument"),
    ],
)
def test_where_there_are_no_lists_nothing_is_shared(name: str, value: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        check_acl_headers({name: value})
    assert caught.value.code is ErrorCode[code]


@pytest.mark.parametrize(
    ("grantee", "given", "account", "asked", "permitted"),
    [
        ("lena", READ, "lena", READ, True),
        ("lena", READ, "lena", WRITE, False),
        ("lena", FULL, "lena", Permission.WRITE_ACP, True),
        ("lena", READ, "main", READ, False),
        ("lena", READ, None, READ, False),
        (ALL, READ, None, READ, True),
        (ALL, READ, "lena", READ, True),
        (AUTHENTICATED, READ, None, READ, False),
        (AUTHENTICATED, READ, "lena", READ, True),
        (Group.LOG_DELIVERY, READ, "lena", READ, False),
    ],
)
def test_permissions(
    grantee: str | Group,
    given: Permission,
    account: str | None,
    asked: Permission,
    permitted: bool,
) -> None:
    acl = Acl("main", (Grant(grantee, given),))
    assert acl.permits(account, asked) is permitted
    public = grantee in (ALL, AUTHENTICATED)
    assert acl.is_public is public
    assert acl.permits(account, asked, ignores_public=True) is (permitted and not public)
    assert not acl.is_private
    assert Acl.private("main").is_private
