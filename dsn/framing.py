"""How a leaf lies in a segment: its CAR section's framing, as constants.

A full leaf is `varint(length) | CID | node prefix | 65,066 bytes of payload`. Everything but the
digest inside the CID and the payload is constant, so the buffers that receive uploads carry the
framing beforehand and a leaf is hashed and written where it was received.
"""

from __future__ import annotations

from dsn.car import section_prefix
from dsn.cid import CID_BYTES, DIGEST_BYTES, NODE_CID_PREFIX
from dsn.codec import FULL_LEAF_PREFIX, leaf_prefix
from dsn.node import CHUNK_BYTES
from dsn.varint import uvarint_bytes

FULL_NODE_BYTES = len(FULL_LEAF_PREFIX) + CHUNK_BYTES
_FULL_SECTION_PREFIX = section_prefix(NODE_CID_PREFIX + bytes(DIGEST_BYTES), FULL_NODE_BYTES)
# Where in a full section the digest, the node and the payload start.
FULL_NODE_START = len(_FULL_SECTION_PREFIX)
FULL_DIGEST_START = FULL_NODE_START - DIGEST_BYTES
FULL_PAYLOAD_START = FULL_NODE_START + len(FULL_LEAF_PREFIX)
FULL_SECTION_BYTES = FULL_NODE_START + FULL_NODE_BYTES
# The framing of a full leaf, its digest left zero.
FULL_FRAME = _FULL_SECTION_PREFIX + FULL_LEAF_PREFIX


def node_section(digest: bytes, block: bytes) -> bytes:
    """The section of a node: `varint | CID | block`."""
    return section_prefix(NODE_CID_PREFIX + digest, len(block)) + block


def leaf_section_bytes(payload_bytes: int) -> int:
    """The length of the section of a leaf with this much payload."""
    node_bytes = len(leaf_prefix(payload_bytes)) + payload_bytes
    return section_prefix_bytes(node_bytes) + node_bytes


def section_prefix_bytes(block_bytes: int) -> int:
    """The length of what stands before a block of this length: the varint and the CID."""
    return CID_BYTES + uvarint_bytes(CID_BYTES + block_bytes)
