"""Finds out who sent a request, before a byte of its body is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from gateway.s3.credentials import (
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    RequestHead,
    find_claim,
    parse_authorization,
)
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.sigv4 import ChunkSigner, verify
from gateway.web.requests import Identity

# An unknown key costs what a wrong secret costs.
_MADE_UP_SECRET = "an unknown key is verified against this"


class Key(Protocol):
    """An access key: its secret, None for one that identifies by itself, and its account."""

    @property
    def secret(self) -> str | None: ...
    @property
    def account(self) -> str: ...


class Authenticator:
    """Verifies requests against the keys that `lookup` knows."""

    def __init__(self, lookup: Callable[[str], Key | None], now: Callable[[], datetime]) -> None:
        self._lookup = lookup
        self._now = now

    def authenticate(self, head: RequestHead, base_path: str) -> Identity:
        """Who sent the request.

        Raises S3Error: AccessDenied for an anonymous request, InvalidAccessKeyId,
        SignatureDoesNotMatch, RequestTimeTooSkewed, and what malformed credentials call for.
        """
        claim = find_claim(head)
        if claim is None:
            raise S3Error(ErrorCode.AccessDenied)
        key = self._lookup(claim.access_key)
        if key is not None and key.secret is None:
            return Identity(key.account, claim.payload_hash)
        credentials = parse_authorization(head)
        if credentials is None:
            raise S3Error(ErrorCode.AccessDenied)
        secret = key.secret if key is not None and key.secret else _MADE_UP_SECRET
        try:
            verify(credentials, secret, head, self._now(), base_path=base_path)
        except S3Error as error:
            if key is None and error.code is ErrorCode.SignatureDoesNotMatch:
                raise S3Error(ErrorCode.InvalidAccessKeyId) from None
            raise
        if key is None:
            raise S3Error(ErrorCode.InvalidAccessKeyId)
        signer = None
        if credentials.payload_hash in (STREAMING_SIGNED, STREAMING_SIGNED_TRAILER):
            signer = ChunkSigner.for_request(credentials, secret)
        return Identity(key.account, credentials.payload_hash, signer)
