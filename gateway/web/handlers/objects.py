"""Operations on objects: put, get, head and delete."""

from __future__ import annotations

import structlog
from aiohttp import web

from dsn.cid import cid_text
from dsn.node import Compression, Encryption, UploadOptions
from gateway.catalog.queries import VersionRow
from gateway.catalog.records import ObjectRecord
from gateway.deletes import Deletion
from gateway.objects import Checksum, NewObject, etag_text
from gateway.s3.attributes import part_checksum
from gateway.s3.checksums import ChecksumAlgorithm
from gateway.s3.conditions import (
    NO_CONDITIONS,
    allows_range,
    check_read,
    parse_conditions,
    parse_delete_conditions,
)
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.etags import quote_etag
from gateway.s3.lifecycle_rules import EXPIRATION_HEADER
from gateway.s3.metadata import (
    ObjectMetadata,
    parse_metadata,
    response_overrides,
    upload_algorithms,
)
from gateway.s3.notes import note_headers, parse_notes
from gateway.s3.object_lock import bypasses_governance
from gateway.s3.part_list import parse_part_number, part_span
from gateway.s3.ranges import ByteSpan, content_range, resolve_range
from gateway.s3.timestamps import MICROSECONDS, http_date
from gateway.s3.version_ids import version_id
from gateway.web.admission import acl_note, hidden_headers, owns_bucket
from gateway.web.bodies import VerifiedBody
from gateway.web.direct_sending import DirectResponse
from gateway.web.downloads import DAMAGE
from gateway.web.requests import S3Request
from gateway.web.responses import S3Response, add_common_headers, empty_response
from gateway.web.services import Services

log = structlog.get_logger()

VERSION_HEADER = "x-amz-version-id"
_CHECKSUM_MODE = "x-amz-checksum-mode"


async def put_object(services: Services, request: S3Request) -> web.StreamResponse:
    """Store the body under a key."""
    _, headers = await store(services, request, services.payload(request))
    return empty_response(200, headers)


async def store(
    services: Services, request: S3Request, payload: VerifiedBody
) -> tuple[ObjectRecord, dict[str, str]]:
    """Store a body as the object that the request describes; its record, and what to answer."""
    new = new_object(services, request)

    def check() -> tuple[str, str, str] | None:
        checksum = payload.check()
        return (checksum[0], "FULL_OBJECT", checksum[1]) if checksum else None

    record = await services.objects.put(new, payload.body, payload.digests, check)
    headers = stored_headers(services, record)
    headers.update(await expiration_headers(services, record))
    headers.update(services.notices(request))
    return record, headers


async def get_object(services: Services, request: S3Request) -> web.StreamResponse:
    """The bytes of an object, or a range of them; verified before they leave."""
    version = await find_version(services, request)
    headers = _version_headers(services, request, version)
    if _is_not_modified(services, request, version):
        return _not_modified(services, headers)
    span = _span(request, version)
    status = 200 if span is None else 206
    if span is None:
        span = ByteSpan(0, version.size)
    else:
        headers["Content-Range"] = content_range(span, version.size)
    headers.update(response_overrides(request.query))
    if _CHECKSUM_MODE in request.headers:
        headers.update(await _checksum_headers(services, request, version, status == 200))
    return await _send(services, request, version, span, status, headers)


async def head_object(services: Services, request: S3Request) -> web.StreamResponse:
    """What a GET would say, without the bytes."""
    version = await find_version(services, request)
    headers = _version_headers(services, request, version)
    if _is_not_modified(services, request, version):
        return _not_modified(services, headers)
    span = _span(request, version)
    headers.update(response_overrides(request.query))
    if span is not None:
        headers["Content-Range"] = content_range(span, version.size)
    if _CHECKSUM_MODE in request.headers:
        headers.update(await _checksum_headers(services, request, version, span is None))
    headers["Content-Length"] = str(version.size if span is None else len(span))
    return S3Response(status=200 if span is None else 206, headers=headers)


async def delete_object(services: Services, request: S3Request) -> web.StreamResponse:
    """Hide or remove a key or a version, where the bucket's delete policy allows it.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html
    """
    version = request.query.get("versionId") or None
    conditions = parse_delete_conditions(request.headers)
    done = await services.deletes.delete(
        Deletion(
            request.account,
            request.bucket,
            request.key,
            version,
            conditions,
            bypasses_governance(request.headers),
            request.creates_only,
        )
    )
    headers = {}
    if done.marker is not None:
        headers = {"x-amz-delete-marker": "true", VERSION_HEADER: version_id(done.marker)}
    elif version is not None:
        headers = {VERSION_HEADER: version}
    return empty_response(204, headers)


def new_object(services: Services, request: S3Request) -> NewObject:
    """What the headers say of an object to be stored."""
    pairs = list(request.headers.items())
    metadata = parse_metadata(pairs, services.cid_header)
    acl = acl_note(services, request)
    return NewObject(
        request.account,
        request.bucket,
        request.key,
        metadata.to_record(),
        upload_options(metadata),
        parse_conditions(request.headers),
        {**parse_notes(request.headers, now_seconds=services.now_seconds()), **acl},
        creates_only=request.creates_only,
        makes_bucket=makes_bucket(services, request),
    )


def makes_bucket(services: Services, request: S3Request) -> bool:
    """Whether what is written may make its bucket; another account's never does."""
    is_guest = request.access is not None and not owns_bucket(request)
    return services.buckets.implicit and not is_guest


def upload_options(metadata: ObjectMetadata) -> UploadOptions:
    """What the root will say of compression and encryption, as on Auto Drive."""
    compression, encryption = upload_algorithms(metadata)
    return UploadOptions(
        Compression() if compression else None, Encryption() if encryption else None
    )


def checksum_elements(checksum: Checksum | None) -> tuple[tuple[str, str], ...]:
    """An object's checksum as XML elements, its type included."""
    if checksum is None:
        return ()
    algorithm, kind, value = checksum
    return ((f"Checksum{algorithm}", value), ("ChecksumType", kind))


def stored_headers(services: Services, record: ObjectRecord) -> dict[str, str]:
    """What the answer to a stored object says."""
    headers = {
        "ETag": quote_etag(etag_text(record)),
        VERSION_HEADER: version_id(record.sequence),
        services.cid_header: cid_text(record.root),
    }
    if record.checksum is not None:
        algorithm, kind, value = record.checksum
        headers[f"x-amz-checksum-{algorithm.lower()}"] = value
        headers["x-amz-checksum-type"] = kind
    return headers


async def expiration_headers(services: Services, record: ObjectRecord) -> dict[str, str]:
    """When a lifecycle rule will hide the object that was stored, where one is about it."""
    text = await services.objects.expiration(record)
    return {} if text is None else {EXPIRATION_HEADER: text}


async def find_version(services: Services, request: S3Request) -> VersionRow:
    """The version that a request reads; raises as `Objects.get`."""
    if request.version is not None:
        return request.version
    if request.identity.is_anonymous and not request.query.get("versionId"):
        # Whether a key was hidden, and when, is of the past.
        version = await services.objects.find(request.account, request.bucket, request.key)
        if version is None:
            raise S3Error(ErrorCode.NoSuchKey, Key=request.key.decode())
        return version
    return await services.objects.get(
        request.account, request.bucket, request.key, request.query.get("versionId")
    )


def _version_headers(services: Services, request: S3Request, version: VersionRow) -> dict[str, str]:
    headers: dict[str, str] | None = version.derived.get("headers")
    if headers is None:
        headers = version.derived["headers"] = _fixed_headers(services, version)
    headers = headers.copy()
    if version.part_count and request.query.get("partNumber"):
        headers["x-amz-mp-parts-count"] = str(version.part_count)
    if version.notes:
        for name in hidden_headers(request, version):
            headers.pop(name, None)
    if version.expiration is not None and not request.identity.is_anonymous:
        headers[EXPIRATION_HEADER] = version.expiration
    return headers


def _fixed_headers(services: Services, version: VersionRow) -> dict[str, str]:
    headers = ObjectMetadata.from_record(version.metadata).response_headers()
    if version.notes:
        headers.update(note_headers(version.notes))
    headers["ETag"] = quote_etag(etag_text(version))
    headers["Last-Modified"] = http_date(version.modified_us)
    headers["Accept-Ranges"] = "bytes"
    headers[VERSION_HEADER] = version_id(version.sequence)
    headers[services.cid_header] = cid_text(version.root)
    # Stored pages and scripts must not run as if they were the gateway's.
    headers["X-Content-Type-Options"] = "nosniff"
    return headers


async def _checksum_headers(
    services: Services, request: S3Request, version: VersionRow, whole: bool
) -> dict[str, str]:
    """The checksum of the object or of the part that is asked for; of a range there is none."""
    is_wanted = request.headers[_CHECKSUM_MODE].upper() == "ENABLED"
    number = request.query.get("partNumber")
    if version.checksum is None or not is_wanted or not (whole or number is not None):
        return {}
    algorithm, kind, value = version.checksum
    if number is not None and version.part_sizes:
        digests = await services.objects.part_checksums(version)
        found = part_checksum(ChecksumAlgorithm[algorithm], digests, int(number))
        if found is None:
            return {}
        value = found
    return {f"x-amz-checksum-{algorithm.lower()}": value, "x-amz-checksum-type": kind}


def _is_not_modified(services: Services, request: S3Request, version: VersionRow) -> bool:
    conditions = parse_conditions(request.headers)
    if conditions is NO_CONDITIONS:
        return False
    return check_read(
        conditions,
        etag_text(version),
        version.modified_us // MICROSECONDS,
        now_seconds=services.now_seconds(),
    )


def _not_modified(services: Services, headers: dict[str, str]) -> web.StreamResponse:
    kept = (
        "ETag",
        "Last-Modified",
        "Cache-Control",
        "Expires",
        VERSION_HEADER,
        services.cid_header,
    )
    return empty_response(304, {name: headers[name] for name in kept if name in headers})


def _span(request: S3Request, version: VersionRow) -> ByteSpan | None:
    """The span that a Range or a part number asks for; None for the whole object."""
    wanted = request.headers.get("range")
    number = request.query.get("partNumber")
    if number is not None:
        if wanted is not None:
            raise S3Error(ErrorCode.InvalidRequest, "Cannot specify both Range and partNumber.")
        return part_span(parse_part_number(number), version.part_sizes, version.size)
    if wanted is None:
        return None
    modified = version.modified_us // MICROSECONDS
    if not allows_range(parse_conditions(request.headers), etag_text(version), modified):
        return None
    return resolve_range(wanted, version.size)


async def _send(
    services: Services,
    request: S3Request,
    version: VersionRow,
    span: ByteSpan,
    status: int,
    headers: dict[str, str],
) -> web.StreamResponse:
    """Answer with a span of a version."""
    download = services.downloads.open(services.objects.reader(version), span)
    try:
        try:
            first = await download.first()
        except DAMAGE as error:
            _report(request, version, error)
            raise S3Error(ErrorCode.InternalError) from error
        if download.is_whole:
            return S3Response(status=status, headers=headers, body=b"".join(first))
        stream = DirectResponse(status=status, headers=headers)
        stream.content_length = len(span)
        add_common_headers(stream, request.request_id)
        if request.cors:
            stream.headers.update(request.cors)
        await stream.prepare(request.http)
        try:
            await download.send(stream, first)
        except (TimeoutError, ConnectionError) as error:
            log.info("download cut", request_id=request.request_id, reason=type(error).__name__)
        except Exception as error:
            _report(request, version, error)
        else:
            await stream.write_eof()
        return stream
    finally:
        download.close()


def _report(request: S3Request, version: VersionRow, error: Exception) -> None:
    log.error(
        "damaged object",
        request_id=request.request_id,
        bucket=request.bucket,
        key=request.key.decode("utf-8", "replace"),
        root=cid_text(version.root),
        error=str(error),
    )
