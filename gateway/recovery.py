"""Brings the catalog and the index up to what the segments hold, before anything is served.

What the catalog lacks after a crash is read from the tails of the logs; a torn tail is cut, and a
damaged block before the last valid one is reported and left. Files that nothing names are the
remains of uploads that never finished: they go. With an empty catalog all this is a rebuild.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from dsn.blockstore.segments.files import SegmentKind, kind_of
from dsn.blockstore.segments.scan import Rot, SegmentScan, header_bytes
from dsn.blockstore.segments.store import SegmentStore
from dsn.errors import InvalidRecordError, InvalidSegmentError
from dsn.place import Place
from gateway.catalog.apply import apply_record, set_applied
from gateway.catalog.database import transaction
from gateway.catalog.queries import applied_segments, part_segments
from gateway.catalog.records import Record, decode_record

log = structlog.get_logger()

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Recovered:
    """What recovery found: how many records it applied, the damage, the files it removed."""

    records: int = 0
    segments: int = 0
    rot: list[Rot] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Tail:
    log: int
    stop: int
    file_bytes: int
    records: list[tuple[Record, Place]]
    rot: list[Rot]


def recover(
    store: SegmentStore, connection: sqlite3.Connection, progress: Progress | None = None
) -> Recovered:
    """Apply what the catalog lacks, cut torn tails, remove orphans, complete the index.

    Nobody else may use the store meanwhile. Interrupted at any point, it can be run again.
    """
    files = dict(store.files.list_ids())
    applied = applied_segments(connection)
    recovered = Recovered(segments=len(files))
    logs = sorted(segment for segment in files if kind_of(segment) is SegmentKind.LOG)
    tails = [
        _read_tail(store, segment, applied.get(segment, 0))
        for segment in logs
        if files[segment] > applied.get(segment, 0)
    ]
    recovered.rot = [rot for tail in tails for rot in tail.rot]
    for rot in recovered.rot:
        log.error("damaged log segment", segment=f"{rot.segment:016x}", offset=rot.start)
    records = sorted(
        (record for tail in tails for record in tail.records), key=lambda r: r[0].sequence
    )
    with transaction(connection):
        for record, place in records:
            apply_record(connection, record, place)
        for tail in tails:
            set_applied(connection, tail.log, tail.stop)
    recovered.records = len(records)
    for tail in tails:
        if tail.stop < tail.file_bytes:
            _cut(store, tail)
    if not recovered.rot:
        recovered.removed = _remove_orphans(store, connection, files)
    _complete_index(store, connection, progress)
    if records or recovered.removed:
        log.info("recovered", records=len(records), removed=len(recovered.removed))
    return recovered


def _read_tail(store: SegmentStore, segment: int, applied: int) -> _Tail:
    scan = SegmentScan(store.files, segment, start=applied)
    records: list[tuple[Record, Place]] = []
    durable_end = applied
    try:
        for head, block in scan.sections():
            if not head.is_record:
                continue
            decoded = decode_record(block)
            if decoded is not None:
                records.append((decoded[0], Place(segment, head.offset)))
                durable_end = max(durable_end, decoded[1])
    except InvalidSegmentError as error:
        if scan.file_bytes > header_bytes(segment):
            log.error("damaged log header", error=str(error))
            return _Tail(segment, 0, 0, [], [Rot(segment, 0, scan.file_bytes)])
        # Torn before its first sync: nothing in it was ever acknowledged.
        return _Tail(segment, 0, scan.file_bytes, [], [])
    except InvalidRecordError as error:
        log.error("unknown record", segment=f"{segment:016x}", error=str(error))
        raise
    # Damage at or above what was durable when the last record was written is a torn group whose
    # pages reached the disk out of order.
    rot = [stretch for stretch in scan.rot if stretch.start < durable_end]
    return _Tail(segment, scan.end, scan.file_bytes, records, rot)


def _cut(store: SegmentStore, tail: _Tail) -> None:
    if tail.stop <= header_bytes(tail.log):
        store.files.remove(tail.log)
        return
    log.info("torn tail cut", segment=f"{tail.log:016x}", bytes=tail.file_bytes - tail.stop)
    fd = os.open(store.files.path(tail.log), os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, tail.stop)
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
