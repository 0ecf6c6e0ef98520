"""Where each block lies: a rebuildable map from a block's digest to its segment and offset.

LMDB, chosen by measurement: `docs/decisions/0001-digest-index.md`. The segments are the truth; an
index that is lost or damaged is deleted and filled again by reading them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

import lmdb

from dsn.place import Place

__all__ = ["DigestIndex", "IndexDamagedError", "Place"]

DIGEST_BYTES = 32
SEGMENT_MAX = (1 << 63) - 1
OFFSET_BITS = 48
OFFSET_MAX = (1 << OFFSET_BITS) - 1

# A new layout gets a new name: then the old tables are not found, and the index is filled again.
DIGESTS_TABLE = b"digests.1"
MARKS_TABLE = b"marks.1"

DAMAGE = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)


class IndexDamagedError(Exception):
    """The index cannot be read. Delete its file and fill it again from the segments."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"digest index {self.path} is damaged: delete it and rebuild it from the segments"


class DigestIndex:
    """Digest -> place, shared by all worker processes of one machine and by their threads.

    Every addition is one transaction: after a crash it is there whole, with its marks, or not at
    all. The last ones may be missing, which is why each carries marks: how many bytes of which
    segment the index knows, so that only the rest is read again.

    Only add places that will never be cut from their segment: nothing here takes one back.

    A process opens an index once, and after the fork: LMDB's locks do not survive one. Close it
    when no call is under way. The file belongs on a local disk, not on a network file system.
    """

    def __init__(
        self,
        path: Path,
        *,
        sync: bool = True,
        map_bytes_max: int = 1 << 40,
        readers_max: int = 1024,
    ) -> None:
        """Open the file at `path`, and create it where there is none.

        `sync`: wait for the disk at each addition. Without it a power cut (not a mere crash) may
        damage the index: for filling one from nothing and for tests.
        `map_bytes_max`: address space, not disk or memory; 1 TiB is enough for ten billion rows.
        `readers_max`: lookups under way at once, over all processes.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._pid = os.getpid()
        try:
            self._env = lmdb.open(
                str(path),
                subdir=False,
                map_size=map_bytes_max,
                max_dbs=2,
                max_readers=readers_max,
                max_spare_txns=8,
                # The data pages are waited for, the page that names the newest tree is not: a
                # power cut may take the last transaction but never leaves half of one.
                # http://www.lmdb.tech/doc/group__mdb.html#ga32a193c6bf4d7d5c5d579e71f22e9340
                metasync=False,
                sync=sync,
                # Digests are spread evenly, so the neighbours of a page are of no use.
                readahead=False,
            )
            self._digests = self._env.open_db(DIGESTS_TABLE)
            self._marks = self._env.open_db(MARKS_TABLE)
        except DAMAGE as error:
            raise IndexDamagedError(path) from error

    def lookup(self, digests: Sequence[bytes]) -> list[Place | None]:
        """The place of each digest, in the order asked; None where there is none."""
        try:
            with self._begin(self._digests) as transaction:
                get = transaction.get
                values = [get(digest) for digest in digests]
        except DAMAGE as error:
            raise IndexDamagedError(self.path) from error
        return [_unpack(value) if value else None for value in values]

    def add(
        self, entries: Iterable[tuple[bytes, int, int]], marks: Mapping[int, int] | None = None
    ) -> int:
        """Add (digest, segment, offset)s and raise marks, durably and all at once.

        A digest that has a place keeps it; a mark never goes back. Returns how many were new.
        Thousands at a time are cheap, one at a time is dear: a transaction waits for the disk.
        """
        items = [(digest, _pack(digest, segment, offset)) for digest, segment, offset in entries]
        # In the order of the pages, and stable: of two equal digests the first one wins.
        items.sort(key=itemgetter(0))
        self._env.reader_check()
        try:
            with self._begin(write=True) as transaction:
                _, new = transaction.cursor(self._digests).putmulti(items, overwrite=False)
                for segment, stop in (marks or {}).items():
                    key = segment.to_bytes(8, "big")
                    known = transaction.get(key, db=self._marks)
                    if known is None or int.from_bytes(known, "big") < stop:
                        transaction.put(key, stop.to_bytes(8, "big"), db=self._marks)
        except DAMAGE as error:
            raise IndexDamagedError(self.path) from error
        return new

    def mark(self, segment: int) -> int:
        """How many bytes of the segment are indexed; 0 for one never heard of."""
        with self._begin(self._marks) as transaction:
            return int.from_bytes(transaction.get(segment.to_bytes(8, "big")) or b"", "big")

    def marks(self) -> dict[int, int]:
        """How many bytes of each segment are indexed."""
        with self._begin(self._marks) as transaction:
            return {
                int.from_bytes(key, "big"): int.from_bytes(value, "big")
                for key, value in transaction.cursor()
            }

    def count(self) -> int:
        """How many digests have a place."""
        with self._begin() as transaction:
            return transaction.stat(self._digests)["entries"]

    def clear(self) -> None:
        """Forget every digest and every mark. For a large index, deleting the file is faster."""
        with self._begin(write=True) as transaction:
            transaction.drop(self._digests, delete=False)
            transaction.drop(self._marks, delete=False)

    def close(self) -> None:
        self._env.close()

    def _begin(
        self, table: lmdb._Database | None = None, write: bool = False
    ) -> lmdb.Transaction[bytes]:
        if os.getpid() != self._pid:
            raise RuntimeError(
                "a DigestIndex is opened after the fork, in the process that uses it"
            )
        return self._env.begin(table, write=write)


def _pack(digest: bytes, segment: int, offset: int) -> bytes:
    """Segment and offset as one number without leading zeros: small segment ids make small rows."""
    if len(digest) != DIGEST_BYTES:
        raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")
    if not (0 <= segment <= SEGMENT_MAX and 0 <= offset <= OFFSET_MAX):
        raise ValueError(f"no such place: segment {segment}, offset {offset}")
    place = segment << OFFSET_BITS | offset
    return place.to_bytes((place.bit_length() + 7) // 8 or 1, "big")


def _unpack(value: bytes) -> Place:
    place = int.from_bytes(value, "big")
    return Place(place >> OFFSET_BITS, place & OFFSET_MAX)
