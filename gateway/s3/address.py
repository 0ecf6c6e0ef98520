"""From the path on the wire to a bucket and a key; never normalises, decodes exactly once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from gateway.s3.errors import ErrorCode, S3Error

KEY_BYTES_MAX = 1024
DEFAULT_BUCKET = "default"


class Address(NamedTuple):
    """What host and path name: the service (no bucket), a bucket (no key), or an object.

    `key` is the decoded key: valid UTF-8 without NUL, 1 to 1024 bytes. `base_path` is the
    configured path that matched, without its trailing slash (`""` for `/`). `bucket_slash`
    tells `/s3/b/` (True) from `/s3/b` (False); it is False whenever there is a key. `by_host`
    says that the host named the bucket, which is then never a flat key.
    """

    bucket: str | None
    key: bytes | None
    base_path: str
    bucket_slash: bool = False
    by_host: bool = False


def order_base_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """Prepare configured base paths (`/s3`, `/`) for `parse_address`: longest first.

    Raises ValueError for a path that does not start with a slash.
    """
    wanted = set(paths)
    for path in wanted:
        if not path.startswith("/"):
            raise ValueError(f"a base path starts with '/': {path!r}")
    return tuple(sorted({path.rstrip("/") for path in wanted}, key=len, reverse=True))


def order_domains(domains: Iterable[str]) -> tuple[str, ...]:
    """Prepare configured domains (`s3.example.org`) for `host_bucket`: longest first."""
    return tuple(sorted({domain.lower() for domain in domains}, key=len, reverse=True))


def host_bucket(host: str, domains: Iterable[str]) -> str | None:
    """The bucket that a Host header names in front of one of the domains; None for no bucket.

    `domains` comes from `order_domains`. A host that ends in none of them is one for path style.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
    """
    name = _PORT.sub("", host.lower()).removesuffix(".")
    for domain in domains:
        if name == domain:
            return None
        if name.endswith(f".{domain}"):
            return name.removesuffix(f".{domain}") or None
    return None


def parse_host_address(path: str, bucket: str, base_paths: Iterable[str]) -> Address | None:
    """As `parse_address`, where the host names the bucket: all of the path is the key.

    It is read below `/` where that is mounted, else below another base path.
    """
    base_paths = tuple(base_paths)
    base_path = "" if "" in base_paths else _base_path_of(path, base_paths)
    if base_path is None:
        return None
    raw_key = path[len(base_path) + 1 :]
    if not raw_key:
        return Address(bucket, None, base_path, bucket_slash=True, by_host=True)
    return Address(bucket, check_key(_decode(raw_key)), base_path, by_host=True)


def parse_address(path: str, base_paths: Iterable[str]) -> Address | None:
    """Read the path of a request as sent, without its query: still percent-encoded.

    `base_paths` comes from `order_base_paths`; the longest match wins. None means that the
    path is under none of them. `+` is a plus sign, and `.`, `..`, `//` and `%2F` are parts
    of the key like any other.

    Raises S3Error: InvalidURI for a broken escape, a NUL or bytes that are not UTF-8,
    KeyTooLongError beyond 1024 bytes, InvalidBucketName for an empty bucket before a key.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
    """
    base_path = _base_path_of(path, base_paths)
    if base_path is None:
        return None
    rest = path[len(base_path) :]
    if len(rest) <= 1:
        return Address(None, None, base_path)
    raw_bucket, slash, raw_key = rest[1:].partition("/")
    bucket = _decode(raw_bucket).decode()
    if not bucket:
        raise S3Error(ErrorCode.InvalidBucketName, BucketName="")
    if not raw_key:
        return Address(bucket, None, base_path, bucket_slash=bool(slash))
    return Address(bucket, check_key(_decode(raw_key)), base_path)


def flat_address(address: Address) -> Address:
    """Read a one-segment address (`/s3/name`) as Auto Drive does: key `name` in `default`.

    With its slash (`/s3/name/`) the key is `name/`. Raises S3Error KeyTooLongError.
    """
    if address.bucket is None or address.key is not None:
        raise ValueError("only the address of a bucket can be read as a flat key")
    key = address.bucket.encode() + b"/" * address.bucket_slash
    return Address(DEFAULT_BUCKET, check_key(key), address.base_path)


def check_key(key: bytes) -> bytes:
    """The key, if it is not too long; S3Error KeyTooLongError."""
    if len(key) > KEY_BYTES_MAX:
        raise S3Error(ErrorCode.KeyTooLongError, Size=len(key), MaxSizeAllowed=KEY_BYTES_MAX)
    return key


def check_bucket_name(name: str) -> None:
    """Refuse a name that CreateBucket must not create, by S3Error InvalidBucketName.

    AWS also reserves prefixes and suffixes for itself (`xn--`, `-s3alias`, …); they mean
    nothing here and are allowed.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    if not _BUCKET_NAME.fullmatch(name) or _IPV4_SHAPE.fullmatch(name):
        raise S3Error(ErrorCode.InvalidBucketName, BucketName=name)


def _base_path_of(path: str, base_paths: Iterable[str]) -> str | None:
    for base_path in base_paths:
        rest = path[len(base_path) :]
        if path.startswith(base_path) and (not rest or rest[0] == "/"):
            return base_path
    return None


_PORT = re.compile(r":[0-9]*\Z")
_BROKEN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_BUCKET_NAME = re.compile(r"(?!.*(?:\.\.|\.-|-\.))[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4_SHAPE = re.compile(r"[0-9]+(?:\.[0-9]+){3}")


def _decode(segment: str) -> bytes:
    if segment.isascii() and "%" not in segment and "\0" not in segment:
        return segment.encode("ascii")
    if _BROKEN_ESCAPE.search(segment):
        raise S3Error(ErrorCode.InvalidURI)
    # Raw bytes that are not UTF-8 reach us as lone surrogates and must fail below.
    decoded = unquote_to_bytes(segment.encode("utf-8", "surrogateescape"))
    try:
        decoded.decode()
    except UnicodeDecodeError:
        raise S3Error(ErrorCode.InvalidURI) from None
    if b"\0" in decoded:
        raise S3Error(ErrorCode.InvalidURI)
    return decoded
