"""Signature version 4 for the few kinds of requests that a load generator sends, at a few
microseconds each.

Paths and queries come in encoded and sorted; what depends on the day or the second is kept.
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hmac
import time
from hashlib import sha256

UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = sha256(b"").hexdigest()


class Signer:
    """Signs for one host with one key; without a key it signs nothing."""

    def __init__(self, access_key: str, secret: str, region: str, host: str) -> None:
        self._access_key = access_key
        self._secret = secret
        self._region = region
        self._host = host
        self._second = -1
        self._time = ""
        self._day = ""
        self._signing_key = b""
        self._string_start = ""
        self._header_start = ""

    def headers(
        self, method: str, path: str, query: str, payload: str, now: float | None = None
    ) -> str:
        """The header lines of a request, with the one for Host, each ending in CR LF."""
        if not self._access_key:
            return f"Host: {self._host}\r\n"
        second = int(time.time() if now is None else now)
        if second != self._second:
            self._turn(second)
        canonical = (
            f"{method}\n{path}\n{query}\nhost:{self._host}\nx-amz-content-sha256:{payload}\n"
            f"x-amz-date:{self._time}\n\nhost;x-amz-content-sha256;x-amz-date\n{payload}"
        )
        text = self._string_start + sha256(canonical.encode()).hexdigest()
        signature = hmac.digest(self._signing_key, text.encode(), "sha256").hex()
        return (
            f"Host: {self._host}\r\nx-amz-content-sha256: {payload}\r\n"
            f"x-amz-date: {self._time}\r\n{self._header_start}{signature}\r\n"
        )

    def _turn(self, second: int) -> None:
        self._second = second
        self._time = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = self._time[:8]
        scope = f"{day}/{self._region}/s3/aws4_request"
        if day != self._day:
            self._day = day
            key = ("AWS4" + self._secret).encode()
            for step in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, step.encode(), "sha256")
            self._signing_key = key
        self._string_start = f"AWS4-HMAC-SHA256\n{self._time}\n{scope}\n"
        self._header_start = (
            f"Authorization: AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, "
            "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
        )


def microseconds_per_signature(count: int = 5000) -> float:
    """What signing costs the generator on this machine."""
    signer = Signer("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "us-east-1", "127.0.0.1:9000")
    start = time.process_time()
    for number in range(count):
        signer.headers("PUT", f"/bucket/key{number}", "", UNSIGNED, 1_700_000_000)
    return (time.process_time() - start) / count * 1e6
