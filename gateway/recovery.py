"""Brings the catalog and the index up to what the segments hold, before anything is served.

What the catalog lacks after a crash is read from the tails of the logs; a torn tail is cut, and a
damaged block before the last valid one is reported and left. Files that nothing names are the
remains of uploads that never finished: they go. With an empty catalog all this is a rebuild, and
such files are set aside: should a log have been lost, they may be all that is left of an object.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, takewhile

import structlog

from dsn.blockstore.segments.files import SegmentKind, encode_segment_header, kind_of
from dsn.blockstore.segments.scan import Rot, SegmentScan, header_bytes
from dsn.blockstore.segments.store import SegmentStore
from dsn.place import Place
from gateway.catalog.apply import Applier, drop_stray_parts, note_unread, set_applied
from gateway.catalog.database import transaction
from gateway.catalog.queries import all_was_read, applied_segments, part_segments
from gateway.catalog.records import Record, decode_record

log = structlog.get_logger()

Progress = Callable[[int, int], None]

_BATCH_RECORDS = 10_000
_COMPLETE = 0x64736E31


@dataclass(slots=True)
class Recovered:
    """What recovery did: the records it applied, the damage it found, the orphans it removed.

    A rebuild sets orphans aside instead: a whole log may be missing, and with it their names.
    """

    records: int = 0
    segments: int = 0
    rot: list[Rot] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    set_aside: list[int] = field(default_factory=list)


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
    if all_was_read(connection):
        if began_before:
            recovered.removed = _remove_orphans(store, connection, files)
        else:
            recovered.set_aside = _set_orphans_aside(store, connection, files)
    _complete_index(store, connection, files, progress)
    if not began_before:
        _mark_complete(connection)
    if recovered.records or recovered.removed:
        log.info("recovered", records=recovered.records, removed=len(recovered.removed))
    return recovered


def cut_torn_tails(store: SegmentStore, applied: Mapping[int, int]) -> None:
    """Cut what a crash tore from the ends of the logs, before the catalog that shows it goes.

    `applied` is up to where that catalog had applied each log. A new one, which reads every log
    from the front, cannot tell a tear from rot.
    """
    for segment, file_bytes in list(store.files.list_ids()):
        done = applied.get(segment, 0)
        if kind_of(segment) is not SegmentKind.LOG or file_bytes <= done:
            continue
        tear = _first_tear(store, segment, done)
        if tear is None:
            scan = SegmentScan(store.files, segment, start=max(done, header_bytes(segment)))
            for _ in scan.heads():
                pass
            tear = scan.end
        if tear == file_bytes:
            continue
        log.info("torn tail cut", segment=f"{segment:016x}", bytes=file_bytes - tear)
        if tear <= header_bytes(segment):
            store.files.remove(segment)
        else:
            store.files.cut(segment, tear)


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
    header = header_bytes(segment)
    # Records say which log they belong to: they are read behind a damaged header, too.
    scan = SegmentScan(store.files, segment, start=max(applied, header))
    records = _records(scan)
    if tear is not None:
        records = takewhile(lambda found: found[1].offset < tear, records)
    while batch := list(islice(records, _BATCH_RECORDS)):
        with transaction(connection):
            applier = Applier(connection, in_order=False)
            for record, place, _ in batch:
                applier.apply(record, place)
            applier.flush()
            set_applied(connection, segment, scan.end if tear is None else min(scan.end, tear))
        recovered.records += len(batch)
    stop = scan.end if tear is None else tear
    damages = [rot for rot in scan.rot if rot.start < stop]
    if applied == 0 and not _has_header(store, segment):
        damages.insert(0, Rot(segment, 0, header))
    if stop <= header:
        if may_be_torn or not _holds_anything(store, segment):
            store.files.remove(segment)
            return
        # Nothing can be read of it; it stays for whoever can.
        stop = scan.file_bytes
        damages = [Rot(segment, 0, stop)]
    for rot in damages:
        log.error("damaged log segment", segment=f"{segment:016x}", offset=rot.start)
    recovered.rot += damages
    with transaction(connection):
        set_applied(connection, segment, stop)
        for rot in damages:
            note_unread(connection, *rot)
        if stop < scan.file_bytes and not may_be_torn:
            # A tear or rot, nobody can tell: for the files that it may have named it is rot.
            note_unread(connection, segment, stop, scan.file_bytes)
    if stop < scan.file_bytes:
        log.info("torn tail cut", segment=f"{segment:016x}", bytes=scan.file_bytes - stop)
        store.files.cut(segment, stop)


def _has_header(store: SegmentStore, segment: int) -> bool:
    with store.files.reading(segment) as fd:
        return os.pread(fd, header_bytes(segment), 0) == encode_segment_header(segment)


def _holds_anything(store: SegmentStore, segment: int) -> bool:
    """Whether there is a byte other than zero behind the header."""
    with store.files.reading(segment) as fd:
        at = header_bytes(segment)
        while found := os.pread(fd, 1 << 20, at):
            if any(found):
                return True
            at += len(found)
    return False


def _first_tear(store: SegmentStore, segment: int, applied: int) -> int | None:
    """Where the last group of a log begins to be torn, None if it is whole.

    A group that was never synced may have reached the disk in part, and its pages in any order:
    what its records point at may lie in a hole before them. Damage below what was durable when a
    record was written is no tear but rot.
    """
    torn_header = applied == 0 and not _has_header(store, segment)
    applied = max(applied, header_bytes(segment))
    scan = SegmentScan(store.files, segment, start=applied)
    durable_end = max((end for *_, end in _records(scan)), default=0)
    if torn_header:
        return 0 if durable_end == 0 else None
    return next((rot.start for rot in scan.rot if rot.start >= max(applied, durable_end)), None)


def _records(scan: SegmentScan) -> Iterator[tuple[Record, Place, int]]:
    """The records of a log, each with its place and the log's durable end when it was written."""
    for head, block in scan.sections():
        if head.is_record:
            decoded = decode_record(block, scan.segment)
            if decoded is not None:
                yield decoded[0], Place(scan.segment, head.offset), decoded[1]


def _remove_orphans(
    store: SegmentStore, connection: sqlite3.Connection, files: dict[int, int]
) -> list[int]:
    orphans = _orphans(connection, files)
    for segment in orphans:
        store.files.remove(segment)
    return orphans


def _set_orphans_aside(
    store: SegmentStore, connection: sqlite3.Connection, files: dict[int, int]
) -> list[int]:
    orphans = _orphans(connection, files)
    for segment in orphans:
        path = store.files.set_aside(segment)
        log.warning("segment that no record names set aside", path=str(path))
    return orphans


def _orphans(connection: sqlite3.Connection, files: dict[int, int]) -> list[int]:
    named = applied_segments(connection).keys() | part_segments(connection)
    return [
        segment
        for segment in files
        if segment not in named and kind_of(segment) is not SegmentKind.LOG
    ]


def _is_complete(connection: sqlite3.Connection) -> bool:
    """Whether this catalog has once held all that the segments say."""
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == _COMPLETE)


def _mark_complete(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {_COMPLETE}")
    # Waits for the disk: a catalog that loses this would take the next tear for rot.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _complete_index(
    store: SegmentStore,
    connection: sqlite3.Connection,
    files: dict[int, int],
    progress: Progress | None,
) -> None:
    marks = store.index.marks()
    lacking = []
    for segment, applied in applied_segments(connection).items():
        stop = applied if kind_of(segment) is SegmentKind.LOG else None
        indexed = marks.get(segment, 0)
        if indexed == 0 or indexed < (files.get(segment, 0) if stop is None else stop):
            lacking.append((segment, stop))
    for done, (segment, stop) in enumerate(lacking):
        if progress is not None:
            progress(done, len(lacking))
        if store.files.exists(segment):
            store.index_segment(segment, stop)
        else:
            log.error("segment is missing", segment=f"{segment:016x}")
    store.pending.flush()
