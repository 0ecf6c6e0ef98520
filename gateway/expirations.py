"""When objects expire by the lifecycle rules of their buckets, as x-amz-expiration announces it."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable

from gateway.catalog.queries import VersionRow, find_setting
from gateway.catalog.records import ObjectRecord
from gateway.catalog.sequence import sequence_micros
from gateway.s3.lifecycle import SETTING, expiration_rules
from gateway.s3.lifecycle_rules import ExpirationRule, expiration_text
from gateway.s3.notes import TAGGING

_KNOWN_MAX = 32
# AWS says that rules take minutes to be everywhere; a write may miss the first ones for so long.
_LACKING_SECONDS = 1.0


class ExpirationDates:
    """The rules of buckets, parsed, by the sequence numbers of their settings.

    Whoever asks has that number from the catalog, so that nobody works by old rules. `day_us` is
    how long a day is, in microseconds. No two look-ups use this at once.
    """

    def __init__(self, day_us: int, steady_seconds: Callable[[], float]) -> None:
        self._day_us = day_us
        self._steady_seconds = steady_seconds
        self._lacking: dict[int, float] = {}
        self._known: OrderedDict[int, tuple[ExpirationRule, ...]] = OrderedDict()

    def lacks_rules(self, bucket: int) -> bool:
        """Whether a bucket had no rules just now, so that a write there need not look again."""
        seen = self._lacking.get(bucket)
        return seen is not None and self._steady_seconds() - seen < _LACKING_SECONDS

    def text(
        self,
        connection: sqlite3.Connection,
        bucket: int,
        rules: int,
        version: VersionRow | ObjectRecord,
    ) -> str | None:
        """What to say of a version in a bucket whose rules have this number, which may be 0."""
        if not rules:
            self._lacking[bucket] = self._steady_seconds()
            return None
        return expiration_text(
            self._rules(connection, bucket, rules),
            version.key,
            version.size,
            version.notes.get(TAGGING),
            sequence_micros(version.sequence),
        )

    def _rules(
        self, connection: sqlite3.Connection, bucket: int, number: int
    ) -> tuple[ExpirationRule, ...]:
        known = self._known.get(number)
        if known is None:
            document = find_setting(connection, bucket, SETTING)
            known = expiration_rules(document, self._day_us) if document is not None else ()
            self._known[number] = known
            if len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
        return known
