"""Finds out who sent a request, before a byte of its body is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from gateway.rights import Limits
from gateway.s3.address import Address
from gateway.s3.credentials import (
    ALGORITHM,
    ALGORITHM_V2,
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
    Claim,
    RequestHead,
    Scheme,
    find_claim,
    parse_authorization,
    parse_v2,
)
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.post_policy import find_signer
from gateway.s3.query import parse_query
from gateway.s3.sigv2 import verify_v2
from gateway.s3.sigv4 import SKEW_MAX, ChunkSigner, verify
from gateway.web.requests import NOBODY, Identity, effective_headers

Proof = tuple[str, ChunkSigner | None]
"""The payload hash that was signed, and what verifies signed chunks."""

# An unknown key costs what a wrong secret costs.
_MADE_UP_SECRET = "an unknown key is verified against this"
_HOW = {
    Scheme.V4_HEADER: (ALGORITHM, "REST-HEADER"),
    Scheme.V4_QUERY: (ALGORITHM, "REST-QUERY-STRING"),
    Scheme.V2_HEADER: (ALGORITHM_V2, "REST-HEADER"),
    Scheme.V2_QUERY: (ALGORITHM_V2, "REST-QUERY-STRING"),
}
_SIGNED_CHUNKS = frozenset({STREAMING_SIGNED, STREAMING_SIGNED_TRAILER})


class Key(Protocol):
    """An access key: its secret, None for one that identifies by itself, and its account.

    `access_key` names it and is only a label where there is no secret. `limits` is None for a key
    that may do everything its account can, for ever.
    """

    @property
    def access_key(self) -> str: ...
    @property
    def secret(self) -> str | None: ...
    @property
    def account(self) -> str: ...
    @property
    def limits(self) -> Limits | None: ...


class Authenticator:
    """Verifies requests against the keys that `lookup` knows.

    `lookup_anonymous` gives what stands for a key where a request to a bucket names none, while
    it lasts. With `admits_anonymous` buckets may be shared with everybody: who names no key is
    nobody in particular, and what that one may do is decided later.
    """

    def __init__(
        self,
        lookup: Callable[[str], Key | None],
        lookup_anonymous: Callable[[str], Key | None],
        now: Callable[[], datetime],
        skew_max: timedelta = SKEW_MAX,
        *,
        admits_anonymous: bool = False,
    ) -> None:
        self._lookup = lookup
        self._lookup_anonymous = lookup_anonymous
        self._now = now
        self._skew_max = skew_max
        self._admits_anonymous = admits_anonymous

    def authenticate(self, head: RequestHead, address: Address) -> Identity:
        """Who sent the request for what is at `address`.

        Raises S3Error: AccessDenied for an anonymous request to a bucket that is not open to
        all, and for a key after its time,
        InvalidAccessKeyId, SignatureDoesNotMatch, RequestTimeTooSkewed, and what malformed
        credentials call for.
        """
        claim = find_claim(head)
        if claim is None:
            payload_hash = head.headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD)
            return self._anonymous(address, payload_hash)

        def verify_with(secret: str) -> Proof:
            if claim.scheme is Scheme.V2_HEADER or claim.scheme is Scheme.V2_QUERY:
                return self._verify_v2(claim, head, secret, address)
            return self._verify_v4(head, secret, address.base_path)

        key, (payload_hash, chunk_signer) = self._prove(
            claim.access_key, verify_with, (claim.payload_hash, None)
        )
        return Identity(
            key.account,
            key.access_key,
            payload_hash,
            chunk_signer,
            key.limits,
            how=_HOW[claim.scheme],
        )

    def _anonymous(self, address: Address, payload_hash: str) -> Identity:
        key = self._lookup_anonymous(address.bucket) if address.bucket is not None else None
        # Without limits nobody would ask what it may do.
        if key is None or key.limits is None:
            if not self._admits_anonymous or payload_hash in _SIGNED_CHUNKS:
                raise S3Error(ErrorCode.AccessDenied)
            return NOBODY._replace(payload_hash=payload_hash)
        return Identity(
            key.account, key.access_key, UNSIGNED_PAYLOAD, limits=key.limits, is_anonymous=True
        )

    def authenticate_form(self, fields: Mapping[str, str], address: Address) -> Identity:
        """Who signed the policy of a form for `address`; raises as `authenticate` does."""
        signer = find_signer(fields)
        if signer is None:
            return self._anonymous(address, UNSIGNED_PAYLOAD)

        def verify_with(secret: str) -> Proof:
            signer.verify(secret)
            return UNSIGNED_PAYLOAD, None

        key, (payload_hash, _) = self._prove(
            signer.access_key, verify_with, (UNSIGNED_PAYLOAD, None)
        )
        how = (signer.algorithm, "POST")
        return Identity(key.account, key.access_key, payload_hash, limits=key.limits, how=how)

    def _prove(
        self, access_key: str, verify_with: Callable[[str], Proof], identified: Proof
    ) -> tuple[Key, Proof]:
        """The key of this name, and what `verify_with` its secret gave.

        A key without a secret needs no proof: `identified` stands for it. Raises S3Error:
        InvalidAccessKeyId, AccessDenied for a key after its time, and what `verify_with` raises.
        """
        key = self._lookup(access_key)
        if key is not None and key.secret is None:
            proof = identified
        else:
            try:
                proof = verify_with(
                    key.secret if key is not None and key.secret else _MADE_UP_SECRET
                )
            except S3Error as error:
                if key is None and error.code is ErrorCode.SignatureDoesNotMatch:
                    raise S3Error(ErrorCode.InvalidAccessKeyId) from None
                raise
        if key is None:
            raise S3Error(ErrorCode.InvalidAccessKeyId)
        if key.limits is not None and key.limits.has_expired(self._now()):
            raise S3Error(ErrorCode.AccessDenied, "The access key has expired.")
        return key, proof

    def _verify_v4(self, head: RequestHead, secret: str, base_path: str) -> Proof:
        credentials = parse_authorization(head)
        if credentials is None:
            raise S3Error(ErrorCode.AccessDenied)
        verify(
            credentials,
            secret,
            head,
            self._now(),
            base_path=base_path,
            skew_max=self._skew_max,
        )
        if credentials.payload_hash in _SIGNED_CHUNKS:
            return credentials.payload_hash, ChunkSigner.for_request(credentials, secret)
        return credentials.payload_hash, None

    def _verify_v2(self, claim: Claim, head: RequestHead, secret: str, address: Address) -> Proof:
        headers = effective_headers(head, parse_query(head.raw_query))
        verify_v2(
            parse_v2(head),
            secret,
            head,
            headers,
            self._now(),
            base_path=address.base_path,
            host_bucket=address.bucket if address.by_host else None,
            skew_max=self._skew_max,
        )
        if claim.payload_hash in _SIGNED_CHUNKS:
            raise S3Error(
                ErrorCode.InvalidRequest,
                f"Chunks are signed with {ALGORITHM}; the request is with Signature Version 2.",
            )
        return claim.payload_hash, None
