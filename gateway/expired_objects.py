"""Hides objects whose time is over by the lifecycle rules of their bucket, as a DELETE would.

Nothing is lost by it: a delete marker goes on the key, and the version stays. Where a bucket's
delete policy has something else for a key, that is what happens: nothing, or in scratch a removal.
A lock keeps a version from being removed, not from being hidden. A marker that hides nothing is
removed where a rule asks for it.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

import structlog

from gateway.catalog.database import Database
from gateway.catalog.listings import seek_newest, seek_shown
from gateway.catalog.queries import (
    ConfiguredBucket,
    Shown,
    buckets_with_setting,
    find_notes,
    find_shown,
    setting_sequence,
    version_sequences,
)
from gateway.catalog.sequence import sequence_micros
from gateway.deletes import Deleted, Deletes, Deletion
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.lifecycle import SETTING, expiration_rules, marker_prefixes
from gateway.s3.lifecycle_rules import DAY_US, ExpirationRule
from gateway.s3.listing import successor
from gateway.s3.notes import TAGGING
from gateway.s3.version_ids import version_id

log = structlog.get_logger()

# Some milliseconds each: a page holds up listings, and a batch the commits of requests.
_PAGE = 500
_BATCH = 50


class _Page(Protocol):
    """A page of keys from `start` on, before `stop`.

    What of it is to be deleted, and where the next page starts, if there is one.
    """

    def __call__(
        self, connection: sqlite3.Connection, start: bytes, stop: bytes | None
    ) -> tuple[list[Deletion], bytes | None]: ...


class ExpiredObjects:
    """The objects of all accounts that their buckets' rules want hidden.

    `day_us` is how long a day is to the rules, in microseconds.
    """

    def __init__(self, database: Database, deletes: Deletes, day_us: int = DAY_US) -> None:
        self._database = database
        self._deletes = deletes
        self._day_us = day_us

    async def hide_due(self, now_us: int) -> int:
        """Hide every object that is due, as of microseconds since 1970; how many there were."""

        def pages(bucket: ConfiguredBucket) -> Iterable[tuple[bytes, _Page]]:
            by_prefix: dict[bytes, list[ExpirationRule]] = {}
            for rule in expiration_rules(bucket.document, self._day_us):
                by_prefix.setdefault(rule.filter.prefix, []).append(rule)
            for prefix, rules in by_prefix.items():
                due = _Due(bucket, rules, now_us)
                if due.created_us_max >= 0:
                    yield prefix, due.page

        hidden = await self._delete(pages)
        if hidden:
            log.info("expired objects hidden", objects=hidden)
        return hidden

    async def remove_lone_markers(self) -> int:
        """Remove the delete markers that hide nothing, where a rule says so; how many there were.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-configuration-examples.html
        """

        def pages(bucket: ConfiguredBucket) -> Iterable[tuple[bytes, _Page]]:
            for prefix in marker_prefixes(bucket.document):
                yield prefix, partial(_lone_markers, bucket=bucket)

        removed = await self._delete(pages)
        if removed:
            log.info("lone delete markers removed", markers=removed)
        return removed

    async def _delete(
        self, pages: Callable[[ConfiguredBucket], Iterable[tuple[bytes, _Page]]]
    ) -> int:
        """Delete what is found in pages below some prefixes of each bucket."""
        deleted = 0
        configured = await self._database.scan(partial(buckets_with_setting, setting=SETTING))
        for bucket in configured:
            for prefix, page in pages(bucket):
                if await self._is_denied(bucket):
                    break
                deleted += await self._delete_below(prefix, page)
        return deleted

    async def _delete_below(self, prefix: bytes, page: _Page) -> int:
        deleted = 0
        start: bytes | None = prefix
        stop = successor(prefix) if prefix else None
        while start is not None:
            found, start = await self._database.scan(partial(page, start=start, stop=stop))
            for at in range(0, len(found), _BATCH):
                outcomes = await self._deletes.delete_all(found[at : at + _BATCH])
                # What is refused stays, and is nobody's fault: the policy denies it by now.
                deleted += sum(isinstance(done, Deleted) and done.is_done for done in outcomes)
        return deleted

    async def _is_denied(self, bucket: ConfiguredBucket) -> bool:
        """Whether the bucket's policy has come to deny all that its rules ask for."""
        try:
            policy = await self._deletes.policy(bucket.account, bucket.name)
        except S3Error as error:
            if error.code is not ErrorCode.NoSuchBucket:
                raise
            return True  # removed meanwhile
        return policy.denies_all


class _Due:
    """Which objects are due by any of some rules for one prefix of a bucket."""

    def __init__(
        self, bucket: ConfiguredBucket, rules: Sequence[ExpirationRule], now_us: int
    ) -> None:
        self._bucket = bucket
        self._rules = [(rule, rule.created_us_max(now_us)) for rule in rules]
        # What was created later is not due by any of them.
        self.created_us_max = max(created_us_max for _, created_us_max in self._rules)

    def page(
        self, connection: sqlite3.Connection, start: bytes, stop: bytes | None
    ) -> tuple[list[Deletion], bytes | None]:
        """What is due of a page of keys, see `_Page`."""
        rows = seek_shown(connection, self._bucket.id, start, stop, _PAGE)
        due = []
        for key, sequence, size in rows:
            created_us = sequence_micros(sequence)
            if created_us > self.created_us_max:
                continue
            rules = [
                rule
                for rule, created_us_max in self._rules
                if created_us <= created_us_max and rule.filter.fits_size(size)
            ]
            if rules and (deletion := self._deletion(connection, key, sequence, rules)):
                due.append(deletion)
        return due, rows[-1][0] + b"\0" if len(rows) == _PAGE else None

    def _deletion(
        self,
        connection: sqlite3.Connection,
        key: bytes,
        sequence: int,
        rules: Sequence[ExpirationRule],
    ) -> Deletion | None:
        """The deletion of a key that shows this version; None where its tags are others."""
        bucket = self._bucket
        shown = find_shown(connection, bucket.id, key)
        if shown is None or (shown.version, shown.rules) != (sequence, bucket.sequence):
            return None  # changed meanwhile: the next sweep decides
        if all(rule.filter.tags for rule in rules):
            tagging = find_notes(connection, sequence).get(TAGGING)
            if not any(rule.filter.fits_tags(tagging) for rule in rules):
                return None
        still = partial(_is_shown, bucket=bucket.id, key=key, shown=shown)
        return Deletion(bucket.account, bucket.name, key, still=still)


def _is_shown(connection: sqlite3.Connection, bucket: int, key: bytes, shown: Shown) -> bool:
    """Whether the version, its notes and the rules are those by which it was found to be due."""
    return find_shown(connection, bucket, key) == shown


def _lone_markers(
    connection: sqlite3.Connection, start: bytes, stop: bytes | None, *, bucket: ConfiguredBucket
) -> tuple[list[Deletion], bytes | None]:
    """The delete markers of a page of keys that have no version, see `_Page`."""
    rows = seek_newest(connection, bucket.id, start, stop, _PAGE)
    lone = [
        Deletion(
            bucket.account,
            bucket.name,
            key,
            version_id(sequence),
            still=partial(_is_alone, bucket=bucket, key=key, sequence=sequence),
        )
        for key, sequence, is_lone_marker in rows
        if is_lone_marker
    ]
    return lone, rows[-1][0] + b"\0" if len(rows) == _PAGE else None


def _is_alone(
    connection: sqlite3.Connection, bucket: ConfiguredBucket, key: bytes, sequence: int
) -> bool:
    return (
        version_sequences(connection, bucket.id, key) == [sequence]
        and setting_sequence(connection, bucket.id, SETTING) == bucket.sequence
    )
