"""Copies: of objects, and of spans of objects as parts."""

from __future__ import annotations

from aiohttp import web

from dsn.cid import cid_text
from gateway.catalog.sequence import sequence_micros
from gateway.objects import etag_text
from gateway.rights import Right
from gateway.s3.checksums import ChecksumAlgorithm
from gateway.s3.copy_source import (
    COPY_SOURCE,
    COPY_SOURCE_RANGE,
    CopySource,
    copy_span,
    parse_copy_source,
    parse_copy_wish,
    parse_rename_source,
    parse_rename_wish,
)
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.part_list import parse_part_number
from gateway.s3.version_ids import version_id
from gateway.s3.xml_writer import CopyResult, write_copy_object, write_copy_part
from gateway.web.admission import admit_copy, admit_rename, admit_source
from gateway.web.authorization import authorize_key
from gateway.web.bodies import is_empty
from gateway.web.handlers.objects import (
    VERSION_HEADER,
    checksum_elements,
    expiration_headers,
    new_object,
)
from gateway.web.handlers.uploads import find_upload
from gateway.web.long_answers import answer_at_length
from gateway.web.requests import S3Request
from gateway.web.responses import S3Response, empty_response, xml_response
from gateway.web.services import Services

SOURCE_VERSION_HEADER = "x-amz-copy-source-version-id"


async def copy_object(services: Services, request: S3Request) -> web.StreamResponse:
    """Give the bytes of an object another name."""
    source, wish = _source(request), parse_copy_wish(request.headers)
    await _drop_body(services, request)
    origin = await admit_copy(services, request, source, wish)
    new = new_object(services, request)
    copied = await services.copies.copy(new, origin.account, origin.source, wish, origin.version)
    record = copied.record
    result = CopyResult(
        etag_text(record), sequence_micros(record.sequence), checksum_elements(record.checksum)
    )
    headers = {
        VERSION_HEADER: version_id(record.sequence),
        SOURCE_VERSION_HEADER: version_id(copied.source.sequence),
        services.cid_header: cid_text(record.root),
        **await expiration_headers(services, record),
        **services.notices(request),
    }
    return xml_response(write_copy_object(result), headers=headers)


async def rename_object(services: Services, request: S3Request) -> web.StreamResponse:
    """Give an object another name and hide the old one, where deletes may hide."""
    key = parse_rename_source(request.headers)
    wish = parse_rename_wish(request.headers)
    for right in (Right.READ, Right.WRITE):
        authorize_key(request, right, request.bucket, key)
    if key == request.key:
        raise S3Error(ErrorCode.InvalidRequest, "The source and the destination are the same key.")
    await _drop_body(services, request)
    judged = await admit_rename(services, request, key)
    new = new_object(services, request)
    record = await services.copies.rename(new, key, wish, judged)
    headers = {
        VERSION_HEADER: version_id(record.sequence),
        services.cid_header: cid_text(record.root),
    }
    return empty_response(200, headers)


async def upload_part_copy(services: Services, request: S3Request) -> web.StreamResponse:
    """Make a part of the bytes of an object."""
    number = parse_part_number(request.query["partNumber"])
    source, wish = _source(request), parse_copy_wish(request.headers)
    await _drop_body(services, request)
    upload = await find_upload(services, request)
    origin = await admit_source(services, request, source)
    version = await services.copies.find(origin.account, origin.source, wish)
    span = copy_span(request.headers.get(COPY_SOURCE_RANGE), version.size)
    await services.uploads.check_room(request.account, request.bucket, len(span))
    _check_part_size(services, len(span))
    algorithm = ChecksumAlgorithm[upload.checksum[0]] if upload.checksum else None

    async def copy() -> S3Response:
        record = await services.copies.copy_part(upload, number, version, span, algorithm)
        result = CopyResult(record.etag, sequence_micros(record.sequence), record.checksums)
        headers = {SOURCE_VERSION_HEADER: version_id(version.sequence)}
        return xml_response(write_copy_part(result), headers=headers)

    # A part may be gigabytes, each of which is read and hashed.
    return await answer_at_length(request, copy())


def _source(request: S3Request) -> CopySource:
    """The source of a copy, which is the key's to read."""
    source = parse_copy_source(request.headers[COPY_SOURCE])
    authorize_key(request, Right.READ, source.bucket, source.key)
    return source


async def _drop_body(services: Services, request: S3Request) -> None:
    """Read what some clients send although a copy has no body, for its hash is signed."""
    if not is_empty(request):
        await services.document(request)


def _check_part_size(services: Services, size: int) -> None:
    if size > services.limits.put_bytes_max:
        raise S3Error(
            ErrorCode.InvalidRequest,
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {services.limits.put_bytes_max}",
        )
