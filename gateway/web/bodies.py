"""Request bodies: decoded, bounded, verified. Nothing here ever holds a whole one.

The digests that a client announces are known before the first byte or, as trailers, after the
last; either way the body is refused at its end and what was stored of it is dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from aiohttp import StreamReader, web
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError

from gateway.digests import BodyDigests
from gateway.s3.aws_chunked import AwsChunkedDecoder
from gateway.s3.checksums import (
    ChecksumAlgorithm,
    ExpectedChecksum,
    Hasher,
    checksum_mismatch,
    encode_digest,
    expected_checksum,
    expected_md5,
)
from gateway.s3.credentials import (
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    STREAMING_UNSIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
)
from gateway.s3.errors import ErrorCode, S3Error
from gateway.web.receiving import DirectReceiver
from gateway.web.requests import S3Request
from gateway.web.server import S3Protocol

_STREAMING = frozenset({STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER})
_TRAILING = frozenset({STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER})
# Below this, taking the connection over costs more than it saves.
DIRECT_BYTES_MIN = 128 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BodyDecoder(Protocol):
    """Takes what wraps the bytes of an object off a body, see `AwsChunkedDecoder`."""

    def feed(self, data: bytes, /) -> list[memoryview]:
        """The bytes of the object in the next piece of the body."""
        ...

    def finish(self) -> dict[str, str]:
        """The trailers, once the body is at its end."""
        ...


class RequestBody:
    """The decoded bytes of one body, an ingest `Body`.

    `length` is what the client announced, None for a chunked body without
    x-amz-decoded-content-length. Reading raises S3Error: IncompleteBody, RequestTimeout,
    SignatureDoesNotMatch, EntityTooLarge, EntityTooSmall.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        *,
        length: int | None,
        bytes_max: int,
        idle_seconds_max: float,
        decoder: BodyDecoder | None,
    ) -> None:
        if length is not None and length > bytes_max:
            raise S3Error(ErrorCode.EntityTooLarge, ProposedSize=length, MaxSizeAllowed=bytes_max)
        self.length = length
        self.trailers: Mapping[str, str] = {}
        self._request = request
        self._stream: StreamReader = request.content
        self._bytes_min = 0
        self._bytes_max = bytes_max
        self._idle_seconds_max = idle_seconds_max
        self._decoder = decoder
        self._pieces: deque[memoryview] = deque()
        self._received = 0
        self._ended = False
        self._receiver: DirectReceiver | None = None
        self._expects_continue = request.headers.get("Expect", "").lower() == "100-continue"

    @property
    def untouched(self) -> bool:
        """Whether the client still waits for leave to send the body."""
        return self._expects_continue

    def limit(self, bytes_min: int, bytes_max: int | None) -> None:
        """Refuse a body with fewer bytes or more, besides what is refused anyway.

        Raises S3Error(EntityTooLarge) where there are more already.
        """
        self._bytes_min = bytes_min
        if bytes_max is not None:
            self._bytes_max = min(self._bytes_max, bytes_max)
        self._check_size()

    async def receive_until(self, reached: Callable[[], bool]) -> None:
        """Receive until the decoder has come so far, or to the end of the body."""
        while not self._ended and not reached():
            await self._receive()

    async def fill(self, views: Sequence[memoryview]) -> int:
        """Fill the views one after the other; how many bytes, fewer than fit only at the end."""
        filled = 0
        for i, view in enumerate(views):
            at = 0
            while at < len(view):
                if self._pieces:
                    taken = self._copy_to(view[at:])
                    at += taken
                    filled += taken
                elif self._ended:
                    return filled
                elif self._can_receive_directly():
                    return filled + await self._receive_directly((view[at:], *views[i + 1 :]))
                else:
                    await self._receive()
        return filled

    def _copy_to(self, view: memoryview) -> int:
        piece = self._pieces[0]
        taken = min(len(piece), len(view))
        view[:taken] = piece[:taken]
        if taken == len(piece):
            self._pieces.popleft()
        else:
            self._pieces[0] = piece[taken:]
        return taken

    def _can_receive_directly(self) -> bool:
        """Whether the rest of the body may go from the socket into the caller's buffers."""
        if self._receiver is not None:
            return True
        if self.length is None or self._decoder is not None or self._expects_continue:
            return False
        if self.length - self._received < DIRECT_BYTES_MIN or self._stream.is_eof():
            return False
        protocol = self._request.protocol
        if isinstance(protocol, S3Protocol) and protocol.is_caught_up(self._stream):
            self._receiver = protocol.receive_directly(
                self._stream, self.length - self._received, self._idle_seconds_max
            )
        return self._receiver is not None

    async def _receive_directly(self, views: Sequence[memoryview]) -> int:
        assert self._receiver is not None
        assert self.length is not None
        received = await self._receiver.fill(views)
        self._received += received
        if self._received == self.length:
            self._receiver = None
            self._end()
        return received

    async def read_all(self, bytes_max: int) -> bytes:
        """The whole of a small body; S3Error(MaxMessageLengthExceeded) beyond `bytes_max`."""
        whole = bytearray()
        while True:
            while self._pieces:
                whole += self._pieces.popleft()
            if len(whole) > bytes_max:
                raise S3Error(ErrorCode.MaxMessageLengthExceeded, MaxMessageLengthBytes=bytes_max)
            if self._ended:
                return bytes(whole)
            await self._receive()

    async def _receive(self) -> None:
        """Wait for the next bytes, or for the end."""
        if self._expects_continue:
            self._expects_continue = False
            await self._request.writer.write(_CONTINUE)
            self._request.writer.output_size = 0
        try:
            if self._stream.at_eof() or self._stream._buffer:
                # The timer that waiting needs costs more than a small body.
                data = self._stream.read_nowait()
            else:
                async with asyncio.timeout(self._idle_seconds_max):
                    data = await self._stream.readany()
        except TimeoutError:
            raise S3Error(ErrorCode.RequestTimeout) from None
        except (ClientError, ConnectionError, HttpProcessingError) as error:
            raise S3Error(ErrorCode.IncompleteBody) from error
        if not data:
            self._end()
            return
        if self._decoder is not None:
            pieces = self._decoder.feed(data)
            self._received += sum(map(len, pieces))
            self._pieces.extend(pieces)
        else:
            self._received += len(data)
            self._pieces.append(memoryview(data))
        self._check_size()

    def _check_size(self) -> None:
        if self._received > self._bytes_max:
            raise S3Error(
                ErrorCode.EntityTooLarge,
                ProposedSize=self._received,
                MaxSizeAllowed=self._bytes_max,
            )

    def _end(self) -> None:
        self._ended = True
        if self._decoder is not None:
            self.trailers = self._decoder.finish()
        if self.length is not None and self._received != self.length:
            raise S3Error(ErrorCode.IncompleteBody)
        if self._received < self._bytes_min:
            raise S3Error(
                ErrorCode.EntityTooSmall,
                ProposedSize=self._received,
                MinSizeAllowed=self._bytes_min,
            )


class VerifiedBody:
    """A body together with every digest that its request announced for it."""

    def __init__(
        self,
        request: S3Request,
        *,
        bytes_max: int,
        idle_seconds_max: float,
        body: RequestBody | None = None,
        has_checksum: bool = True,
    ) -> None:
        """Raises S3Error for headers that announce nonsense, before a byte is read.

        `body` is one of which a part has been read already, the file of a form. Without
        `has_checksum` x-amz-checksum-* is of something else than the body.
        """
        headers = request.headers
        payload_hash = request.identity.payload_hash
        self._md5 = expected_md5(headers)
        self._checksum: ExpectedChecksum | None = (
            expected_checksum(headers) if has_checksum else None
        )
        self._payload_hash = payload_hash
        self.body = body or RequestBody(
            request.http,
            length=announced_length(headers, payload_hash),
            bytes_max=bytes_max,
            idle_seconds_max=idle_seconds_max,
            decoder=_decoder(request),
        )
        hashers: list[Hasher] = []
        self._sha256: Hasher | None = None
        if payload_hash != UNSIGNED_PAYLOAD and payload_hash not in _STREAMING:
            self._sha256 = hashlib.sha256()
            hashers.append(self._sha256)
        self._hasher: Hasher | None = None
        self._unannounced: ChecksumAlgorithm | None = None
        if self._checksum is not None:
            self._hasher = self._checksum.algorithm.new()
            hashers.append(self._hasher)
        self.digests = BodyDigests(hashers)

    def ensure_checksum(self, algorithm: ChecksumAlgorithm | None) -> None:
        """Have this checksum computed even if the client sends none; before the body is read.

        Raises S3Error(InvalidRequest) where the client announces one of another algorithm.
        """
        if algorithm is None:
            return
        if self._checksum is None:
            self._unannounced = algorithm
            self._hasher = algorithm.new()
            self.digests.add(self._hasher)
        elif self._checksum.algorithm is not algorithm:
            raise checksum_mismatch(algorithm, self._checksum.algorithm)

    def check(self) -> tuple[str, str] | None:
        """Compare everything announced with what came; the checksum to keep, (name, base64).

        Raises S3Error: BadDigest, XAmzContentSHA256Mismatch, MalformedTrailerError.
        """
        if self._sha256 is not None and self._sha256.digest().hex() != self._payload_hash:
            raise S3Error(
                ErrorCode.XAmzContentSHA256Mismatch,
                ClientComputedContentSHA256=self._payload_hash,
                S3ComputedContentSHA256=self._sha256.digest().hex(),
            )
        if self._md5 is not None and self._md5 != self.digests.md5:
            raise S3Error(
                ErrorCode.BadDigest,
                CalculatedDigest=encode_digest(self.digests.md5),
                ExpectedDigest=encode_digest(self._md5),
            )
        if self._hasher is None:
            return None
        if self._checksum is None:
            assert self._unannounced is not None
            return self._unannounced.name, encode_digest(self._hasher.digest())
        expected = self._checksum.with_trailers(self.body.trailers)
        digest = self._hasher.digest()
        expected.check(digest)
        return expected.algorithm.name, encode_digest(digest)

    async def read_document(self, bytes_max: int) -> bytes:
        """The whole of a small body, verified."""
        document = await self.body.read_all(bytes_max)
        self.digests.update((memoryview(document),))
        self.check()
        return document


def is_empty(request: S3Request) -> bool:
    """Whether a request announces no body, or an empty one."""
    headers = request.headers
    if "transfer-encoding" in headers:
        return False
    return headers.get("content-length", "0") == "0"


def _decoder(request: S3Request) -> AwsChunkedDecoder | None:
    payload_hash = request.identity.payload_hash
    if payload_hash not in _STREAMING:
        return None
    length = _decoded_length(request.headers)
    trailers = request.headers.get("x-amz-trailer", "") if payload_hash in _TRAILING else ""
    names = [name.strip().lower() for name in trailers.split(",") if name.strip()]
    signer = request.identity.chunk_signer if payload_hash != STREAMING_UNSIGNED_TRAILER else None
    return AwsChunkedDecoder(signer, length, names)


def announced_length(headers: Mapping[str, str], payload_hash: str) -> int | None:
    """How many bytes a body will have, None if that is open; S3Error(MissingContentLength)."""
    if payload_hash in _STREAMING:
        return _decoded_length(headers)
    if "transfer-encoding" in headers:
        return None
    length = headers.get("content-length")
    if length is None:
        raise S3Error(ErrorCode.MissingContentLength)
    return _length(length)


def _decoded_length(headers: Mapping[str, str]) -> int:
    length = headers.get("x-amz-decoded-content-length")
    if length is None:
        raise S3Error(ErrorCode.MissingContentLength)
    return _length(length)


def _length(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise S3Error(ErrorCode.MissingContentLength)
    return int(text)
