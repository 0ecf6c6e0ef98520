"""Entity tags: made from MD5 digests, quoted and unquoted, and listed in conditional headers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import md5


def quote_etag(etag: str) -> str:
    """`0cc1…` → `"0cc1…"`, the form of headers and documents."""
    return f'"{etag}"'


def unquote_etag(text: str) -> str:
    """`"0cc1…"` → `0cc1…`; spaces around and a missing pair of quotes are no fault."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    return text


def composite_etag(part_digests: Iterable[bytes]) -> str:
    """The ETag of a multipart object, unquoted: MD5 of the parts' MD5 digests and their number.

    `part_digests`: 16 bytes each, in the order of the parts. Raises ValueError without parts.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
    """
    digests = list(part_digests)
    if not digests:
        raise ValueError("an object has at least one part")
    return f"{md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def part_digest(etag: str) -> bytes:
    """The MD5 digest (16 bytes) in the ETag of a part, quoted or not, of any case.

    Raises ValueError if it is not the ETag of a part.
    """
    bare = unquote_etag(etag)
    if not _MD5_HEX.fullmatch(bare):
        raise ValueError(f"not the ETag of a part: {etag!r}")
    return bytes.fromhex(bare)


@dataclass(frozen=True, slots=True)
class EntityTags:
    """The value of If-Match or If-None-Match: `*`, or tags (unquoted), strong and weak.

    https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3
    """

    any: bool = False
    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()

    def match_strongly(self, etag: str) -> bool:
        """If-Match: a weak tag never matches."""
        return self.any or etag in self.strong

    def match_weakly(self, etag: str) -> bool:
        """If-None-Match: a weak tag matches the strong one of the same text."""
        return self.any or etag in self.strong or etag in self.weak


def parse_etags(value: str) -> EntityTags:
    """Read `*` or a list such as `"a", W/"b", c`; quotes may be missing, as many clients do."""
    if value.strip() == "*":
        return EntityTags(any=True)
    strong: set[str] = set()
    weak: set[str] = set()
    for prefix, quoted, bare in _TAG.findall(value):
        (weak if prefix else strong).add(quoted or bare)
    return EntityTags(strong=frozenset(strong), weak=frozenset(weak))


_MD5_HEX = re.compile("[0-9A-Fa-f]{32}")
_TAG = re.compile(r'(W/)?(?:"([^"]*)"|([^\s,"]+))')
