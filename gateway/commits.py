"""Commits changes: nodes and records into the log, durable, then the catalog, then the answer.

There is no timer: whatever gathered while the last group was being synced is the next group, one
`fdatasync` and one transaction for all of it. A group holds the catalog's write lock from its
first condition to its commit, so conditions are exact, over all processes of a store.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import structlog

from dsn.blockstore.segments.files import SegmentKind
from dsn.blockstore.segments.scan import header_bytes
from dsn.blockstore.segments.store import SegmentStore
from dsn.blockstore.segments.writing import Buffer, SegmentWriter
from dsn.car import section_prefix
from dsn.cid import RECORD_CID_PREFIX, digest_of
from dsn.layout import layout_segments
from dsn.place import Place
from gateway.catalog.apply import Applier, set_applied
from gateway.catalog.database import Database
from gateway.catalog.queries import applied_stop, find_bucket_of_any, last_sequence
from gateway.catalog.records import (
    BucketRecord,
    ObjectRecord,
    PartRecord,
    Record,
    UploadRecord,
    encode_record,
)
from gateway.catalog.sequence import SequenceClock
from gateway.s3.address import DEFAULT_BUCKET
from gateway.s3.errors import ErrorCode, S3Error

log = structlog.get_logger()

GROUP_BYTES_MAX = 32 << 20
GROUP_CHANGES_MAX = 1024

Places = Mapping[bytes, Place]

T = TypeVar("T")


class UnsettledCommitError(OSError):
    """A change that failed, although the next start may find its record and apply it.

    Whatever the record names stays, so that then it is whole.
    """

    def __init__(self, error: Exception) -> None:
        code = error.errno if isinstance(error, OSError) else None
        super().__init__(code or errno.EIO, str(error))


@dataclass(slots=True)
class Change:
    """One thing to commit.

    `blocks` are nodes by digest, each framed as its section, that go into the log unless the store
    holds them already. `record` makes the record once its sequence number and the places of the
    blocks are known. `condition` looks at the catalog and raises what refuses the change. `then`
    makes further records, of the same transaction; nobody sees the one without the others, unless
    a power cut tears them apart before any was acknowledged: then the first ones may be there
    alone. With `makes_bucket` off the bucket must be there still: S3Error(NoSuchBucket).
    """

    record: Callable[[int, Places], Record]
    blocks: Mapping[bytes, Buffer] = field(default_factory=dict)
    condition: Callable[[sqlite3.Connection], None] | None = None
    then: tuple[Callable[[int], Record], ...] = ()
    makes_bucket: bool = True


@dataclass(slots=True)
class _Waiting:
    change: Change
    done: asyncio.Future[Record]
    block_bytes: int


class Committer:
    """The one writer of a process's log segment.

    With `global_names` no change makes a bucket whose name another account's has, but for the one
    that paths without a bucket mean: S3Error AccessDenied.
    """

    def __init__(
        self,
        store: SegmentStore,
        database: Database,
        clock: SequenceClock,
        *,
        segment_bytes_max: int,
        global_names: bool = False,
    ) -> None:
        self._store = store
        self._database = database
        self._clock = clock
        self._segment_bytes_max = segment_bytes_max
        self._global_names = global_names
        self._log: SegmentWriter | None = None
        # Every log of this process, which looks after them itself.
        self._logs: set[int] = set()
        self._queue: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        # Of the group that is being written: where it starts in the log (None until its turn has
        # come), its new blocks, and the segments that it makes void.
        self._group_start: int | None = None
        self._fresh: list[tuple[bytes, int, int]] = []
        self._unneeded: list[int] = []
        self._group_records: list[Record] = []
        # Segments that records in a log left behind name: the next start decides about them.
        self._unsettled: set[int] = set()

    def start(self) -> None:
        """Begin to commit; needs a running loop."""
        self._task = asyncio.create_task(self._run(), name="committer")

    async def close(self) -> None:
        """Commit what waits, then stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        if self._log is not None:
            self._log.close()

    def submit(self, change: Change) -> asyncio.Future[Record]:
        """Have a change committed; its record, once it is durable and in the catalog.

        The future raises what the condition raised, or the OSError that kept the record from being
        durable: UnsettledCommitError where it may become durable all the same. Cancelling it does
        not take the change back.
        """
        done: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        size = sum(len(section) for section in change.blocks.values())
        self._queue.append(_Waiting(change, done, size))
        self._wake.set()
        return done

    async def commit(self, change: Change) -> Record:
        """As `submit`, awaited."""
        return await asyncio.shield(self.submit(change))

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            group = self._take_group()
            if not group:
                if self._closing:
                    return
                self._wake.clear()
                continue
            self._group_start = None
            try:
                outcomes = await self._database.write(partial(self._write, group))
            except Exception as error:  # every waiter is told
                told = self._after_failure(error)
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_exception(told)
                continue
            await self._publish()
            for waiting, outcome in zip(group, outcomes, strict=True):
                if waiting.done.done():
                    continue
                if isinstance(outcome, BaseException):
                    waiting.done.set_exception(outcome)
                else:
                    waiting.done.set_result(outcome)

    def _take_group(self) -> list[_Waiting]:
        size = count = 0
        for waiting in self._queue:
            size += waiting.block_bytes
            if count and (size > GROUP_BYTES_MAX or count >= GROUP_CHANGES_MAX):
                break
            count += 1
        group, self._queue = self._queue[:count], self._queue[count:]
        return group

    def _write(
        self, group: Sequence[_Waiting], connection: sqlite3.Connection
    ) -> list[Record | Exception]:
        """Write one group, in the database's thread, within its transaction."""
        self._settle_interrupted(connection)
        writer = self._writer()
        self._group_start = writer.end
        self._group_records = []
        # Clocks of other workers may be ahead of ours; the order of the commits decides.
        self._clock.follow(last_sequence(connection))
        staged = _Staged(self._store, writer, group)
        applier = Applier(connection, in_order=True)
        outcomes: list[Record | Exception] = []

        def add(record: Record) -> None:
            self._group_records.append(record)
            self._unneeded += applier.apply(record, staged.add_record(record))

        for waiting in group:
            change = waiting.change
            if change.condition is not None:
                applier.flush()
                try:
                    change.condition(connection)
                except Exception as error:  # the waiter's answer, nobody else's
                    outcomes.append(error)
                    continue
            places = staged.place(change.blocks)
            record = change.record(self._clock.next(), places)
            refused = self._refusal(change, record, applier, connection)
            if refused is not None:
                outcomes.append(refused)
                continue
            add(record)
            outcomes.append(record)
            if isinstance(record, (ObjectRecord, UploadRecord)) and applier.is_removed(
                record.account, record.bucket
            ):
                # Removed while this was on its way, or before: the write makes it anew.
                add(BucketRecord(self._clock.next(), record.account, record.bucket))
            for make in change.then:
                add(make(self._clock.next()))
        applier.flush()
        if staged.buffers:
            self._database.writer_lock.begin(writer.segment)
            writer.append(staged.buffers)
            writer.sync()
            set_applied(connection, writer.segment, writer.end)
        self._fresh = staged.fresh
        return outcomes

    def _refusal(
        self, change: Change, record: Record, applier: Applier, connection: sqlite3.Connection
    ) -> S3Error | None:
        """What refuses a record that would make a bucket; None for one that makes none, or may.

        The bucket may have been removed, and even made by others, while a body was on its way.
        """
        if change.makes_bucket and not self._global_names:
            return None
        if not isinstance(record, (BucketRecord, ObjectRecord, UploadRecord)):
            return None
        if applier.has_bucket(record.account, record.bucket):
            return None
        if not change.makes_bucket:
            return S3Error(ErrorCode.NoSuchBucket, BucketName=record.bucket)
        if record.bucket == DEFAULT_BUCKET:
            # Paths without a bucket mean it: it is every account's own.
            return None
        is_taken = find_bucket_of_any(connection, record.bucket, record.account) is not None
        return S3Error(ErrorCode.AccessDenied) if is_taken else None

    def _settle_interrupted(self, connection: sqlite3.Connection) -> None:
        """Cut off what a worker that died left in its log, before anything builds on its absence.

        It was not acknowledged; the next start would apply it behind what is committed now.
        """
        interrupted = self._database.writer_lock.interrupted()
        if interrupted is None or interrupted in self._logs:
            return
        stop = max(applied_stop(connection, interrupted), header_bytes(interrupted))
        with suppress(FileNotFoundError):
            self._store.files.cut(interrupted, stop)
            log.info("log of a dead worker cut", segment=f"{interrupted:016x}", stop=stop)

    def _writer(self) -> SegmentWriter:
        self._unneeded = []
        self._fresh = []
        if self._log is not None and self._log.end >= self._segment_bytes_max:
            self._log.close()
            self._log = None
        if self._log is None:
            self._log = self._store.new_writer(SegmentKind.LOG)
            self._logs.add(self._log.segment)
        return self._log

    async def _publish(self) -> None:
        """After the commit: tell the index, drop segments that nothing needs any more.

        What fails here is made up for at the next start; the commit stands.
        """
        assert self._log is not None
        try:
            if self._fresh:
                self._store.index_blocks(self._fresh, {self._log.segment: self._log.end})
            if unneeded := [s for s in self._unneeded if s not in self._unsettled]:
                await asyncio.to_thread(self._remove, unneeded)
        except Exception:
            log.exception("not tidied after a commit")

    def _remove(self, segments: Sequence[int]) -> None:
        for segment in segments:
            self._store.files.remove(segment)

    def _after_failure(self, error: Exception) -> Exception:
        """Nothing of the group was acknowledged: cut it off, or leave the segment behind.

        What to tell the waiters.
        """
        log.error("commit failed", error=repr(error))
        if self._log is None or self._group_start is None:
            # The group did not get as far as the log: what lies there is acknowledged.
            return error
        writer, self._log = self._log, None
        try:
            writer.cut_back(self._group_start)
        except OSError as cut_error:
            log.error("log segment left behind", error=repr(cut_error))
            writer.close()
            for record in self._group_records:
                self._unsettled |= _segments_of(record)
            return UnsettledCommitError(error)
        self._log = writer
        return error


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await what must not stop half-way: cancelling the caller leaves it running to its end.

    Around a commit this keeps memory and segments that the commit still needs from being let go.
    """
    return await asyncio.shield(asyncio.create_task(work))


def _segments_of(record: Record) -> set[int]:
    if isinstance(record, ObjectRecord):
        return layout_segments(record.layout)
    if isinstance(record, PartRecord):
        return {record.segment}
    return set()


class _Staged:
    """The sections of one group, laid out behind the end of the log before they are written."""

    def __init__(
        self, store: SegmentStore, writer: SegmentWriter, group: Sequence[_Waiting]
    ) -> None:
        self._segment = writer.segment
        self._durable_end = writer.durable_end
        self._end = writer.end
        self.buffers: list[Buffer] = []
        self.fresh: list[tuple[bytes, int, int]] = []
        digests = list({digest for waiting in group for digest in waiting.change.blocks})
        found = store.lookup(digests) if digests else []
        self._places: dict[bytes, Place] = {
            digest: place for digest, place in zip(digests, found, strict=True) if place is not None
        }

    def place(self, blocks: Mapping[bytes, Buffer]) -> Places:
        """Lay out the blocks that are nowhere yet; where all of them are."""
        for digest, section in blocks.items():
            if digest not in self._places:
                self.fresh.append((digest, self._segment, self._end))
                self._places[digest] = self._append(section)
        return self._places

    def add_record(self, record: Record) -> Place:
        """Lay out a record; where it will be."""
        block = encode_record(record, self._durable_end, self._segment)
        cid = RECORD_CID_PREFIX + digest_of(block)
        return self._append(section_prefix(cid, len(block)) + block)

    def _append(self, section: Buffer) -> Place:
        place = Place(self._segment, self._end)
        self.buffers.append(section)
        self._end += len(section)
        return place
