"""Reads the XML bodies of requests: strictly their schema, no DTD, no entities, no surprises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from lxml import etree

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.part_list import PART_NUMBER_MAX, RequestedPart, parse_part_number

XML_BYTES_MAX = 2 * 1024 * 1024
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
    root = _parse(body, "CompleteMultipartUpload", bytes_max)
    parts = tuple(map(_read_part, _children(root, {"Part"})))
    if not 1 <= len(parts) <= PART_NUMBER_MAX:
        _refuse()
    return parts


def read_delete(body: bytes, *, bytes_max: int = XML_BYTES_MAX) -> DeleteRequest:
    """Read the body of DeleteObjects: 1 to 1000 keys, repetitions kept.

    Raises S3Error MaxMessageLengthExceeded or MalformedXML.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
    """
    items: list[DeleteItem] = []
    quiet = False
    for child in _children(_parse(body, "Delete", bytes_max), {"Object", "Quiet"}):
        if _name(child) == "Quiet":
            quiet = _boolean(_text(child))
        else:
            items.append(_read_item(child))
    if not 1 <= len(items) <= DELETE_KEYS_MAX:
        _refuse()
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
    root = _parse(body, "CreateBucketConfiguration", bytes_max)
    for child in _children(root, {"LocationConstraint", "Location", "Bucket", "Tags"}):
        if _name(child) != "LocationConstraint":
            raise S3Error(ErrorCode.NotImplemented)
        location = _text(child).strip()
    return location


def read_versioning_configuration(body: bytes, *, bytes_max: int = XML_BYTES_MAX) -> str:
    """Read the body of PutBucketVersioning: `Enabled` or `Suspended`.

    Raises S3Error: MaxMessageLengthExceeded, MalformedXML, and NotImplemented for MFA delete.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html
    """
    status = ""
    root = _parse(body, "VersioningConfiguration", bytes_max)
    for child in _children(root, {"Status", "MfaDelete", "MFADelete"}):
        text = _text(child).strip()
        if _name(child) == "Status":
            status = text
        elif text != "Disabled":
            raise S3Error(ErrorCode.NotImplemented)
    if status not in ("Enabled", "Suspended"):
        _refuse()
    return status


_DECLARED_ENCODING = re.compile(rb"""\A<\?xml\s[^>]*?\bencoding\s*=\s*["']([^"']*)["']""")
_CHECKSUM = "Checksum"
_OBJECT_FIELDS = {"Key", "VersionId", "ETag", "LastModifiedTime", "Size"}


def _parse(body: bytes, root_name: str, bytes_max: int) -> etree._Element:
    """The root element of a document that is small, in UTF-8 and without a DTD."""
    if len(body) > bytes_max:
        raise S3Error(ErrorCode.MaxMessageLengthExceeded, MaxMessageLengthBytes=bytes_max)
    body = body.removeprefix(b"\xef\xbb\xbf")
    declared = _DECLARED_ENCODING.match(body)
    if declared is not None and declared[1].lower() not in (b"utf-8", b"us-ascii"):
        _refuse()
    # Without a DTD there are no entities to expand, to fetch or to multiply.
    if b"<!DOCTYPE" in body:
        _refuse()
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        _refuse()
    if _name(root) != root_name:
        _refuse()
    return root


def _children(parent: etree._Element, names: set[str]) -> Iterator[etree._Element]:
    """The children of an element that may hold only these, and no text beside them.

    As each level accepts nothing but its own names, no document nests deeper than its schema.
    """
    if (parent.text or "").strip():
        _refuse()
    for child in parent:
        if _name(child) not in names or (child.tail or "").strip():
            _refuse()
        yield child


def _read_part(element: etree._Element) -> RequestedPart:
    number: str | None = None
    etag: str | None = None
    checksums: list[tuple[str, str]] = []
    for child in _fields(element):
        name = _name(child)
        if name == "PartNumber" and number is None:
            number = _text(child).strip()
        elif name == "ETag" and etag is None:
            etag = _text(child).strip()
        elif name.startswith(_CHECKSUM):
            checksums.append((name, _text(child).strip()))
        else:
            _refuse()
    if not number or not etag or not number.removeprefix("-").isdecimal():
        _refuse()
    return RequestedPart(parse_part_number(number), etag, tuple(checksums))


def _read_item(element: etree._Element) -> DeleteItem:
    fields: dict[str, str] = {}
    for child in _fields(element):
        name = _name(child)
        if name not in _OBJECT_FIELDS or name in fields:
            _refuse()
        fields[name] = _text(child)
    if not fields.get("Key"):
        _refuse()
    return DeleteItem(
        fields["Key"].encode(),
        fields.get("VersionId") or None,
        fields.get("ETag") or None,
        fields.get("LastModifiedTime") or None,
        fields.get("Size") or None,
    )


def _fields(element: etree._Element) -> Iterator[etree._Element]:
    if (element.text or "").strip():
        _refuse()
    for child in element:
        if (child.tail or "").strip():
            _refuse()
        yield child


def _name(element: etree._Element) -> str:
    """The local name: clients send the namespace, another one, or none."""
    return str(element.tag).rpartition("}")[2]


def _text(element: etree._Element) -> str:
    """The text of an element without children, as it stands: a key may begin with a space."""
    if len(element):
        _refuse()
    return element.text or ""


def _boolean(text: str) -> bool:
    text = text.strip().lower()
    if text not in ("true", "false"):
        _refuse()
    return text == "true"


def _refuse() -> NoReturn:
    raise S3Error(ErrorCode.MalformedXML) from None
