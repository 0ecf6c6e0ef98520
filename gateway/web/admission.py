"""Decides who may do what with a bucket that accounts share: by ownership, policy and lists.

It comes after `authorization`: a policy never gives a key more than its own rights. Without
`global_buckets` nothing is shared, and nobody asks here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote

from gateway.catalog.queries import VersionRow
from gateway.s3.access import BucketAccess
from gateway.s3.acl import CANNED_HEADER, Acl, acl_of, check_acl_headers, wished_acl
from gateway.s3.actions import (
    BY_OPERATION,
    BYPASS_GOVERNANCE,
    DELETE_OBJECT,
    GET_OBJECT,
    LIST_BUCKET,
    OWNERS_ALWAYS,
    PUT_OBJECT,
    PUT_OBJECT_TAGGING,
    Action,
)
from gateway.s3.bucket_policy import Requester
from gateway.s3.copy_source import COPY_SOURCE, CopySource
from gateway.s3.credentials import ALGORITHM
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.notes import ACL, TAGGING, TAGGING_HEADER
from gateway.s3.object_lock import bypasses_governance
from gateway.s3.operations import Operation
from gateway.s3.policy_conditions import EXISTING_TAG, REQUEST_TAG, Context
from gateway.s3.tagging import decode_tags
from gateway.s3.timestamps import MICROSECONDS, iso_timestamp
from gateway.s3.version_ids import version_id
from gateway.web.authorization import check_overrides
from gateway.web.requests import S3Request
from gateway.web.services import Services

_ABSENT = frozenset({ErrorCode.NoSuchKey, ErrorCode.NoSuchVersion})
# The handler decides: for a new bucket, and for each key.
_BY_HANDLER = frozenset({Operation.CreateBucket, Operation.DeleteObjects})
_HEADER_KEYS = (
    *("x-amz-acl", "x-amz-content-sha256", "x-amz-metadata-directive", "x-amz-storage-class"),
    *("x-amz-grant-read", "x-amz-grant-write", "x-amz-grant-read-acp", "x-amz-grant-write-acp"),
    *("x-amz-grant-full-control", "x-amz-server-side-encryption", "if-match", "if-none-match"),
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
)
_QUERY_KEYS = {
    "prefix": "s3:prefix",
    "delimiter": "s3:delimiter",
    "max-keys": "s3:max-keys",
    "versionId": "s3:versionid",
}


async def admit(services: Services, request: S3Request, operation: Operation) -> None:
    """Find out whose bucket a request means, and whether it may do this there.

    Sets `request.access`. Raises S3Error: AccessDenied; NoSuchBucket for a request without a key;
    NoSuchKey and NoSuchVersion for who may list the bucket.
    """
    sharing, identity = services.sharing, request.identity
    if sharing is None or request.address.bucket is None:
        if identity.is_anonymous and identity.limits is None:
            raise S3Error(ErrorCode.AccessDenied)
        return
    access = await sharing.find(identity.account, request.bucket)
    if access is None or (request.is_flat and access.account != identity.account):
        if identity.is_anonymous:
            raise S3Error(ErrorCode.NoSuchBucket, BucketName=request.bucket)
        return
    request.access = access
    if operation in _BY_HANDLER:
        if operation is Operation.CreateBucket and identity.is_anonymous:
            raise S3Error(ErrorCode.AccessDenied)
        return
    if identity.is_anonymous:
        check_overrides(request)
    if operation in OWNERS_ALWAYS and owns_bucket(request):
        return
    if operation is Operation.CreateMultipartUpload and identity.is_anonymous:
        # As on AWS: nobody could say whose upload it is.
        raise S3Error(ErrorCode.AccessDenied)
    version = request.query.get("versionId") or None
    for action in _actions(request, operation):
        key = request.key if action.on_object else None
        found = await _check(services, request, access, action, key, version)
        request.version = found or request.version


async def admit_source(
    services: Services, request: S3Request, source: CopySource
) -> tuple[str, CopySource]:
    """The account of a copy's source, which the request may read, and what it names.

    Where that depended on the version that is there, it is named. Raises as `admit`.
    """
    if services.sharing is None:
        return request.account, source
    access = await services.sharing.find(request.identity.account, source.bucket)
    if access is None:
        return request.identity.account, source
    action = GET_OBJECT if source.version_id is None else GET_OBJECT.for_version()
    # What is not there must be found out here: the copy would tell anybody.
    is_guest = request.identity.account != access.account or request.identity.is_anonymous
    found = await _check(
        services, request, access, action, source.key, source.version_id, finds=is_guest
    )
    if found is not None:
        source = source._replace(version_id=version_id(found.sequence))
    return access.account, source


def check_deletion(request: S3Request, key: bytes, version: str | None) -> None:
    """Whether the request may delete a key that it names elsewhere than in its path."""
    access = request.access
    if access is None:
        return
    action = DELETE_OBJECT if version is None else DELETE_OBJECT.for_version()
    context = _context(request, access)
    for each in (action, *_bypass(request)):
        if not _permits(request, access, each, key, context):
            raise S3Error(ErrorCode.AccessDenied)


def owns_bucket(request: S3Request) -> bool:
    """Whether the request comes from the account of the bucket that it means."""
    return not request.identity.is_anonymous and request.identity.account == request.account


def veil(request: S3Request, error: S3Error) -> S3Error:
    """The error as who asked may see it: what is not there is told to those who may list.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html#API_GetObject_Permissions
    """
    access = request.access
    if access is None or error.code not in _ABSENT or owns_bucket(request):
        return error
    if COPY_SOURCE in request.headers:
        # It is about the source: see `admit_source`.
        return error
    if _is_open_key(request) or _may_list(request, access, request.key):
        return error
    return S3Error(ErrorCode.AccessDenied)


def acl_note(services: Services, request: S3Request) -> dict[str, str]:
    """The note of whose a new object is, and who else may do what; none for the usual case.

    Raises S3Error: AccessControlListNotSupported where buckets have no lists, AccessDenied for a
    public list where those are blocked, and as `wished_acl`.
    """
    sharing, access = services.sharing, request.access
    if sharing is None or access is None or not access.has_acls:
        check_acl_headers(request.headers)
        return {}
    account = None if request.identity.is_anonymous else request.identity.account
    owner = access.owner_of_new(account, request.headers.get(CANNED_HEADER, ""))
    acl = wished_acl(request.headers, owner, access.account, sharing.is_account)
    if acl is None:
        acl = Acl.private(owner)
    check_public(access, acl)
    return {} if acl == Acl.private(access.account) else {ACL: acl.to_document()}


def check_public(access: BucketAccess, acl: Acl) -> None:
    """Refuse a public list where the bucket blocks them, by S3Error AccessDenied."""
    if acl.is_public and access.block.block_acls:
        raise S3Error(ErrorCode.AccessDenied, "Public access control lists are blocked.")


def acl_of_version(request: S3Request, version: VersionRow) -> Acl:
    """The list of a version."""
    note = version.notes.get(ACL)
    if note is None or request.access is None or not request.access.has_acls:
        return Acl.private(request.account)
    return acl_of(note)


def _actions(request: S3Request, operation: Operation) -> Iterator[Action]:
    """What a request needs on the bucket or key in its path."""
    actions = BY_OPERATION.get(operation)
    if actions is None:
        raise S3Error(ErrorCode.AccessDenied)
    versioned = bool(request.query.get("versionId"))
    for action in actions:
        yield action.for_version() if versioned else action
    if actions == (PUT_OBJECT,) and request.headers.get(TAGGING_HEADER):
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html: tags may decide
        # who reads an object.
        yield PUT_OBJECT_TAGGING
    yield from _bypass(request)


def _bypass(request: S3Request) -> tuple[Action, ...]:
    return (BYPASS_GOVERNANCE,) if bypasses_governance(request.headers) else ()


async def _check(
    services: Services,
    request: S3Request,
    access: BucketAccess,
    action: Action,
    key: bytes | None,
    version: str | None,
    *,
    finds: bool = False,
) -> VersionRow | None:
    """Refuse an action on a key, or with None on the bucket, by S3Error.

    Where the object itself has a say, or with `finds`, the version that was found: what is read
    must be that one.
    """
    context = _context(request, access)
    found: VersionRow | None = None
    absence: S3Error | None = None
    acl: Acl | None = None
    if key is not None and (finds or access.needs_object(action)):
        try:
            found = await services.objects.get(access.account, access.bucket, key, version)
        except S3Error as error:
            absence = error
        else:
            acl = acl_of(found.notes[ACL]) if ACL in found.notes else None
            for name, value in decode_tags(found.notes.get(TAGGING)):
                context.setdefault(EXISTING_TAG + name.lower(), []).append(value)
    if _permits(request, access, action, key, context, acl) and not (finds and absence):
        return found
    if absence is not None and key is not None and _may_list(request, access, key):
        raise absence
    raise S3Error(ErrorCode.AccessDenied)


def _permits(
    request: S3Request,
    access: BucketAccess,
    action: Action,
    key: bytes | None,
    context: Context,
    acl: Acl | None = None,
) -> bool:
    identity = request.identity
    requester = Requester(None if identity.is_anonymous else identity.account, identity.key_name)
    if _is_open_key(request):
        return not access.denies(requester, action, key, context)
    return access.permits(requester, action, key, context, acl)


def _may_list(request: S3Request, access: BucketAccess, key: bytes) -> bool:
    """Whether a listing would show the key."""
    context = {**_context(request, access), "s3:prefix": [key.decode()]}
    return _permits(request, access, LIST_BUCKET, None, context)


def _is_open_key(request: S3Request) -> bool:
    """Whether the operator has opened the bucket to all, which `authorization` has looked into."""
    return request.identity.is_anonymous and request.identity.limits is not None


def _context(request: S3Request, access: BucketAccess) -> dict[str, list[str]]:
    """What conditions may ask of a request; nothing where there is no policy to ask.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
    """
    if access.policy is None:
        return {}
    headers, query, identity = request.headers, request.query, request.identity
    now = time.time_ns() // 1000
    context = {
        "aws:currenttime": [iso_timestamp(now)],
        "aws:epochtime": [str(now // MICROSECONDS)],
        "aws:principaltype": ["Anonymous" if identity.is_anonymous else "User"],
        "aws:securetransport": [str(request.http.secure).lower()],
        "s3:resourceaccount": [access.account],
    }
    if not identity.is_anonymous:
        name = identity.key_name
        context["aws:principalaccount"] = [identity.account]
        context["aws:principalarn"] = [f"arn:aws:iam::{identity.account}:user/{name}"]
        context["aws:userid"] = context["aws:username"] = [name]
        context.update(_signature(request))
    if request.http.remote:
        context["aws:sourceip"] = [request.http.remote]
    for header, key in (("user-agent", "aws:useragent"), ("referer", "aws:referer")):
        if header in headers:
            context[key] = [headers[header]]
    for header in _HEADER_KEYS:
        if header in headers:
            context[f"s3:{header}"] = [headers[header]]
    for parameter, key in _QUERY_KEYS.items():
        if parameter in query:
            context[key] = [query[parameter]]
    if COPY_SOURCE in headers:
        # As documented: bucket/key, as the client means it.
        context["s3:x-amz-copy-source"] = [unquote(headers[COPY_SOURCE]).removeprefix("/")]
    for name, value in parse_qsl(headers.get(TAGGING_HEADER, ""), keep_blank_values=True):
        context.setdefault(REQUEST_TAG + name.lower(), []).append(value)
        context.setdefault("s3:requestobjecttagkeys", []).append(name)
    return context


def _signature(request: S3Request) -> Mapping[str, list[str]]:
    """How the request was signed, as conditions name it."""
    by_header = request.head.headers.get("authorization", "")
    version_2 = by_header.startswith("AWS ") or "Signature" in request.query
    return {
        "s3:signatureversion": ["AWS" if version_2 else ALGORITHM],
        "s3:authtype": [
            "REST-HEADER"
            if by_header
            else "POST"
            if request.method == "POST" and not request.query
            else "REST-QUERY-STRING"
        ],
    }
