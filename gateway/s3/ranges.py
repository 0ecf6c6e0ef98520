"""The Range header: what part of an object was asked for, and whether there is such a part."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.s3.errors import ErrorCode, S3Error


@dataclass(frozen=True, slots=True)
class IntRange:
    """A range as on the wire: bytes `first` to `last`, both included; no `last` is "to the end"."""

    first: int
    last: int | None


@dataclass(frozen=True, slots=True)
class SuffixRange:
    """The last `length` bytes: `bytes=-500`."""

    length: int


@dataclass(frozen=True, slots=True)
class ByteSpan:
    """A span of an object as the code uses it: from `start` up to, not including, `stop`."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def parse_range(header: str | None) -> IntRange | SuffixRange | None:
    """Read a Range header; None if absent, malformed, of another unit or of several ranges.

    What cannot be read is ignored and the whole object served, as S3 does and the RFC allows.

    https://www.rfc-editor.org/rfc/rfc9110#section-14.2
    """
    match = _RANGE.fullmatch(header) if header else None
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return SuffixRange(_number(last)) if last else None
    if not last:
        return IntRange(_number(first), None)
    found = IntRange(_number(first), _number(last))
    return None if _number(last) < found.first else found


def resolve_range(header: str | None, size: int) -> ByteSpan | None:
    """The span of an object of `size` bytes that `header` asks for; None is the whole object.

    Raises S3Error InvalidRange if no byte of the object is in the range, with the header
    `Content-Range: bytes */size`.
    """
    wanted = parse_range(header)
    if wanted is None:
        return None
    if isinstance(wanted, SuffixRange):
        span = ByteSpan(max(0, size - wanted.length), size)
    else:
        stop = size if wanted.last is None else min(wanted.last + 1, size)
        span = ByteSpan(wanted.first, stop)
    if span.start >= span.stop:
        raise S3Error(
            ErrorCode.InvalidRange,
            headers={"Content-Range": f"bytes */{size}"},
            RangeRequested=header or "",
            ActualObjectSize=size,
        )
    return span


def content_range(span: ByteSpan, size: int) -> str:
    """`bytes 0-499/1234`, the Content-Range header of a 206 answer."""
    return f"bytes {span.start}-{span.stop - 1}/{size}"


_RANGE = re.compile("[Bb][Yy][Tt][Ee][Ss]=([0-9]*)-([0-9]*)")
_DIGITS_MAX = 19


def _number(digits: str) -> int:
    # Beyond any object all numbers are alike, and reading thousands of digits is slow.
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _DIGITS_MAX else 10**_DIGITS_MAX
