"""What S3 means by a copy: another name for the bytes of an object, which stay where they are.

A copy is one record that has the root and the layout of its source. All of it is decided in the
commit: which version the source shows, the conditions on both sides, whether anything changes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.buckets import Buckets
from gateway.budget import ByteBudget
from gateway.catalog.database import Database
from gateway.catalog.queries import (
    UploadRow,
    VersionRow,
    find_bucket,
    find_notes,
    find_object,
    find_part_checksums,
    find_shown,
    find_version,
)
from gateway.catalog.records import MarkerRecord, ObjectRecord, PartRecord
from gateway.commits import Change, Committer, Places, to_the_end
from gateway.delete_policy import DeleteMode
from gateway.deletes import DeletePolicies
from gateway.digests import BodyDigests
from gateway.ingest import Ingest
from gateway.objects import Checksum, NewObject, Objects, commit_condition, etag_text
from gateway.quotas import Quotas
from gateway.s3.checksums import ChecksumAlgorithm, ChecksumType, encode_digest
from gateway.s3.conditions import COPY_PREFIX, RENAME_PREFIX, check_source
from gateway.s3.copy_source import CopySource, CopyWish
from gateway.s3.errors import IMMUTABLE_MESSAGE, ErrorCode, S3Error
from gateway.s3.metadata import copied_metadata
from gateway.s3.notes import TAGGING
from gateway.s3.ranges import ByteSpan
from gateway.s3.timestamps import MICROSECONDS
from gateway.s3.version_ids import parse_version_id
from gateway.stored_body import stored_body
from gateway.uploads import Uploads

_TRIES = 5
_CHANGING = "The source of this copy keeps changing."


@dataclass(frozen=True, slots=True)
class Copied:
    """The record of a copy and the version that it was made of."""

    record: ObjectRecord
    source: VersionRow


class _ChecksumUnknownError(Exception):
    """The copy is to have a checksum that has yet to be computed from the bytes of `source`."""

    def __init__(self, source: VersionRow) -> None:
        super().__init__()
        self.source = source


class Copies:
    """Copies of objects, and of spans of objects as parts, over the objects of all accounts."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        ingest: Ingest,
        buckets: Buckets,
        objects: Objects,
        uploads: Uploads,
        policies: DeletePolicies,
        budget: ByteBudget,
        *,
        now_seconds: Callable[[], int],
    ) -> None:
        self._database = database
        self._committer = committer
        self._ingest = ingest
        self._buckets = buckets
        self._objects = objects
        self._uploads = uploads
        self._policies = policies
        self._budget = budget
        self._now_seconds = now_seconds

    async def copy(
        self,
        new: NewObject,
        account: str,
        source: CopySource,
        wish: CopyWish,
        judged: VersionRow | None = None,
    ) -> Copied:
        """Make a copy of what another bucket has, or the same, perhaps that of another `account`.

        No byte is read but for a checksum that the source does not have. With `judged` the source
        must still be that version, with those notes: S3Error SlowDown.

        Raises S3Error: NoSuchBucket, NoSuchKey and NoSuchVersion for the source,
        PreconditionFailed, InvalidRequest for a copy onto itself that would change nothing.
        """
        await self._buckets.check_writable(new.account, new.bucket)
        known: dict[int, Checksum] = {}
        for _ in range(_TRIES):
            try:
                return await to_the_end(self._commit(new, account, source, wish, known, judged))
            except _ChecksumUnknownError as unknown:
                assert wish.checksum is not None
                version = unknown.source
                known[version.sequence] = await self._checksum(version, wish.checksum)
        raise S3Error(ErrorCode.SlowDown, _CHANGING)

    async def rename(
        self, new: NewObject, key: bytes, wish: CopyWish, judged: VersionRow | None = None
    ) -> ObjectRecord:
        """Copy a key of the same bucket, and hide it in the same commit; the record of the copy.

        Raises as `copy`, and S3Error(AccessDenied) where the bucket's policy forbids to hide it.
        """
        await self._buckets.get(new.account, new.bucket)
        source = CopySource(new.bucket, key)
        copy = self._new_copy(new, new.account, source, wish, {}, RENAME_PREFIX)
        copy.judged = judged

        def check(connection: sqlite3.Connection) -> None:
            policy = self._policies.find(connection, new.account, new.bucket)
            if policy.mode_of(key) is DeleteMode.DENY:
                raise S3Error(ErrorCode.AccessDenied, IMMUTABLE_MESSAGE)
            copy.check(connection)
            # It is the same object still: its redirect and its locks go along.
            copy.metadata = copy.source.metadata
            copy.notes = find_notes(connection, copy.source.sequence)

        def hide(sequence: int) -> MarkerRecord:
            return MarkerRecord(sequence, new.account, new.bucket, key)

        change = Change(copy.record, condition=check, then=(hide,), makes_bucket=new.makes_bucket)
        record = await to_the_end(self._committer.commit(change))
        assert isinstance(record, ObjectRecord)
        return record

    async def find(self, account: str, source: CopySource, wish: CopyWish) -> VersionRow:
        """The version that a copy is to be made of, its conditions checked; raises as `copy`."""
        return await self._database.read(
            lambda connection: self._find(connection, account, source, wish)
        )

    async def copy_part(
        self,
        upload: UploadRow,
        number: int,
        version: VersionRow,
        span: ByteSpan,
        checksum: ChecksumAlgorithm | None,
    ) -> PartRecord:
        """Make a part of a span of a version; raises as `Uploads.put_part`.

        The span is read and hashed, because a part's ETag is its MD5. Nothing is written of it
        but leaves that its source does not have, where its borders lie otherwise.
        """
        hasher = checksum.new() if checksum is not None else None

        def check() -> tuple[str, str] | None:
            if checksum is None or hasher is None:
                return None
            return checksum.name, encode_digest(hasher.digest())

        digests = BodyDigests((hasher,) if hasher is not None else ())
        reader = self._objects.reader(version)
        async with stored_body(reader, span, self._ingest.run, self._budget) as body:
            return await self._uploads.put_part(upload, number, body, digests, check)

    async def _commit(
        self,
        new: NewObject,
        account: str,
        source: CopySource,
        wish: CopyWish,
        known: dict[int, Checksum],
        judged: VersionRow | None,
    ) -> Copied:
        copy = self._new_copy(new, account, source, wish, known, COPY_PREFIX)
        copy.judged = judged
        change = Change(copy.record, condition=copy.check, makes_bucket=new.makes_bucket)
        record = await self._committer.commit(change)
        assert isinstance(record, ObjectRecord)
        return Copied(record, copy.source)

    def _new_copy(
        self,
        new: NewObject,
        account: str,
        source: CopySource,
        wish: CopyWish,
        known: dict[int, Checksum],
        prefix: str,
    ) -> _Copy:
        return _Copy(
            new,
            wish,
            known,
            lambda connection: self._find(connection, account, source, wish, prefix),
            self._buckets.quotas,
        )

    def _find(
        self,
        connection: sqlite3.Connection,
        account: str,
        source: CopySource,
        wish: CopyWish,
        prefix: str = COPY_PREFIX,
    ) -> VersionRow:
        bucket = find_bucket(connection, account, source.bucket)
        if bucket is None:
            raise S3Error(ErrorCode.NoSuchBucket, BucketName=source.bucket)
        if source.version_id is None:
            version = find_object(connection, bucket.id, source.key)
            if version is None:
                raise S3Error(ErrorCode.NoSuchKey, Key=source.key.decode())
        else:
            version = _find_version(connection, bucket.id, source.key, source.version_id)
        check_source(
            wish.conditions,
            etag_text(version),
            version.modified_us // MICROSECONDS,
            now_seconds=self._now_seconds(),
            prefix=prefix,
        )
        return version

    async def _checksum(self, version: VersionRow, algorithm: ChecksumAlgorithm) -> Checksum:
        """The checksum of a version's bytes, which are read for it."""
        hasher = algorithm.new()
        span = ByteSpan(0, version.size)
        reader = self._objects.reader(version)
        async with stored_body(reader, span, self._ingest.run, self._budget) as body:
            await body.hash(hasher)
        return algorithm.name, ChecksumType.FULL_OBJECT.name, encode_digest(hasher.digest())


def _find_version(
    connection: sqlite3.Connection, bucket: int, key: bytes, version_id: str
) -> VersionRow:
    sequence = parse_version_id(version_id)
    version = find_version(connection, sequence) if sequence is not None else None
    if version is None or (version.bucket, version.key) != (bucket, key):
        raise S3Error(ErrorCode.NoSuchVersion, Key=key.decode(), VersionId=version_id)
    if version.is_marker:
        raise S3Error(
            ErrorCode.InvalidRequest,
            "The source of a copy request may not specifically refer to a delete marker by "
            "version id.",
        )
    return version


@dataclass(slots=True)
class _Copy:
    """One copy on its way through a commit: first checked, then recorded."""

    new: NewObject
    wish: CopyWish
    known: dict[int, Checksum]
    find: Callable[[sqlite3.Connection], VersionRow]
    quotas: Quotas
    judged: VersionRow | None = None
    source: VersionRow = field(init=False)
    checksum: Checksum | None = field(init=False)
    metadata: Mapping[str, str] = field(init=False)
    notes: Mapping[str, str] = field(init=False)
    part_checksums: bytes | None = field(init=False)

    def check(self, connection: sqlite3.Connection) -> None:
        """Find the source and check the copy against the catalog."""
        self.source = self.find(connection)
        judged = self.judged
        if judged is not None and (
            judged.sequence != self.source.sequence
            or judged.notes != find_notes(connection, judged.sequence)
        ):
            raise S3Error(ErrorCode.SlowDown, _CHANGING)
        condition = commit_condition(self.new, self.source.size, self.quotas)
        if condition is not None:
            condition(connection)
        if not self.wish.changes and self._is_onto_itself(connection):
            raise S3Error(
                ErrorCode.InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself "
                "without changing the object's metadata, storage class, website redirect location "
                "or encryption attributes.",
            )
        self.checksum = self._checksum()
        self.part_checksums = None
        if self.source.part_sizes and self.checksum == self.source.checksum:
            self.part_checksums = find_part_checksums(connection, self.source.sequence)
        self.metadata = self.new.metadata
        if not self.wish.replaces_metadata:
            self.metadata = copied_metadata(self.source.metadata, self.new.metadata)
        self.notes = self._notes(connection)

    def record(self, sequence: int, places: Places) -> ObjectRecord:
        """The record of the copy."""
        del places
        source = self.source
        return ObjectRecord(
            sequence,
            self.new.account,
            self.new.bucket,
            self.new.key,
            source.root,
            source.size,
            source.etag,
            source.encoded_layout,
            self.metadata,
            source.part_sizes,
            self.checksum,
            notes=self.notes,
            part_checksums=self.part_checksums,
        )

    def _is_onto_itself(self, connection: sqlite3.Connection) -> bool:
        """Whether the destination shows the source already; an older version is another one."""
        bucket = find_bucket(connection, self.new.account, self.new.bucket)
        shown = find_shown(connection, bucket.id, self.new.key) if bucket is not None else None
        return shown is not None and shown.version == self.source.sequence

    def _notes(self, connection: sqlite3.Connection) -> dict[str, str]:
        """The tags of the one or of the other; locks and holds are never copied."""
        notes = dict(self.new.notes)
        if not self.wish.replaces_tags:
            notes.pop(TAGGING, None)
            tags = find_notes(connection, self.source.sequence).get(TAGGING)
            if tags is not None:
                notes[TAGGING] = tags
        return notes

    def _checksum(self) -> Checksum | None:
        wanted, has = self.wish.checksum, self.source.checksum
        if wanted is None or (has is not None and has[:2] == (wanted.name, "FULL_OBJECT")):
            return has
        if self.source.sequence not in self.known:
            raise _ChecksumUnknownError(self.source)
        return self.known[self.source.sequence]
