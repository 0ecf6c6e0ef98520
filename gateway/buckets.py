"""What S3 means by a bucket: a name of an account, made explicitly or by the first write."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from gateway.catalog.database import Database
from gateway.catalog.queries import (
    BucketRow,
    find_bucket,
    find_setting,
    find_settings,
    list_buckets,
)
from gateway.catalog.records import BucketRecord, SettingRecord
from gateway.commits import Change, Committer
from gateway.quotas import Quotas
from gateway.s3.address import check_bucket_name
from gateway.s3.bucket_listing import ListBucketsRequest
from gateway.s3.errors import ErrorCode, S3Error

_NO_SETTINGS: Mapping[str, str] = {}


def bucket_of(connection: sqlite3.Connection, account: str, name: str) -> BucketRow:
    """The account's bucket of this name; S3Error(NoSuchBucket) where there is none."""
    bucket = find_bucket(connection, account, name)
    if bucket is None:
        raise S3Error(ErrorCode.NoSuchBucket, BucketName=name)
    return bucket


class _BucketIsThereError(Exception):
    """It was made while this was on its way."""


class Buckets:
    """The buckets of all accounts.

    `implicit`: the first write to a bucket makes it, as on Auto Drive; else it must be there, as
    on AWS.
    """

    def __init__(
        self,
        database: Database,
        committer: Committer,
        quotas: Quotas,
        *,
        implicit: bool = True,
    ) -> None:
        self.implicit = implicit
        self.quotas = quotas
        self._database = database
        self._committer = committer
        self._known: dict[tuple[str, str], BucketRow] = {}

    async def find(self, account: str, name: str) -> BucketRow | None:
        """The account's bucket of this name, if it is there."""
        return await self._database.read(partial(find_bucket, account=account, name=name))

    async def last_seen(self, account: str, name: str) -> BucketRow:
        """The account's bucket, which may be removed by now; S3Error(NoSuchBucket).

        Costs nothing once it was seen. Its id means this name for ever, so who finds something by
        it knows that the bucket is there; who finds nothing calls `get`.
        """
        known = self._known.get((account, name))
        if known is None:
            known = self._known[account, name] = await self.get(account, name)
        return known

    async def get(self, account: str, name: str) -> BucketRow:
        """The account's bucket of this name; S3Error(NoSuchBucket) where there is none."""
        return await self._database.read(partial(bucket_of, account=account, name=name))

    async def list(self, account: str, wanted: ListBucketsRequest) -> list[BucketRow]:
        """The buckets that are asked for, by name, and one more if that is not the last page."""
        rows = await self._database.scan(
            partial(list_buckets, account=account, start=wanted.start, limit=wanted.rows_max)
        )
        return [row for row in rows if row.name.startswith(wanted.prefix)]

    async def create(
        self, account: str, name: str, settings: Mapping[str, str] = _NO_SETTINGS
    ) -> bool:
        """Make the bucket durable, with these settings; False where it is there.

        Raises S3Error InvalidBucketName, and AccessDenied where names are global and another
        account has come first.
        """
        if await self.find(account, name) is not None:
            return False
        check_bucket_name(name)

        def configure(setting: str, document: str, sequence: int) -> SettingRecord:
            return SettingRecord(sequence, account, name, setting, document)

        def check(connection: sqlite3.Connection) -> None:
            if find_bucket(connection, account, name) is not None:
                raise _BucketIsThereError

        try:
            await self._committer.commit(
                Change(
                    lambda sequence, _: BucketRecord(sequence, account, name),
                    condition=check,
                    then=tuple(partial(configure, *setting) for setting in settings.items()),
                )
            )
        except _BucketIsThereError:
            return False
        return True

    async def check_writable(self, account: str, name: str) -> None:
        """Whether a write may go to this bucket, perhaps making it.

        Raises S3Error: InvalidBucketName, or NoSuchBucket where writes make none.
        """
        check_bucket_name(name)
        if not self.implicit:
            await self.get(account, name)

    async def setting(self, account: str, name: str, setting: str) -> str | None:
        """What the bucket is configured to under the name of a setting; S3Error(NoSuchBucket).

        Read each time, in the hop that look-ups share, so that no worker works by an old one.
        Ask only where a request needs it.
        """

        def look(connection: sqlite3.Connection) -> str | None:
            return find_setting(connection, bucket_of(connection, account, name).id, setting)

        return await self._database.read(look)

    async def settings_of_any(self, name: str, setting: str) -> Sequence[str]:
        """What the buckets of this name are configured to, whatever their accounts."""
        return await self._database.read(partial(find_settings, name=name, setting=setting))

    async def configure(
        self,
        account: str,
        name: str,
        setting: str,
        document: str | None,
        condition: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """Make a configuration durable, or with None its removal; S3Error(NoSuchBucket).

        `condition` looks at the catalog within the commit and raises what refuses the change.
        """
        await self.get(account, name)

        def check(connection: sqlite3.Connection) -> None:
            bucket_of(connection, account, name)
            if condition is not None:
                condition(connection)

        await self._committer.commit(
            Change(
                lambda sequence, _: SettingRecord(sequence, account, name, setting, document),
                condition=check,
            )
        )
