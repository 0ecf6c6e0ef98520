"""What buckets are configured to: kept where it can be true, refused where it cannot."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.s3.cors import read_cors
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.lifecycle import SETTING as LIFECYCLE_SETTING
from gateway.s3.lifecycle import expiring_prefixes, read_lifecycle
from gateway.s3.object_lock import LOCK_CONFIGURATION, read_lock_configuration
from gateway.s3.tagging import (
    BUCKET_TAGS_MAX,
    decode_tags,
    encode_tags,
    read_tagging,
    write_tagging,
)
from gateway.s3.xml_writer import write_configuration
from gateway.web import cross_origin
from gateway.web.requests import S3Request
from gateway.web.responses import empty_response, xml_response
from gateway.web.services import Services

Handler = Callable[[Services, S3Request], Awaitable[web.StreamResponse]]

# The names under which they are kept.
TAGGING = "tagging"
OBJECT_LOCK = "object-lock"


def answers(document: str) -> Handler:
    """Answers with what is so of every bucket."""

    async def answer(services: Services, request: S3Request) -> web.StreamResponse:
        await services.buckets.get(request.account, request.bucket)
        return xml_response(write_configuration(document))

    return answer


def lacks(code: ErrorCode) -> Handler:
    """Answers that no bucket has this setting."""

    async def refuse(services: Services, request: S3Request) -> web.StreamResponse:
        await services.buckets.get(request.account, request.bucket)
        raise S3Error(code, BucketName=request.bucket)

    return refuse


def accepts(read: Callable[[bytes], None]) -> Handler:
    """Accepts what is so anyway; `read` raises S3Error for anything else."""

    async def accept(services: Services, request: S3Request) -> web.StreamResponse:
        await services.buckets.get(request.account, request.bucket)
        read(await services.document(request))
        return empty_response(200)

    return accept


async def removes_nothing(services: Services, request: S3Request) -> web.StreamResponse:
    """Removing a setting that no bucket has is a success, as on AWS."""
    await services.buckets.get(request.account, request.bucket)
    return empty_response(204)


def shows(setting: str, unset: ErrorCode) -> Handler:
    """Answers with a document that was kept."""

    async def show(services: Services, request: S3Request) -> web.StreamResponse:
        document = await services.buckets.setting(request.account, request.bucket, setting)
        if document is None:
            raise S3Error(unset, BucketName=request.bucket)
        return xml_response(write_configuration(document))

    return show


def keeps(setting: str, read: Callable[[bytes], str]) -> Handler:
    """Keeps the document that `read` makes of the body."""

    async def keep(services: Services, request: S3Request) -> web.StreamResponse:
        await services.buckets.get(request.account, request.bucket)
        document = read(await services.document(request))
        await services.buckets.configure(request.account, request.bucket, setting, document)
        return empty_response(200)

    return keep


def removes(setting: str) -> Handler:
    """Removes what was kept, also where nothing was."""

    async def remove(services: Services, request: S3Request) -> web.StreamResponse:
        if await services.buckets.setting(request.account, request.bucket, setting) is not None:
            await services.buckets.configure(request.account, request.bucket, setting, None)
        return empty_response(204)

    return remove


get_bucket_cors = shows(cross_origin.SETTING, ErrorCode.NoSuchCORSConfiguration)
put_bucket_cors = keeps(cross_origin.SETTING, read_cors)
get_bucket_lifecycle = shows(LIFECYCLE_SETTING, ErrorCode.NoSuchLifecycleConfiguration)
put_object_lock_configuration = keeps(OBJECT_LOCK, read_lock_configuration)


async def put_bucket_lifecycle(services: Services, request: S3Request) -> web.StreamResponse:
    """Replace the rules: AbortIncompleteMultipartUpload, and Expiration where deletes may hide.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
    """
    names = (request.account, request.bucket)
    await services.buckets.get(*names)
    document = read_lifecycle(await services.document(request), _new_rule_id)
    if prefixes := expiring_prefixes(document):
        await services.deletes.check_expiry(*names, prefixes)
    await services.buckets.configure(*names, LIFECYCLE_SETTING, document)
    return empty_response(200)


async def get_object_lock_configuration(
    services: Services, request: S3Request
) -> web.StreamResponse:
    """What was set, else what is so: objects can be locked, and no rule locks them by default."""
    kept = await services.buckets.setting(request.account, request.bucket, OBJECT_LOCK)
    return xml_response(write_configuration(kept or LOCK_CONFIGURATION))


def _new_rule_id() -> str:
    return secrets.token_urlsafe(36)


async def get_bucket_tagging(services: Services, request: S3Request) -> web.StreamResponse:
    """The tags of the bucket."""
    kept = await services.buckets.setting(request.account, request.bucket, TAGGING)
    if kept is None:
        raise S3Error(ErrorCode.NoSuchTagSet, BucketName=request.bucket)
    return xml_response(write_tagging(decode_tags(kept)))


async def put_bucket_tagging(services: Services, request: S3Request) -> web.StreamResponse:
    """Replace the tags of the bucket."""
    await services.buckets.get(request.account, request.bucket)
    tags = read_tagging(await services.document(request), tags_max=BUCKET_TAGS_MAX)
    await services.buckets.configure(request.account, request.bucket, TAGGING, encode_tags(tags))
    return empty_response(204)
