"""The cheapest S3 client: one http.client connection and a key whose signature is not looked at."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

UNFINISHED = (OSError, http.client.HTTPException)
"""What a request raises whose outcome nobody knows."""

COMPLETE = (
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
    b"</CompleteMultipartUpload>"
)
"""What completes an upload of one part, given its ETag."""


@dataclass(frozen=True)
class Answer:
    """An answer that arrived whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of an S3 error, `` for none."""
        return (self.texts("Code") or [""])[0]

    def texts(self, tag: str) -> list[str]:
        """The texts of every element with this name; none of them needs unescaping here."""
        return re.findall(f"<{tag}>([^<]*)</{tag}>", self.body.decode())


class Wire:
    """Calls one gateway on one connection, which is made again after a failure.

    Without an access key it calls as anybody.
    """

    def __init__(self, port: int, access_key: str | None, *, timeout: float = 60) -> None:
        self._port = port
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self._headers: dict[str, str] = {}
        if access_key is None:
            return
        credential = f"{access_key}/20260101/us-east-1/s3/aws4_request"
        self._headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, "
            "SignedHeaders=host, Signature=00",
            "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
        }

    def call(
        self,
        method: str,
        path: str,
        body: bytes | memoryview | Iterable[bytes] = b"",
        *,
        length: int | None = None,
        headers: Mapping[str, str] | None = None,
        **query: object,
    ) -> Answer:
        """One request below `/s3`; raises one of UNFINISHED where no whole answer arrived.

        `length` is that of a body given in pieces.
        """
        target = "/s3/" + quote(path) + ("?" + urlencode(query) if query else "")
        size = length if length is not None else len(body)  # type: ignore[arg-type]
        sent = {**self._headers, "Content-Length": str(size), **(headers or {})}
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=self._timeout
            )
        try:
            self._connection.request(method, target, body or None, sent)
            response = self._connection.getresponse()
            content = response.read()
        except BaseException:
            self.close()
            raise
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content)

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
