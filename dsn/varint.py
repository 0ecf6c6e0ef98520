"""Unsigned varints as protobuf, multiformats and CAR write them: 7 bits a byte, low bits first.

Only the shortest spelling of a number is accepted, so that one value has one encoding.
https://github.com/multiformats/unsigned-varint
"""

from __future__ import annotations

VARINT_BYTES_MAX = 9
VARINT_MAX = (1 << 63) - 1


class InvalidVarintError(ValueError):
    """No canonical varint stands at this place: it is cut short, too long or padded with zeros."""


def encode_varint(value: int) -> bytes:
    """The shortest varint of `value`; ValueError outside 0 … 2^63 - 1."""
    if 0 <= value < 0x80:
        return bytes((value,))
    if not 0 <= value <= VARINT_MAX:
        raise ValueError(f"not a varint: {value}")
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_varint(buffer: bytes | memoryview, offset: int = 0) -> tuple[int, int]:
    """The number at `offset` and the offset of the byte after it; InvalidVarintError."""
    stop = len(buffer)
    value = shift = 0
    for position in range(offset, offset + VARINT_BYTES_MAX):
        if position >= stop:
            raise InvalidVarintError("varint is cut short")
        byte = buffer[position]
        if byte < 0x80:
            if byte == 0 and shift:
                raise InvalidVarintError("varint is padded with zeros")
            return value | byte << shift, position + 1
        value |= (byte & 0x7F) << shift
        shift += 7
    raise InvalidVarintError(f"varint is longer than {VARINT_BYTES_MAX} bytes")


def varint_bytes(value: int) -> int:
    """How many bytes `encode_varint(value)` has."""
    return max(1, -(-value.bit_length() // 7))
