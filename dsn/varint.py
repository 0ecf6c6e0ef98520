"""Unsigned varints as protobuf, multiformats and CAR write them: 7 bits a byte, low bits first.

Only the shortest spelling of a number is accepted, so that one value has one encoding.
https://github.com/multiformats/unsigned-varint
"""

from __future__ import annotations

UVARINT_BYTES_MAX = 9
UVARINT_MAX = (1 << 63) - 1


class InvalidVarintError(ValueError):
    """No canonical varint stands at this place: it is cut short, too long or padded with zeros."""


def write_uvarint(out: bytearray, value: int) -> None:
    """Append the shortest varint of `value`; ValueError outside 0 … 2^63 - 1."""
    if not 0 <= value <= UVARINT_MAX:
        raise ValueError(f"not a varint: {value}")
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def encode_uvarint(value: int) -> bytes:
    """The shortest varint of `value`; ValueError outside 0 … 2^63 - 1."""
    out = bytearray()
    write_uvarint(out, value)
    return bytes(out)


def read_uvarint(buffer: bytes | memoryview, at: int = 0) -> tuple[int, int]:
    """The number that stands at `at`, and where the byte after it is; InvalidVarintError."""
    stop = len(buffer)
    value = shift = 0
    for position in range(at, at + UVARINT_BYTES_MAX):
        if position >= stop:
            raise InvalidVarintError("varint is cut short")
        byte = buffer[position]
        if byte < 0x80:
            if byte == 0 and shift:
                raise InvalidVarintError("varint is padded with zeros")
            return value | byte << shift, position + 1
        value |= (byte & 0x7F) << shift
        shift += 7
    raise InvalidVarintError(f"varint is longer than {UVARINT_BYTES_MAX} bytes")


def uvarint_bytes(value: int) -> int:
    """How many bytes `encode_uvarint(value)` has."""
    return max(1, -(-value.bit_length() // 7))
