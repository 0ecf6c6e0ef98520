"""Work on a data directory from the command line: verify, rebuild, export and import."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from dsn.blockstore.segments.files import SegmentKind, kind_of, sync_directory
from dsn.blockstore.segments.reader import FileReader
from dsn.blockstore.segments.scan import SegmentScan, read_block
from dsn.blockstore.segments.store import SegmentStore
from dsn.car import read_header, read_sections, write_dag
from dsn.cid import NODE_CID_ALIASES, cid_text, digest_of
from dsn.dag_reader import FileDag
from dsn.errors import (
    BlockMismatchError,
    BlockNotFoundError,
    InvalidCarError,
    InvalidLayoutError,
    InvalidRecordError,
    InvalidSegmentError,
    NonCanonicalDagError,
)
from dsn.node import LINKS_MAX
from dsn.place import Place
from gateway.app import offline_objects, visiting_buckets
from gateway.assembly import PartReader
from gateway.catalog.audit import (
    all_parts,
    are_removed,
    has_version,
    note_sequence,
    setting_sequence,
    totals,
    version_names,
    wrongly_counted,
    wrongly_listed,
)
from gateway.catalog.database import open_catalog, remove_catalog, writer_lock
from gateway.catalog.queries import (
    Usage,
    VersionRow,
    applied_segments,
    find_bucket,
    find_object,
    find_setting,
    find_usage,
    find_version,
)
from gateway.catalog.records import (
    MarkerRecord,
    NoteRecord,
    ObjectRecord,
    Record,
    RemovalRecord,
    SettingRecord,
    decode_record,
)
from gateway.data_dir import (
    DataDirLockedError,
    DataPaths,
    lock_data_dir,
    open_store,
    recover_data_dir,
)
from gateway.delete_policy import SETTING_NAME, DeletePolicy, encode_policy, parse_policy
from gateway.digests import BodyDigests
from gateway.objects import NewObject
from gateway.recovery import recover

Progress = Callable[[int, int], None]

_UNREADABLE = (
    BlockMismatchError,
    BlockNotFoundError,
    InvalidLayoutError,
    InvalidRecordError,
    NonCanonicalDagError,
    IndexError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
)


class NotFoundError(LookupError):
    """There is no such bucket or key in this data directory."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A version (or a part of an open upload) that cannot be read whole, and why.

    `bucket` is empty for damage that belongs to no object any more.
    """

    bucket: str
    key: str
    version: str
    reason: str


@dataclass(slots=True)
class VerifyReport:
    """What was read, in bytes of objects, and what is damaged."""

    objects: int = 0
    bytes: int = 0
    damages: list[Damage] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a new catalog holds."""

    buckets: int
    objects: int
    uploads: int
    segments: int
    seconds: float


def verify(data_dir: Path, progress: Progress | None = None) -> VerifyReport:
    """Read everything that is committed and check it against its CIDs; changes nothing.

    Runs beside a server too. `progress` is told bytes done and bytes in all.
    """
    connection = _existing_catalog(data_dir)
    store = open_store(data_dir)
    report = VerifyReport()
    try:
        connection.execute("BEGIN")
        total = totals(connection)[3]
        checked = _CheckedRuns()
        for account, bucket, key, sequence, size in version_names(connection):
            reason = _damage_of(store, connection, sequence, checked, account, bucket)
            report.objects += 1
            report.bytes += size
            if reason is not None:
                report.damages.append(Damage(bucket, _text(key), f"{sequence:016x}", reason))
            if progress is not None:
                progress(report.bytes, total)
        for _, bucket, key, part in all_parts(connection):
            try:
                for _ in PartReader(store, part).payloads():
                    pass
            except _UNREADABLE as error:
                name = f"upload {part.upload_id} part {part.number}"
                report.damages.append(Damage(bucket, _text(key), name, str(error)))
        for bucket, key, sequence in wrongly_listed(connection):
            reason = "listings do not show this version as it is"
            report.damages.append(Damage(bucket, _text(key), f"{sequence:016x}", reason))
        for bucket in wrongly_counted(connection):
            reason = "quotas count this bucket wrongly; dsn-gateway rebuild counts it anew"
            report.damages.append(Damage(bucket, "", "", reason))
        report.damages.extend(_damages_of_logs(store, connection))
    finally:
        connection.close()
        store.close()
    return report


def rebuild(data_dir: Path, progress: Progress | None = None) -> RebuildReport:
    """Make catalog and index again from the segments alone.

    The new catalog takes the old one's place only when it is complete. Raises DataDirLockedError
    while a server runs.
    """
    started = time.monotonic()
    lock_data_dir(data_dir)
    paths = DataPaths(data_dir)
    fresh = paths.catalog.with_suffix(".new")
    remove_catalog(fresh)
    store = open_store(data_dir)
    with closing(writer_lock(paths.catalog)) as lock, lock:
        try:
            store.index.clear()
            connection = open_catalog(fresh)
            try:
                recovered = recover(store, connection, progress)
                buckets, objects, uploads, _ = totals(connection)
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()
        finally:
            store.close()
        remove_catalog(paths.catalog)
        fresh.rename(paths.catalog)
        sync_directory(data_dir)
    return RebuildReport(buckets, objects, uploads, recovered.segments, time.monotonic() - started)


def delete_policy(data_dir: Path, account: str, bucket: str) -> DeletePolicy | None:
    """The delete policy that was set for a bucket; None where the configuration decides.

    Runs beside a server too. Raises NotFoundError.
    """
    with closing(_existing_catalog(data_dir)) as connection:
        row = find_bucket(connection, account, bucket)
        if row is None:
            raise NotFoundError(f"no bucket {bucket} of account {account}")
        document = find_setting(connection, row.id, SETTING_NAME)
    return None if document is None else parse_policy(document)


def set_delete_policy(
    data_dir: Path, account: str, bucket: str, policy: DeletePolicy | None
) -> None:
    """Set the delete policy of a bucket, made where it is missing; with None, drop it.

    Runs beside a server too, for which it counts at once.
    """
    try:
        lock_data_dir(data_dir)
    except DataDirLockedError:
        # A server runs, or something that ends: after it the catalog is whole.
        with closing(writer_lock(DataPaths(data_dir).catalog)) as lock, lock:
            pass
    else:
        recover_data_dir(data_dir)
    document = None if policy is None else encode_policy(policy)

    async def configure() -> None:
        async with visiting_buckets(data_dir) as buckets:
            await buckets.create(account, bucket)
            await buckets.configure(account, bucket, SETTING_NAME, document)

    asyncio.run(configure())


def usage(data_dir: Path, wanted: Iterable[tuple[str, str | None]]) -> list[Usage]:
    """What accounts, or their buckets where one is named, hold; also while a server runs."""
    catalog = DataPaths(data_dir).catalog
    if not catalog.exists():
        return [Usage(0, 0) for _ in wanted]
    with closing(open_catalog(catalog)) as connection:
        return [find_usage(connection, account, bucket) for account, bucket in wanted]


def export_object(
    data_dir: Path,
    bucket: str,
    key: str,
    out: Path,
    progress: Progress | None = None,
    account: str = "main",
) -> None:
    """Write an object's whole DAG as a CAR, its root as the CAR's root.

    Raises NotFoundError; the file appears only when it is complete.
    """
    connection = _existing_catalog(data_dir)
    store = open_store(data_dir)
    try:
        row = find_bucket(connection, account, bucket)
        version = find_object(connection, row.id, key.encode()) if row is not None else None
        if version is None:
            raise NotFoundError(f"no object {bucket}/{key} of account {account}")
        partial = out.with_name(out.name + ".partial")
        with partial.open("wb") as file:
            counted = _CountedWriter(file, version.size, progress)
            write_dag(store.get, version.root, counted)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(out)
    finally:
        connection.close()
        store.close()


def import_car(
    data_dir: Path,
    account: str,
    path: Path,
    bucket: str,
    key: str,
    progress: Progress | None = None,
) -> str:
    """Store the file whose DAG a CAR holds as an object; its CID.

    Every block is verified, and the DAG must be what Auto Drive would have made of the bytes:
    NonCanonicalDagError or InvalidCarError otherwise. Raises DataDirLockedError while a server
    runs.
    """
    lock_data_dir(data_dir)
    recover_data_dir(data_dir)
    with path.open("rb") as file:
        blocks = _CarBlocks(file)
        dag = FileDag.open(blocks.get, blocks.root)
        body = _DagBody(dag, progress)
        new = NewObject(
            account,
            bucket,
            key.encode(),
            options=dag.info.options,
            keeps_root_name=True,
            root_name=dag.info.name,
            expected_root=blocks.root,
        )
        record = asyncio.run(_store(data_dir, new, body))
    return cid_text(record.root)


async def _store(data_dir: Path, new: NewObject, body: _DagBody) -> ObjectRecord:
    async with offline_objects(data_dir) as objects:
        return await objects.put(new, body, BodyDigests(), lambda: None)


class _CheckedRuns:
    """Which leaves were read already: versions that share them are verified once."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def is_new(self, run: tuple[int, ...], digests: tuple[bytes, ...]) -> bool:
        mark = blake3(repr(run).encode() + b"".join(digests)).digest(16)
        if mark in self._seen:
            return False
        self._seen.add(mark)
        return True


def _existing_catalog(data_dir: Path) -> sqlite3.Connection:
    """The catalog, which is not made by looking for something in it."""
    paths = DataPaths(data_dir)
    if not paths.segments.exists():
        raise NotFoundError(
            f"nothing is stored in {data_dir}; --data-dir or DSN_GATEWAY_DATA_DIR says where"
        )
    if not paths.catalog.exists():
        raise NotFoundError(f"{paths.catalog} is missing; dsn-gateway rebuild makes it again")
    return open_catalog(paths.catalog)


def _damage_of(
    store: SegmentStore,
    connection: sqlite3.Connection,
    sequence: int,
    checked: _CheckedRuns,
    account: str,
    bucket: str,
) -> str | None:
    """Why a version cannot be read whole; None if it can."""
    try:
        version = find_version(connection, sequence)
        if version is None:
            raise InvalidRecordError("the row cannot be found by its sequence number")
        _check_record(store, version, account, bucket)
        reader = FileReader(store, version.layout, version.root, version.size)
        reader.root()
        if reader.leaf_count > 1:
            for first in range(0, reader.leaf_count, LINKS_MAX):
                count = min(LINKS_MAX, reader.leaf_count - first)
                digests = reader.leaf_digests(first // LINKS_MAX)
                runs = tuple(n for run in version.layout.covering(first, count) for n in run)
                if checked.is_new(runs, digests):
                    for piece in reader.leaf_pieces(first, count):
                        reader.read(*piece)
    except _UNREADABLE as error:
        return str(error) or type(error).__name__
    return None


def _check_record(store: SegmentStore, version: VersionRow, account: str, bucket: str) -> None:
    """Compare the row with its record: SQLite has no checksums, the record has."""
    digest, block = read_block(store.files, Place(version.log, version.log_offset))
    if digest_of(block) != digest:
        raise BlockMismatchError(digest)
    decoded = decode_record(block, version.log)
    record = decoded[0] if decoded is not None else None
    if not isinstance(record, ObjectRecord):
        raise InvalidRecordError("the catalog names a record that is no object's")
    same = (
        record.sequence == version.sequence
        and (record.account, record.bucket, record.key) == (account, bucket, version.key)
        and (record.root, record.size, record.etag) == (version.root, version.size, version.etag)
        and record.layout == version.encoded_layout
        and dict(record.metadata) == version.metadata
        and (record.part_sizes, record.checksum) == (version.part_sizes, version.checksum)
    )
    if not same:
        raise InvalidRecordError("the catalog differs from the record")


def _damages_of_logs(store: SegmentStore, connection: sqlite3.Connection) -> Iterator[Damage]:
    for segment, applied in applied_segments(connection).items():
        if not store.files.exists(segment):
            yield Damage("", "", "", f"segment {segment:016x} is missing")
            continue
        if kind_of(segment) is not SegmentKind.LOG:
            continue
        scan = SegmentScan(store.files, segment)
        try:
            for head, block in scan.sections():
                decoded = decode_record(block, segment) if head.is_record else None
                record = decoded[0] if decoded is not None and head.offset < applied else None
                if record is not None:
                    yield from _unapplied(connection, record)
        except (InvalidSegmentError, InvalidRecordError) as error:
            yield Damage("", "", "", str(error))
            continue
        for rot in scan.rot:
            if rot.start < applied:
                where = f"segment {segment:016x} bytes {rot.start} to {rot.stop}"
                yield Damage("", "", "", f"{where}: damaged log")
        if scan.end < applied:
            yield Damage("", "", "", f"segment {segment:016x} is cut at {scan.end}")


def _unapplied(connection: sqlite3.Connection, record: Record) -> Iterator[Damage]:
    """What the catalog would show otherwise, had it read this record."""
    key, lacks = "", ""
    version: int | None = None
    match record:
        case ObjectRecord() | MarkerRecord():
            key, version = _text(record.key), record.sequence
            if not has_version(connection, record.sequence):
                lacks = "this version"
            elif isinstance(record, ObjectRecord) and any(
                note_sequence(connection, record.sequence, name) < record.sequence
                for name in record.notes
            ):
                lacks = "a note on this version"
        case NoteRecord():
            key, version = _text(record.key), record.version
            if note_sequence(connection, record.version, record.name) < record.sequence:
                lacks = f"a change of this version's {record.name}"
        case RemovalRecord():
            key, version = _text(record.key), record.versions[0]
            if not are_removed(connection, record.versions):
                lacks = "the removal of this version"
        case SettingRecord():
            if (
                setting_sequence(connection, record.account, record.bucket, record.name)
                < record.sequence
            ):
                lacks = f"a change of the bucket's {record.name}"
        case _:
            return
    if lacks:
        name = f"{version:016x}" if version is not None else ""
        reason = f"the catalog lacks {lacks}; dsn-gateway rebuild brings it back"
        yield Damage(record.bucket, key, name, reason)


class _CarBlocks:
    """The node blocks of a CAR file by digest, read from the file when asked for."""

    def __init__(self, file: BinaryIO) -> None:
        header = read_header(file)
        if len(header.roots) != 1 or header.roots[0][:4] not in NODE_CID_ALIASES:
            raise InvalidCarError(0, "the CAR of one file has one root, the CID of the file")
        self.root = header.roots[0][4:]
        self._file = file
        self._offsets: dict[bytes, tuple[int, int]] = {}
        for section in read_sections(file, offset=header.header_bytes):
            if section.cid[:4] in NODE_CID_ALIASES:
                stop = file.tell()
                self._offsets[section.cid[4:]] = (stop - len(section.block), len(section.block))

    def get(self, digest: bytes) -> bytes:
        """A block, not verified; BlockNotFoundError."""
        found = self._offsets.get(digest)
        if found is None:
            raise BlockNotFoundError(digest)
        self._file.seek(found[0])
        return self._file.read(found[1])


class _DagBody:
    """The bytes of a file's DAG as a body to take in."""

    def __init__(self, dag: FileDag, progress: Progress | None) -> None:
        self.length: int | None = dag.info.size
        self._pieces = iter(dag.read())
        self._rest = memoryview(b"")
        self._done = 0
        self._progress = progress

    async def fill(self, views: Sequence[memoryview]) -> int:
        """Fill the views one after the other; fewer bytes than fit only at the end."""
        filled = 0
        for view in views:
            at = 0
            while at < len(view):
                if not self._rest:
                    piece = next(self._pieces, None)
                    if piece is None:
                        return filled
                    self._rest = memoryview(piece)
                taken = min(len(view) - at, len(self._rest))
                view[at : at + taken] = self._rest[:taken]
                self._rest = self._rest[taken:]
                at += taken
                filled += taken
                self._done += taken
            if self._progress is not None:
                self._progress(self._done, self.length or 0)
        return filled


class _CountedWriter:
    """Tells how much was written."""

    def __init__(self, file: BinaryIO, total: int, progress: Progress | None) -> None:
        self._file = file
        self._total = total
        self._done = 0
        self._progress = progress

    def write(self, data: bytes, /) -> int:
        self._done += len(data)
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)
        return self._file.write(data)


def _text(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
