"""Tags of objects and buckets: what is allowed, and their forms on the wire and in a record.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from urllib.parse import parse_qsl, quote_plus, unquote_to_bytes

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.xml_tree import children_of, parse_document, refuse_malformed, texts_of
from gateway.s3.xml_writer import configuration, escape, write_configuration

OBJECT_TAGS_MAX = 10
BUCKET_TAGS_MAX = 50
KEY_CHARACTERS_MAX = 128
VALUE_CHARACTERS_MAX = 256

Tags = tuple[tuple[str, str], ...]


def read_tagging(body: bytes, *, tags_max: int) -> Tags:
    """Read the body of PutObjectTagging (at most OBJECT_TAGS_MAX) or PutBucketTagging.

    Raises S3Error: MalformedXML; InvalidTag; BadRequest for more than `tags_max`, as AWS does.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html
    """
    sets = list(children_of(parse_document(body, "Tagging"), {"TagSet"}))
    if len(sets) != 1:
        refuse_malformed()
    tags = []
    for tag in children_of(sets[0], {"Tag"}):
        fields = {name: text.strip() for name, text in texts_of(tag, {"Key", "Value"}).items()}
        if fields.keys() != {"Key", "Value"}:
            refuse_malformed()
        tags.append((fields["Key"], fields["Value"]))
    return check_tags(tags, tags_max)


def parse_tagging_header(value: str) -> Tags:
    """Read x-amz-tagging: `key=value&key=value`, percent-encoded, at most OBJECT_TAGS_MAX.

    Raises S3Error: InvalidArgument for what is no such list or names a tag twice; InvalidTag;
    BadRequest for too many.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
    """
    tags = []
    for pair in filter(None, value.split("&")):
        key, _, content = pair.partition("=")
        try:
            tags.append((_decoded(key), _decoded(content)))
        except UnicodeDecodeError:
            _refuse_header(value)
    if len({key for key, _ in tags}) < len(tags):
        _refuse_header(value)
    return check_tags(tags, OBJECT_TAGS_MAX)


def check_tags(tags: Sequence[tuple[str, str]], tags_max: int) -> Tags:
    """The tags, of which there may be so many; S3Error as `read_tagging`."""
    if len(tags) > tags_max:
        kind = "Object tags" if tags_max == OBJECT_TAGS_MAX else "Bucket tag count"
        raise S3Error(ErrorCode.BadRequest, f"{kind} cannot be greater than {tags_max}")
    if len({key for key, _ in tags}) < len(tags):
        raise S3Error(ErrorCode.InvalidTag, "Cannot provide multiple Tags with the same key")
    for key, value in tags:
        if not key or len(key) > KEY_CHARACTERS_MAX or not _is_plain(key):
            raise S3Error(
                ErrorCode.InvalidTag, "The TagKey you have provided is invalid", TagKey=key
            )
        if key.lower().startswith("aws:"):
            raise S3Error(
                ErrorCode.InvalidTag, "System tags cannot be added/updated by requester", TagKey=key
            )
        if len(value) > VALUE_CHARACTERS_MAX or not _is_plain(value):
            raise S3Error(
                ErrorCode.InvalidTag,
                "The TagValue you have provided is invalid",
                TagKey=key,
                TagValue=value,
            )
    return tuple(tags)


def encode_tags(tags: Tags) -> str | None:
    """The tags as a record keeps them, by key; None for none."""
    pairs = (f"{quote_plus(key)}={quote_plus(value)}" for key, value in sorted(tags))
    return "&".join(pairs) or None


def decode_tags(document: str | None) -> Tags:
    """What `encode_tags` wrote."""
    return tuple(parse_qsl(document, keep_blank_values=True)) if document else ()


def tag_count(document: str) -> int:
    """How many tags there are in what `encode_tags` wrote."""
    return document.count("&") + 1


def write_tagging(tags: Tags) -> bytes:
    """The Tagging document."""
    rows = "".join(
        f"<Tag><Key>{escape(key)}</Key><Value>{escape(value)}</Value></Tag>" for key, value in tags
    )
    return write_configuration(configuration("Tagging", f"<TagSet>{rows}</TagSet>"))


# Besides letters, digits and spaces of any script.
_PUNCTUATION = frozenset("_.:/=+-@")


def _is_plain(text: str) -> bool:
    return all(
        character in _PUNCTUATION or unicodedata.category(character)[0] in "LNZM"
        for character in text
    )


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ").encode("utf-8", "surrogateescape")).decode()


def _refuse_header(value: str) -> None:
    raise S3Error(
        ErrorCode.InvalidArgument,
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
        "parameters without tag name duplicates.",
        ArgumentName="x-amz-tagging",
        ArgumentValue=value,
    ) from None
