"""Brings the catalog and the index up to what the segments hold, before anything is served.

What the catalog lacks after a crash is read from the tails of the logs; a torn tail is cut, and a
damaged block before the last valid one is reported and left. Files that nothing names are the
remains of uploads that never finished: they go. With an empty catalog all this is a rebuild.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile

import structlog

from dsn.blockstore.segments.files import SegmentKind, encode_segment_header, kind_of
from dsn.blockstore.segments.scan import Rot, SegmentScan, header_bytes
from dsn.blockstore.segments.store import SegmentStore
from dsn.errors import InvalidSegmentError
from dsn.place import Place
from gateway.catalog.apply import apply_record, drop_stray_parts, set_applied
from gateway.catalog.database import transaction
from gateway.catalog.queries import applied_segments, part_segments
from gateway.catalog.records import Record, decode_record

log = structlog.get_logger()

Progress = Callable[[int, int], None]

_BATCH_RECORDS = 10_000
_COMPLETE = 0x64736E31


@dataclass(slots=True)
class Recovered:
    """What recovery found: how many records it applied, the damage, the files it removed."""

    records: int = 0
    segments: int = 0
    rot: list[Rot] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


def recover(
    store: SegmentStore, connection: sqlite3.Connection, progress: Progress | None = None
) -> Recovered:
    """Apply what the catalog lacks, cut torn tails, remove orphans, complete the index.

    Nobody else may use the store meanwhile. Interrupted at any point, it can be run again.
    """
    files = dict(store.files.list_ids())
    applied = applied_segments(connection)
    began_before = _is_complete(connection)
    recovered = Recovered(segments=len(files))
    logs = sorted(segment for segment in files if kind_of(segment) is SegmentKind.LOG)
    for done, segment in enumerate(logs):
        if progress is not None:
            progress(done, len(logs))
        if segment not in applied or files[segment] > applied[segment]:
            _apply_tail(
                store,
                connection,
                segment,
                applied.get(segment, 0),
                recovered,
                # Every start cuts what the crash before it tore. So for a new catalog, which has
                # all logs read from the front, damage is rot.
                may_be_torn=began_before,
            )
    with transaction(connection):
        drop_stray_parts(connection)
    if not recovered.rot:
        recovered.removed = _remove_orphans(store, connection, files)
    _complete_index(store, connection, progress)
    if not began_before:
        _mark_complete(connection)
    if recovered.records or recovered.removed:
        log.info("recovered", records=recovered.records, removed=len(recovered.removed))
    return recovered


def _apply_tail(
    store: SegmentStore,
    connection: sqlite3.Connection,
    segment: int,
    applied: int,
    recovered: Recovered,
    *,
    may_be_torn: bool,
) -> None:
    """Apply what a log holds behind `applied`, and cut what is torn at its end."""
    tear = _first_tear(store, segment, applied) if may_be_torn else None
    if tear is not None and tear <= header_bytes(segment):
        # Torn before its first sync: nothing in it was ever acknowledged.
        store.files.remove(segment)
        return
    scan = SegmentScan(store.files, segment, start=applied)
    records = _records(scan)
    if tear is not None:
        records = takewhile(lambda found: found[1].offset < tear, records)
    try:
        while batch := list(islice(records, _BATCH_RECORDS)):
            with transaction(connection):
                for record, place, _ in batch:
                    apply_record(connection, record, place)
                set_applied(connection, segment, scan.end if tear is None else min(scan.end, tear))
            recovered.records += len(batch)
    except InvalidSegmentError as error:
        if scan.file_bytes <= header_bytes(segment):
            store.files.remove(segment)
            return
        log.error("damaged log header", error=str(error))
        recovered.rot.append(Rot(segment, 0, scan.file_bytes))
        return
    stop = scan.end if tear is None else tear
    for rot in scan.rot:
        if rot.start < stop:
            log.error("damaged log segment", segment=f"{segment:016x}", offset=rot.start)
            recovered.rot.append(rot)
    if stop <= header_bytes(segment):
        store.files.remove(segment)
        return
    with transaction(connection):
        set_applied(connection, segment, stop)
    if stop < scan.file_bytes:
        _cut(store, segment, stop, scan.file_bytes)


def _first_tear(store: SegmentStore, segment: int, applied: int) -> int | None:
    """Where the last group of a log begins to be torn, None if it is whole.

    A group that was never synced may have reached the disk in part, and its pages in any order:
    what its records point at may lie in a hole before them. Damage below what was durable when a
    record was written is no tear but rot.
    """
    if applied == 0:
        with store.files.reading(segment) as fd:
            start = os.pread(fd, header_bytes(segment), 0)
        torn_header = start != encode_segment_header(segment)
        applied = header_bytes(segment)
    else:
        torn_header = False
    scan = SegmentScan(store.files, segment, start=applied)
    durable_end = max((end for *_, end in _records(scan)), default=0)
    if torn_header:
        return 0 if durable_end == 0 else None
    return next((rot.start for rot in scan.rot if rot.start >= max(applied, durable_end)), None)


def _records(scan: SegmentScan) -> Iterator[tuple[Record, Place, int]]:
    """The records of a log, each with its place and the log's durable end when it was written."""
    for head, block in scan.sections():
        if head.is_record:
            decoded = decode_record(block)
            if decoded is not None:
                yield decoded[0], Place(scan.segment, head.offset), decoded[1]


def _cut(store: SegmentStore, segment: int, stop: int, file_bytes: int) -> None:
    log.info("torn tail cut", segment=f"{segment:016x}", bytes=file_bytes - stop)
    fd = os.open(store.files.path(segment), os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, stop)
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove_orphans(
    store: SegmentStore, connection: sqlite3.Connection, files: dict[int, int]
) -> list[int]:
    named = applied_segments(connection).keys() | part_segments(connection)
    orphans = [
        segment
        for segment in files
        if segment not in named and kind_of(segment) is not SegmentKind.LOG
    ]
    for segment in orphans:
        store.files.remove(segment)
    return orphans


def _is_complete(connection: sqlite3.Connection) -> bool:
    """Whether this catalog has once held all that the segments say."""
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == _COMPLETE)


def _mark_complete(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {_COMPLETE}")
    # Waits for the disk: a catalog that loses this would take the next tear for rot.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _complete_index(
    store: SegmentStore, connection: sqlite3.Connection, progress: Progress | None
) -> None:
    marks = store.index.marks()
    lacking = []
    for segment, applied in applied_segments(connection).items():
        stop = applied if kind_of(segment) is SegmentKind.LOG else None
        if segment not in marks or (stop is not None and marks[segment] < stop):
            lacking.append((segment, stop))
    for done, (segment, stop) in enumerate(lacking):
        if progress is not None:
            progress(done, len(lacking))
        if store.files.exists(segment):
            store.index_segment(segment, stop)
        else:
            log.error("segment is missing", segment=f"{segment:016x}")
    store.pending.flush()
