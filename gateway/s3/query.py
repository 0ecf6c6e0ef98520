"""The query string of a request as a dictionary; signing works on the raw string instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from gateway.s3.errors import ErrorCode, S3Error


def parse_query(raw: str) -> dict[str, str]:
    """Read a raw query string, without its `?`: `uploads&prefix=a%20b` → names to values.

    `+` is a space and `%2B` a plus; a flag without `=` has the value `""`; of repeated names
    the first wins. Raises S3Error InvalidURI for a broken escape, a NUL or bytes that are
    not UTF-8.
    """
    query: dict[str, str] = {}
    if not raw:
        return query
    for pair in raw.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            query.setdefault(_decode(name), _decode(value))
    return query


def hoisted_headers(query: Mapping[str, str]) -> dict[str, str]:
    """The request headers that a presigned URL carries as `x-amz-*` parameters, lower-case.

    SDKs move headers such as `x-amz-meta-mtime` or `x-amz-acl` into the query when they
    presign; S3 takes them for headers. The parameters of the signature itself are left out.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
    """
    return {
        name.lower(): value
        for name, value in query.items()
        if name.lower().startswith("x-amz-") and name.lower() not in SIGNATURE_PARAMETERS
    }


SIGNATURE_PARAMETERS = frozenset(
    {
        "x-amz-algorithm",
        "x-amz-content-sha256",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
        "x-amz-user-agent",
    }
)

_BROKEN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


def _decode(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    if text.isascii() and "%" not in text and "\0" not in text:
        return text
    if _BROKEN_ESCAPE.search(text):
        raise S3Error(ErrorCode.InvalidURI)
    try:
        decoded = unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        raise S3Error(ErrorCode.InvalidURI) from None
    if "\0" in decoded:
        raise S3Error(ErrorCode.InvalidURI)
    return decoded
