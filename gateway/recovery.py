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
from itertools import islice

import structlog

from dsn.blockstore.segments.files import SegmentKind, kind_of
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
    recovered = Recovered(segments=len(files))
    logs = sorted(segment for segment in files if kind_of(segment) is SegmentKind.LOG)
    for done, segment in enumerate(logs):
        if progress is not None:
            progress(done, len(logs))
        if files[segment] > applied.get(segment, 0):
            _apply_tail(store, connection, segment, applied.get(segment, 0), recovered)
    with transaction(connection):
        drop_stray_parts(connection)
    if not recovered.rot:
        recovered.removed = _remove_orphans(store, connection, files)
    _complete_index(store, connection, progress)
    if recovered.records or recovered.removed:
        log.info("recovered", records=recovered.records, removed=len(recovered.removed))
    return recovered


def _apply_tail(
    store: SegmentStore,
    connection: sqlite3.Connection,
    segment: int,
    applied: int,
    recovered: Recovered,
) -> None:
    """Apply what a log holds behind `applied`, and cut what is torn at its end."""
    scan = SegmentScan(store.files, segment, start=applied)
    durable_end = applied
    records = _records(scan)
    try:
        while batch := list(islice(records, _BATCH_RECORDS)):
            with transaction(connection):
                for record, place, _ in batch:
                    apply_record(connection, record, place)
                set_applied(connection, segment, scan.end)
            durable_end = max(durable_end, *(end for *_, end in batch))
            recovered.records += len(batch)
    except InvalidSegmentError as error:
        if scan.file_bytes > header_bytes(segment):
            log.error("damaged log header", error=str(error))
            recovered.rot.append(Rot(segment, 0, scan.file_bytes))
            return
        # Torn before its first sync: nothing in it was ever acknowledged.
        store.files.remove(segment)
        return
    # Damage at or above what was durable when the last record was written is a torn group whose
    # pages reached the disk out of order.
    for rot in scan.rot:
        if rot.start < durable_end:
            log.error("damaged log segment", segment=f"{segment:016x}", offset=rot.start)
            recovered.rot.append(rot)
    with transaction(connection):
        set_applied(connection, segment, scan.end)
    if scan.end < scan.file_bytes:
        _cut(store, segment, scan)


def _records(scan: SegmentScan) -> Iterator[tuple[Record, Place, int]]:
    """The records of a log, each with its place and the log's durable end when it was written."""
    for head, block in scan.sections():
        if head.is_record:
            decoded = decode_record(block)
            if decoded is not None:
                yield decoded[0], Place(scan.segment, head.offset), decoded[1]


def _cut(store: SegmentStore, segment: int, scan: SegmentScan) -> None:
    if scan.end <= header_bytes(segment):
        store.files.remove(segment)
        return
    log.info("torn tail cut", segment=f"{segment:016x}", bytes=scan.file_bytes - scan.end)
    fd = os.open(store.files.path(segment), os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, scan.end)
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
