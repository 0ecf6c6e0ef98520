"""What a DELETE does: a refusal, a delete marker, or a removal, as the bucket's policy has it.

Decided twice by the same function: early, so that a refusal costs no commit, and within the commit,
where no race can slip past.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.buckets import bucket_of
from gateway.catalog.database import Database
from gateway.catalog.queries import (
    VersionRow,
    find_bucket,
    find_newest,
    find_notes,
    find_setting,
    find_version,
    has_uploads,
    has_versions,
    version_sequences,
)
from gateway.catalog.records import BucketRemovalRecord, MarkerRecord, Record, RemovalRecord
from gateway.commits import Change, Committer, Places
from gateway.delete_policy import SETTING_NAME, DeleteMode, DeletePolicy, parse_policy
from gateway.objects import etag_text
from gateway.s3.conditions import NO_DELETE_CONDITIONS, DeleteConditions, check_delete
from gateway.s3.errors import IMMUTABLE_MESSAGE, ErrorCode, S3Error
from gateway.s3.notes import check_removal
from gateway.s3.timestamps import MICROSECONDS
from gateway.s3.version_ids import parse_version_id

# The setting of a bucket that PutBucketVersioning makes, and its one document.
VERSIONING = "versioning"
ENABLED = "Enabled"


@dataclass(frozen=True, slots=True)
class Deletion:
    """One key, or one version of it, that a client wants to be rid of.

    `bypass` asks to pass over a retention in GOVERNANCE mode. With `scratch_only` nothing but what
    lies in a scratch area may be deleted. `still` looks at the catalog, within the commit too, and
    says whether there is anything to delete.
    """

    account: str
    bucket: str
    key: bytes
    version_id: str | None = None
    conditions: DeleteConditions = NO_DELETE_CONDITIONS
    bypass: bool = False
    scratch_only: bool = False
    still: Callable[[sqlite3.Connection], bool] | None = None


class Deleted(NamedTuple):
    """What a deletion came to. `marker` is the delete marker that was put on or removed.

    `is_done` says whether there was anything to delete.
    """

    marker: int | None = None
    is_done: bool = True


class DeletePolicies:
    """The delete policies of all buckets: what is set for the bucket, else what is configured."""

    def __init__(self, default: DeletePolicy, by_bucket: Mapping[str, DeletePolicy]) -> None:
        self._default = default
        self._by_bucket = by_bucket

    def find(self, connection: sqlite3.Connection, account: str, bucket: str) -> DeletePolicy:
        """The policy of an account's bucket; S3Error(NoSuchBucket)."""
        row = bucket_of(connection, account, bucket)
        document = find_setting(connection, row.id, SETTING_NAME)
        if document is not None:
            return parse_policy(document)
        return self._by_bucket.get(bucket, self._default)


class Deletes:
    """Deletes objects of all accounts, as far as their buckets' policies allow."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        policies: DeletePolicies,
        *,
        now_seconds: Callable[[], int],
    ) -> None:
        self._database = database
        self._committer = committer
        self._policies = policies
        self._now_seconds = now_seconds

    async def delete_bucket(self, account: str, bucket: str) -> None:
        """Remove an empty bucket; CreateBucket or the next write makes it anew.

        Raises S3Error: NoSuchBucket; AccessDenied where its policy denies; BucketNotEmpty while it
        holds a version, hidden or not, a delete marker or an open upload.
        """

        def check(connection: sqlite3.Connection) -> None:
            if self._policies.find(connection, account, bucket).mode is DeleteMode.DENY:
                raise S3Error(ErrorCode.AccessDenied, IMMUTABLE_MESSAGE)
            row = bucket_of(connection, account, bucket)
            if has_versions(connection, row.id) or has_uploads(connection, row.id):
                raise S3Error(ErrorCode.BucketNotEmpty, BucketName=bucket)

        await self._database.read(check)
        await self._committer.commit(
            Change(
                lambda sequence, _: BucketRemovalRecord(sequence, account, bucket), condition=check
            )
        )

    async def policy(self, account: str, bucket: str) -> DeletePolicy:
        """The delete policy of a bucket; S3Error(NoSuchBucket)."""
        return await self._database.read(
            lambda connection: self._policies.find(connection, account, bucket)
        )

    async def check_expiry(self, account: str, bucket: str, prefixes: Iterable[bytes]) -> None:
        """Refuse lifecycle rules that would expire keys below prefixes where the policy denies it.

        Raises S3Error: NotImplemented, or NoSuchBucket.
        """

        def check(connection: sqlite3.Connection) -> None:
            policy = self._policies.find(connection, account, bucket)
            for prefix in map(bytes.decode, prefixes):
                if policy.denies_below(prefix):
                    raise S3Error(
                        ErrorCode.NotImplemented,
                        "The delete policy of this bucket does not let a lifecycle rule hide what "
                        f"is below the prefix '{prefix}'.",
                    )

        # There may be a thousand long prefixes.
        await self._database.scan(check)

    async def announces_versions(self, account: str, bucket: str) -> bool:
        """Whether the bucket calls itself versioned; S3Error(NoSuchBucket).

        It always is. But where deletes hide, it says so only to a client that asked for it: one
        that sees Enabled deletes version by version (rclone purge), which is refused, while
        others delete by key.
        """

        def look(connection: sqlite3.Connection) -> bool:
            policy = self._policies.find(connection, account, bucket)
            if policy.mode is not DeleteMode.HIDE:
                return True
            row = find_bucket(connection, account, bucket)
            return row is not None and _was_enabled(connection, row.id)

        return await self._database.read(look)

    async def delete(self, deletion: Deletion) -> Deleted:
        """Delete one key or version.

        Raises S3Error: AccessDenied where the policy forbids it, PreconditionFailed,
        NoSuchBucket, and InvalidArgument for what is no version id.
        """
        (done,) = await self.delete_all([deletion])
        if isinstance(done, S3Error):
            raise done
        return done

    async def delete_all(self, deletions: Sequence[Deletion]) -> list[Deleted | S3Error]:
        """Delete one after the other; what became of each, in their order."""
        now = self._now_seconds()
        plans = [_Plan(self._policies, deletion, now) for deletion in deletions]

        def decide_early(connection: sqlite3.Connection) -> list[Deleted | S3Error | None]:
            return [plan.early(connection) for plan in plans]

        outcomes = await self._database.scan(decide_early)
        committing = {
            at: self._committer.submit(Change(plans[at].record, condition=plans[at].decide))
            for at, outcome in enumerate(outcomes)
            if outcome is None
        }
        await asyncio.gather(*map(asyncio.shield, committing.values()), return_exceptions=True)
        done: list[Deleted | S3Error] = []
        for at, outcome in enumerate(outcomes):
            done.append(outcome if outcome is not None else plans[at].outcome(committing[at]))
        return done


def _was_enabled(connection: sqlite3.Connection, bucket: int) -> bool:
    """Whether a client has enabled versioning, and so expects what S3 does under it."""
    return find_setting(connection, bucket, VERSIONING) == ENABLED


class _NothingToDeleteError(Exception):
    """There is no such key or version: the deletion is done without a commit."""


class _Plan:
    """What one deletion comes to, by the catalog as it is."""

    def __init__(self, policies: DeletePolicies, deletion: Deletion, now_seconds: int) -> None:
        self._policies = policies
        self._deletion = deletion
        self._now_seconds = now_seconds
        # What is to be removed; nothing means that a marker is to be put on.
        self._removed: tuple[int, ...] = ()
        self._removed_marker: int | None = None

    def early(self, connection: sqlite3.Connection) -> Deleted | S3Error | None:
        """The outcome where it takes no commit; None where it does."""
        try:
            self.decide(connection)
        except S3Error as error:
            return error
        except _NothingToDeleteError:
            return Deleted(is_done=False)
        return None

    def decide(self, connection: sqlite3.Connection) -> None:
        """Find what is to be done; raises what refuses it, or _NothingToDeleteError."""
        wanted = self._deletion
        policy = self._policies.find(connection, wanted.account, wanted.bucket)
        mode = policy.mode_of(wanted.key)
        if mode is DeleteMode.DENY:
            raise S3Error(ErrorCode.AccessDenied, IMMUTABLE_MESSAGE)
        if wanted.scratch_only and mode is not DeleteMode.SCRATCH:
            raise S3Error(
                ErrorCode.AccessDenied, "The access key may delete in scratch areas only."
            )
        self._removed, self._removed_marker = (), None
        bucket = find_bucket(connection, wanted.account, wanted.bucket)
        assert bucket is not None, "its policy was found"
        if wanted.still is not None and not wanted.still(connection):
            raise _NothingToDeleteError
        if wanted.version_id is not None:
            self._remove_version(connection, bucket.id, wanted.version_id, mode)
            return
        newest = find_newest(connection, bucket.id, wanted.key)
        is_enabled = _was_enabled(connection, bucket.id)
        if wanted.conditions is not NO_DELETE_CONDITIONS or not is_enabled:
            # Who knows of no versions knows of no markers either: what is hidden is not there.
            is_hidden = newest is not None and newest.is_marker and not is_enabled
            self._check(None if is_hidden and mode is DeleteMode.HIDE else newest)
        if mode is DeleteMode.SCRATCH and not is_enabled:
            self._remove(connection, version_sequences(connection, bucket.id, wanted.key))

    def _remove_version(
        self, connection: sqlite3.Connection, bucket: int, version_id: str, mode: DeleteMode
    ) -> None:
        sequence = parse_version_id(version_id)
        version = find_version(connection, sequence) if sequence is not None else None
        if version is None or (version.bucket, version.key) != (bucket, self._deletion.key):
            raise _NothingToDeleteError
        self._check(version)
        if version.is_marker:
            self._removed_marker = version.sequence
        elif mode is not DeleteMode.SCRATCH:
            raise S3Error(ErrorCode.AccessDenied, IMMUTABLE_MESSAGE)
        self._remove(connection, (version.sequence,))

    def _remove(self, connection: sqlite3.Connection, versions: Sequence[int]) -> None:
        if not versions:
            raise _NothingToDeleteError
        for version in versions:
            # What somebody had locked stays, also in a scratch area.
            check_removal(
                find_notes(connection, version),
                bypass=self._deletion.bypass,
                now_seconds=self._now_seconds,
            )
        self._removed = tuple(versions)

    def _check(self, version: VersionRow | None) -> None:
        """Check the conditions against what is to be deleted: none hold where nothing is."""
        if version is None:
            raise _NothingToDeleteError
        etag = None if version.is_marker else etag_text(version)
        modified = version.modified_us // MICROSECONDS
        check_delete(self._deletion.conditions, etag, modified, version.size)

    def record(self, sequence: int, _: Places) -> Record:
        """The record of what was decided."""
        wanted = self._deletion
        name = (wanted.account, wanted.bucket, wanted.key)
        if self._removed:
            return RemovalRecord(sequence, *name, self._removed)
        return MarkerRecord(sequence, *name)

    def outcome(self, committed: asyncio.Future[Record]) -> Deleted | S3Error:
        """What came of the commit; raises what is no answer of S3."""
        try:
            record = committed.result()
        except S3Error as error:
            return error
        except _NothingToDeleteError:
            return Deleted(is_done=False)
        return Deleted(self._removed_marker if self._removed else record.sequence)
