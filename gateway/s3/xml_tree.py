"""XML documents of requests as elements: no DTD, no entities, nothing but the names expected."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NoReturn

from lxml import etree

from gateway.s3.errors import ErrorCode, S3Error

XML_BYTES_MAX = 2 * 1024 * 1024

_DECLARED_ENCODING = re.compile(rb"""\A<\?xml\s[^>]*?\bencoding\s*=\s*["']([^"']*)["']""")


def parse_document(body: bytes, root_name: str, bytes_max: int = XML_BYTES_MAX) -> etree._Element:
    """The root element of a document that is small, in UTF-8 and without a DTD.

    Raises S3Error MaxMessageLengthExceeded, or MalformedXML as everything here does.
    """
    if len(body) > bytes_max:
        raise S3Error(ErrorCode.MaxMessageLengthExceeded, MaxMessageLengthBytes=bytes_max)
    body = body.removeprefix(b"\xef\xbb\xbf")
    declared = _DECLARED_ENCODING.match(body)
    if declared is not None and declared[1].lower() not in (b"utf-8", b"us-ascii"):
        refuse_malformed()
    # Without a DTD there are no entities to expand, to fetch or to multiply.
    if b"<!DOCTYPE" in body:
        refuse_malformed()
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
        refuse_malformed()
    if name_of(root) != root_name:
        refuse_malformed()
    return root


def children_of(parent: etree._Element, names: Collection[str]) -> Iterator[etree._Element]:
    """The children of an element that may hold only these, and no text beside them.

    As each level accepts nothing but its own names, no document nests deeper than its schema.
    """
    if (parent.text or "").strip():
        refuse_malformed()
    for child in parent:
        if name_of(child) not in names or (child.tail or "").strip():
            refuse_malformed()
        yield child


def fields_of(element: etree._Element) -> Iterator[etree._Element]:
    """The children of an element without text beside them, whatever their names."""
    if (element.text or "").strip():
        refuse_malformed()
    for child in element:
        if (child.tail or "").strip():
            refuse_malformed()
        yield child


def name_of(element: etree._Element) -> str:
    """The local name: clients send the namespace, another one, or none."""
    return str(element.tag).rpartition("}")[2]


def text_of(element: etree._Element) -> str:
    """The text of an element without children, as it stands: a key may begin with a space."""
    if len(element):
        refuse_malformed()
    return element.text or ""


def texts_of(parent: etree._Element, names: Collection[str]) -> dict[str, str]:
    """The trimmed texts of the children by name; each of `names` may be there once."""
    found: dict[str, str] = {}
    for child in children_of(parent, names):
        if name_of(child) in found:
            refuse_malformed()
        found[name_of(child)] = text_of(child).strip()
    return found


def boolean_of(text: str) -> bool:
    """What `true` and `false` say, in any case."""
    text = text.strip().lower()
    if text not in ("true", "false"):
        refuse_malformed()
    return text == "true"


def refuse_malformed() -> NoReturn:
    """Raise S3Error MalformedXML."""
    raise S3Error(ErrorCode.MalformedXML) from None
