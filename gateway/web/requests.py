"""What a handler is given of a request: everything parsed once, only the stream still aiohttp's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from aiohttp import web

from gateway.catalog.queries import VersionRow
from gateway.rights import Limits
from gateway.s3.access import BucketAccess
from gateway.s3.address import Address
from gateway.s3.credentials import UNSIGNED_PAYLOAD, RequestHead
from gateway.s3.query import hoisted_headers
from gateway.s3.sigv4 import ChunkSigner

_ABSOLUTE_FORM = re.compile(r"https?://[^/?]*", re.IGNORECASE)


class Identity(NamedTuple):
    """Who sent a request.

    `payload_hash` is the x-amz-content-sha256 that was signed; `chunk_signer` verifies an
    aws-chunked body and is None for a key without a secret. `limits` are those of the key, and
    `key_name` is what may be shown of it. `is_anonymous` says that nobody in particular did. `how`
    it was signed is the version and the place of the signature, as conditions of policies name
    them: `AWS4-HMAC-SHA256` and `REST-HEADER`.
    """

    account: str
    key_name: str
    payload_hash: str
    chunk_signer: ChunkSigner | None = None
    limits: Limits | None = None
    is_anonymous: bool = False
    how: tuple[str, str] | None = None


NOBODY = Identity("", "anonymous~", UNSIGNED_PAYLOAD, is_anonymous=True)
"""Who names no key where buckets are shared: no account, no rights of its own, no key's name."""


@dataclass(slots=True)
class S3Request:
    """One request to the S3 door. `headers` have lower-case names, those of the query included.

    `cors` is what the answer says to a page of another origin, where one asks. `access` decides
    about the bucket where buckets are shared; `version` is the one that was decided about.
    """

    http: web.BaseRequest
    request_id: str
    head: RequestHead
    query: dict[str, str]
    headers: Mapping[str, str]
    address: Address
    identity: Identity = field(init=False)
    cors: Mapping[str, str] | None = None
    access: BucketAccess | None = None
    version: VersionRow | None = None

    @property
    def method(self) -> str:
        """The method, upper case."""
        return self.head.method

    @property
    def account(self) -> str:
        """Whose bucket the request means: that of who sent it, unless it is shared."""
        return self.identity.account if self.access is None else self.access.account

    @property
    def creates_only(self) -> bool:
        """Whether what the request puts must not supersede an object."""
        limits = self.identity.limits
        return limits is not None and limits.creates_only

    @property
    def bucket(self) -> str:
        """The bucket that the path names."""
        assert self.address.bucket is not None
        return self.address.bucket

    @property
    def key(self) -> bytes:
        """The key that the path names."""
        assert self.address.key is not None
        return self.address.key


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target, both as sent; the absolute form loses its origin."""
    if not target.startswith("/"):
        target = _ABSOLUTE_FORM.sub("", target, count=1)
    path, _, query = target.partition("?")
    return path or "/", query


def read_head(request: web.BaseRequest, path: str, query: str) -> RequestHead:
    """The signed part of a request, as it came over the wire; path and query as split."""
    pairs = [
        (_lower_name(name), value.decode("utf-8", "surrogateescape").strip(" \t"))
        for name, value in request.raw_headers
    ]
    return RequestHead.from_wire(request.method, path, query, pairs)


@lru_cache(maxsize=1024)
def _lower_name(raw_name: bytes) -> str:
    return raw_name.decode("ascii", "replace").lower()


def effective_headers(head: RequestHead, query: dict[str, str]) -> Mapping[str, str]:
    """The headers and those that a presigned URL carries in its query."""
    hoisted = hoisted_headers(query) if query else {}
    return {**hoisted, **head.headers} if hoisted else head.headers
