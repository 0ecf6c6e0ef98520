"""Request headers that ask for something the gateway does not do and must not pretend to."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.s3.errors import ErrorCode, S3Error

# Each asks for a property of the stored object: dropping one silently would break a promise.
_PREFIXES = (
    "x-amz-copy-source-server-side-encryption",
    "x-amz-server-side-encryption",
    "x-amz-write-offset-bytes",
)


def find_unsupported_header(names: Iterable[str]) -> str | None:
    """The first of these header names, in any case, that must be refused; lower-case."""
    for name in names:
        lower = name.lower()
        if lower.startswith(_PREFIXES):
            return lower
    return None


def refuse_unsupported_headers(names: Iterable[str]) -> None:
    """Raise S3Error NotImplemented, naming the header, if one of `names` must be refused."""
    name = find_unsupported_header(names)
    if name is not None:
        raise S3Error(ErrorCode.NotImplemented, Header=name)
