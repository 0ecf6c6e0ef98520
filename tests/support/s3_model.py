"""S3 in memory, written for being obviously right: what the gateway is compared with.

Nothing here is shared with the gateway: no paging, no positions, only sorted lists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass
class ModelVersion:
    """One version of a key, or a delete marker. `etag` has no quotes; `version_id` is the
    gateway's."""

    content: bytes = b""
    etag: str = ""
    content_type: str = "binary/octet-stream"
    user: dict[str, str] = field(default_factory=dict)
    version_id: str = ""
    is_marker: bool = False


@dataclass
class ModelUpload:
    """An open multipart upload: what was announced, and the last content of each part."""

    key: str
    content_type: str
    user: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


class Name(NamedTuple):
    """A line of a listing: a key, or a common prefix."""

    text: str
    folded: bool


class ModelBucket:
    """One bucket with every version that it ever had, oldest first for each key."""

    def __init__(self) -> None:
        self.versions: dict[str, list[ModelVersion]] = {}
        self.uploads: dict[str, ModelUpload] = {}

    def current(self, key: str) -> ModelVersion | None:
        """What a GET of the key finds."""
        history = self.versions.get(key)
        return None if not history or history[-1].is_marker else history[-1]

    def add(self, key: str, version: ModelVersion) -> None:
        """A write or a delete marker."""
        self.versions.setdefault(key, []).append(version)

    def keys(self) -> list[str]:
        """The keys that a listing shows, in the order of their bytes."""
        return [key for key in _sorted(self.versions) if self.current(key)]

    def names(self, prefix: str, delimiter: str, after: str = "") -> list[Name]:
        """A complete listing; `after` is a start-after, which names a key and no group."""
        return _fold([key for key in self.keys() if _comes_after(key, after)], prefix, delimiter)

    def history(self, prefix: str) -> list[tuple[str, str, bool, bool]]:
        """A complete listing of versions: key, version id, whether the latest, whether a marker."""
        return [
            (key, version.version_id, version is self.versions[key][-1], version.is_marker)
            for key in _sorted(self.versions)
            if key.startswith(prefix)
            for version in reversed(self.versions[key])
        ]


def md5_hex(content: bytes) -> str:
    """The ETag of an object that came in one piece."""
    return hashlib.md5(content).hexdigest()


def multipart_etag(parts: Sequence[bytes]) -> str:
    """The ETag of an object that came in parts."""
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    return f"{hashlib.md5(digests).hexdigest()}-{len(parts)}"


def range_of(text: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a well-formed `a-b`, `a-` or `-n`; None where nothing satisfies it."""
    first, _, last = text.partition("-")
    if not first:
        wanted = min(int(last), size)
        return (size - wanted, size - 1) if wanted else None
    if int(first) >= size:
        return None
    return int(first), min(int(last), size - 1) if last else size - 1


def _sorted(keys: Sequence[str] | dict[str, list[ModelVersion]]) -> list[str]:
    return sorted(keys, key=str.encode)


def _comes_after(key: str, after: str) -> bool:
    return key.encode() > after.encode()


def _fold(keys: Sequence[str], prefix: str, delimiter: str) -> list[Name]:
    names: list[Name] = []
    for key in keys:
        if not key.startswith(prefix):
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        name = Name(key, False) if end < 0 else Name(key[: end + len(delimiter)], True)
        if name not in names:
            names.append(name)
    return names
