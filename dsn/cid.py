"""Content identifiers: the 32-byte digest is what the code passes on, a CID is how it is spelled.

A node's CID is CIDv1 with codec raw (0x55), multihash code 0x1f and the plain BLAKE3-256 of the
encoded node. That is how Auto Drive spells it, although the block is dag-pb and the registered
code of blake3 is 0x1e; https://github.com/autonomys/auto-sdk (auto-dag-data, `cid/index.ts`).
"""

from __future__ import annotations

from base64 import b32decode

from blake3 import blake3
from libipld import encode_multibase

DIGEST_BYTES = 32
CID_BYTES = 36
CID_TEXT_CHARS = 59
_OTHER_TEXT_CHARS_MAX = 2 + 8 * CID_BYTES

NODE_CID_PREFIX = bytes.fromhex("01551f20")
"""CIDv1, raw, Auto Drive's blake3: every node of a file or folder."""

RECORD_CID_PREFIX = bytes.fromhex("01711e20")
"""CIDv1, dag-cbor, registered blake3: our own records."""

RAW_CID_PREFIX = bytes.fromhex("01551e20")
"""CIDv1, raw, registered blake3: bytes that are not a node."""

NODE_CID_ALIASES = frozenset(
    bytes((0x01, codec, hash_code, DIGEST_BYTES))
    for codec in (0x55, 0x70)
    for hash_code in (0x1F, 0x1E)
)
"""Other spellings of a node's CID that tools print: codec raw or dag-pb, hash code 0x1f or 0x1e."""


class InvalidCidError(ValueError):
    """The text is no CID of a node; `text` is what was given."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"not the CID of a node: {self.text[:100]!r}"


def digest_of(block: bytes | bytearray | memoryview) -> bytes:
    """The 32-byte BLAKE3 digest of an encoded block; releases the GIL while it runs."""
    return blake3(block).digest()


def node_cid(digest: bytes) -> bytes:
    """The 36-byte binary CID of the node with this digest."""
    return NODE_CID_PREFIX + digest


def cid_text(digest: bytes) -> str:
    """The CID of the node with this digest as text: `bafkr6i…`, 59 characters."""
    return _base32(NODE_CID_PREFIX + digest)


def parse_cid(text: str) -> bytes:
    """The digest that a node's CID in base32 text names; InvalidCidError otherwise.

    NODE_CID_ALIASES are accepted, and any multibase besides the usual one (`z…`, `f…`, `u…`);
    upper case, padding and stray trailing bits in the usual one are not.
    """
    if text[:1] != "b":
        return _parse_other_base(text)
    try:
        cid = b32decode(text[1:].upper() + "======")
    except ValueError:
        raise InvalidCidError(text) from None
    # Encoding it again refuses every second spelling: case, padding, unused bits that are set.
    if len(cid) != CID_BYTES or cid[:4] not in NODE_CID_ALIASES or _base32(cid) != text:
        raise InvalidCidError(text)
    return cid[4:]


def _parse_other_base(text: str) -> bytes:
    # A second spelling comes from people and other tools only: no need to load this beforehand.
    from multiformats import multibase

    if not text or len(text) > _OTHER_TEXT_CHARS_MAX:
        raise InvalidCidError(text)
    try:
        cid = multibase.decode(text)
    except (KeyError, ValueError):
        raise InvalidCidError(text) from None
    if len(cid) != CID_BYTES or cid[:4] not in NODE_CID_ALIASES:
        raise InvalidCidError(text)
    return cid[4:]


def _base32(cid: bytes) -> str:
    return encode_multibase("b", cid)
