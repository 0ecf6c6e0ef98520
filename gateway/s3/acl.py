"""Access control lists: who else may read or write a bucket or an object, and who may see the list.

A bucket has lists only where its object ownership is other than BucketOwnerEnforced; else
everything belongs to the bucket's account, and a list can be set to nothing but what is so.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from lxml import etree

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.xml_tree import (
    children_of,
    fields_of,
    name_of,
    parse_document,
    refuse_malformed,
    text_of,
    texts_of,
)
from gateway.s3.xml_writer import Owner, configuration, escape, write_configuration

GRANTS_MAX = 100

CANNED_HEADER = "x-amz-acl"
GRANT_PREFIX = "x-amz-grant-"
OWNER_CONTROLS = "bucket-owner-full-control"

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
# Where the owner of the bucket has everything these say what is so anyway.
_KEPT = frozenset({"", "private", OWNER_CONTROLS, "bucket-owner-read"})


class Permission(Enum):
    """What a grant allows. WRITE is of buckets: to put objects, and to put markers over them."""

    READ = "READ"
    WRITE = "WRITE"
    READ_ACP = "READ_ACP"
    WRITE_ACP = "WRITE_ACP"
    FULL_CONTROL = "FULL_CONTROL"


class Group(Enum):
    """Whom a grant may name besides accounts. Nothing here delivers logs."""

    ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
    AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
    LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"


class Grant(NamedTuple):
    """A permission of an account or a group."""

    grantee: str | Group
    permission: Permission


@dataclass(frozen=True, slots=True)
class Acl:
    """The account that something belongs to, and what others may do. The owner may do all."""

    owner: str
    grants: tuple[Grant, ...]

    @classmethod
    def private(cls, owner: str) -> Acl:
        """The list of what nobody shares."""
        return cls(owner, (Grant(owner, Permission.FULL_CONTROL),))

    @property
    def is_private(self) -> bool:
        """Whether it gives nothing to anybody but its owner."""
        return all(grant.grantee == self.owner for grant in self.grants)

    @property
    def is_public(self) -> bool:
        """Whether it gives something to everybody, or to everybody with a key."""
        return any(_is_everybody(grant.grantee) for grant in self.grants)

    def permits(
        self, account: str | None, permission: Permission, *, ignores_public: bool = False
    ) -> bool:
        """Whether an account, or with None a request without a key, has a permission."""
        return any(
            grant.permission in (permission, Permission.FULL_CONTROL)
            and _includes(grant.grantee, account)
            and not (ignores_public and _is_everybody(grant.grantee))
            for grant in self.grants
        )

    def to_document(self) -> str:
        """The list as a setting or a note keeps it; `acl_of` reads it."""
        grants = [
            [grant.grantee.name, None, grant.permission.value]
            if isinstance(grant.grantee, Group)
            else [None, grant.grantee, grant.permission.value]
            for grant in self.grants
        ]
        return json.dumps({"owner": self.owner, "grants": grants})


@lru_cache(1024)
def acl_of(document: str) -> Acl:
    """What `Acl.to_document` wrote."""
    plain = json.loads(document)
    return Acl(
        plain["owner"],
        tuple(
            Grant(Group[group] if group else account, Permission(permission))
            for group, account, permission in plain["grants"]
        ),
    )


def check_acl_headers(
    headers: Mapping[str, str], code: ErrorCode = ErrorCode.AccessControlListNotSupported
) -> None:
    """Refuse x-amz-acl and x-amz-grant-* where there are no lists; lower-case names.

    Raises S3Error: `code` for what grants anything, InvalidArgument for an unknown canned ACL.
    """
    canned = headers.get(CANNED_HEADER, "")
    if canned not in _KEPT and canned not in _CANNED:
        _refuse_canned(canned)
    if canned not in _KEPT or any(name.startswith(GRANT_PREFIX) for name in headers):
        raise S3Error(code)


def wished_acl(
    headers: Mapping[str, str], owner: str, bucket_owner: str, is_account: Callable[[str], bool]
) -> Acl | None:
    """The list that headers ask for, of what belongs to `owner`; None where they ask for none.

    Raises S3Error: InvalidArgument for an unknown canned ACL, permission, group or account,
    UnresolvableGrantByEmailAddress, InvalidRequest for both kinds of headers.
    """
    canned = headers.get(CANNED_HEADER, "")
    given = {
        name.removeprefix(GRANT_PREFIX): value
        for name, value in headers.items()
        if name.startswith(GRANT_PREFIX)
    }
    if canned and given:
        raise S3Error(
            ErrorCode.InvalidRequest,
            "Specifying both Canned ACLs and Header Grants is not allowed",
        )
    if given:
        return Acl(owner, _header_grants(given, is_account))
    if not canned:
        return None
    if canned not in _CANNED:
        _refuse_canned(canned)
    of_owner = Grant(owner, Permission.FULL_CONTROL)
    shared = tuple(
        Grant(bucket_owner if grantee is None else grantee, permission)
        for grantee, permission in _CANNED[canned]
    )
    return Acl(owner, (*(grant for grant in shared if grant.grantee != owner), of_owner))


def read_acl(body: bytes, owner: str, is_account: Callable[[str], bool]) -> Acl:
    """Read the body of PutBucketAcl or PutObjectAcl, of what belongs to `owner`.

    Raises S3Error: MalformedXML, AccessDenied for another owner, and as `wished_acl` does.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAcl.html
    """
    root = parse_document(body, "AccessControlPolicy")
    listed: list[etree._Element] = []
    owners: list[str] = []
    for child in children_of(root, {"Owner", "AccessControlList"}):
        if name_of(child) == "Owner":
            owners.append(texts_of(child, {"ID", "DisplayName"}).get("ID", ""))
        else:
            listed += children_of(child, {"Grant"})
    if len(owners) > 1:
        refuse_malformed()
    if owners not in ([], [owner]):
        raise S3Error(ErrorCode.AccessDenied, "The owner of a list cannot be changed.")
    _check_count(len(listed))
    return Acl(owner, tuple(_read_grant(grant, is_account) for grant in listed))


def check_acl_body(body: bytes, owner: str) -> None:
    """As `read_acl` where there are no lists: the owner's full control is accepted.

    Raises S3Error: MalformedXML; AccessControlListNotSupported for any other list.
    """
    try:
        wanted = read_acl(body, owner, lambda _: True)
    except S3Error as error:
        if error.code is ErrorCode.MalformedXML:
            raise
        raise S3Error(ErrorCode.AccessControlListNotSupported) from None
    if wanted != Acl.private(owner):
        raise S3Error(ErrorCode.AccessControlListNotSupported)


def write_acl(acl: Acl) -> bytes:
    """The AccessControlPolicy document; groups come first, as on Ceph's gateway."""
    grants = "".join(
        f"<Grant>{_grantee(grant.grantee)}<Permission>{grant.permission.value}</Permission></Grant>"
        for grant in sorted(acl.grants, key=lambda grant: isinstance(grant.grantee, str))
    )
    content = f"<Owner>{_user(acl.owner)}</Owner><AccessControlList>{grants}</AccessControlList>"
    return write_configuration(configuration("AccessControlPolicy", content))


def _grantee(grantee: str | Group) -> str:
    if isinstance(grantee, Group):
        kind, content = "Group", f"<URI>{grantee.value}</URI>"
    else:
        kind, content = "CanonicalUser", _user(grantee)
    return f'<Grantee xmlns:xsi="{_XSI}" xsi:type="{kind}">{content}</Grantee>'


def _user(account: str) -> str:
    owner = Owner(account, account)
    return f"<ID>{escape(owner.id)}</ID><DisplayName>{escape(owner.display_name)}</DisplayName>"


def _is_everybody(grantee: str | Group) -> bool:
    return grantee in (Group.ALL_USERS, Group.AUTHENTICATED_USERS)


def _includes(grantee: str | Group, account: str | None) -> bool:
    if grantee is Group.ALL_USERS:
        return True
    if grantee is Group.AUTHENTICATED_USERS:
        return account is not None
    return grantee == account


def _read_grant(element: etree._Element, is_account: Callable[[str], bool]) -> Grant:
    permission = ""
    named: dict[str, str] = {}
    for child in children_of(element, {"Grantee", "Permission"}):
        if name_of(child) == "Permission":
            permission = text_of(child).strip()
        else:
            named = {name_of(field): text_of(field).strip() for field in fields_of(child)}
    if permission not in Permission.__members__:
        refuse_malformed()
    kinds = {_KINDS[name]: value for name, value in named.items() if name in _KINDS}
    if len(kinds) != 1:
        refuse_malformed()
    ((kind, value),) = kinds.items()
    return Grant(_resolve(kind, value, is_account), Permission(permission))


def _header_grants(
    given: Mapping[str, str], is_account: Callable[[str], bool]
) -> tuple[Grant, ...]:
    if unknown := given.keys() - _HEADER_PERMISSIONS.keys():
        name = GRANT_PREFIX + sorted(unknown)[0]
        raise S3Error(ErrorCode.InvalidArgument, ArgumentName=name)
    _check_count(sum(value.count(",") + 1 for value in given.values()))
    grants = []
    for name, permission in _HEADER_PERMISSIONS.items():
        for pair in given.get(name, "").split(","):
            found = _HEADER_GRANTEE.fullmatch(pair.strip())
            if found is not None:
                grantee = _resolve(found["kind"].lower(), found["value"], is_account)
                grants.append(Grant(grantee, permission))
            elif name in given:
                raise S3Error(
                    ErrorCode.InvalidArgument,
                    "Argument format not recognized",
                    ArgumentName=GRANT_PREFIX + name,
                    ArgumentValue=pair,
                )
    return tuple(grants)


def _resolve(kind: str, value: str, is_account: Callable[[str], bool]) -> str | Group:
    """Whom a grant names."""
    if kind == "emailaddress":
        # Accounts have no address here.
        raise S3Error(
            ErrorCode.UnresolvableGrantByEmailAddress, ArgumentName="Email", ArgumentValue=value
        )
    if kind == "uri":
        try:
            return Group(value)
        except ValueError:
            raise S3Error(
                ErrorCode.InvalidArgument,
                "Invalid group uri",
                ArgumentName="uri",
                ArgumentValue=value,
            ) from None
    if not is_account(value):
        raise S3Error(
            ErrorCode.InvalidArgument, "Invalid id", ArgumentName="id", ArgumentValue=value
        )
    return value


def _check_count(grants: int) -> None:
    if grants > GRANTS_MAX:
        raise S3Error(ErrorCode.InvalidArgument, f"The list has more than {GRANTS_MAX} grants.")


def _refuse_canned(canned: str) -> None:
    raise S3Error(ErrorCode.InvalidArgument, ArgumentName=CANNED_HEADER, ArgumentValue=canned)


_KINDS = {"ID": "id", "URI": "uri", "EmailAddress": "emailaddress"}

_HEADER_GRANTEE = re.compile(
    r"(?P<kind>id|uri|emailAddress)\s*=\s*\"?(?P<value>[^\"]+)\"?", re.IGNORECASE
)
_HEADER_PERMISSIONS = {
    "read": Permission.READ,
    "write": Permission.WRITE,
    "read-acp": Permission.READ_ACP,
    "write-acp": Permission.WRITE_ACP,
    "full-control": Permission.FULL_CONTROL,
}

# What each shares besides the owner's full control; None is the owner of the bucket.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#canned-acl
_CANNED: dict[str, tuple[tuple[Group | None, Permission], ...]] = {
    "private": (),
    "public-read": ((Group.ALL_USERS, Permission.READ),),
    "public-read-write": (
        (Group.ALL_USERS, Permission.READ),
        (Group.ALL_USERS, Permission.WRITE),
    ),
    "authenticated-read": ((Group.AUTHENTICATED_USERS, Permission.READ),),
    "log-delivery-write": (
        (Group.LOG_DELIVERY, Permission.WRITE),
        (Group.LOG_DELIVERY, Permission.READ_ACP),
    ),
    "bucket-owner-read": ((None, Permission.READ),),
    OWNER_CONTROLS: ((None, Permission.FULL_CONTROL),),
    # It is for Amazon EC2, which is not here.
    "aws-exec-read": (),
}
