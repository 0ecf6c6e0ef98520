"""The multipart family."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from dsn.cid import cid_text
from gateway.catalog.queries import UploadRow, VersionRow
from gateway.catalog.records import ObjectRecord, PartRecord
from gateway.catalog.sequence import sequence_micros
from gateway.objects import NewObject, etag_text
from gateway.s3.acl import acl_of
from gateway.s3.checksums import (
    ChecksumAlgorithm,
    ChecksumType,
    UploadChecksum,
    completed_checksum,
    declared_type,
    expected_object_checksum,
    upload_checksum,
)
from gateway.s3.conditions import parse_conditions
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.etags import quote_etag
from gateway.s3.lifecycle import SETTING as LIFECYCLE
from gateway.s3.lifecycle import abort_rules
from gateway.s3.lifecycle_rules import abort_headers
from gateway.s3.metadata import ObjectMetadata
from gateway.s3.notes import ACL
from gateway.s3.part_list import RequestedPart, gives_etag, parse_part_number, require_checksums
from gateway.s3.upload_listing import PartEntry, PartsPage, parse_list_parts, parts_page
from gateway.s3.version_ids import version_id
from gateway.s3.xml_reader import read_complete_multipart_upload
from gateway.s3.xml_writer import (
    CompletedUpload,
    write_complete_multipart_upload,
    write_initiate_multipart_upload,
    write_list_parts,
)
from gateway.uploads import UploadTarget
from gateway.web.admission import check_public
from gateway.web.authorization import authorize_upload
from gateway.web.handlers.buckets import upload_owner
from gateway.web.handlers.objects import (
    VERSION_HEADER,
    checksum_elements,
    expiration_headers,
    makes_bucket,
    new_object,
    upload_options,
)
from gateway.web.long_answers import answer_at_length
from gateway.web.requests import S3Request
from gateway.web.responses import S3Response, empty_response, xml_response
from gateway.web.services import Services


async def create_multipart_upload(services: Services, request: S3Request) -> web.StreamResponse:
    """Open an upload; its metadata is the object's to be."""
    new = new_object(services, request)
    wanted = upload_checksum(request.headers)
    asked = (wanted.algorithm.name, wanted.type.name) if wanted is not None else None
    upload_id = await services.uploads.create(new, asked, request.identity.key_name)
    headers = {}
    if asked is not None:
        headers = {"x-amz-checksum-algorithm": asked[0], "x-amz-checksum-type": asked[1]}
    target = UploadTarget(request.account, request.bucket, request.key, upload_id)
    headers |= await _abort_headers(services, target)
    document = write_initiate_multipart_upload(request.bucket, request.key, upload_id)
    return xml_response(document, headers=headers)


async def upload_part(services: Services, request: S3Request) -> web.StreamResponse:
    """Store one part."""
    number = parse_part_number(request.query["partNumber"])
    payload = services.payload(request)
    upload = await find_upload(services, request)
    await services.uploads.check_room(request.account, request.bucket, payload.body.length or 0)
    payload.ensure_checksum(ChecksumAlgorithm[upload.checksum[0]] if upload.checksum else None)
    record = await services.uploads.put_part(
        upload, number, payload.body, payload.digests, payload.check
    )
    headers = {"ETag": quote_etag(record.etag)}
    if record.checksum is not None:
        headers[f"x-amz-checksum-{record.checksum[0].lower()}"] = record.checksum[1]
    return empty_response(200, headers)


async def complete_multipart_upload(services: Services, request: S3Request) -> web.StreamResponse:
    """Make the object of its parts. Repeating it gives the same answer."""
    # The checksum is that of the object, not of the list.
    document = await services.document(request, has_checksum=False)
    requested = read_complete_multipart_upload(document)
    return await answer_at_length(request, _complete(services, request, requested))


async def abort_multipart_upload(services: Services, request: S3Request) -> web.StreamResponse:
    """Drop an upload; nothing of it was an object yet."""
    upload = await find_upload(services, request)
    await services.uploads.abort(upload)
    return empty_response(204)


async def list_parts(services: Services, request: S3Request) -> web.StreamResponse:
    """One page of an upload's parts."""
    wanted = parse_list_parts(request.query)
    upload = await find_upload(services, request)
    rows = await services.uploads.parts(upload, wanted.marker, wanted.max_parts + 1)
    page = parts_page(rows, wanted)
    entries = PartsPage(
        [
            PartEntry(row.number, row.size, row.etag, sequence_micros(row.sequence), row.checksums)
            for row in page.parts
        ],
        page.is_truncated,
        page.next_marker,
    )
    document = write_list_parts(
        request.bucket,
        request.key,
        upload.upload_id,
        wanted,
        entries,
        upload_owner(request, upload),
        upload.checksum_kind,
    )
    return xml_response(document, headers=await _abort_headers(services, _target(request)))


async def find_upload(services: Services, request: S3Request) -> UploadRow:
    """The open upload that a request means; S3Error: NoSuchUpload, AccessDenied."""
    upload = await services.uploads.find(_target(request))
    authorize_upload(request, upload.opener)
    return upload


async def _abort_headers(services: Services, target: UploadTarget) -> dict[str, str]:
    """When the bucket's lifecycle rules will abort an upload, where one applies."""
    document = await services.buckets.setting(target.account, target.bucket, LIFECYCLE)
    if document is None:
        return {}
    upload = await services.uploads.find(target)
    rules = abort_rules(document, services.day_us)
    return abort_headers(rules, target.key, upload.created_us)


async def _complete(
    services: Services, request: S3Request, requested: Sequence[RequestedPart]
) -> S3Response:
    """Make the object of the parts in the list."""
    expected = expected_object_checksum(request.headers)
    declared = declared_type(request.headers)
    target = _target(request)
    try:
        upload = await find_upload(services, request)
        if request.access is not None and ACL in upload.notes:
            check_public(request.access, acl_of(upload.notes[ACL]))
        if upload.checksum is not None and upload.checksum[1] == ChecksumType.COMPOSITE.name:
            require_checksums(requested, upload.checksum[0])
        new = NewObject(
            request.account,
            request.bucket,
            request.key,
            upload.metadata,
            upload_options(ObjectMetadata.from_record(upload.metadata)),
            parse_conditions(request.headers),
            creates_only=request.creates_only,
            makes_bucket=makes_bucket(services, request),
        )

        def check(parts: Sequence[PartRecord]) -> tuple[str, str, str] | None:
            _check_size(request, parts)
            whole = completed_checksum(
                _asked(upload),
                [(part.checksum, part.size) for part in parts],
                expected,
                declared,
            )
            return (whole.algorithm.name, whole.type.name, whole.value) if whole else None

        done: ObjectRecord | VersionRow = await services.uploads.complete(
            upload, new, requested, check
        )
    except S3Error as error:
        if error.code is not ErrorCode.NoSuchUpload:
            raise
        # Who repeats what is done already knows of which parts; nobody else is told of the object.
        completed = await services.uploads.completed(target)
        if completed is None or not gives_etag(requested, etag_text(completed)):
            raise
        done = completed
    etag = quote_etag(etag_text(done))
    checksums = checksum_elements(done.checksum)
    location = f"{request.http.scheme}://{request.http.host}{request.head.raw_path}"
    result = write_complete_multipart_upload(
        CompletedUpload(location, request.bucket, request.key, etag_text(done), checksums)
    )
    headers = {
        "ETag": etag,
        VERSION_HEADER: version_id(done.sequence),
        services.cid_header: cid_text(done.root),
        **services.notices(request),
    }
    if isinstance(done, ObjectRecord):
        headers |= await expiration_headers(services, done)
    return xml_response(result, headers=headers)


def _target(request: S3Request) -> UploadTarget:
    return UploadTarget(request.account, request.bucket, request.key, request.query["uploadId"])


def _check_size(request: S3Request, parts: Sequence[PartRecord]) -> None:
    announced = request.headers.get("x-amz-mp-object-size")
    if announced is not None and announced != str(sum(part.size for part in parts)):
        raise S3Error(ErrorCode.InvalidRequest, "The x-amz-mp-object-size does not match.")


def _asked(upload: UploadRow) -> UploadChecksum | None:
    """The checksum that the upload was created with."""
    if upload.checksum is None:
        return None
    return UploadChecksum(ChecksumAlgorithm[upload.checksum[0]], ChecksumType[upload.checksum[1]])
