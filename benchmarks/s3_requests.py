"""Builds the requests of the S3 operations that are measured: bytes of a head, and a body.

Nothing is sent here. Addresses are path-style.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from benchmarks.data import Body, Window
from benchmarks.signer import EMPTY_SHA256, UNSIGNED, Signer


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go and who sends them. `payload` is `unsigned` or `signed`."""

    name: str
    host: str
    port: int
    bucket: str
    base_path: str = ""
    tls: bool = False
    access_key: str = ""
    secret: str = field(default="", repr=False)
    region: str = "us-east-1"
    payload: str = "unsigned"

    @property
    def authority(self) -> str:
        """The Host header: without the port where it is the usual one."""
        usual = 443 if self.tls else 80
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(slots=True)
class Request:
    """One request, what a good answer to it is, and what its sender wants to remember."""

    label: str
    head: bytes
    body: Body | bytes | None = None
    statuses: tuple[int, ...] = (200,)
    # Of the answer: how long it must be, which body it is cut from, whether it is kept.
    answer_bytes: int | None = None
    answer_body: Body | None = None
    answer_offset: int = 0
    keep_answer: bool = False
    headless: bool = False
    # Bytes that it counts for, sent or received.
    payload_bytes: int = 0
    intended: float = 0.0
    tag: Any = None


@dataclass(slots=True)
class Answer:
    """What came back: status, the head as text, and the body where it was kept."""

    status: int
    head: bytes
    body: bytes = b""

    def header(self, name: str) -> str:
        """The value of a header, or nothing."""
        found = re.search(rb"\r\n" + name.encode() + rb":[ \t]*([^\r\n]*)", self.head, re.I)
        return found[1].decode("latin-1").strip() if found else ""

    def element(self, name: str) -> str:
        """The text of the first XML element of that name, or nothing."""
        found = re.search(rf"<{name}>([^<]*)</{name}>".encode(), self.body)
        return found[1].decode() if found else ""


class S3Requests:
    """The requests to one bucket of one target."""

    def __init__(self, target: Target, window: Window) -> None:
        self._target = target
        self._signer = Signer(target.access_key, target.secret, target.region, target.authority)
        self._window = window
        self._bucket_path = f"{target.base_path}/{target.bucket}"
        self._signed = target.payload == "signed"

    def create_bucket(self) -> Request:
        # A bucket of ours that exists answers 409 on some servers.
        return self._request(
            "CreateBucket", "PUT", self._bucket_path, body=b"", statuses=(200, 409), keep=True
        )

    def put(self, key: str, body: Body) -> Request:
        request = self._request("PutObject", "PUT", f"{self._bucket_path}/{key}", body=body)
        # A file server says 201 or 204; S3 says 200.
        request.statuses = (200, 201, 204)
        return request

    def get(self, key: str, body: Body, span: tuple[int, int] | None = None) -> Request:
        """`span` is the first byte and the number of bytes of a range."""
        path = f"{self._bucket_path}/{key}"
        if span is None:
            request = self._request("GetObject", "GET", path)
            request.answer_bytes = request.payload_bytes = body.size
        else:
            first, length = span
            request = self._request(
                "GetObject range",
                "GET",
                path,
                extra=f"Range: bytes={first}-{first + length - 1}\r\n",
            )
            # rclone answers the right range as 200; a whole body is caught by its length.
            request.statuses = (206, 200)
            request.answer_bytes = request.payload_bytes = length
            request.answer_offset = first
        request.answer_body = body
        return request

    def head(self, key: str) -> Request:
        request = self._request("HeadObject", "HEAD", f"{self._bucket_path}/{key}")
        request.headless = True
        return request

    def delete(self, key: str) -> Request:
        return self._request(
            "DeleteObject", "DELETE", f"{self._bucket_path}/{key}", statuses=(200, 204)
        )

    def list(self, label: str, **parameters: str | int) -> Request:
        """ListObjectsV2; parameters are named with underscores for hyphens."""
        wanted = {"list-type": "2"}
        wanted |= {name.replace("_", "-"): str(value) for name, value in parameters.items()}
        return self._request(label, "GET", self._bucket_path, query=_query(wanted), keep=True)

    def create_upload(self, key: str) -> Request:
        return self._request(
            "CreateMultipartUpload",
            "POST",
            f"{self._bucket_path}/{key}",
            query="uploads=",
            body=b"",
            keep=True,
        )

    def upload_part(self, key: str, upload_id: str, number: int, body: Body) -> Request:
        query = _query({"partNumber": str(number), "uploadId": upload_id})
        return self._request(
            "UploadPart", "PUT", f"{self._bucket_path}/{key}", query=query, body=body
        )

    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> Request:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        document = (
            '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"{parts}</CompleteMultipartUpload>"
        )
        return self._request(
            "CompleteMultipartUpload",
            "POST",
            f"{self._bucket_path}/{key}",
            query=_query({"uploadId": upload_id}),
            body=document.encode(),
            keep=True,
        )

    def abort_upload(self, key: str, upload_id: str) -> Request:
        return self._request(
            "AbortMultipartUpload",
            "DELETE",
            f"{self._bucket_path}/{key}",
            query=_query({"uploadId": upload_id}),
            statuses=(200, 204),
        )

    def _request(
        self,
        label: str,
        method: str,
        path: str,
        *,
        query: str = "",
        body: Body | bytes | None = None,
        statuses: tuple[int, ...] = (200,),
        extra: str = "",
        keep: bool = False,
    ) -> Request:
        if body is None:
            payload = EMPTY_SHA256 if self._signed else UNSIGNED
        elif isinstance(body, Body):
            payload = self._window.sha256(body) if self._signed else UNSIGNED
            extra += f"Content-Length: {body.size}\r\n"
        else:
            payload = UNSIGNED
            extra += f"Content-Length: {len(body)}\r\n"
        headers = self._signer.headers(method, path, query, payload)
        target = f"{path}?{query}" if query else path
        return Request(
            label,
            f"{method} {target} HTTP/1.1\r\n{headers}{extra}\r\n".encode(),
            body or None,
            statuses,
            keep_answer=keep,
            payload_bytes=body.size if isinstance(body, Body) else 0,
        )


def _query(parameters: dict[str, str]) -> str:
    return "&".join(
        f"{name}={quote(value, safe='-_.~')}" for name, value in sorted(parameters.items())
    )
