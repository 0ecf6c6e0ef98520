"""Operations on the service and on buckets."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from gateway.s3.bucket_listing import cut_page, parse_list_buckets
from gateway.s3.errors import IMMUTABLE_MESSAGE, ErrorCode, S3Error
from gateway.s3.listing import Page, parse_list_objects, parse_list_objects_v2
from gateway.s3.upload_listing import UploadEntry, parse_list_uploads
from gateway.s3.version_listing import parse_list_versions
from gateway.s3.xml_reader import read_create_bucket, read_versioning_configuration
from gateway.s3.xml_writer import (
    BucketEntry,
    Owner,
    write_list_buckets,
    write_list_multipart_uploads,
    write_list_objects,
    write_list_objects_v2,
    write_list_versions,
    write_location_constraint,
    write_versioning_configuration,
)
from gateway.web.bodies import is_empty
from gateway.web.requests import S3Request
from gateway.web.responses import empty_response, xml_response
from gateway.web.services import Services


def owner_of(request: S3Request) -> Owner:
    """The owner of everything that a request can see: its account."""
    return Owner(request.account, request.account)


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
    if not is_empty(request):
        read_create_bucket(await services.document(request))
    await services.buckets.create(request.account, request.bucket)
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
    """Enabled: every version is kept and can be addressed."""
    await services.buckets.get(request.account, request.bucket)
    return xml_response(write_versioning_configuration(enabled=True))


async def put_bucket_versioning(services: Services, request: S3Request) -> web.StreamResponse:
    """Enabling what is always on is a success; suspending it would promise to forget."""
    await services.buckets.get(request.account, request.bucket)
    if read_versioning_configuration(await services.document(request)) != "Enabled":
        raise S3Error(
            ErrorCode.InvalidBucketState,
            "Versioning cannot be suspended: storage is permanent, and every version is kept.",
        )
    return empty_response(200)


async def delete_bucket(services: Services, request: S3Request) -> web.StreamResponse:
    """Refused: nothing is ever removed."""
    raise S3Error(ErrorCode.AccessDenied, IMMUTABLE_MESSAGE)


async def delete_objects(services: Services, request: S3Request) -> web.StreamResponse:
    """Refused as a whole, so that no client can take a 200 for a deletion."""
    raise S3Error(ErrorCode.AccessDenied, IMMUTABLE_MESSAGE)


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
        [UploadEntry(row.key, row.upload_id, row.created_us) for row in page.entries],
        page.common_prefixes,
        page.is_truncated,
        page.last,
        page.next_position,
    )
    document = write_list_multipart_uploads(request.bucket, wanted, entries, owner_of(request))
    return xml_response(document)
