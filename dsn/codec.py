"""Node <-> bytes: dag-pb around Auto Drive's metadata message, framed by hand, strict in reading.

A block is its links (`12 26 0a 24` + CID, 40 bytes each), then `0a`, a length and the message.
Fields stand in the order of their numbers; one at its proto3 default is absent unless it is
optional. One node therefore has exactly one encoding, and `decode_node` accepts nothing else.
https://ipld.io/specs/codecs/dag-pb/spec/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from dsn.cid import DIGEST_BYTES, NODE_CID_PREFIX
from dsn.errors import InvalidNodeError
from dsn.node import CHUNK_BYTES, Compression, Encryption, Node, NodeType, UploadOptions
from dsn.varint import (
    UVARINT_MAX,
    InvalidVarintError,
    encode_uvarint,
    read_uvarint,
    uvarint_bytes,
)

LINK_PREFIX = bytes.fromhex("12260a24") + NODE_CID_PREFIX
LINK_BYTES = len(LINK_PREFIX) + DIGEST_BYTES

INT32_MAX = (1 << 31) - 1

# Protobuf tags: field number * 8 + wire type (0 varint, 2 length-delimited).
_LINK = 0x12
_DATA = 0x0A
_TYPE, _LINK_DEPTH, _SIZE = 0x08, 0x10, 0x18
_NAME, _PAYLOAD, _OPTIONS = 0x22, 0x2A, 0x32
_COMPRESSION, _ENCRYPTION = 0x0A, 0x12
_LEVEL, _COMPRESSION_CHUNK_SIZE = 0x10, 0x18
_ENCRYPTION_CHUNK_SIZE = 0x10


def leaf_prefix(payload_bytes: int, node_type: NodeType = NodeType.FileChunk) -> bytes:
    """The bytes of a leaf before its payload of `payload_bytes` bytes."""
    length = encode_uvarint(payload_bytes)
    message = bytes((_TYPE, node_type, _SIZE)) + length + bytes((_PAYLOAD,)) + length
    return b"\x0a" + encode_uvarint(len(message) + payload_bytes) + message


FULL_LEAF_PREFIX = leaf_prefix(CHUNK_BYTES)
FULL_LEAF_BYTES = len(FULL_LEAF_PREFIX) + CHUNK_BYTES


def encode_links(digests: Sequence[bytes]) -> bytes:
    """The link part of a block: 40 bytes for each 32-byte digest, in order."""
    if not digests:
        return b""
    links = LINK_PREFIX + LINK_PREFIX.join(digests)
    if len(links) != LINK_BYTES * len(digests):
        raise ValueError("a link is not a digest of 32 bytes")
    return links


def encode_node(node: Node) -> bytes:
    """The block of a node.

    The size is written as a canonical varint always. protons-runtime 5.0.5 and later write garbage
    for sizes of 2 GiB up to 4 GiB - 1, so the public network has no stable CID there to agree with.
    ValueError for a number outside its field's range or a name that has no UTF-8.
    """
    message = bytearray()
    if node.type:
        message += bytes((_TYPE, node.type))
    if node.link_depth:
        message += _int32(_LINK_DEPTH, node.link_depth)
    if node.size is not None:
        message.append(_SIZE)
        message += encode_uvarint(node.size)
    if node.name is not None:
        message += _delimited(_NAME, node.name.encode())
    data = node.data or b""
    if node.data is not None:
        message.append(_PAYLOAD)
        message += encode_uvarint(len(data))
    options = b""
    if node.upload_options is not None:
        options = _delimited(_OPTIONS, _encode_options(node.upload_options))
    message_bytes = encode_uvarint(len(message) + len(data) + len(options))
    return b"".join((encode_links(node.links), b"\x0a", message_bytes, message, data, options))


def decode_node(block: bytes | memoryview) -> Node:
    """The node that a block encodes; InvalidNodeError unless `encode_node` gives the same bytes."""
    return decode_with_payload_span(block)[0]


def decode_with_payload_span(block: bytes | memoryview) -> tuple[Node, slice | None]:
    """As `decode_node`, and where in the block the node's data lies; None where it has none."""
    block = bytes(block)
    parsed = _parse(block)
    node = Node(
        type=parsed.type,
        link_depth=parsed.link_depth,
        size=parsed.size,
        name=parsed.name,
        data=None if parsed.payload is None else block[parsed.payload],
        upload_options=parsed.upload_options,
        links=parsed.links,
    )
    return node, parsed.payload


def decode_links(block: bytes) -> tuple[bytes, ...]:
    """The digests a block links to, without decoding the rest of it; InvalidNodeError."""
    if not block.startswith(b"\x12"):
        return ()
    # Links have a fixed stride and the data field that follows has another tag, so the first bytes
    # of all strides tell how many there are; one comparison then checks every prefix at once.
    heads = block[::LINK_BYTES]
    count = len(heads) - len(heads.lstrip(b"\x12"))
    stop = count * LINK_BYTES
    if stop > len(block):
        raise InvalidNodeError("a link is cut short")
    links = _links_struct(count).unpack_from(block)
    if LINK_PREFIX + LINK_PREFIX.join(links) != block[:stop]:
        raise InvalidNodeError("a link is not the bare CID of a node")
    return links


def leaf_payload(block: bytes | memoryview) -> memoryview:
    """The payload of a leaf or a single node, not copied out of a full leaf.

    InvalidNodeError when the block is no node, has links, has no data, or says another size.
    """
    if len(block) == FULL_LEAF_BYTES and block[: len(FULL_LEAF_PREFIX)] == FULL_LEAF_PREFIX:
        return memoryview(block)[len(FULL_LEAF_PREFIX) :]
    block = bytes(block)
    parsed = _parse(block)
    if parsed.payload is None or parsed.links:
        raise InvalidNodeError("not a leaf")
    if parsed.size != parsed.payload.stop - parsed.payload.start:
        raise InvalidNodeError("the size of a leaf is not the length of its payload")
    return memoryview(block)[parsed.payload]


def leaf_bytes(payload_bytes: int) -> int:
    """The length of a FileChunk leaf with `payload_bytes` bytes of payload."""
    message_bytes = 4 + 2 * uvarint_bytes(payload_bytes) + payload_bytes
    return 1 + uvarint_bytes(message_bytes) + message_bytes


@lru_cache(maxsize=32)
def _links_struct(count: int) -> Struct:
    # Slices all digests out in one call; nearly every link node is full or has few links.
    return Struct(f"{len(LINK_PREFIX)}x{DIGEST_BYTES}s" * count)


def _encode_options(options: UploadOptions) -> bytes:
    # Both algorithms have the number 0, which proto3 does not write.
    encoded = b""
    if options.compression is not None:
        level = _optional_int32(_LEVEL, options.compression.level)
        chunk_size = _optional_int32(_COMPRESSION_CHUNK_SIZE, options.compression.chunk_size)
        encoded += _delimited(_COMPRESSION, level + chunk_size)
    if options.encryption is not None:
        chunk_size = _optional_int32(_ENCRYPTION_CHUNK_SIZE, options.encryption.chunk_size)
        encoded += _delimited(_ENCRYPTION, chunk_size)
    return encoded


def _delimited(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + encode_uvarint(len(content)) + content


def _int32(tag: int, value: int) -> bytes:
    if value > INT32_MAX:
        raise ValueError(f"not an int32: {value}")
    return bytes((tag,)) + encode_uvarint(value)


def _optional_int32(tag: int, value: int | None) -> bytes:
    return b"" if value is None else _int32(tag, value)


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A node whose payload is still a slice of its block."""

    type: NodeType
    link_depth: int
    size: int | None
    name: str | None
    payload: slice | None
    upload_options: UploadOptions | None
    links: tuple[bytes, ...]


class _Message:
    """Reads the fields of one message in the only order in which they may stand."""

    __slots__ = ("_block", "_position", "_stop")

    def __init__(self, block: bytes, start: int, stop: int) -> None:
        self._block = block
        self._position = start
        self._stop = stop

    def number(self, tag: int) -> int:
        """A field that is written unless it is 0."""
        value = self.optional_number(tag)
        if value == 0:
            raise InvalidNodeError(f"field {tag >> 3} is written although it is 0")
        return value or 0

    def optional_number(self, tag: int, number_max: int = INT32_MAX) -> int | None:
        """A field that is written when it is set, also when it is 0."""
        if not self._at(tag):
            return None
        value = self._varint()
        if value > number_max:
            raise InvalidNodeError(f"field {tag >> 3} is out of range")
        return value

    def delimited(self, tag: int) -> slice | None:
        """Where the content of a length-delimited field lies in the block."""
        if not self._at(tag):
            return None
        length = self._varint()
        start = self._position
        if length > self._stop - start:
            raise InvalidNodeError(f"field {tag >> 3} is longer than what holds it")
        self._position = start + length
        return slice(start, start + length)

    def expect_end(self) -> None:
        if self._position != self._stop:
            raise InvalidNodeError(f"unexpected bytes at {self._position}")

    def _at(self, tag: int) -> bool:
        if self._position < self._stop and self._block[self._position] == tag:
            self._position += 1
            return True
        return False

    def _varint(self) -> int:
        try:
            value, self._position = read_uvarint(self._block, self._position)
        except InvalidVarintError as error:
            raise InvalidNodeError(str(error)) from None
        return value


def _parse(block: bytes) -> _Parsed:
    links = decode_links(block)
    outer = _Message(block, LINK_BYTES * len(links), len(block))
    inner = outer.delimited(_DATA)
    if inner is None:
        raise InvalidNodeError("the block has no data field")
    outer.expect_end()
    message = _Message(block, inner.start, inner.stop)
    node_type = message.number(_TYPE)
    link_depth = message.number(_LINK_DEPTH)
    size = message.optional_number(_SIZE, UVARINT_MAX)
    name = message.delimited(_NAME)
    payload = message.delimited(_PAYLOAD)
    options = message.delimited(_OPTIONS)
    message.expect_end()
    return _Parsed(
        type=_node_type(node_type),
        link_depth=link_depth,
        size=size,
        name=None if name is None else _text(block[name]),
        payload=payload,
        upload_options=None if options is None else _parse_options(block, options),
        links=links,
    )


def _parse_options(block: bytes, span: slice) -> UploadOptions:
    message = _Message(block, span.start, span.stop)
    compression = message.delimited(_COMPRESSION)
    encryption = message.delimited(_ENCRYPTION)
    message.expect_end()
    return UploadOptions(
        compression=None if compression is None else _parse_compression(block, compression),
        encryption=None if encryption is None else _parse_encryption(block, encryption),
    )


def _parse_compression(block: bytes, span: slice) -> Compression:
    message = _Message(block, span.start, span.stop)
    level = message.optional_number(_LEVEL)
    chunk_size = message.optional_number(_COMPRESSION_CHUNK_SIZE)
    message.expect_end()
    return Compression(level=level, chunk_size=chunk_size)


def _parse_encryption(block: bytes, span: slice) -> Encryption:
    message = _Message(block, span.start, span.stop)
    chunk_size = message.optional_number(_ENCRYPTION_CHUNK_SIZE)
    message.expect_end()
    return Encryption(chunk_size=chunk_size)


def _node_type(number: int) -> NodeType:
    try:
        return NodeType(number)
    except ValueError:
        raise InvalidNodeError(f"unknown node type {number}") from None


def _text(encoded: bytes) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        raise InvalidNodeError("the name is not UTF-8") from None
