"""The segment files of a store: their names, their headers, and open descriptors of them.

A segment is a CARv1 file. Its root is the descriptor, its first section: a small DAG-CBOR block
that says which segment this is, so that a file copied to another name is noticed.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from libipld import decode_dag_cbor, encode_dag_cbor

from dsn.car import encode_header, section_prefix
from dsn.cid import RECORD_CID_PREFIX, digest_of
from dsn.errors import InvalidSegmentError

SEGMENT_FORMAT = 1
OPEN_FILES_MAX = 512
_SHARDS = 256
_SET_ASIDE = "orphans"
_KIND_BITS = 2


class SegmentKind(IntEnum):
    """What a segment was opened for; the low bits of its id say so."""

    LOG = 0  # shared: records, and the nodes of small bodies
    BODY = 1  # the nodes of one large body
    PART = 2  # the leaves and fragments of one part of a multipart upload


def new_segment_id(kind: SegmentKind, now_ms: int, random_bits: int) -> int:
    """A 63-bit id: milliseconds since 1970, 19 random bits, the kind.

    Ids sort by time, roughly; creating the file with O_EXCL makes them unique.
    """
    return (now_ms << 21) | ((random_bits & 0x7FFFF) << _KIND_BITS) | kind


def kind_of(segment: int) -> SegmentKind:
    """The kind of the segment with this id."""
    return SegmentKind(segment & ((1 << _KIND_BITS) - 1))


def encode_segment_header(segment: int) -> bytes:
    """The CAR header and the descriptor section that every segment starts with."""
    descriptor = encode_dag_cbor(
        {"dsn-segment": SEGMENT_FORMAT, "id": segment, "kind": kind_of(segment).name.lower()}
    )
    cid = RECORD_CID_PREFIX + digest_of(descriptor)
    return encode_header([cid]) + section_prefix(cid, len(descriptor)) + descriptor


def check_segment_header(segment: int, start: bytes) -> int:
    """The length of the header, after comparing it with what this segment's must be.

    Raises InvalidSegmentError where the bytes are another segment's, or none.
    """
    header = encode_segment_header(segment)
    if start[: len(header)] != header:
        raise InvalidSegmentError(segment, "the header is damaged or another segment's")
    return len(header)


def is_descriptor(block: bytes) -> bool:
    """Whether a DAG-CBOR block is a segment's descriptor rather than a record."""
    decoded = decode_dag_cbor(block)
    return isinstance(decoded, dict) and "dsn-segment" in decoded


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class SegmentFiles:
    """The directory of segments, and a bounded cache of descriptors for reading.

    Thread-safe. Segments are spread over 256 directories by the random bits of their ids.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._readers: OrderedDict[int, _Reader] = OrderedDict()

    def create_directories(self) -> None:
        """Make the directories, durably, where they are missing."""
        self.directory.mkdir(parents=True, exist_ok=True)
        missing = [
            shard
            for shard in (self.directory / f"{n:02x}" for n in range(_SHARDS))
            if not shard.is_dir()
        ]
        for shard in missing:
            shard.mkdir(exist_ok=True)
        if missing:
            sync_directory(self.directory)
            sync_directory(self.directory.parent)

    def path(self, segment: int) -> Path:
        """Where the segment lies."""
        return self.directory / f"{segment >> _KIND_BITS & 0xFF:02x}" / f"{segment:016x}.car"

    def create(self, segment: int) -> int:
        """Create the segment's file and write its header; a descriptor for writing.

        The name is durable only after `sync_name`. Raises FileExistsError for an id in use.
        """
        fd = os.open(
            self.path(segment), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode=0o600
        )
        try:
            header = encode_segment_header(segment)
            if os.write(fd, header) < len(header):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.close(fd)
            self.path(segment).unlink(missing_ok=True)
            raise
        return fd

    def sync_name(self, segment: int) -> None:
        """Make the name of the segment durable."""
        sync_directory(self.path(segment).parent)

    def cut(self, segment: int, stop: int) -> None:
        """Durably drop what lies behind `stop`; only where nobody writes to the segment.

        Raises FileNotFoundError where the segment is missing.
        """
        fd = os.open(self.path(segment), os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size > stop:
                os.ftruncate(fd, stop)
                os.fsync(fd)
        finally:
            os.close(fd)

    def exists(self, segment: int) -> bool:
        """Whether the segment has a file."""
        return self.path(segment).exists()

    def size(self, segment: int) -> int:
        """The size of the segment in bytes; FileNotFoundError where it is missing."""
        return self.path(segment).stat().st_size

    def remove(self, segment: int) -> None:
        """Unlink the segment; no error where it is gone already."""
        self.forget(segment)
        self.path(segment).unlink(missing_ok=True)

    def set_aside(self, segment: int) -> Path:
        """Move the segment out of the store, to where a person can look at it; where that is."""
        self.forget(segment)
        directory = self.directory.with_name(_SET_ASIDE)
        directory.mkdir(exist_ok=True)
        path = directory / self.path(segment).name
        self.path(segment).rename(path)
        return path

    def forget(self, segment: int) -> None:
        """Close the cached descriptor of a segment once nobody reads from it."""
        with self._lock:
            reader = self._readers.pop(segment, None)
        if reader is not None:
            reader.release()

    def list_ids(self) -> Iterator[tuple[int, int]]:
        """Every segment in the directory: its id and its size in bytes."""
        for shard in os.scandir(self.directory):
            if not shard.is_dir():
                continue
            with os.scandir(shard.path) as entries:
                for entry in entries:
                    stem, _, suffix = entry.name.partition(".")
                    if suffix == "car" and len(stem) == 16:
                        yield int(stem, 16), entry.stat().st_size

    @contextmanager
    def reading(self, segment: int) -> Iterator[int]:
        """A descriptor to `pread` from; it stays open while the block runs.

        Raises FileNotFoundError where the segment is missing.
        """
        reader = self._acquire(segment)
        try:
            yield reader.fd
        finally:
            reader.release()

    def close(self) -> None:
        """Close every cached descriptor."""
        with self._lock:
            readers = list(self._readers.values())
            self._readers.clear()
        for reader in readers:
            reader.release()

    def _acquire(self, segment: int) -> _Reader:
        with self._lock:
            reader = self._readers.get(segment)
            if reader is not None:
                self._readers.move_to_end(segment)
                reader.retain()
                return reader
        opened = _Reader(os.open(self.path(segment), os.O_RDONLY | os.O_CLOEXEC))
        evicted: list[_Reader] = []
        with self._lock:
            reader = self._readers.get(segment)
            if reader is None:
                reader = self._readers[segment] = opened
            else:
                evicted.append(opened)
            reader.retain()
            while len(self._readers) > OPEN_FILES_MAX:
                evicted.append(self._readers.popitem(last=False)[1])
        for other in evicted:
            other.release()
        return reader


class _Reader:
    """A descriptor that closes when the cache and the last reader have let go of it."""

    __slots__ = ("_lock", "_references", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._references = 1
        self._lock = threading.Lock()

    def retain(self) -> None:
        with self._lock:
            self._references += 1

    def release(self) -> None:
        with self._lock:
            self._references -= 1
            last = self._references == 0
        if last:
            os.close(self.fd)
