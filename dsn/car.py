"""CAR version 1: a header that names roots, then sections of `varint length | CID | block`.

A CAR has no checksum and no end mark: one that is cut between two sections reads fine, so whether
it is complete is for a walk from its root to say. https://ipld.io/specs/transport/car/carv1/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from dsn.cid import (
    CID_BYTES,
    DIGEST_BYTES,
    NODE_CID_PREFIX,
    RAW_CID_PREFIX,
    RECORD_CID_PREFIX,
    node_cid,
)
from dsn.dag_reader import FileDag, blocks_below
from dsn.errors import InvalidCarError, TruncatedCarError
from dsn.node import DEFAULT_LIMITS, DagLimits
from dsn.varint import (
    UVARINT_BYTES_MAX,
    InvalidVarintError,
    encode_uvarint,
    read_uvarint,
    uvarint_bytes,
)

BLOCK_BYTES_MAX = 2 * 1024 * 1024
"""What trustless clients accept as one block; https://specs.ipfs.tech/http-gateways/"""

HEADER_BYTES_MAX = 64 * 1024
_CID_BYTES_MAX = 256

_HEADER_START = b"\xa2\x65roots"
_HEADER_STOP = b"\x67version\x01"
_CBOR_BYTES, _CBOR_ARRAY = 2, 4
_CBOR_CID = b"\xd8\x2a"
_CID_V0_PREFIX = b"\x12\x20"
_USUAL_CID_PREFIXES = frozenset({NODE_CID_PREFIX, RECORD_CID_PREFIX, RAW_CID_PREFIX})


class Readable(Protocol):
    """What a CAR is read from. `read(n)` may return less than n bytes; b"" is the end."""

    def read(self, size: int, /) -> bytes: ...


class Writable(Protocol):
    """What a CAR is written to."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class CarHeader:
    """The binary CIDs of the roots, and how many bytes the header takes, its length included."""

    roots: tuple[bytes, ...]
    header_bytes: int


@dataclass(frozen=True, slots=True)
class Section:
    """A block with its binary CID; `offset` is where the section starts, at its length."""

    offset: int
    cid: bytes
    block: bytes


def encode_header(roots: Sequence[bytes]) -> bytes:
    """The header for these roots (binary CIDs), its length included: 59 bytes for one of ours."""
    header = bytearray(_HEADER_START + _cbor_head(_CBOR_ARRAY, len(roots)))
    for cid in roots:
        header += _CBOR_CID + _cbor_head(_CBOR_BYTES, len(cid) + 1) + b"\x00" + cid
    header += _HEADER_STOP
    return encode_uvarint(len(header)) + bytes(header)


def section_prefix(cid: bytes, block_bytes: int) -> bytes:
    """What stands before a block of this length: 39 bytes for a full leaf."""
    return encode_uvarint(len(cid) + block_bytes) + cid


def read_header(stream: Readable) -> CarHeader:
    """The header at the start of a stream, which is then at its first section.

    InvalidCarError unless it is the canonical DAG-CBOR of version 1; TruncatedCarError.
    """
    length, prefix_bytes = _read_length(stream, 0)
    if length is None:
        raise TruncatedCarError(0, "the stream is empty")
    if length > HEADER_BYTES_MAX:
        raise InvalidCarError(0, f"a header of {length} bytes, over {HEADER_BYTES_MAX}")
    header = _read_exactly(stream, length, 0)
    return CarHeader(_parse_header(header, prefix_bytes), prefix_bytes + length)


def read_sections(
    stream: Readable, *, offset: int = 0, block_bytes_max: int = BLOCK_BYTES_MAX
) -> Iterator[Section]:
    """The sections from where the stream stands, behind the header, to its end.

    Blocks are not hashed here. `offset` is where the stream stands, for the offsets in sections and
    errors. InvalidCarError for a section that is malformed or holds more than `block_bytes_max`
    bytes; TruncatedCarError when the stream ends inside one. Both carry where the section starts.
    """
    while True:
        length, prefix_bytes = _read_length(stream, offset)
        if length is None:
            return
        # Judged before the section is read, so that a false length cannot fill the memory.
        if length > block_bytes_max + _CID_BYTES_MAX:
            raise InvalidCarError(offset, f"a section of {length} bytes")
        content = _read_exactly(stream, length, offset)
        cid_bytes = _cid_bytes(content, offset)
        if length - cid_bytes > block_bytes_max:
            raise InvalidCarError(offset, f"a block of {length - cid_bytes} bytes")
        yield Section(offset, content[:cid_bytes], content[cid_bytes:])
        offset += prefix_bytes + length


def dag_pieces(
    get: Callable[[bytes], bytes], root: bytes, *, duplicates: bool = False
) -> Iterator[bytes]:
    """The CAR of everything below a root (digest), piece by piece: header, prefix, block, prefix …

    Depth first, a node before its children (`order=dfs`); of a block that occurs again only the
    first unless `duplicates`. Every block is checked against its digest before it is handed on:
    BlockNotFoundError, BlockMismatchError, InvalidNodeError. What was written is remembered,
    32 bytes and some for each node, unless `duplicates`.
    """
    yield encode_header([node_cid(root)])
    for digest, block in blocks_below(get, root, duplicates=duplicates):
        yield section_prefix(node_cid(digest), len(block))
        yield block


def write_dag(
    get: Callable[[bytes], bytes], root: bytes, out: Writable, *, duplicates: bool = False
) -> None:
    """Write the CAR of everything below a root (digest); see `dag_pieces`."""
    for piece in dag_pieces(get, root, duplicates=duplicates):
        out.write(piece)


def dag_bytes(
    get: Callable[[bytes], bytes],
    root: bytes,
    *,
    duplicates: bool = False,
    limits: DagLimits = DEFAULT_LIMITS,
) -> int:
    """How many bytes `dag_pieces` will give for a file, from its link nodes alone.

    No leaf is read: its length follows from the file's size. NonCanonicalDagError for what is no
    canonical file (a folder, say), whose length only writing it tells; BlockNotFoundError,
    BlockMismatchError.
    """
    total = len(encode_header([node_cid(root)]))
    seen: set[bytes] = set()
    for digest, node_bytes in FileDag.open(get, root, limits).node_lengths():
        if not duplicates:
            if digest in seen:
                continue
            seen.add(digest)
        section_bytes = CID_BYTES + node_bytes
        total += uvarint_bytes(section_bytes) + section_bytes
    return total


def _parse_header(header: bytes, start: int) -> tuple[bytes, ...]:
    reader = _Cbor(header, start)
    reader.expect(_HEADER_START)
    roots = []
    for _ in range(reader.head(_CBOR_ARRAY)):
        reader.expect(_CBOR_CID)
        length = reader.head(_CBOR_BYTES)
        reader.expect(b"\x00")
        roots.append(reader.take(length - 1))
    reader.expect(_HEADER_STOP)
    reader.expect_end()
    return tuple(roots)


class _Cbor:
    """Reads what a header may hold, each item in its shortest form; InvalidCarError otherwise."""

    def __init__(self, content: bytes, start: int) -> None:
        self._content = content
        self._start = start
        self._at = 0

    def expect(self, expected: bytes) -> None:
        if self.take(len(expected)) != expected:
            self._refuse(len(expected))

    def expect_end(self) -> None:
        if self._at != len(self._content):
            self._refuse()

    def take(self, length: int) -> bytes:
        taken = self._content[self._at : self._at + max(length, 0)]
        self._at += len(taken)
        if len(taken) != length:
            self._refuse(len(taken))
        return taken

    def head(self, major: int) -> int:
        """The length or count in the head of an item of this major type."""
        info = self.take(1)[0] ^ major << 5
        extra = {24: 1, 25: 2}.get(info, 0)
        value = int.from_bytes(self.take(extra), "big") if extra else info
        if _cbor_head(major, value) != self._content[self._at - 1 - extra : self._at]:
            self._refuse(1 + extra)
        return value

    def _refuse(self, back: int = 0) -> NoReturn:
        raise InvalidCarError(self._start + self._at - back, "not a header of CAR version 1")


def _cbor_head(major: int, value: int) -> bytes:
    # https://www.rfc-editor.org/rfc/rfc8949#section-3
    if value < 24:
        return bytes((major << 5 | value,))
    if value < 256:
        return bytes((major << 5 | 24, value))
    if value < 65536:
        return bytes((major << 5 | 25,)) + value.to_bytes(2, "big")
    raise ValueError(f"too long for a CAR header: {value}")


def _cid_bytes(section: bytes, offset: int) -> int:
    """The length of the CID that a section starts with."""
    if section[:4] in _USUAL_CID_PREFIXES and len(section) >= CID_BYTES:
        return CID_BYTES
    if section[:2] == _CID_V0_PREFIX and len(section) >= len(_CID_V0_PREFIX) + DIGEST_BYTES:
        return len(_CID_V0_PREFIX) + DIGEST_BYTES
    try:
        version, at = read_uvarint(section)
        _codec, at = read_uvarint(section, at)
        _hash_code, at = read_uvarint(section, at)
        digest_bytes, at = read_uvarint(section, at)
    except InvalidVarintError:
        raise InvalidCarError(offset, "a section without a CID") from None
    if version != 1 or at + digest_bytes > min(len(section), _CID_BYTES_MAX):
        raise InvalidCarError(offset, "a section without a CID")
    return at + digest_bytes


def _read_length(stream: Readable, offset: int) -> tuple[int | None, int]:
    """The varint at `offset` and its length; None at the end of the stream."""
    encoded = b""
    while not encoded or encoded[-1] >= 0x80:
        byte = stream.read(1)
        if not byte:
            if encoded:
                raise TruncatedCarError(offset, "the stream ends inside a length")
            return None, 0
        encoded += byte
        if len(encoded) > UVARINT_BYTES_MAX:
            break
    try:
        return read_uvarint(encoded)
    except InvalidVarintError as error:
        raise InvalidCarError(offset, str(error)) from None


def _read_exactly(stream: Readable, length: int, offset: int) -> bytes:
    content = stream.read(length)
    if len(content) == length:
        return content
    pieces = [content]
    missing = length - len(content)
    while content and missing:
        content = stream.read(missing)
        pieces.append(content)
        missing -= len(content)
    if missing:
        raise TruncatedCarError(offset, f"the stream ends {missing} bytes too early")
    return b"".join(pieces)
