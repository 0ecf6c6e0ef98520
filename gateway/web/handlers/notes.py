"""What may change about a version while its bytes stay: tags, retention, legal hold, ACL."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from aiohttp import web

from gateway.catalog.queries import VersionRow
from gateway.delete_policy import DeleteMode
from gateway.s3.acl import Acl, write_acl
from gateway.s3.actions import PUT_OBJECT_ACL
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.notes import ACL, LEGAL_HOLD, RETENTION, TAGGING
from gateway.s3.object_lock import (
    Retention,
    bypasses_governance,
    check_retention_change,
    intrinsic_retention,
    read_legal_hold,
    read_retention,
    write_legal_hold,
    write_retention,
)
from gateway.s3.tagging import (
    OBJECT_TAGS_MAX,
    decode_tags,
    encode_tags,
    read_tagging,
    write_tagging,
)
from gateway.s3.version_ids import version_id
from gateway.web.admission import acl_of_version, still_admitted
from gateway.web.handlers.bucket_sharing import read_wished_acl
from gateway.web.handlers.objects import VERSION_HEADER
from gateway.web.requests import S3Request
from gateway.web.responses import empty_response, xml_response
from gateway.web.services import Services


async def get_object_tagging(services: Services, request: S3Request) -> web.StreamResponse:
    """The tags of a version, perhaps none."""
    version = await _find(services, request)
    document = write_tagging(decode_tags(version.notes.get(TAGGING)))
    return xml_response(document, headers=_headers(version))


async def put_object_tagging(services: Services, request: S3Request) -> web.StreamResponse:
    """Replace the tags of a version."""
    version = await _find(services, request)
    tags = read_tagging(await services.document(request), tags_max=OBJECT_TAGS_MAX)
    await services.objects.annotate(
        request.account, request.bucket, version, TAGGING, encode_tags(tags)
    )
    return empty_response(200, _headers(version))


async def delete_object_tagging(services: Services, request: S3Request) -> web.StreamResponse:
    """Remove the tags of a version, if there are any."""
    version = await _find(services, request)
    if TAGGING in version.notes:
        await services.objects.annotate(request.account, request.bucket, version, TAGGING, None)
    return empty_response(204, _headers(version))


async def get_object_retention(services: Services, request: S3Request) -> web.StreamResponse:
    """The retention that was asked for, else what is so of every version but of scratch."""
    version = await _find(services, request)
    note = version.notes.get(RETENTION)
    if note is not None:
        return xml_response(write_retention(Retention.from_note(note)))
    policy = await services.deletes.policy(request.account, request.bucket)
    if policy.mode_of(request.key) is DeleteMode.SCRATCH:
        raise S3Error(ErrorCode.NoSuchObjectLockConfiguration, Key=request.key.decode())
    return xml_response(write_retention(intrinsic_retention(version.modified_us)))


async def put_object_retention(services: Services, request: S3Request) -> web.StreamResponse:
    """Keep a retention, unless it would shorten or weaken the one that was asked for."""
    version = await _find(services, request)
    now_seconds = services.now_seconds()
    wanted = read_retention(await services.document(request), now_seconds=now_seconds)
    bypass = bypasses_governance(request.headers)

    def check(connection: sqlite3.Connection, notes: Mapping[str, str]) -> None:
        del connection
        note = notes.get(RETENTION)
        current = Retention.from_note(note) if note else None
        check_retention_change(current, wanted, bypass=bypass, now_seconds=now_seconds)

    await services.objects.annotate(
        request.account,
        request.bucket,
        version,
        RETENTION,
        wanted.to_note() if wanted is not None else None,
        check,
    )
    return empty_response(200)


async def get_object_legal_hold(services: Services, request: S3Request) -> web.StreamResponse:
    """Whether a legal hold was asked for; the version stays with or without."""
    version = await _find(services, request)
    return xml_response(write_legal_hold(version.notes.get(LEGAL_HOLD, "OFF")))


async def put_object_legal_hold(services: Services, request: S3Request) -> web.StreamResponse:
    """Keep a legal hold, or that there is none."""
    version = await _find(services, request)
    status = read_legal_hold(await services.document(request))
    await services.objects.annotate(request.account, request.bucket, version, LEGAL_HOLD, status)
    return empty_response(200)


async def get_object_acl(services: Services, request: S3Request) -> web.StreamResponse:
    """Who may do what: full control for the bucket's account, where there are no other lists."""
    version = await _find(services, request)
    return xml_response(write_acl(acl_of_version(request, version)), headers=_headers(version))


async def put_object_acl(services: Services, request: S3Request) -> web.StreamResponse:
    """Replace the list of a version; where there are none, accept what is so."""
    version = await _find(services, request)
    acl = await read_wished_acl(services, request, acl_of_version(request, version).owner)
    names = (request.account, request.bucket, version, ACL)
    if acl is not None:
        action = PUT_OBJECT_ACL.for_version() if request.query.get("versionId") else PUT_OBJECT_ACL
        check = still_admitted(services, request, action, acl)
        document = None if acl == Acl.private(request.account) else acl.to_document()
        await services.objects.annotate(*names, document, check)
    elif ACL in version.notes:
        # What counted under another ownership must not come back.
        await services.objects.annotate(*names, None)
    return empty_response(200, _headers(version))


async def _find(services: Services, request: S3Request) -> VersionRow:
    if request.version is not None:
        return request.version
    return await services.objects.get(
        request.account, request.bucket, request.key, request.query.get("versionId")
    )


def _headers(version: VersionRow) -> dict[str, str]:
    return {VERSION_HEADER: version_id(version.sequence)}
