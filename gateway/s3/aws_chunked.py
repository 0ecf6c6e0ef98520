"""Decodes aws-chunked bodies piece by piece: framing in, object bytes and trailers out.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum, auto
from hashlib import sha256

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.sigv4 import EMPTY_SHA256, ChunkSigner

HEADER_LINE_BYTES_MAX = 1024
CHUNK_BYTES_MAX = 5 << 30
TRAILER_BYTES_MAX = 16 << 10

TRAILER_SIGNATURE = "x-amz-trailer-signature"


class AwsChunkedDecoder:
    """Decodes one body: `feed` it as it arrives, then `finish`.

    `decoded_length` is the length of the object in bytes (x-amz-decoded-content-length).
    `trailer_names` are the lower-case names that x-amz-trailer announces: the trailers must be
    exactly these. With a `signer` every chunk and the trailers must carry valid signatures;
    without one signatures are accepted and ignored. After an error the decoder is of no more use.

    Bytes are handed out before the signature of their chunk is known, so nothing may become
    visible before `finish` has returned.
    """

    def __init__(
        self,
        signer: ChunkSigner | None,
        decoded_length: int,
        trailer_names: Collection[str] = (),
    ) -> None:
        self._signer = signer
        self._trailer_names = frozenset(trailer_names)
        self._state = _State.FIRST_HEADER
        # The start of a chunk header or of the trailers that no piece has completed yet.
        self._pending = b""
        self._object_bytes_left = decoded_length
        self._chunk_bytes_left = 0
        self._chunk_hash = sha256()
        self._chunk_signature = b""
        self._trailers: dict[str, str] = {}

    def feed(self, data: bytes | memoryview) -> list[memoryview]:
        """The object bytes in the next piece of the body, as slices of `data`; none are copied.

        Raises S3Error: IncompleteBody for wrong framing, for more bytes than announced and for
        anything after the end; SignatureDoesNotMatch; MalformedTrailerError.
        """
        view = memoryview(data)
        at, stop = 0, len(view)
        pieces: list[memoryview] = []
        while at < stop:
            if self._chunk_bytes_left:
                piece = view[at : at + self._chunk_bytes_left]
                pieces.append(piece)
                at += len(piece)
                self._take_data(piece)
            elif self._state is _State.TRAILERS:
                self._take_trailers(view[at:])
                at = stop
            elif self._state is _State.ENDED:
                raise _incomplete("There is data after the end of the body.")
            else:
                at = self._take_header(view, at)
        return pieces

    def finish(self) -> dict[str, str]:
        """The trailers by lower-case name, without their signature; to be called at the end.

        Raises S3Error IncompleteBody if the body is cut short.
        """
        if self._state is not _State.ENDED:
            raise _incomplete("The body ends before its last chunk and trailers.")
        return self._trailers

    def _take_data(self, piece: memoryview) -> None:
        self._chunk_bytes_left -= len(piece)
        if self._signer is None:
            return
        self._chunk_hash.update(piece)
        if not self._chunk_bytes_left:
            self._signer.verify_chunk(self._chunk_hash.hexdigest(), self._chunk_signature)

    def _take_header(self, view: memoryview, at: int) -> int:
        """Reads a chunk header, or keeps the start of one; returns the position behind it."""
        pattern = _FIRST_HEADER if self._state is _State.FIRST_HEADER else _NEXT_HEADER
        before = len(self._pending)
        if before:
            line = self._pending + view[at : at + HEADER_LINE_BYTES_MAX - before]
            match = pattern.match(line)
        else:
            match = pattern.match(view, at, at + HEADER_LINE_BYTES_MAX)
        if match is None:
            line = self._pending + view[at : at + HEADER_LINE_BYTES_MAX - before]
            if len(line) == HEADER_LINE_BYTES_MAX or not _HEADER_START.fullmatch(line):
                raise _incomplete("A chunk header is malformed.")
            self._pending = line
            return len(view)
        self._pending = b""
        self._start_chunk(int(match[1], 16), match[2])
        return at + (match.end() - before) if before else match.end()

    def _start_chunk(self, chunk_bytes: int, signature: bytes | None) -> None:
        if chunk_bytes > self._object_bytes_left or chunk_bytes > CHUNK_BYTES_MAX:
            raise _incomplete("The chunks hold more bytes than x-amz-decoded-content-length says.")
        if self._signer is not None:
            if signature is None:
                raise _incomplete("A chunk has no chunk-signature.")
            self._chunk_hash = sha256()
            self._chunk_signature = signature
        self._object_bytes_left -= chunk_bytes
        self._chunk_bytes_left = chunk_bytes
        if chunk_bytes:
            self._state = _State.NEXT_HEADER
            return
        if self._object_bytes_left:
            raise _incomplete("The chunks hold fewer bytes than x-amz-decoded-content-length says.")
        if self._signer is not None:
            self._signer.verify_chunk(EMPTY_SHA256, self._chunk_signature)
        self._state = _State.TRAILERS

    def _take_trailers(self, view: memoryview) -> None:
        section = self._pending + view[: TRAILER_BYTES_MAX + 4 - len(self._pending)]
        # Without trailers the section is the empty line alone.
        end = 0 if section.startswith(b"\r\n") else section.find(b"\r\n\r\n")
        if end < 0:
            if len(section) > TRAILER_BYTES_MAX:
                raise S3Error(ErrorCode.MalformedTrailerError)
            self._pending = section
            return
        section_bytes = end + (4 if end else 2)
        if section_bytes < len(self._pending) + len(view):
            raise _incomplete("There is data after the end of the body.")
        self._pending = b""
        self._trailers = self._checked_trailers(section[:end])
        self._state = _State.ENDED

    def _checked_trailers(self, section: bytes) -> dict[str, str]:
        trailers: dict[str, str] = {}
        for line in section.decode("latin-1").split("\r\n") if section else ():
            name, colon, value = line.partition(":")
            name = name.strip().lower()
            if not colon or not name or name in trailers:
                raise S3Error(ErrorCode.MalformedTrailerError)
            # minio-go ends a trailer with "\n\r\n".
            trailers[name] = value.strip()
        signature = trailers.pop(TRAILER_SIGNATURE, None)
        if trailers.keys() != self._trailer_names:
            raise S3Error(ErrorCode.MalformedTrailerError)
        if self._signer is not None and (trailers or signature is not None):
            if signature is None:
                raise S3Error(ErrorCode.MalformedTrailerError, f"{TRAILER_SIGNATURE} is missing.")
            signed = "".join(f"{name}:{value}\n" for name, value in trailers.items())
            self._signer.verify_trailer(
                sha256(signed.encode("latin-1")).hexdigest(), signature.encode("latin-1")
            )
        return trailers


class _State(Enum):
    FIRST_HEADER = auto()
    NEXT_HEADER = auto()
    TRAILERS = auto()
    ENDED = auto()


# The line end behind the data of a chunk is read with the header of the next one.
_FIRST_HEADER = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([^\r\n]*))?\r\n")
_NEXT_HEADER = re.compile(rb"\r\n" + _FIRST_HEADER.pattern)
# What a header cut short may look like; a fault is then seen early, not when the body ends.
_HEADER_START = re.compile(rb"\r?\n?[0-9a-fA-F]{0,16}(?:;[^\r\n]*)?\r?")


def _incomplete(reason: str) -> S3Error:
    return S3Error(ErrorCode.IncompleteBody, f"The aws-chunked body is not well-formed: {reason}")
