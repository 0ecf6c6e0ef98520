"""Reads tests/vectors and makes the input bytes that they name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from dsn.node import Compression, DagLimits, Encryption, UploadOptions

VECTORS = Path(__file__).parents[1] / "vectors"


@cache
def cid_vectors() -> list[dict[str, Any]]:
    """Every case of cids.json."""
    vectors: list[dict[str, Any]] = json.loads((VECTORS / "cids.json").read_text())["vectors"]
    return vectors


def cid_vectors_of(kind: str) -> list[dict[str, Any]]:
    """The cases of one kind."""
    return [vector for vector in cid_vectors() if vector["kind"] == kind]


def vector_bytes(seed: str, size: int) -> bytes:
    """SHA-256 of "seed:0", "seed:1", …, joined and cut to `size`; "zeros" is all zeros."""
    if seed == "zeros":
        return bytes(size)
    blocks = (hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range(-(-size // 32)))
    return b"".join(blocks)[:size]


def content_pieces(content: dict[str, Any], piece_bytes: int = 1 << 20) -> Iterator[bytes]:
    """The input of a case, in pieces; the prefix counts in its size."""
    prefix = bytes.fromhex(content.get("prefixHex", ""))
    size = content["size"]
    if content["seed"] == "zeros" and not prefix:
        whole = bytes(min(piece_bytes, size))
        for start in range(0, size, piece_bytes):
            yield whole[: size - start]
        return
    rest = vector_bytes(content["seed"], max(size - len(prefix), 0))
    yield (prefix + rest)[:size]


def limits_of(given: dict[str, Any] | None) -> DagLimits:
    """`maxNodeSize` and `maxLinkPerNode` as DagLimits, each with its default."""
    given = given or {}
    default = DagLimits()
    return DagLimits(
        given.get("maxNodeSize", default.node_bytes_max),
        given.get("maxLinkPerNode", default.links_max),
    )


def options_of(given: dict[str, Any] | None) -> UploadOptions:
    """The package's `uploadOptions` as ours."""
    given = given or {}
    compression, encryption = given.get("compression"), given.get("encryption")
    return UploadOptions(
        compression
        and Compression(level=compression.get("level"), chunk_size=compression.get("chunkSize")),
        encryption and Encryption(chunk_size=encryption.get("chunkSize")),
    )
