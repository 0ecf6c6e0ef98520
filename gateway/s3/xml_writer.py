"""Writes the XML documents of answers, as bytes with their declaration; fast for full pages."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gateway.s3.attributes import AttributedParts
from gateway.s3.errors import S3Error
from gateway.s3.etags import quote_etag
from gateway.s3.listing import ListRequest, ObjectEntry, Page, encode_name, encode_token
from gateway.s3.timestamps import iso_timestamp
from gateway.s3.upload_listing import (
    ListPartsRequest,
    ListUploadsRequest,
    PartEntry,
    PartsPage,
    UploadEntry,
    UploadPosition,
)
from gateway.s3.version_ids import version_id
from gateway.s3.version_listing import ListVersionsRequest, VersionEntry, VersionPosition

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
STORAGE_CLASS = "STANDARD"


@dataclass(frozen=True, slots=True)
class Owner:
    """The account that owns a bucket, an object or an upload."""

    id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class BucketEntry:
    """One bucket in ListBuckets; `created` in microseconds since the epoch."""

    name: str
    created: int
    region: str | None = None


@dataclass(frozen=True, slots=True)
class CompletedUpload:
    """What CompleteMultipartUpload made; `etag` unquoted.

    `checksums` are pairs of an XML element and its value, ChecksumType included.
    """

    location: str
    bucket: str
    key: bytes
    etag: str
    checksums: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a copy made; `etag` unquoted, `modified` in microseconds since the epoch.

    `checksums` are as in CompletedUpload.
    """

    etag: str
    modified: int
    checksums: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectAttributes:
    """The attributes of an object that were asked for and are known; `etag` unquoted.

    `checksums` are as in CompletedUpload. `max_parts` and `part_marker` are those of the request.
    """

    etag: str | None
    checksums: tuple[tuple[str, str], ...]
    parts: AttributedParts | None
    has_storage_class: bool
    size: int | None
    max_parts: int
    part_marker: int


@dataclass(frozen=True, slots=True)
class DeletedItem:
    """One key that DeleteObjects deleted."""

    key: bytes
    version_id: str | None = None
    delete_marker: bool = False
    delete_marker_version_id: str | None = None


@dataclass(frozen=True, slots=True)
class FailedItem:
    """One key that DeleteObjects could not delete; `code` is the name of an ErrorCode."""

    key: bytes
    code: str
    message: str
    version_id: str | None = None


def write_error(error: S3Error, *, resource: str, request_id: str, host_id: str) -> bytes:
    """The error document; `resource` is the path as requested. Its elements have no namespace.

    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    """
    fields: Mapping[str, str | int] = {
        "Code": error.code.name,
        "Message": error.message,
        **error.fields,
        "Resource": resource,
        "RequestId": request_id,
        "HostId": host_id,
    }
    content = "".join(_element(name, str(value)) for name, value in fields.items())
    return f"{_DECLARATION}<Error>{content}</Error>".encode("utf-8", "replace")


def write_list_buckets(
    owner: Owner,
    buckets: Iterable[BucketEntry],
    *,
    prefix: str = "",
    continuation_token: str | None = None,
) -> bytes:
    """ListAllMyBucketsResult; `continuation_token` leads to the next page, if there is one."""
    rows = "".join(
        f"<Bucket><Name>{escape(bucket.name)}</Name>"
        f"<CreationDate>{iso_timestamp(bucket.created)}</CreationDate>"
        f"{_optional('BucketRegion', bucket.region)}</Bucket>"
        for bucket in buckets
    )
    return _document(
        "ListAllMyBucketsResult",
        _owner("Owner", owner),
        f"<Buckets>{rows}</Buckets>",
        _optional("Prefix", prefix),
        _optional("ContinuationToken", continuation_token),
    )


def write_list_objects(
    bucket: str, request: ListRequest, page: Page[ObjectEntry, bytes], owner: Owner
) -> bytes:
    """ListBucketResult of version 1: the owner always, NextMarker only with a delimiter."""
    next_marker = page.last if page.is_truncated and request.delimiter else None
    return _list_bucket_result(
        (
            _element("Name", bucket),
            _name("Prefix", request.prefix, request),
            _name("Marker", request.marker, request),
            _name("NextMarker", next_marker, request) if next_marker is not None else "",
            f"<MaxKeys>{request.max_names}</MaxKeys>",
        ),
        request,
        page,
        owner,
    )


def write_list_objects_v2(
    bucket: str, request: ListRequest, page: Page[ObjectEntry, bytes], owner: Owner
) -> bytes:
    """ListBucketResult of version 2: the owner only with fetch-owner, a token iff truncated."""
    token = None if page.next_position is None else encode_token(page.next_position)
    names = len(page.entries) + len(page.common_prefixes)
    return _list_bucket_result(
        (
            _element("Name", bucket),
            _name("Prefix", request.prefix, request),
            _name("StartAfter", request.start_after, request) if request.start_after else "",
            ""
            if request.continuation_token is None
            else _element("ContinuationToken", request.continuation_token),
            _optional("NextContinuationToken", token),
            f"<KeyCount>{names}</KeyCount><MaxKeys>{request.max_names}</MaxKeys>",
        ),
        request,
        page,
        owner if request.fetch_owner else None,
    )


def write_list_versions(
    bucket: str,
    request: ListVersionsRequest,
    page: Page[VersionEntry, VersionPosition],
    owner: Owner,
) -> bytes:
    """ListVersionsResult: versions and delete markers in their order.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
    """
    owned = _owner("Owner", owner)
    next_markers = ""
    if page.last is not None:
        next_markers = _name("NextKeyMarker", page.last, request)
        entry = page.entries[-1] if page.entries else None
        if entry is not None and entry.key == page.last:
            next_markers += _element("NextVersionIdMarker", version_id(entry.sequence))
    return _document(
        "ListVersionsResult",
        _element("Name", bucket),
        _name("Prefix", request.prefix, request),
        _name("KeyMarker", request.key_marker, request),
        _element("VersionIdMarker", request.version_id_marker),
        next_markers,
        f"<MaxKeys>{request.max_names}</MaxKeys>",
        _name("Delimiter", request.delimiter, request) if request.delimiter else "",
        _encoding_type(request),
        _truncation(page.is_truncated),
        *(_version(entry, request, owned) for entry in page.entries),
        *_common_prefixes(page.common_prefixes, request),
    )


def write_object_attributes(attributes: ObjectAttributes) -> bytes:
    """GetObjectAttributesResponse: those that are given, the ETag without its quotes."""
    parts = ""
    if attributes.parts is not None:
        parts = _object_parts(attributes.parts, attributes.max_parts, attributes.part_marker)
    checksums = "".join(_element(name, value) for name, value in attributes.checksums)
    size = attributes.size
    return _document(
        "GetObjectAttributesResponse",
        _optional("ETag", attributes.etag),
        f"<Checksum>{checksums}</Checksum>" if checksums else "",
        parts,
        _element("StorageClass", STORAGE_CLASS) if attributes.has_storage_class else "",
        f"<ObjectSize>{size}</ObjectSize>" if size is not None else "",
    )


def write_initiate_multipart_upload(bucket: str, key: bytes, upload_id: str) -> bytes:
    """InitiateMultipartUploadResult."""
    return _document(
        "InitiateMultipartUploadResult",
        _element("Bucket", bucket),
        _element("Key", key.decode()),
        _element("UploadId", upload_id),
    )


def write_complete_multipart_upload(upload: CompletedUpload) -> bytes:
    """CompleteMultipartUploadResult."""
    return _document(
        "CompleteMultipartUploadResult",
        _element("Location", upload.location),
        _element("Bucket", upload.bucket),
        _element("Key", upload.key.decode()),
        _element("ETag", quote_etag(upload.etag)),
        *(_element(name, value) for name, value in upload.checksums),
    )


def write_copy_object(copy: CopyResult) -> bytes:
    """CopyObjectResult."""
    return _copy_result("CopyObjectResult", copy)


def write_copy_part(copy: CopyResult) -> bytes:
    """CopyPartResult."""
    return _copy_result("CopyPartResult", copy)


def write_post_response(location: str, bucket: str, key: bytes, etag: str) -> bytes:
    """PostResponse, the answer to a form that asks for 201; `etag` unquoted.

    https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
    """
    parts = (
        _element("Location", location),
        _element("Bucket", bucket),
        _element("Key", key.decode()),
        _element("ETag", quote_etag(etag)),
    )
    return f"{_DECLARATION}<PostResponse>{''.join(parts)}</PostResponse>".encode()


def write_list_parts(
    bucket: str,
    key: bytes,
    upload_id: str,
    request: ListPartsRequest,
    page: PartsPage[PartEntry],
    owner: Owner,
    checksum: str | None = None,
) -> bytes:
    """ListPartsResult; `checksum` is the upload's algorithm and type, as in an ObjectEntry."""
    parts = (
        f"<Part><PartNumber>{part.number}</PartNumber>"
        f"<LastModified>{iso_timestamp(part.modified)}</LastModified>"
        f"<ETag>&quot;{escape(part.etag)}&quot;</ETag><Size>{part.size}</Size>"
        f"{''.join(_element(name, value) for name, value in part.checksums)}</Part>"
        for part in page.parts
    )
    return _document(
        "ListPartsResult",
        _element("Bucket", bucket),
        _name("Key", key, request),
        _element("UploadId", upload_id),
        _owner("Initiator", owner),
        _owner("Owner", owner),
        f"<StorageClass>{STORAGE_CLASS}</StorageClass>",
        f"<PartNumberMarker>{request.marker}</PartNumberMarker>",
        f"<NextPartNumberMarker>{page.next_marker}</NextPartNumberMarker>",
        f"<MaxParts>{request.max_parts}</MaxParts>",
        _encoding_type(request),
        _truncation(page.is_truncated),
        _checksum_kind(checksum),
        *parts,
    )


def write_list_multipart_uploads(
    bucket: str,
    request: ListUploadsRequest,
    page: Page[UploadEntry, UploadPosition],
    owner: Owner,
) -> bytes:
    """ListMultipartUploadsResult; `owner` is that of the bucket."""

    def owners(upload: UploadEntry) -> str:
        who = owner if upload.owner is None else Owner(upload.owner, upload.owner)
        return _owner("Initiator", who) + _owner("Owner", who)

    uploads = (
        f"<Upload>{_name('Key', upload.key, request)}"
        f"<UploadId>{escape(upload.upload_id)}</UploadId>{owners(upload)}"
        f"<StorageClass>{STORAGE_CLASS}</StorageClass>"
        f"<Initiated>{iso_timestamp(upload.initiated)}</Initiated>"
        f"{_checksum_kind(upload.checksum)}</Upload>"
        for upload in page.entries
    )
    next_markers = ""
    if page.last is not None:
        entry = page.entries[-1] if page.entries else None
        upload_id = entry.upload_id if entry is not None and entry.key == page.last else ""
        next_markers = _name("NextKeyMarker", page.last, request)
        next_markers += _element("NextUploadIdMarker", upload_id)
    return _document(
        "ListMultipartUploadsResult",
        _element("Bucket", bucket),
        _name("KeyMarker", request.key_marker, request),
        _element("UploadIdMarker", request.upload_id_marker),
        next_markers,
        _name("Prefix", request.prefix, request),
        _name("Delimiter", request.delimiter, request) if request.delimiter else "",
        f"<MaxUploads>{request.max_uploads}</MaxUploads>",
        _encoding_type(request),
        _truncation(page.is_truncated),
        *uploads,
        *_common_prefixes(page.common_prefixes, request),
    )


def write_location_constraint(location: str) -> bytes:
    """LocationConstraint; an empty location is us-east-1."""
    return _document("LocationConstraint", escape(location))


def write_versioning_configuration(*, enabled: bool) -> bytes:
    """VersioningConfiguration; empty for a bucket on which versioning was never switched on."""
    status = _element("Status", "Enabled") if enabled else ""
    return _document("VersioningConfiguration", status)


def write_delete_result(items: Iterable[DeletedItem | FailedItem], *, quiet: bool) -> bytes:
    """DeleteResult, in the order of the request; `quiet` leaves out what was deleted."""
    return _document(
        "DeleteResult",
        *(
            _deleted(item) if isinstance(item, DeletedItem) else _failed(item)
            for item in items
            if not (quiet and isinstance(item, DeletedItem))
        ),
    )


def configuration(root: str, content: str) -> str:
    """A document of settings or tags as it is kept: the root in the namespace of S3, no head."""
    return f'<{root} xmlns="{NAMESPACE}">{content}</{root}>'


def write_configuration(document: str) -> bytes:
    """What `configuration` made, as the body of an answer."""
    return DECLARATION + document.encode()


def escape(text: str) -> str:
    """Text for the inside of an element.

    Line ends and tabs become references, or a parser would fold them into others. What XML 1.0
    cannot hold becomes a reference too, as on AWS, though a strict parser refuses it: a
    listing that must survive such keys asks for encoding-type=url.
    """
    return _SPECIAL.sub(_reference, text) if _SPECIAL.search(text) else text


_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
DECLARATION = _DECLARATION.encode()
_SPECIAL = re.compile('[&<>"\x00-\x1f\ufffe\uffff]')
# Bytes that stand for themselves in names, percent-encoded or as text.
_PLAIN_IN_URL = string.ascii_letters.encode() + string.digits.encode() + b"/_.-~"
_PLAIN_IN_XML = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'&<>"')
_CONTENTS = (
    b"<Contents><Key>%b</Key><LastModified>%b</LastModified>"
    b"<ETag>&quot;%b&quot;</ETag>%b<Size>%d</Size>%b"
)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}

_Listing = ListRequest | ListVersionsRequest | ListUploadsRequest | ListPartsRequest


def _reference(match: re.Match[str]) -> str:
    character = match[0]
    return _ENTITIES.get(character) or f"&#x{ord(character):X};"


def _document(root: str, *content: str) -> bytes:
    body = "".join(content)
    return f'{_DECLARATION}<{root} xmlns="{NAMESPACE}">{body}</{root}>'.encode()


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def _optional(name: str, text: str | None) -> str:
    return _element(name, text) if text else ""


def _name(element: str, name: bytes, request: _Listing) -> str:
    return _element(element, encode_name(name, url_encoded=request.url_encoded))


def _copy_result(root: str, copy: CopyResult) -> bytes:
    return _document(
        root,
        _element("LastModified", iso_timestamp(copy.modified)),
        _element("ETag", quote_etag(copy.etag)),
        *(_element(name, value) for name, value in copy.checksums),
    )


def _object_parts(page: AttributedParts, max_parts: int, marker: int) -> str:
    parts = "".join(
        f"<Part>{''.join(_element(name, value) for name, value in part.checksums)}"
        f"<PartNumber>{part.number}</PartNumber><Size>{part.size}</Size></Part>"
        for part in page.parts
    )
    return (
        f"<ObjectParts>{_truncation(page.is_truncated)}<MaxParts>{max_parts}</MaxParts>"
        f"<NextPartNumberMarker>{page.next_marker}</NextPartNumberMarker>"
        f"<PartNumberMarker>{marker}</PartNumberMarker>{parts}"
        f"<PartsCount>{page.count}</PartsCount></ObjectParts>"
    )


def _owner(element: str, owner: Owner) -> str:
    fields = _element("ID", owner.id) + _element("DisplayName", owner.display_name)
    return f"<{element}>{fields}</{element}>"


def _truncation(is_truncated: bool) -> str:
    return f"<IsTruncated>{'true' if is_truncated else 'false'}</IsTruncated>"


def _encoding_type(request: _Listing) -> str:
    return "<EncodingType>url</EncodingType>" if request.url_encoded else ""


def _common_prefixes(prefixes: Sequence[bytes], request: _Listing) -> Iterable[str]:
    return (
        f"<CommonPrefixes>{_name('Prefix', prefix, request)}</CommonPrefixes>"
        for prefix in prefixes
    )


def _list_bucket_result(
    head: Iterable[str],
    request: ListRequest,
    page: Page[ObjectEntry, bytes],
    owner: Owner | None,
) -> bytes:
    """ListBucketResult, with what both versions have in common behind `head`."""
    delimiter = _name("Delimiter", request.delimiter, request) if request.delimiter else ""
    more = (delimiter, _encoding_type(request), _truncation(page.is_truncated))
    tail = f"<StorageClass>{STORAGE_CLASS}</StorageClass></Contents>"
    if owner is not None:
        tail = _owner("Owner", owner) + tail
    return b"".join(
        (
            f'{_DECLARATION}<ListBucketResult xmlns="{NAMESPACE}">'.encode(),
            "".join((*head, *more)).encode(),
            *_contents(page.entries, tail.encode(), url_encoded=request.url_encoded),
            "".join(_common_prefixes(page.common_prefixes, request)).encode(),
            b"</ListBucketResult>",
        )
    )


def _contents(entries: Iterable[ObjectEntry], tail: bytes, *, url_encoded: bool) -> Iterable[bytes]:
    """The objects of a page. There are a thousand: bytes, which take half the time of text."""
    plain = _PLAIN_IN_URL if url_encoded else _PLAIN_IN_XML
    return [
        _CONTENTS
        % (
            escape(encode_name(key, url_encoded=url_encoded)).encode()
            if key.translate(None, plain)
            else key,
            iso_timestamp(modified).encode(),
            etag,
            _checksum_kind(kind).encode() if kind is not None else b"",
            size,
            tail,
        )
        for key, size, etag, modified, kind in entries
    ]


@lru_cache
def _checksum_kind(kind: str | None) -> str:
    """The elements that say which checksum there is: `CRC32 FULL_OBJECT` as two of them."""
    if kind is None:
        return ""
    algorithm, type_name = kind.split()
    return _element("ChecksumAlgorithm", algorithm) + _element("ChecksumType", type_name)


def _version(entry: VersionEntry, request: ListVersionsRequest, owned: str) -> str:
    kind, content = "DeleteMarker", ""
    if not entry.is_marker:
        kind = "Version"
        content = (
            f"<ETag>&quot;{entry.etag.decode()}&quot;</ETag>{_checksum_kind(entry.checksum)}"
            f"<Size>{entry.size}</Size>"
            f"<StorageClass>{STORAGE_CLASS}</StorageClass>"
        )
    return (
        f"<{kind}>{_name('Key', entry.key, request)}"
        f"<VersionId>{version_id(entry.sequence)}</VersionId>"
        f"<IsLatest>{'true' if entry.is_latest else 'false'}</IsLatest>"
        f"<LastModified>{iso_timestamp(entry.modified)}</LastModified>{content}{owned}</{kind}>"
    )


def _deleted(item: DeletedItem) -> str:
    marker = "<DeleteMarker>true</DeleteMarker>" if item.delete_marker else ""
    return (
        f"<Deleted>{_element('Key', item.key.decode())}"
        f"{_optional('VersionId', item.version_id)}{marker}"
        f"{_optional('DeleteMarkerVersionId', item.delete_marker_version_id)}</Deleted>"
    )


def _failed(item: FailedItem) -> str:
    return (
        f"<Error>{_element('Key', item.key.decode())}{_optional('VersionId', item.version_id)}"
        f"{_element('Code', item.code)}{_element('Message', item.message)}</Error>"
    )
