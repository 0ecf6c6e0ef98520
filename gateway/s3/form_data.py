"""Decodes multipart/form-data piece by piece: fields first, then the bytes of the one file.

https://www.rfc-editor.org/rfc/rfc7578
https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
"""

from __future__ import annotations

import re
from enum import Enum, auto

from gateway.s3.errors import ErrorCode, S3Error

FIELD_BYTES_MAX = 20_000
"""How many bytes may come before the file."""

FILE_FIELD = "file"


def form_boundary(content_type: str) -> bytes | None:
    """The boundary in the Content-Type of a form; None for another type.

    Raises S3Error MalformedPOSTRequest for a form without one.
    """
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        return None
    match = _BOUNDARY.search(parameters)
    boundary = (match[1] or match[2]) if match else ""
    if not boundary or len(boundary) > 70 or not boundary.isascii():
        raise S3Error(ErrorCode.MalformedPOSTRequest)
    return boundary.encode()


class FormDecoder:
    """Decodes one body: `feed` it as it arrives, then `finish`.

    `fields` are complete as soon as `at_file`: lower-case names to values. What follows the file
    is ignored, as S3 does. After an error the decoder is of no more use.
    """

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.filename = ""
        self._delimiter = b"\r\n--" + boundary
        self._state = _State.FIELDS
        # As if the body began behind a line, so that the first delimiter is like the others.
        self._pending = b"\r\n"
        self._field_bytes = 0

    @property
    def at_file(self) -> bool:
        """Whether everything before the file is read."""
        return self._state is not _State.FIELDS

    def feed(self, data: bytes) -> list[memoryview]:
        """The bytes of the file in the next piece of the body.

        Raises S3Error: MalformedPOSTRequest, MaxPostPreDataLengthExceeded, and InvalidArgument
        for a field that comes twice.
        """
        if self._state is _State.ENDED:
            return []
        data = self._pending + data
        self._pending = b""
        if self._state is _State.FIELDS:
            start = self._take_fields(data)
            if start is None:
                return []
            data = data[start:]
        return self._take_file(data)

    def finish(self) -> dict[str, str]:
        """Check that the file came whole; there are no trailers.

        Raises S3Error: InvalidArgument where there is no file, MalformedPOSTRequest.
        """
        if self._state is _State.FIELDS and self._pending.startswith(self._delimiter + b"--"):
            raise S3Error(
                ErrorCode.InvalidArgument,
                "POST requires exactly one file upload per request.",
                ArgumentName=FILE_FIELD,
                ArgumentValue=0,
            )
        if self._state is not _State.ENDED:
            raise S3Error(ErrorCode.MalformedPOSTRequest)
        return {}

    def _take_fields(self, data: bytes) -> int | None:
        """Read whole fields; where the file begins, None as long as it does not."""
        at = 0
        while True:
            end = self._take_field(data, at)
            if self._state is _State.FILE:
                assert end is not None
                self._check_field_bytes(end)
                return end
            if end is None:
                break
            at = end
        self._check_field_bytes(len(data))
        self._field_bytes += at
        self._pending = data[at:]
        return None

    def _check_field_bytes(self, more: int) -> None:
        if self._field_bytes + more > FIELD_BYTES_MAX:
            raise S3Error(
                ErrorCode.MaxPostPreDataLengthExceeded, MaxPostPreDataLengthBytes=FIELD_BYTES_MAX
            )

    def _take_field(self, data: bytes, at: int) -> int | None:
        """Read the part that begins with the delimiter at `at`; where the next one begins."""
        start = at + len(self._delimiter)
        if not self._delimiter.startswith(data[at:start]):
            raise S3Error(ErrorCode.MalformedPOSTRequest)
        if data.startswith(b"--", start):
            return None
        head_end = data.find(b"\r\n\r\n", start)
        if head_end < 0:
            return None
        if not data.startswith(b"\r\n", start):
            raise S3Error(ErrorCode.MalformedPOSTRequest)
        name, filename = _disposition(data[start + 2 : head_end])
        if name == FILE_FIELD:
            self.filename = filename
            self._state = _State.FILE
            return head_end + 4
        value_end = data.find(self._delimiter, head_end + 4)
        if value_end < 0:
            return None
        if name in self.fields:
            raise S3Error(
                ErrorCode.InvalidArgument,
                f"The form has more than one field named {name}.",
                ArgumentName=name,
            )
        try:
            self.fields[name] = data[head_end + 4 : value_end].decode()
        except UnicodeDecodeError:
            raise S3Error(ErrorCode.MalformedPOSTRequest) from None
        return value_end

    def _take_file(self, data: bytes) -> list[memoryview]:
        end = data.find(self._delimiter)
        if end >= 0:
            self._state = _State.ENDED
        else:
            end = self._safe_end(data)
            self._pending = data[end:]
        return [memoryview(data)[:end]] if end else []

    def _safe_end(self, data: bytes) -> int:
        """Up to where data is certainly the file's: a delimiter may have begun behind it."""
        at = data.find(b"\r", max(0, len(data) - len(self._delimiter) + 1))
        while at >= 0:
            if self._delimiter.startswith(data[at:]):
                return at
            at = data.find(b"\r", at + 1)
        return len(data)


class _State(Enum):
    FIELDS = auto()
    FILE = auto()
    ENDED = auto()


_BOUNDARY = re.compile(r'(?:^|;)\s*boundary=(?:"([^"]*)"|([^;\s]*))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*(name|filename)=(?:"((?:\\.|[^"\\])*)"|([^;\s]*))', re.IGNORECASE)
_ESCAPED = re.compile(r'\\(["\\])')


def _disposition(head: bytes) -> tuple[str, str]:
    """The lower-case name of a part, and its file name."""
    for line in head.decode("utf-8", "replace").split("\r\n"):
        header, _, value = line.partition(":")
        if header.strip().lower() != "content-disposition":
            continue
        kind, _, rest = value.partition(";")
        found = {
            match[1].lower(): _ESCAPED.sub(r"\1", match[2]) if match[2] is not None else match[3]
            for match in _PARAMETER.finditer(";" + rest)
        }
        if kind.strip().lower() == "form-data" and found.get("name"):
            return found["name"].lower(), found.get("filename", "")
    raise S3Error(ErrorCode.MalformedPOSTRequest)
