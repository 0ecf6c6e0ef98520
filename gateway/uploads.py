"""What S3 means by a multipart upload: parts in any order, again and again, then one object.

Completing is optimistic: the object is assembled from the parts as they are, and its commit checks
that they still are the upload's parts. Nothing is locked meanwhile; who loses assembles again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import structlog

from dsn.blockstore.segments.store import SegmentStore
from dsn.errors import BlockNotFoundError
from dsn.layout import encode_layout
from gateway.assembly import Assembled, PartReader, assemble
from gateway.buckets import Buckets, bucket_of
from gateway.catalog.database import Database
from gateway.catalog.queries import (
    UploadRow,
    VersionRow,
    find_bucket,
    find_completion,
    find_upload,
    list_parts,
    part_bytes_max,
    part_sequences,
    seek_uploads,
    upload_sequence,
)
from gateway.catalog.records import AbortRecord, ObjectRecord, PartRecord, UploadRecord
from gateway.commits import Change, Committer, Places, UnsettledCommitError, to_the_end
from gateway.digests import BodyDigests
from gateway.ingest import Body, Ingest, IngestedPart, keep_leaves
from gateway.objects import NewObject, commit_condition
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.etags import composite_etag
from gateway.s3.listing import Page
from gateway.s3.part_list import RequestedPart, match_parts
from gateway.s3.upload_listing import ListUploadsRequest, UploadPosition, list_uploads_page

log = structlog.get_logger()

ASSEMBLIES_MAX = 4
ANNOUNCED_MAX = 10_000
_TRIES = 5


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """Which upload a request means."""

    account: str
    bucket: str
    key: bytes
    upload_id: str


class _PartsChangedError(Exception):
    """A part was replaced while the object was assembled from it."""


class Uploads:
    """Multipart uploads of all accounts."""

    def __init__(
        self,
        store: SegmentStore,
        database: Database,
        committer: Committer,
        ingest: Ingest,
        buckets: Buckets,
        *,
        part_bytes_min: int,
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._database = database
        self._committer = committer
        self._ingest = ingest
        self._buckets = buckets
        self._part_bytes_min = part_bytes_min
        self._new_id = new_id
        self._assemblies = asyncio.Semaphore(ASSEMBLIES_MAX)
        # The largest part announced so far to each upload that this process takes parts of: what
        # a shorter last part is cut by.
        self._announced: dict[str, int] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def create(
        self, new: NewObject, checksum: tuple[str, str] | None, opener: str | None = None
    ) -> str:
        """Open an upload for an object to be, by the key named `opener`; its id, once durable."""
        await self._buckets.check_writable(new.account, new.bucket)
        await self.check_room(new.account, new.bucket, 0)
        upload_id = self._new_id()
        await self._committer.commit(
            Change(
                lambda sequence, _: UploadRecord(
                    sequence,
                    new.account,
                    new.bucket,
                    new.key,
                    upload_id,
                    new.metadata,
                    checksum,
                    new.notes,
                    opener,
                ),
                makes_bucket=new.makes_bucket,
            )
        )
        return upload_id

    async def check_room(self, account: str, bucket: str, size: int) -> None:
        """Refuse early what could not be completed any more: S3Error(QuotaExceeded)."""
        room = self._buckets.quotas.condition(account, bucket, size)
        if room is not None:
            await self._database.read(room)

    async def find(self, target: UploadTarget) -> UploadRow:
        """The open upload; S3Error(NoSuchUpload), also for another key's or account's."""

        def look(connection: sqlite3.Connection) -> UploadRow | None:
            bucket = find_bucket(connection, target.account, target.bucket)
            if bucket is None:
                return None
            return find_upload(
                connection, bucket=bucket.id, key=target.key, upload_id=target.upload_id
            )

        row = await self._database.read(look)
        if row is None:
            raise S3Error(ErrorCode.NoSuchUpload, UploadId=target.upload_id)
        return row

    async def put_part(
        self,
        upload: UploadRow,
        number: int,
        body: Body,
        digests: BodyDigests,
        check: Callable[[], tuple[str, str] | None],
    ) -> PartRecord:
        """Store a part, in place of an earlier one of its number; its record, once durable.

        `check` is as for an object. S3Error(NoSuchUpload) where the upload was finished meanwhile.
        """
        start = await self._predict_start(upload.upload_id, number, body.length)
        taken = await self._ingest.part(body, digests, start)
        return await to_the_end(self._commit_part(upload, number, taken, digests, check))

    async def _commit_part(
        self,
        upload: UploadRow,
        number: int,
        taken: IngestedPart,
        digests: BodyDigests,
        check: Callable[[], tuple[str, str] | None],
    ) -> PartRecord:
        try:
            checksum = check()
            md5 = digests.md5
            committed = await self._committer.commit(
                Change(
                    lambda sequence, _: PartRecord(
                        sequence,
                        upload.upload_id,
                        number,
                        taken.size,
                        md5,
                        taken.start,
                        taken.segment,
                        taken.runs,
                        taken.digests,
                        taken.head,
                        taken.tail,
                        checksum,
                    ),
                    condition=partial(_check_open, upload_id=upload.upload_id),
                )
            )
        except UnsettledCommitError:
            taken.leaves.close()
            raise
        except BaseException:
            await self._ingest.run(taken.leaves.discard)
            raise
        taken.leaves.close()
        assert isinstance(committed, PartRecord)
        return committed

    async def parts(self, upload: UploadRow, after: int = 0, limit: int = -1) -> list[PartRecord]:
        """The parts behind a number, ascending; all of them by default."""
        return await self._database.scan(
            partial(list_parts, upload_id=upload.upload_id, after=after, limit=limit)
        )

    async def list(
        self, account: str, bucket: str, request: ListUploadsRequest
    ) -> Page[UploadRow, UploadPosition]:
        """One page of a bucket's open uploads; S3Error(NoSuchBucket)."""

        def page(connection: sqlite3.Connection) -> Page[UploadRow, UploadPosition]:
            row = bucket_of(connection, account, bucket)

            def seek(after: UploadPosition, limit: int, stop: bytes | None) -> list[UploadRow]:
                return seek_uploads(connection, row.id, after, stop, limit)

            return list_uploads_page(seek, request)

        return await self._database.scan(page)

    async def completed(self, target: UploadTarget) -> VersionRow | None:
        """The version that an upload became, if it was completed to this very key."""
        bucket = await self._buckets.find(target.account, target.bucket)
        version = await self._database.read(partial(find_completion, upload_id=target.upload_id))
        if bucket is None or version is None:
            return None
        return version if (version.bucket, version.key) == (bucket.id, target.key) else None

    async def complete(
        self,
        upload: UploadRow,
        new: NewObject,
        requested: Sequence[RequestedPart],
        check: Callable[[Sequence[PartRecord]], tuple[str, str, str] | None],
    ) -> ObjectRecord:
        """Make the object of the parts in the list; its record, once it is durable.

        `check` looks at the parts and returns the checksum of the whole, or raises. Raises what
        S3 wants for a list that does not match (see `match_parts`), PreconditionFailed, and
        NoSuchUpload where the upload was finished meanwhile.
        """
        for _ in range(_TRIES):
            stored = {part.number: part for part in await self.parts(upload)}
            parts = match_parts(requested, stored, part_bytes_min=self._part_bytes_min)
            size = sum(part.size for part in parts)
            condition = commit_condition(new, size, self._buckets.quotas)
            if condition is not None:
                await self._database.read(condition)
            checksum = check(parts)
            try:
                async with self._assemblies:
                    return await to_the_end(self._assemble(upload, new, parts, checksum, condition))
            except (_PartsChangedError, BlockNotFoundError):
                await self.find(UploadTarget(new.account, new.bucket, new.key, upload.upload_id))
        raise S3Error(ErrorCode.SlowDown, "The parts of this upload keep changing.")

    async def abort(self, upload: UploadRow) -> None:
        """Drop an upload and its parts; S3Error(NoSuchUpload) where it was finished meanwhile."""
        await self._committer.commit(
            Change(
                lambda sequence, _: AbortRecord(sequence, upload.upload_id),
                condition=partial(_check_open, upload_id=upload.upload_id),
            )
        )
        self._announced.pop(upload.upload_id, None)

    async def close(self) -> None:
        """Wait for what goes on behind answered requests."""
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _predict_start(self, upload_id: str, number: int, length: int | None) -> int:
        """The offset at which this part probably starts: parts are as long as their siblings."""
        if number == 1:
            self._announce(upload_id, length or 0)
            return 0
        # All parts are looked at, which may be ten thousand.
        stored = await self._database.scan(partial(part_bytes_max, upload_id=upload_id))
        longest = max(stored, self._announced.get(upload_id, 0), length or 0)
        self._announce(upload_id, longest)
        return (number - 1) * longest

    def _announce(self, upload_id: str, length: int) -> None:
        if length > self._announced.get(upload_id, 0):
            self._announced[upload_id] = length
        # Uploads that are left open, or finished elsewhere, must not pile up here.
        while len(self._announced) > ANNOUNCED_MAX:
            del self._announced[next(iter(self._announced))]

    async def _assemble(
        self,
        upload: UploadRow,
        new: NewObject,
        parts: Sequence[PartRecord],
        checksum: tuple[str, str, str] | None,
        condition: Callable[[sqlite3.Connection], None] | None,
    ) -> ObjectRecord:
        assembled = await self._ingest.run(
            lambda: assemble(self._store, parts, new.name, new.options)
        )
        draft = assembled.draft
        etag = bytes.fromhex(composite_etag(part.md5 for part in parts).partition("-")[0])
        part_sizes = tuple(
            (size, len(list(same))) for size, same in groupby(part.size for part in parts)
        )

        part_checksums = _part_checksums(parts, checksum[0]) if checksum is not None else None

        def record(sequence: int, places: Places) -> ObjectRecord:
            return ObjectRecord(
                sequence,
                new.account,
                new.bucket,
                new.key,
                draft.root,
                draft.size,
                etag,
                encode_layout(draft.layout(places)),
                new.metadata,
                part_sizes,
                checksum,
                upload.upload_id,
                upload.notes,
                part_checksums,
            )

        def check_again(connection: sqlite3.Connection) -> None:
            _check_open(connection, upload.upload_id)
            current = part_sequences(connection, upload.upload_id)
            if any(current.get(part.number) != part.sequence for part in parts):
                raise _PartsChangedError
            if condition is not None:
                condition(connection)

        change = Change(record, draft.blocks, check_again, makes_bucket=new.makes_bucket)
        try:
            committed = await self._committer.commit(change)
        except UnsettledCommitError:
            if assembled.leaves is not None:
                assembled.leaves.close()
            raise
        except BaseException:
            if assembled.leaves is not None:
                await self._ingest.run(assembled.leaves.discard)
            raise
        self._announced.pop(upload.upload_id, None)
        self._index_later(assembled, parts)
        assert isinstance(committed, ObjectRecord)
        return committed

    def _index_later(self, assembled: Assembled, parts: Sequence[PartRecord]) -> None:
        """Make the leaves of the adopted parts known to later uploads, after the answer."""

        def index() -> None:
            if assembled.leaves is not None:
                keep_leaves(assembled.leaves)
            for part in parts:
                if self._store.files.exists(part.segment):
                    self._index_part(part)

        task = asyncio.create_task(self._ingest.run(index))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _index_part(self, part: PartRecord) -> None:
        try:
            leaves = PartReader(self._store, part).own_leaves()
            stop = self._store.files.size(part.segment)
            self._store.index_blocks(leaves, {part.segment: stop})
        except Exception:
            # The commit stands; the index is completed at the next start.
            log.exception("index not written")


def _part_checksums(parts: Sequence[PartRecord], algorithm: str) -> bytes | None:
    """The digests of the parts side by side; None unless all of them have one."""
    values = [part.checksum[1] for part in parts if part.checksum and part.checksum[0] == algorithm]
    if len(values) != len(parts):
        return None
    return b"".join(b64decode(value) for value in values)


def _check_open(connection: sqlite3.Connection, upload_id: str) -> None:
    if upload_sequence(connection, upload_id) is None:
        raise S3Error(ErrorCode.NoSuchUpload, UploadId=upload_id)
