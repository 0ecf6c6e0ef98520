"""Reads the XML bodies of requests: strictly their schema, no surprises."""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.part_list import PART_NUMBER_MAX, RequestedPart, parse_part_number
from gateway.s3.xml_tree import (
    XML_BYTES_MAX,
    boolean_of,
    children_of,
    fields_of,
    name_of,
    parse_document,
    refuse_malformed,
    text_of,
)

DELETE_KEYS_MAX = 1000


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """An object to delete: its key, the version if one was named, and what it is expected to be."""

    key: bytes
    version_id: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    size: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """The body of DeleteObjects; `quiet` asks for the failures only."""

    items: tuple[DeleteItem, ...]
    quiet: bool


def read_complete_multipart_upload(
    body: bytes, *, bytes_max: int = XML_BYTES_MAX
) -> tuple[RequestedPart, ...]:
    """Read the part list of CompleteMultipartUpload, in the order sent: 1 to 10000 parts.

    Raises S3Error: MaxMessageLengthExceeded, MalformedXML, and InvalidArgument for a part
    number out of range.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    """
    root = parse_document(body, "CompleteMultipartUpload", bytes_max)
    parts = tuple(map(_read_part, children_of(root, {"Part"})))
    if not 1 <= len(parts) <= PART_NUMBER_MAX:
        refuse_malformed()
    return parts


def read_delete(body: bytes, *, bytes_max: int = XML_BYTES_MAX) -> DeleteRequest:
    """Read the body of DeleteObjects: 1 to 1000 keys, repetitions kept.

    Raises S3Error MaxMessageLengthExceeded or MalformedXML.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
    """
    items: list[DeleteItem] = []
    quiet = False
    for child in children_of(parse_document(body, "Delete", bytes_max), {"Object", "Quiet"}):
        if name_of(child) == "Quiet":
            quiet = boolean_of(text_of(child))
        else:
            items.append(_read_item(child))
    if not 1 <= len(items) <= DELETE_KEYS_MAX:
        refuse_malformed()
    return DeleteRequest(tuple(items), quiet)


def read_create_bucket(body: bytes, *, bytes_max: int = XML_BYTES_MAX) -> str:
    """Read the body of CreateBucket: the location constraint, `""` if there is none.

    Raises S3Error: MaxMessageLengthExceeded, MalformedXML, and NotImplemented for a directory
    bucket or tags.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    """
    if not body:
        return ""
    location = ""
    root = parse_document(body, "CreateBucketConfiguration", bytes_max)
    for child in children_of(root, {"LocationConstraint", "Location", "Bucket", "Tags"}):
        if name_of(child) != "LocationConstraint":
            raise S3Error(ErrorCode.NotImplemented)
        location = text_of(child).strip()
    return location


def read_versioning_configuration(body: bytes, *, bytes_max: int = XML_BYTES_MAX) -> str:
    """Read the body of PutBucketVersioning: `Enabled` or `Suspended`.

    Raises S3Error: MaxMessageLengthExceeded, MalformedXML, and NotImplemented for MFA delete.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html
    """
    status = ""
    root = parse_document(body, "VersioningConfiguration", bytes_max)
    for child in children_of(root, {"Status", "MfaDelete", "MFADelete"}):
        text = text_of(child).strip()
        if name_of(child) == "Status":
            status = text
        elif text != "Disabled":
            raise S3Error(ErrorCode.NotImplemented)
    if status not in ("Enabled", "Suspended"):
        refuse_malformed()
    return status


_CHECKSUM = "Checksum"
_OBJECT_FIELDS = {"Key", "VersionId", "ETag", "LastModifiedTime", "Size"}


def _read_part(element: etree._Element) -> RequestedPart:
    number: str | None = None
    etag: str | None = None
    checksums: list[tuple[str, str]] = []
    for child in fields_of(element):
        name = name_of(child)
        if name == "PartNumber" and number is None:
            number = text_of(child).strip()
        elif name == "ETag" and etag is None:
            etag = text_of(child).strip()
        elif name.startswith(_CHECKSUM):
            checksums.append((name, text_of(child).strip()))
        else:
            refuse_malformed()
    if not number or not etag or not number.removeprefix("-").isdecimal():
        refuse_malformed()
    return RequestedPart(parse_part_number(number), etag, tuple(checksums))


def _read_item(element: etree._Element) -> DeleteItem:
    fields: dict[str, str] = {}
    for child in fields_of(element):
        name = name_of(child)
        if name not in _OBJECT_FIELDS or name in fields:
            refuse_malformed()
        fields[name] = text_of(child)
    if not fields.get("Key"):
        refuse_malformed()
    return DeleteItem(
        fields["Key"].encode(),
        fields.get("VersionId") or None,
        fields.get("ETag") or None,
        fields.get("LastModifiedTime") or None,
        fields.get("Size") or None,
    )
