"""Request headers that ask for something the gateway does not do and must not pretend to."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import NoReturn

from gateway.s3.errors import ErrorCode, S3Error

_SSE = "x-amz-server-side-encryption"
_CUSTOMER = f"{_SSE}-customer-"
_KMS_KEY = f"{_SSE}-aws-kms-key-id"
_KMS = frozenset({"aws:kms", "aws:kms:dsse"})

# Each asks for a property of the stored object: dropping one silently would break a promise.
_PREFIXES = (f"x-amz-copy-source-{_SSE.removeprefix('x-amz-')}", _SSE, "x-amz-write-offset-bytes")
# What nearly every request has: nothing to look at twice.
_PLAIN = frozenset(
    {
        *("accept", "accept-encoding", "authorization", "connection", "content-length"),
        *("content-md5", "content-type", "date", "expect", "host", "range", "user-agent"),
        *("x-amz-content-sha256", "x-amz-date", "x-amz-meta-mtime", "amz-sdk-invocation-id"),
        *("amz-sdk-request", "x-amz-checksum-mode", "x-amz-checksum-crc32"),
    }
)


def find_unsupported_header(names: Iterable[str]) -> str | None:
    """The first of these header names, in any case, that must be refused; lower-case."""
    for name in names:
        if name not in _PLAIN and name.lower().startswith(_PREFIXES):
            return name.lower()
    return None


def refuse_unsupported_headers(headers: Mapping[str, str], *, reads: bool = False) -> None:
    """Refuse a request that asks for what must not be promised; lower-case names.

    Raises S3Error NotImplemented, naming the header; InvalidArgument for headers of encryption
    that AWS refuses, too, as it would: those that contradict each other, or a read that `reads`
    with a method of encryption.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
    """
    name = find_unsupported_header(headers)
    if name is None:
        return
    _check_encryption(headers, reads=reads)
    raise S3Error(ErrorCode.NotImplemented, Header=name)


def _check_encryption(headers: Mapping[str, str], *, reads: bool) -> None:
    method = headers.get(_SSE)
    customer = {
        name.removeprefix(_CUSTOMER): value
        for name, value in headers.items()
        if name.startswith(_CUSTOMER)
    }
    if reads and method is not None:
        _refuse(_SSE, "x-amz-server-side-encryption header is not supported for this operation.")
    if method not in (None, "AES256", *_KMS):
        _refuse(_SSE, "The encryption method specified is not supported")
    if customer and method is not None:
        _refuse(
            _SSE,
            "Server Side Encryption with Customer provided key is incompatible with the "
            "encryption method specified",
        )
    if _KMS_KEY in headers and method not in _KMS:
        _refuse(
            _KMS_KEY,
            "Server Side Encryption with AWS KMS managed key requires HTTP header "
            "x-amz-server-side-encryption : aws:kms",
        )
    if customer:
        _check_customer_key(customer)


def _check_customer_key(customer: Mapping[str, str]) -> None:
    """`customer` are the headers by what follows their common prefix."""
    if customer.get("algorithm") != "AES256":
        _refuse(
            f"{_CUSTOMER}algorithm",
            "Requests specifying Server Side Encryption with Customer provided keys must provide "
            "a valid encryption algorithm.",
        )
    try:
        key = base64.b64decode(customer.get("key", ""), validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        _refuse(f"{_CUSTOMER}key", "The secret key was invalid for the specified algorithm.")
    digest = base64.b64encode(hashlib.md5(key, usedforsecurity=False).digest()).decode()
    if customer.get("key-md5") != digest:
        _refuse(
            f"{_CUSTOMER}key-MD5",
            "The calculated MD5 hash of the key did not match the hash that was provided.",
        )


def _refuse(name: str, message: str) -> NoReturn:
    raise S3Error(ErrorCode.InvalidArgument, message, ArgumentName=name)
