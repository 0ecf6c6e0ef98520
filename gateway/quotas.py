"""How much an account or a bucket may hold: kept by operators, held to within the commits.

What counts is every version that was committed and not removed, by its size: what the store will
keep for good. Parts of open uploads do not count; they are refused where they could not be
completed any more.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from gateway.catalog.queries import Usage, find_usage
from gateway.operator_file import OperatorFile
from gateway.s3.errors import ErrorCode, S3Error

FILE_NAME = "quotas.json"
CHECK_SECONDS = 0.5
WARNING_HEADER = "x-dsn-quota-warning"

log = structlog.get_logger()

Condition = Callable[[sqlite3.Connection], None]


class QuotaFileError(Exception):
    """The file of the quotas cannot be read."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What an account (`bucket` None) or one bucket may hold; None is no limit.

    `*_max` refuses what would exceed it, `*_warn` only says so.
    """

    account: str
    bucket: str | None = None
    bytes_max: int | None = None
    objects_max: int | None = None
    bytes_warn: int | None = None
    objects_warn: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it limits nothing."""
        return all(getattr(self, name) is None for name in LIMITS)


LIMITS = ("bytes_max", "objects_max", "bytes_warn", "objects_warn")


def parse_size(text: str) -> int:
    """Bytes from `1000`, `500GiB` or `2TB`; ValueError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size; write 1000, 500GiB or 2TB")
    power = " KMGTP".index(match[2].upper() or " ")
    factor: int = (1024 if match[3] else 1000) ** power
    return int(match[1]) * factor


_SIZE = re.compile(r"([0-9]{1,18})\s*([KMGTP]?)(i?)B?", re.IGNORECASE | re.ASCII)


class QuotaStore:
    """The quotas of one data directory. Safe to share between threads and processes."""

    def __init__(self, data_dir: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = OperatorFile(data_dir / FILE_NAME, "quotas")
        self._clock = clock
        self._checked = float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self._known: dict[tuple[str, str | None], Quota] = {}

    def applying(self, account: str, bucket: str) -> tuple[Quota, ...]:
        """The quotas that a write to a bucket has to keep to."""
        now = self._clock()
        if now - self._checked >= CHECK_SECONDS:
            self._refresh(now)
        if not self._known:
            return ()
        found = (self._known.get((account, None)), self._known.get((account, bucket)))
        return tuple(quota for quota in found if quota is not None)

    def listed(self) -> list[Quota]:
        """All quotas, by account and bucket."""
        return sorted(self._read().values(), key=lambda quota: (quota.account, quota.bucket or ""))

    def set(self, quota: Quota) -> None:
        """Put a quota in place of the one of its account or bucket; an empty one removes it."""
        with self._file.locked():
            known = self._read()
            known.pop((quota.account, quota.bucket), None)
            if not quota.is_empty:
                known[quota.account, quota.bucket] = quota
            self._file.replace([_plain(each) for each in known.values()])

    def _refresh(self, now: float) -> None:
        stamp = self._file.stamp()
        if stamp != self._seen:
            self._known = self._read()
            self._seen = stamp
        self._checked = now

    def _read(self) -> dict[tuple[str, str | None], Quota]:
        try:
            quotas = [Quota(**entry) for entry in self._file.read()]
        except (ValueError, KeyError, TypeError):
            raise QuotaFileError(
                f"{self._file.path} is damaged; restore it from a copy, or move it away and set "
                "the quotas anew"
            ) from None
        return {(quota.account, quota.bucket): quota for quota in quotas}


class Quotas:
    """Holds writes to the quotas that `applying` gives for an account and a bucket."""

    def __init__(self, applying: Callable[[str, str], tuple[Quota, ...]]) -> None:
        self._applying = applying
        # Accounts and buckets at which the last write went beyond what is to be warned of.
        self._warned: set[Quota] = set()

    def condition(self, account: str, bucket: str, size: int) -> Condition | None:
        """What refuses another object of this size, within its commit; None without a quota.

        Raises S3Error QuotaExceeded.
        """
        quotas = self._applying(account, bucket)
        if not quotas:
            return None

        def check(connection: sqlite3.Connection) -> None:
            for quota in quotas:
                usage = find_usage(connection, account, quota.bucket)
                self._check(quota, Usage(usage.objects + 1, usage.bytes + size))

        return check

    def warning(self, account: str, bucket: str) -> str | None:
        """What to tell the client of a write about quotas that are nearly used up."""
        if not self._warned:
            return None
        reached = [q for q in self._applying(account, bucket) if q in self._warned]
        return ", ".join("account" if q.bucket is None else "bucket" for q in reached) or None

    def _check(self, quota: Quota, wanted: Usage) -> None:
        if _exceeds(wanted, quota.bytes_max, quota.objects_max):
            what = f"account {quota.account}"
            if quota.bucket is not None:
                what = f"bucket {quota.bucket}"
            raise S3Error(ErrorCode.QuotaExceeded, f"The quota of {what} is used up.")
        if not _exceeds(wanted, quota.bytes_warn, quota.objects_warn):
            self._warned.discard(quota)
        elif quota not in self._warned:
            self._warned.add(quota)
            log.warning(
                "quota nearly used up",
                account=quota.account,
                bucket=quota.bucket,
                objects=wanted.objects,
                bytes=wanted.bytes,
            )


def _exceeds(wanted: Usage, bytes_max: int | None, objects_max: int | None) -> bool:
    return (bytes_max is not None and wanted.bytes > bytes_max) or (
        objects_max is not None and wanted.objects > objects_max
    )


def _plain(quota: Quota) -> dict[str, Any]:
    names = ("account", "bucket", *LIMITS)
    return {name: value for name in names if (value := getattr(quota, name)) is not None}
