"""What S3 means by an object: put whole, found by key or version, read by span."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from dsn.blockstore.segments.known_nodes import KnownNodes
from dsn.blockstore.segments.reader import FileReader
from dsn.blockstore.segments.store import SegmentStore
from dsn.errors import NonCanonicalDagError
from dsn.layout import encode_layout
from dsn.node import NO_OPTIONS, UploadOptions
from gateway.buckets import Buckets, bucket_of
from gateway.catalog.database import Database
from gateway.catalog.listings import seek_objects, seek_versions
from gateway.catalog.queries import (
    Shown,
    VersionRow,
    find_bucket,
    find_newest,
    find_object,
    find_part_checksums,
    find_shown,
    find_version,
    setting_sequence,
)
from gateway.catalog.records import NoteRecord, ObjectRecord, Record
from gateway.commits import Change, Committer, Places, UnsettledCommitError
from gateway.digests import BodyDigests
from gateway.expirations import ExpirationDates
from gateway.ingest import Body, Ingest, IngestedFile
from gateway.quotas import Condition, Quotas
from gateway.s3.conditions import NO_CONDITIONS, Conditions, check_write
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.lifecycle import SETTING as LIFECYCLE
from gateway.s3.lifecycle_rules import DAY_US
from gateway.s3.listing import ListRequest, ObjectEntry, Page, list_page
from gateway.s3.timestamps import http_date
from gateway.s3.version_ids import parse_version_id, version_id
from gateway.s3.version_listing import (
    ListVersionsRequest,
    VersionEntry,
    VersionPosition,
    list_versions_page,
)

log = structlog.get_logger()

_KNOWN_MAX = 4096
_KNOWN_BYTES_MAX = 4096

Metadata = Mapping[str, str]
Checksum = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class NewObject:
    """Everything about an object to be stored but its bytes.

    With `creates_only` it must not supersede what its key shows; `makes_bucket` says whether it
    may make its bucket, which may have been removed while the body was on its way.
    """

    account: str
    bucket: str
    key: bytes
    metadata: Metadata = field(default_factory=dict)
    options: UploadOptions = NO_OPTIONS
    conditions: Conditions = NO_CONDITIONS
    notes: Mapping[str, str] = field(default_factory=dict)
    keeps_root_name: bool = False
    root_name: str | None = None
    expected_root: bytes | None = None
    creates_only: bool = False
    makes_bucket: bool = True

    @property
    def name(self) -> str | None:
        """The name in the root: what follows the key's last slash, as on Auto Drive.

        With `keeps_root_name` it is `root_name`, which may be none at all: for what comes from
        elsewhere with a root of its own.
        """
        if self.keeps_root_name:
            return self.root_name
        return self.key.rpartition(b"/")[2].decode()


class Objects:
    """Objects of all accounts, over one store and one catalog.

    `day_us` is how long a day is to lifecycle rules, in microseconds.
    """

    def __init__(
        self,
        store: SegmentStore,
        database: Database,
        committer: Committer,
        ingest: Ingest,
        buckets: Buckets,
        *,
        day_us: int = DAY_US,
    ) -> None:
        self._store = store
        self._database = database
        self._committer = committer
        self._ingest = ingest
        self._buckets = buckets
        self._expirations = ExpirationDates(day_us, time.monotonic)
        self._versions = _KnownVersions(self._expirations)
        self._settling: set[asyncio.Task[ObjectRecord]] = set()
        self._nodes = KnownNodes()

    async def put(
        self,
        new: NewObject,
        body: Body,
        digests: BodyDigests,
        check: Callable[[], Checksum | None],
    ) -> ObjectRecord:
        """Store a body as an object; its record, once it is durable.

        `check` runs when the whole body is in: it raises what refuses it (a digest that does not
        match, say) or returns the checksum to keep. After a refusal nothing of the body is left.
        """
        await self._buckets.check_writable(new.account, new.bucket)
        await self.check_conditions(new, body.length or 0)
        taken = await self._ingest.file(body, digests, new.name, new.options)
        try:
            change = _change(new, taken, check(), digests.md5, self._buckets.quotas)
        except BaseException:
            await self._ingest.discard(taken)
            raise
        committing = self._committer.submit(change)
        try:
            with suppress(Exception):  # `_settle` raises it
                await asyncio.shield(committing)
        except asyncio.CancelledError:
            # The client is gone; what the commit still needs goes when its outcome is known.
            committing.add_done_callback(partial(self._settle_alone, taken))
            raise
        return await self._settle(taken, committing)

    async def _settle(self, taken: IngestedFile, committed: asyncio.Future[Record]) -> ObjectRecord:
        """Keep what was committed, let go of what was not; the record, or what kept it away."""
        try:
            record = committed.result()
        except UnsettledCommitError:
            self._ingest.leave(taken)
            raise
        except BaseException:
            await self._ingest.discard(taken)
            raise
        await self._ingest.keep(taken)
        assert isinstance(record, ObjectRecord)
        return record

    def _settle_alone(self, taken: IngestedFile, committed: asyncio.Future[Record]) -> None:
        settling = asyncio.create_task(self._settle(taken, committed))
        self._settling.add(settling)
        settling.add_done_callback(self._settled)

    def _settled(self, settling: asyncio.Task[ObjectRecord]) -> None:
        self._settling.discard(settling)
        if not settling.cancelled() and (error := settling.exception()) is not None:
            log.info("commit refused after its client went away", error=repr(error))

    async def check_conditions(self, new: NewObject, size: int) -> None:
        """Refuse a write early whose conditions fail now; the commit checks them again."""
        condition = commit_condition(new, size, self._buckets.quotas)
        if condition is not None:
            await self._database.read(condition)

    async def find(self, account: str, bucket: str, key: bytes) -> VersionRow | None:
        """What a key shows now, None for nothing; S3Error(NoSuchBucket)."""
        version = await self._newest(account, bucket, key)
        return None if version is None or version.is_marker else version

    async def get(
        self, account: str, bucket: str, key: bytes, version: str | None = None
    ) -> VersionRow:
        """What a key shows now, or one version of it, by its id.

        Raises S3Error: NoSuchBucket, NoSuchKey (which says so where a delete marker hides the
        key), NoSuchVersion, InvalidArgument for what is no version id, and MethodNotAllowed for
        the version id of a delete marker.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html
        """
        if version:
            return await self._version(account, bucket, key, version)
        newest = await self._newest(account, bucket, key)
        if newest is None:
            raise S3Error(ErrorCode.NoSuchKey, Key=key.decode())
        if newest.is_marker:
            raise S3Error(ErrorCode.NoSuchKey, headers=_marker_headers(newest), Key=key.decode())
        return newest

    async def _newest(self, account: str, bucket: str, key: bytes) -> VersionRow | None:
        row = await self._buckets.last_seen(account, bucket)

        def look(connection: sqlite3.Connection) -> VersionRow | None:
            found = self._versions.find(connection, row.id, key)
            if found is None:
                bucket_of(connection, account, bucket)
            return found

        return await self._database.read(look)

    async def expiration(self, record: ObjectRecord) -> str | None:
        """What x-amz-expiration says of an object just stored; None where no rule is about it."""
        row = await self._buckets.last_seen(record.account, record.bucket)
        if self._expirations.lacks_rules(row.id):
            return None

        def look(connection: sqlite3.Connection) -> str | None:
            rules = setting_sequence(connection, row.id, LIFECYCLE)
            return self._expirations.text(connection, row.id, rules, record)

        return await self._database.read(look)

    async def annotate(
        self,
        account: str,
        bucket: str,
        version: VersionRow,
        name: str,
        document: str | None,
        condition: Callable[[sqlite3.Connection, Mapping[str, str]], None] | None = None,
    ) -> None:
        """Make a note of a version durable, or with None its removal.

        `condition` is given the version's notes within the commit and raises what refuses this.
        Raises S3Error(NoSuchVersion) for a version that was removed meanwhile.
        """

        def check(connection: sqlite3.Connection) -> None:
            current = find_version(connection, version.sequence)
            if current is None:
                raise S3Error(
                    ErrorCode.NoSuchVersion,
                    Key=version.key.decode(),
                    VersionId=version_id(version.sequence),
                )
            if condition is not None:
                condition(connection, current.notes)

        def record(sequence: int, _: Places) -> NoteRecord:
            return NoteRecord(
                sequence, account, bucket, version.key, version.sequence, name, document
            )

        await self._committer.commit(Change(record, condition=check))

    async def _version(self, account: str, bucket: str, key: bytes, version_id: str) -> VersionRow:
        sequence = parse_version_id(version_id)
        row = await self._buckets.last_seen(account, bucket)
        version: VersionRow | None = None
        if sequence is not None:
            version = await self._database.read(partial(find_version, sequence=sequence))
        if version is None or (version.bucket, version.key) != (row.id, key):
            await self._buckets.get(account, bucket)
            raise S3Error(ErrorCode.NoSuchVersion, Key=key.decode(), VersionId=version_id)
        if version.is_marker:
            headers = {**_marker_headers(version), "Last-Modified": http_date(version.modified_us)}
            headers["Allow"] = "DELETE"
            raise S3Error(ErrorCode.MethodNotAllowed, headers=headers, ResourceType="DeleteMarker")
        return version

    async def part_checksums(self, version: VersionRow) -> bytes:
        """The digests of a version's parts, side by side; empty where it has none."""
        if not version.part_sizes or version.checksum is None:
            return b""
        find = partial(find_part_checksums, sequence=version.sequence)
        return await self._database.read(find) or b""

    def reader(self, version: VersionRow) -> FileReader:
        """A reader of a version's bytes."""
        return FileReader(self._store, version.layout, version.root, version.size, self._nodes)

    async def list(
        self, account: str, bucket: str, request: ListRequest
    ) -> Page[ObjectEntry, bytes]:
        """One page of a listing; S3Error(NoSuchBucket)."""

        def page(connection: sqlite3.Connection) -> Page[ObjectEntry, bytes]:
            row = bucket_of(connection, account, bucket)
            return list_page(partial(seek_objects, connection, bucket=row.id), request)

        return await self._database.scan(page)

    async def list_versions(
        self, account: str, bucket: str, request: ListVersionsRequest
    ) -> Page[VersionEntry, VersionPosition]:
        """One page of versions and delete markers; S3Error(NoSuchBucket)."""

        def page(connection: sqlite3.Connection) -> Page[VersionEntry, VersionPosition]:
            row = bucket_of(connection, account, bucket)
            return list_versions_page(partial(seek_versions, connection, bucket=row.id), request)

        return await self._database.scan(page)


def _change(
    new: NewObject, taken: IngestedFile, checksum: Checksum | None, md5: bytes, quotas: Quotas
) -> Change:
    """What commits a body under its key; NonCanonicalDagError for another root than expected."""
    draft = taken.draft
    if new.expected_root not in (None, draft.root):
        raise NonCanonicalDagError(
            new.expected_root or b"", "Auto Drive would give its bytes another CID"
        )

    def record(sequence: int, places: Places) -> ObjectRecord:
        return ObjectRecord(
            sequence,
            new.account,
            new.bucket,
            new.key,
            draft.root,
            draft.size,
            md5,
            encode_layout(draft.layout(places)),
            new.metadata,
            checksum=checksum,
            notes=new.notes,
        )

    condition = commit_condition(new, draft.size, quotas)
    return Change(record, draft.blocks, condition, makes_bucket=new.makes_bucket)


class _KnownVersions:
    """Versions that keys showed lately, by sequence number, each with the numbers it was read by.

    But for its notes a version never changes, and but for the rules of its bucket nor does when it
    expires. One thread uses this.
    """

    def __init__(self, expirations: ExpirationDates) -> None:
        self._expirations = expirations
        self._known: OrderedDict[int, tuple[VersionRow, Shown]] = OrderedDict()

    def find(self, connection: sqlite3.Connection, bucket: int, key: bytes) -> VersionRow | None:
        """What a key shows now, or the delete marker that hides it.

        Which version that is always comes from the catalog.
        """
        shown = find_shown(connection, bucket, key)
        if shown is None:
            return find_newest(connection, bucket, key)
        known = self._known.get(shown.version)
        if known is not None and known[1] == shown:
            self._known.move_to_end(shown.version)
            return known[0]
        version = find_version(connection, shown.version)
        if version is None:
            return None
        if shown.rules:
            text = self._expirations.text(connection, bucket, shown.rules, version)
            version = replace(version, expiration=text)
        if _bytes_of(version) <= _KNOWN_BYTES_MAX:
            self._known[shown.version] = version, shown
            if len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
        return version


def _bytes_of(version: VersionRow) -> int:
    """About how much memory a version takes: its headers can be as long as those of a request."""
    texts = (*version.metadata.values(), *version.notes.values())
    return len(version.encoded_layout) + sum(map(len, texts))


def commit_condition(new: NewObject, size: int, quotas: Quotas) -> Condition | None:
    """The check of a write against the catalog: conditions, quotas; None for none."""
    room = quotas.condition(new.account, new.bucket, size)
    if new.conditions is NO_CONDITIONS and not new.creates_only:
        return room

    def check(connection: sqlite3.Connection) -> None:
        bucket = find_bucket(connection, new.account, new.bucket)
        current = find_object(connection, bucket.id, new.key) if bucket is not None else None
        if new.creates_only and current is not None:
            raise S3Error(
                ErrorCode.AccessDenied,
                "The access key may create objects, not supersede one.",
                Key=new.key.decode(),
            )
        check_write(new.conditions, etag_text(current) if current is not None else None)
        if room is not None:
            room(connection)

    return check


def _marker_headers(marker: VersionRow) -> dict[str, str]:
    return {"x-amz-delete-marker": "true", "x-amz-version-id": version_id(marker.sequence)}


def etag_text(version: VersionRow | ObjectRecord) -> str:
    """The ETag without its quotes: the MD5 in hex, `-N` behind it for N parts."""
    digest = version.etag.hex()
    return f"{digest}-{version.part_count}" if version.part_count else digest
