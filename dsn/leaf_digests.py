"""The BLAKE3 digests of full leaves that lie side by side as sections, all in one call.

Each call into a hash lets other threads have the interpreter and then waits to get it back; with
many uploads and downloads at once that waiting costs more than the hashing. The extension behind
this takes all leaves of a buffer at once. It is optional: without it, or on a machine without
vectors, the blake3 package takes them one by one.
"""

from __future__ import annotations

from blake3 import blake3

from dsn.cid import DIGEST_BYTES
from dsn.framing import FULL_NODE_BYTES, FULL_NODE_START, FULL_SECTION_BYTES

try:
    from dsn import _blake3_lanes
except ImportError:
    _blake3_lanes = None  # type: ignore[assignment]

ENGINE: str | None = _blake3_lanes.ENGINES[0] if _blake3_lanes and _blake3_lanes.ENGINES else None
"""What hashes the leaves; None for the blake3 package."""


def full_leaf_digests(sections: memoryview, count: int) -> list[bytes]:
    """The digests of the first `count` full leaves of `sections`, FULL_SECTION_BYTES each."""
    if ENGINE is None:
        return _one_by_one(sections, count)
    joined = _blake3_lanes.digests(
        sections, FULL_NODE_START, FULL_NODE_BYTES, FULL_SECTION_BYTES, count
    )
    return [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]


def _one_by_one(sections: memoryview, count: int) -> list[bytes]:
    starts = range(FULL_NODE_START, count * FULL_SECTION_BYTES, FULL_SECTION_BYTES)
    return [blake3(sections[at : at + FULL_NODE_BYTES]).digest() for at in starts]
