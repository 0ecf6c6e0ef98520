"""Access control lists: everything belongs to its account alone, and no list can change that.

It is what AWS calls "bucket owner enforced", its default for new buckets: lists can be read, and
set to what they are.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
"""

from __future__ import annotations

from collections.abc import Mapping

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

FULL_CONTROL = "FULL_CONTROL"
PERMISSIONS = frozenset({FULL_CONTROL, "READ", "WRITE", "READ_ACP", "WRITE_ACP"})

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_CANNED = "x-amz-acl"
_GRANT_PREFIX = "x-amz-grant-"
# The owner has everything and nobody else anything: these say what is so anyway.
_KEPT = frozenset({"", "private", "bucket-owner-full-control", "bucket-owner-read"})
_OPEN = frozenset(
    {
        "public-read",
        "public-read-write",
        "authenticated-read",
        "aws-exec-read",
        "log-delivery-write",
    }
)


def check_acl_headers(
    headers: Mapping[str, str], code: ErrorCode = ErrorCode.AccessControlListNotSupported
) -> None:
    """Refuse x-amz-acl and x-amz-grant-* that would share something; lower-case names.

    Raises S3Error: `code` for what grants anything, InvalidArgument for an unknown canned ACL.
    """
    canned = headers.get(_CANNED, "")
    if canned in _OPEN or any(name.startswith(_GRANT_PREFIX) for name in headers):
        raise S3Error(code)
    if canned not in _KEPT:
        raise S3Error(ErrorCode.InvalidArgument, ArgumentName=_CANNED, ArgumentValue=canned)


def read_acl(body: bytes, owner: Owner) -> None:
    """Read the body of PutBucketAcl or PutObjectAcl, which may give the owner full control.

    Raises S3Error: MalformedXML; AccessControlListNotSupported for any other list.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAcl.html
    """
    root = parse_document(body, "AccessControlPolicy")
    grants: list[tuple[str, str]] = []
    owners: list[str] = []
    for child in children_of(root, {"Owner", "AccessControlList"}):
        if name_of(child) == "Owner":
            owners.append(texts_of(child, {"ID", "DisplayName"}).get("ID", ""))
        else:
            grants += [_read_grant(grant) for grant in children_of(child, {"Grant"})]
    if len(owners) > 1:
        refuse_malformed()
    if grants != [(owner.id, FULL_CONTROL)] or owners not in ([], [owner.id]):
        raise S3Error(ErrorCode.AccessControlListNotSupported)


def write_acl(owner: Owner) -> bytes:
    """The AccessControlPolicy of everything there is: full control for its owner."""
    who = f"<ID>{escape(owner.id)}</ID><DisplayName>{escape(owner.display_name)}</DisplayName>"
    grantee = f'<Grantee xmlns:xsi="{_XSI}" xsi:type="CanonicalUser">{who}</Grantee>'
    grant = f"<Grant>{grantee}<Permission>{FULL_CONTROL}</Permission></Grant>"
    content = f"<Owner>{who}</Owner><AccessControlList>{grant}</AccessControlList>"
    return write_configuration(configuration("AccessControlPolicy", content))


def _read_grant(element: etree._Element) -> tuple[str, str]:
    """Whom a grant names, "" for anybody but one user by id, and what it permits."""
    grantee = permission = ""
    for child in children_of(element, {"Grantee", "Permission"}):
        if name_of(child) == "Permission":
            permission = text_of(child).strip()
        else:
            fields = {name_of(field): text_of(field).strip() for field in fields_of(child)}
            grantee = "" if fields.keys() & {"URI", "EmailAddress"} else fields.get("ID", "")
    if permission not in PERMISSIONS:
        refuse_malformed()
    return grantee, permission
