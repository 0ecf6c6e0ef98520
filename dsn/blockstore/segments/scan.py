"""Reads a segment from front to back: what is there, where it is torn, where it has rotted.

Sections are self-describing and self-verifying, so recovery is a scan and never a guess.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from dsn.blockstore.segments.files import SegmentFiles, check_segment_header, encode_segment_header
from dsn.cid import (
    CID_BYTES,
    DIGEST_BYTES,
    NODE_CID_PREFIX,
    RAW_CID_PREFIX,
    RECORD_CID_PREFIX,
    digest_of,
)
from dsn.place import Place
from dsn.varint import read_uvarint

BLOCK_BYTES_MAX = 1 << 30
_VARINT_BYTES_MAX = 5
_WINDOW_BYTES = 1 << 20
_FRAMING_BYTES_MAX = _VARINT_BYTES_MAX + CID_BYTES
_RWF_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_PREFIXES = (NODE_CID_PREFIX, RECORD_CID_PREFIX, RAW_CID_PREFIX)


class SectionHead(NamedTuple):
    """The framing of one section: the block itself stays on disk."""

    offset: int
    cid_prefix: bytes
    digest: bytes
    block_start: int
    stop: int

    @property
    def is_node(self) -> bool:
        """Whether the block is a node of a file (and so belongs into the digest index)."""
        return self.cid_prefix == NODE_CID_PREFIX

    @property
    def is_record(self) -> bool:
        """Whether the block is DAG-CBOR: a record, or the segment's descriptor."""
        return self.cid_prefix == RECORD_CID_PREFIX


class Rot(NamedTuple):
    """A stretch of a segment that holds no valid section although valid ones follow."""

    segment: int
    start: int
    stop: int


class ScanEnd(NamedTuple):
    """Where a scan ended: after the last valid section, at the file's end if nothing is torn."""

    offset: int
    file_bytes: int


def header_bytes(segment: int) -> int:
    """The length of the segment's header, where the first section starts."""
    return len(encode_segment_header(segment))


class SegmentScan:
    """One pass over the sections of a segment, their blocks verified if asked.

    Iterate over `sections()`; afterwards `rot` lists the damaged stretches and `end` is where the
    last valid section stops. Without `verify` a damaged block goes unnoticed, damaged framing not.
    """

    def __init__(
        self, files: SegmentFiles, segment: int, *, start: int = 0, verify: bool = True
    ) -> None:
        self.segment = segment
        self.rot: list[Rot] = []
        self.end = 0
        self.file_bytes = 0
        self._files = files
        self._start = start
        self._verify = verify

    def sections(self) -> Iterator[tuple[SectionHead, bytes]]:
        """Every valid section with its block (empty when blocks are not verified)."""
        with self._files.reading(self.segment) as fd:
            self.file_bytes = os.fstat(fd).st_size
            header = header_bytes(self.segment)
            at = max(self._start, header)
            self.end = min(at, self.file_bytes)
            if self._start < header:
                check_segment_header(self.segment, os.pread(fd, header, 0))
            while at < self.file_bytes:
                section = self._section_at(fd, at)
                if section is None:
                    found = self._next_valid(fd, at + 1)
                    if found is None:
                        return
                    self.rot.append(Rot(self.segment, at, found))
                    at = found
                    continue
                yield section
                at = self.end = section[0].stop

    def heads(self) -> Iterator[SectionHead]:
        """The framing of every section."""
        for head, _ in self.sections():
            yield head

    def _section_at(self, fd: int, at: int) -> tuple[SectionHead, bytes] | None:
        head = read_section_head(fd, at)
        if head is None or head.stop > self.file_bytes:
            return None
        if not self._verify and not head.is_record:
            return head, b""
        block = os.pread(fd, head.stop - head.block_start, head.block_start)
        if digest_of(block) != head.digest:
            return None
        return head, block

    def _next_valid(self, fd: int, at: int) -> int | None:
        """The offset of the next section that verifies, searched byte by byte."""
        keep = _FRAMING_BYTES_MAX
        while at < self.file_bytes:
            window = os.pread(fd, _WINDOW_BYTES + keep, at)
            candidates = sorted(
                found - back
                for prefix in _PREFIXES
                for found in _find_all(window, prefix)
                for back in range(1, _VARINT_BYTES_MAX + 1)
                if found - back >= 0
            )
            for candidate in candidates:
                head = read_section_head(fd, at + candidate)
                if head is None or head.stop > self.file_bytes:
                    continue
                block = os.pread(fd, head.stop - head.block_start, head.block_start)
                if digest_of(block) == head.digest:
                    return at + candidate
            at += _WINDOW_BYTES
        return None


def read_section_head(fd: int, at: int) -> SectionHead | None:
    """The framing at this offset, or None where no section of ours can start."""
    return parse_section_head(os.pread(fd, _FRAMING_BYTES_MAX, at), at)


def parse_section_head(framing: bytes, at: int) -> SectionHead | None:
    """The framing that these bytes, read at `at`, start with; None where it is none of ours."""
    try:
        length, used = read_uvarint(framing, 0)
    except (IndexError, ValueError):
        return None
    prefix = framing[used : used + len(NODE_CID_PREFIX)]
    if prefix not in _PREFIXES or len(framing) < used + CID_BYTES:
        return None
    if not CID_BYTES <= length <= BLOCK_BYTES_MAX:
        return None
    digest = framing[used + CID_BYTES - DIGEST_BYTES : used + CID_BYTES]
    return SectionHead(at, prefix, digest, at + used + CID_BYTES, at + used + length)


def read_block(
    files: SegmentFiles, place: Place, expected_bytes: int = 0, *, cached_only: bool = False
) -> tuple[bytes, bytes]:
    """The digest that the framing at a place names, and the block behind it, unverified.

    `expected_bytes` is how long the block probably is: right or more, and one read is enough. With
    `cached_only` nothing is read from disk: BlockingIOError where the page cache lacks it.
    Raises FileNotFoundError (segment missing) or ValueError (no section starts there).
    """
    if cached_only and not _RWF_NOWAIT:
        raise BlockingIOError
    flags = _RWF_NOWAIT if cached_only else 0
    with files.reading(place.segment) as fd:
        start = bytearray(_FRAMING_BYTES_MAX + expected_bytes)
        got = preadv(fd, start, place.offset, flags)
        head = parse_section_head(bytes(start[: min(got, _FRAMING_BYTES_MAX)]), place.offset)
        if head is None:
            if cached_only:
                raise BlockingIOError
            raise ValueError(f"no section at {place.offset} of segment {place.segment:016x}")
        block_at = head.block_start - place.offset
        block_bytes = head.stop - head.block_start
        if block_at + block_bytes <= got:
            return head.digest, bytes(start[block_at : block_at + block_bytes])
        block = bytearray(block_bytes)
        got = preadv(fd, block, head.block_start, flags)
        if got < block_bytes and cached_only:
            raise BlockingIOError
        return head.digest, bytes(block[:got])


def preadv(fd: int, buffer: bytearray | memoryview, offset: int, flags: int) -> int:
    """`os.preadv` into one buffer; BlockingIOError also where it cannot be told what is cached."""
    try:
        return os.preadv(fd, (buffer,), offset, flags)
    except OSError as error:
        # Some file systems cannot tell what is cached.
        if flags and error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
            raise BlockingIOError from error
        raise


def _find_all(window: bytes, prefix: bytes) -> Iterator[int]:
    at = window.find(prefix)
    while at >= 0:
        yield at
        at = window.find(prefix, at + 1)
