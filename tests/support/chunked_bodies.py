"""Builds aws-chunked bodies as clients do, signed straight from the written rules.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class ClientSigner:
    """Signs the chunks and trailers of one body."""

    key: bytes
    timestamp: str
    scope: str
    previous: str

    def chunk(self, data: bytes) -> str:
        empty = hashlib.sha256(b"").hexdigest()
        return self._sign("PAYLOAD", f"{empty}\n{hashlib.sha256(data).hexdigest()}")

    def trailer(self, section: bytes) -> str:
        return self._sign("TRAILER", hashlib.sha256(section).hexdigest())

    def _sign(self, kind: str, rest: str) -> str:
        text = f"AWS4-HMAC-SHA256-{kind}\n{self.timestamp}\n{self.scope}\n{self.previous}\n{rest}"
        self.previous = hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()
        return self.previous


def encode(
    chunks: Sequence[bytes],
    signer: ClientSigner | None = None,
    trailers: dict[str, str] | None = None,
    line_end: bytes = b"\r\n",
) -> bytes:
    """The body with these chunks; `line_end` stands behind each trailer (minio-go: LF CR LF)."""
    body = bytearray()
    for data in [*chunks, b""]:
        signature = f";chunk-signature={signer.chunk(data)}" if signer else ""
        body += f"{len(data):x}{signature}\r\n".encode() + data + (b"\r\n" if data else b"")
    section = b""
    for name, value in (trailers or {}).items():
        body += f"{name}:{value}".encode() + line_end
        section += f"{name}:{value}\n".encode()
    if signer and trailers:
        body += f"x-amz-trailer-signature:{signer.trailer(section)}\r\n".encode()
    return bytes(body + b"\r\n")
