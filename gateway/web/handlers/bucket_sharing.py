"""Who may do what with a bucket: policy, access control list, object ownership.

Where buckets are not shared (`global_buckets` is off) each has one value, which can be read and
set to what it is; a policy is 501.
"""

from __future__ import annotations

import sqlite3

from aiohttp import web

from gateway.buckets import bucket_of
from gateway.catalog.queries import find_setting
from gateway.s3.acl import (
    Acl,
    acl_of,
    check_acl_body,
    check_acl_headers,
    read_acl,
    wished_acl,
    write_acl,
)
from gateway.s3.actions import PUT_BUCKET_ACL
from gateway.s3.address import DEFAULT_BUCKET
from gateway.s3.bucket_policy import parse_policy, read_policy
from gateway.s3.bucket_settings import (
    ENFORCED,
    ownership_controls,
    policy_status,
    read_ownership,
    read_ownership_controls,
)
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.xml_writer import write_configuration
from gateway.sharing import ACL, OWNERSHIP, POLICY
from gateway.web.admission import check_public, still_admitted
from gateway.web.bodies import is_empty
from gateway.web.requests import S3Request
from gateway.web.responses import S3Response, empty_response, xml_response
from gateway.web.services import Services

NO_POLICIES = "Bucket policies are for gateways with global_buckets: here rights belong to keys."
NOT_SHARED = "Every account has a bucket of this name of its own; it is not shared."


async def get_bucket_policy(services: Services, request: S3Request) -> web.StreamResponse:
    """The policy as it was sent; 404 NoSuchBucketPolicy without."""
    document = await _policy(services, request)
    return S3Response(body=document.encode(), headers={"Content-Type": "application/json"})


async def put_bucket_policy(services: Services, request: S3Request) -> web.StreamResponse:
    """Replace the policy, by which other accounts and anybody may do what it says."""
    await services.buckets.get(request.account, request.bucket)
    if services.sharing is None:
        raise S3Error(ErrorCode.NotImplemented, NO_POLICIES)
    if request.bucket == DEFAULT_BUCKET:
        raise S3Error(ErrorCode.NotImplemented, NOT_SHARED)
    sharing = services.sharing
    document = read_policy(await services.document(request), request.bucket)
    is_public = parse_policy(document).is_public

    def check(connection: sqlite3.Connection) -> None:
        access = sharing.look(connection, request.account, request.bucket)
        if access is not None and access.block.block_policy and is_public:
            raise S3Error(ErrorCode.AccessDenied, "Public policies are blocked.")

    await services.buckets.configure(request.account, request.bucket, POLICY, document, check)
    return empty_response(204)


async def get_bucket_policy_status(services: Services, request: S3Request) -> web.StreamResponse:
    """Whether the policy opens the bucket to everybody; 404 NoSuchBucketPolicy without one."""
    is_public = parse_policy(await _policy(services, request)).is_public
    return xml_response(write_configuration(policy_status(is_public=is_public)))


async def get_bucket_acl(services: Services, request: S3Request) -> web.StreamResponse:
    """Who may do what: full control for the bucket's account, where there are no other lists."""
    await services.buckets.get(request.account, request.bucket)
    has_acls = request.access is not None and request.access.has_acls
    acl = request.access.acl if request.access is not None and has_acls else None
    return xml_response(write_acl(acl or Acl.private(request.account)))


async def put_bucket_acl(services: Services, request: S3Request) -> web.StreamResponse:
    """Replace the list; where there are none, accept what is so."""
    account, bucket = request.account, request.bucket
    await services.buckets.get(account, bucket)
    acl = await read_wished_acl(services, request, account)
    if acl is not None:
        check = still_admitted(services, request, PUT_BUCKET_ACL, acl)
        document = None if acl == Acl.private(account) else acl.to_document()
        await services.buckets.configure(
            account, bucket, ACL, document, lambda connection: check(connection, {})
        )
    elif await services.buckets.setting(account, bucket, ACL) is not None:
        # What counted under another ownership must not come back.
        await services.buckets.configure(account, bucket, ACL, None)
    return empty_response(200)


async def get_bucket_ownership_controls(
    services: Services, request: S3Request
) -> web.StreamResponse:
    """BucketOwnerEnforced, or what was set."""
    kept = await services.buckets.setting(request.account, request.bucket, OWNERSHIP)
    if services.sharing is None:
        kept = ENFORCED
    elif kept is None:
        if services.sharing.ownership != ENFORCED:
            raise S3Error(ErrorCode.OwnershipControlsNotFoundError, BucketName=request.bucket)
        kept = ENFORCED
    return xml_response(write_configuration(ownership_controls(kept)))


async def put_bucket_ownership_controls(
    services: Services, request: S3Request
) -> web.StreamResponse:
    """Whether lists count; one that shares something must be set to private before they do not."""
    await services.buckets.get(request.account, request.bucket)
    has_lists = services.sharing is not None and request.bucket != DEFAULT_BUCKET
    ownership = read_ownership_controls(await services.document(request), has_lists=has_lists)
    if services.sharing is not None:
        await _set_ownership(services, request, ownership, ownership)
    return empty_response(200)


async def delete_bucket_ownership_controls(
    services: Services, request: S3Request
) -> web.StreamResponse:
    """Back to `object_ownership`; as PutBucketOwnershipControls."""
    if await services.buckets.setting(request.account, request.bucket, OWNERSHIP) is not None:
        by_default = ENFORCED if services.sharing is None else services.sharing.ownership
        await _set_ownership(services, request, None, by_default)
    return empty_response(204)


async def _set_ownership(
    services: Services, request: S3Request, document: str | None, ownership: str
) -> None:
    def check(connection: sqlite3.Connection) -> None:
        bucket = bucket_of(connection, request.account, request.bucket)
        acl = find_setting(connection, bucket.id, ACL)
        if ownership == ENFORCED and acl is not None and not acl_of(acl).is_private:
            raise S3Error(ErrorCode.InvalidBucketAclWithObjectOwnership)

    await services.buckets.configure(request.account, request.bucket, OWNERSHIP, document, check)


def new_bucket_settings(services: Services, request: S3Request) -> dict[str, str]:
    """Ownership and list that the headers of CreateBucket ask for; raises S3Error as they do."""
    sharing = services.sharing
    may_share = sharing is not None and request.bucket != DEFAULT_BUCKET
    settings = {}
    ownership = sharing.ownership if sharing is not None and may_share else ENFORCED
    if "x-amz-object-ownership" in request.headers:
        given = request.headers["x-amz-object-ownership"]
        ownership = read_ownership(given, has_lists=may_share)
        if sharing is not None:
            settings[OWNERSHIP] = ownership
    if sharing is None or ownership == ENFORCED:
        check_acl_headers(request.headers, ErrorCode.InvalidBucketAclWithObjectOwnership)
        return settings
    account = request.identity.account
    acl = wished_acl(request.headers, account, account, sharing.is_account)
    if acl is not None and acl != Acl.private(account):
        settings[ACL] = acl.to_document()
    return settings


async def read_wished_acl(services: Services, request: S3Request, owner: str) -> Acl | None:
    """The list, of what belongs to `owner`, that headers or body ask for.

    None where there are no lists, and what is asked for is so.
    """
    sharing, access = services.sharing, request.access
    has_body = not is_empty(request)
    acl: Acl | None = None
    if sharing is None or access is None or not access.has_acls:
        check_acl_headers(request.headers)
        if has_body:
            check_acl_body(await services.document(request), request.account)
    else:
        acl = wished_acl(request.headers, owner, access.account, sharing.is_account)
        if has_body:
            if acl is not None:
                raise S3Error(ErrorCode.UnexpectedContent)
            acl = read_acl(await services.document(request), owner, sharing.is_account)
        if acl is not None:
            check_public(access, acl)
            return acl
    if not has_body and "x-amz-acl" not in request.headers:
        raise S3Error(ErrorCode.MissingSecurityHeader, MissingHeaderName="x-amz-acl")
    return None


async def _policy(services: Services, request: S3Request) -> str:
    document = await services.buckets.setting(request.account, request.bucket, POLICY)
    if document is None or services.sharing is None:
        raise S3Error(ErrorCode.NoSuchBucketPolicy, BucketName=request.bucket)
    return document
