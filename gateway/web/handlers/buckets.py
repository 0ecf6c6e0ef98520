"""Operations on the service and on buckets."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiohttp import web

from gateway.catalog.queries import UploadRow
from gateway.deletes import ENABLED, VERSIONING, Deleted, Deletion
from gateway.rights import Right
from gateway.s3.acl import acl_of
from gateway.s3.address import check_key
from gateway.s3.bucket_listing import cut_page, parse_list_buckets
from gateway.s3.checksums import expected_checksum
from gateway.s3.conditions import read_delete_conditions
from gateway.s3.errors import IMMUTABLE_MESSAGE, ErrorCode, S3Error
from gateway.s3.listing import Page, parse_list_objects, parse_list_objects_v2
from gateway.s3.notes import ACL
from gateway.s3.object_lock import bypasses_governance
from gateway.s3.upload_listing import UploadEntry, parse_list_uploads
from gateway.s3.version_ids import version_id
from gateway.s3.version_listing import parse_list_versions
from gateway.s3.xml_reader import (
    DeleteItem,
    read_create_bucket,
    read_delete,
    read_versioning_configuration,
)
from gateway.s3.xml_writer import (
    BucketEntry,
    DeletedItem,
    FailedItem,
    Owner,
    write_delete_result,
    write_list_buckets,
    write_list_multipart_uploads,
    write_list_objects,
    write_list_objects_v2,
    write_list_versions,
    write_location_constraint,
    write_versioning_configuration,
)
from gateway.web.admission import check_deletion
from gateway.web.authorization import authorize_key
from gateway.web.bodies import is_empty
from gateway.web.handlers.bucket_sharing import new_bucket_settings
from gateway.web.requests import S3Request
from gateway.web.responses import empty_response, xml_response
from gateway.web.services import Services

_CHECKED_AT_ONCE = 50


def owner_of(request: S3Request) -> Owner:
    """The account of the bucket that a request means, or without one, of who asks."""
    return Owner(request.account, request.account)


def upload_owner(request: S3Request, upload: UploadRow) -> Owner:
    """The account that the object of an upload will belong to."""
    note = upload.notes.get(ACL)
    if note is None or request.access is None or not request.access.has_acls:
        return owner_of(request)
    owner = acl_of(note).owner
    return Owner(owner, owner)


async def list_buckets(services: Services, request: S3Request) -> web.StreamResponse:
    """The buckets of the account that the key may know of, all of them or a page."""
    wanted = parse_list_buckets(request.query)
    rows = []
    if wanted.region in (None, services.region):
        limits = request.identity.limits
        if limits is None:
            rows = await services.buckets.list(request.account, wanted)
        else:
            # The page is cut out of those that are left.
            every = await services.buckets.list(request.account, replace(wanted, most=None))
            rows = [row for row in every if limits.covers_bucket(row.name)]
    count, token = cut_page(wanted, [row.name for row in rows])
    region = services.region if wanted.shows_region else None
    document = write_list_buckets(
        owner_of(request),
        (BucketEntry(row.name, row.created_us, region) for row in rows[:count]),
        prefix=wanted.prefix,
        continuation_token=token,
    )
    return xml_response(document)


async def create_bucket(services: Services, request: S3Request) -> web.StreamResponse:
    """Make a bucket, or find that it is there: both are a success for its owner."""
    settings = new_bucket_settings(services, request)
    if not is_empty(request):
        read_create_bucket(await services.document(request))
    account = request.identity.account
    if request.account != account:
        raise S3Error(ErrorCode.BucketAlreadyExists, BucketName=request.bucket)
    # The lock itself every bucket has. With it S3 enables versioning, of new buckets alone:
    # what others are set to is for keys with the right to it.
    if request.headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true":
        settings[VERSIONING] = ENABLED
    await services.buckets.create(account, request.bucket, settings)
    return empty_response(200, {"Location": f"/{request.bucket}"})


async def head_bucket(services: Services, request: S3Request) -> web.StreamResponse:
    """Whether the bucket is there."""
    await services.buckets.get(request.account, request.bucket)
    return empty_response(200, {"x-amz-bucket-region": services.region})


async def get_bucket_location(services: Services, request: S3Request) -> web.StreamResponse:
    """The region, also of a bucket that its first write will make.

    Clients ask before that write, and none would come after a 404.
    """
    if not services.buckets.implicit:
        await services.buckets.get(request.account, request.bucket)
    region = "" if services.region == "us-east-1" else services.region
    return xml_response(write_location_constraint(region))


async def get_bucket_versioning(services: Services, request: S3Request) -> web.StreamResponse:
    """Enabled, but for buckets that hide what is deleted: there once a client has asked for it."""
    enabled = await services.deletes.announces_versions(request.account, request.bucket)
    return xml_response(write_versioning_configuration(enabled=enabled))


async def put_bucket_versioning(services: Services, request: S3Request) -> web.StreamResponse:
    """Enabling what is always on is a success; suspending it would promise to forget."""
    await services.buckets.get(request.account, request.bucket)
    if read_versioning_configuration(await services.document(request)) != ENABLED:
        raise S3Error(
            ErrorCode.InvalidBucketState,
            "Versioning cannot be suspended: storage is permanent, and every version is kept.",
        )
    await services.buckets.configure(request.account, request.bucket, VERSIONING, ENABLED)
    return empty_response(200)


async def delete_bucket(services: Services, request: S3Request) -> web.StreamResponse:
    """Remove a bucket that holds nothing, hidden or open; refused where its policy denies."""
    await services.deletes.delete_bucket(request.account, request.bucket)
    return empty_response(204)


async def delete_objects(services: Services, request: S3Request) -> web.StreamResponse:
    """Delete up to 1000 keys; what became of each, in the order of the request.

    Where no key could be deleted the request is refused as a whole, so that no client takes a
    200 for a deletion.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
    """
    policy = await services.deletes.policy(request.account, request.bucket)
    if policy.denies_all:
        raise S3Error(ErrorCode.AccessDenied, IMMUTABLE_MESSAGE)
    if "content-md5" not in request.headers and expected_checksum(request.headers) is None:
        message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
        raise S3Error(ErrorCode.InvalidRequest, message)
    wanted = read_delete(await services.document(request))
    results: list[Deleted | S3Error | Deletion] = []
    for number, item in enumerate(wanted.items):
        results.append(_deletion(request, item))
        if number % _CHECKED_AT_ONCE == 0:
            # A policy may have much to say of each.
            await asyncio.sleep(0)
    deletions = [result for result in results if isinstance(result, Deletion)]
    done = iter(await services.deletes.delete_all(deletions))
    entries = (
        _delete_entry(item, next(done) if isinstance(result, Deletion) else result)
        for item, result in zip(wanted.items, results, strict=True)
    )
    return xml_response(write_delete_result(entries, quiet=wanted.quiet))


def _deletion(request: S3Request, item: DeleteItem) -> Deletion | S3Error:
    try:
        authorize_key(request, Right.CREATE, request.bucket, check_key(item.key))
        check_deletion(request, item.key, item.version_id, item.etag)
        conditions = read_delete_conditions(item.etag, item.last_modified, item.size)
    except S3Error as error:
        return error
    return Deletion(
        request.account,
        request.bucket,
        item.key,
        item.version_id,
        conditions,
        bypasses_governance(request.headers),
        request.creates_only,
    )


def _delete_entry(
    item: DeleteItem, outcome: Deleted | S3Error | Deletion
) -> DeletedItem | FailedItem:
    if isinstance(outcome, S3Error):
        return FailedItem(item.key, outcome.code.name, outcome.message, item.version_id)
    assert isinstance(outcome, Deleted)
    if outcome.marker is None:
        return DeletedItem(item.key, item.version_id)
    return DeletedItem(item.key, item.version_id, True, version_id(outcome.marker))


async def list_objects(services: Services, request: S3Request) -> web.StreamResponse:
    """One page of keys, version 1."""
    wanted = parse_list_objects(request.query)
    page = await services.objects.list(request.account, request.bucket, wanted)
    return xml_response(write_list_objects(request.bucket, wanted, page, owner_of(request)))


async def list_objects_v2(services: Services, request: S3Request) -> web.StreamResponse:
    """One page of keys, version 2."""
    wanted = parse_list_objects_v2(request.query)
    page = await services.objects.list(request.account, request.bucket, wanted)
    return xml_response(write_list_objects_v2(request.bucket, wanted, page, owner_of(request)))


async def list_object_versions(services: Services, request: S3Request) -> web.StreamResponse:
    """One page of versions and delete markers."""
    wanted = parse_list_versions(request.query)
    page = await services.objects.list_versions(request.account, request.bucket, wanted)
    return xml_response(write_list_versions(request.bucket, wanted, page, owner_of(request)))


async def list_multipart_uploads(services: Services, request: S3Request) -> web.StreamResponse:
    """One page of open uploads."""
    wanted = parse_list_uploads(request.query)
    page = await services.uploads.list(request.account, request.bucket, wanted)
    entries = Page(
        [
            UploadEntry(
                row.key,
                row.upload_id,
                row.created_us,
                row.checksum_kind,
                upload_owner(request, row).id,
            )
            for row in page.entries
        ],
        page.common_prefixes,
        page.is_truncated,
        page.last,
        page.next_position,
    )
    document = write_list_multipart_uploads(request.bucket, wanted, entries, owner_of(request))
    return xml_response(document)
