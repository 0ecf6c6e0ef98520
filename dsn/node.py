"""What a block decodes to: a node of a file, folder or metadata DAG, and the limits it must keep.

Field names, numbers and limits are those of `@autonomys/auto-dag-data`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from dsn.errors import NameTooLongError

NODE_BYTES_MAX = 65535
NODE_RESERVE_BYTES = 469
"""Kept free beside a chunk: 1 type + 4 depth + 8 size + 256 name + 100 options + 100 to spare."""
NAME_UNITS_MAX = 255


class NodeType(IntEnum):
    """The kind of a node, by its number on the wire."""

    File = 0
    FileInlink = 1
    FileChunk = 2
    Folder = 3
    FolderInlink = 4
    Metadata = 5
    MetadataInlink = 6
    MetadataChunk = 7


class CompressionAlgorithm(StrEnum):
    """How the bytes of a file were compressed before they were stored."""

    ZLIB = "ZLIB"


class EncryptionAlgorithm(StrEnum):
    """How the bytes of a file were encrypted before they were stored."""

    AES_256_GCM = "AES_256_GCM"


@dataclass(frozen=True, slots=True)
class Compression:
    """A client's note that it compressed the bytes: one RFC 1950 stream over the whole file."""

    algorithm: CompressionAlgorithm = CompressionAlgorithm.ZLIB
    level: int | None = None
    chunk_size: int | None = None


@dataclass(frozen=True, slots=True)
class Encryption:
    """A client's note that it encrypted the bytes; `chunk_size` is in plaintext bytes."""

    algorithm: EncryptionAlgorithm = EncryptionAlgorithm.AES_256_GCM
    chunk_size: int | None = None


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """What a root says about its bytes. Nothing set is still written, as an empty message."""

    compression: Compression | None = None
    encryption: Encryption | None = None


NO_OPTIONS = UploadOptions()


@dataclass(frozen=True, slots=True)
class Node:
    """One decoded node.

    `size` counts the bytes of the file in a root, a leaf or a single node, and the links in a
    FileInlink. None means that the field is absent, which differs from 0, "" and b"".
    `links` are the 32-byte digests of the children, in order.
    """

    type: NodeType
    link_depth: int = 0
    size: int | None = None
    name: str | None = None
    data: bytes | None = None
    upload_options: UploadOptions | None = None
    links: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class DagLimits:
    """How large a node may be, in bytes, and how many links it may hold.

    The public network uses the defaults; other values make deep trees from few bytes.
    """

    node_bytes_max: int = NODE_BYTES_MAX
    links_max: int = 1626

    def __post_init__(self) -> None:
        if self.chunk_bytes < 1 or self.links_max < 2:
            raise ValueError(f"no DAG can be built within {self}")

    @property
    def chunk_bytes(self) -> int:
        """Payload bytes of every leaf but the last."""
        return self.node_bytes_max - NODE_RESERVE_BYTES


DEFAULT_LIMITS = DagLimits()
CHUNK_BYTES = DEFAULT_LIMITS.chunk_bytes
LINKS_MAX = DEFAULT_LIMITS.links_max


def check_name(name: str | None) -> None:
    """NameTooLongError for a name of more than 255 UTF-16 code units (JavaScript's `length`)."""
    if name is None:
        return
    units = len(name.encode("utf-16-le", "surrogatepass")) // 2
    if units > NAME_UNITS_MAX:
        raise NameTooLongError(units, NAME_UNITS_MAX)
