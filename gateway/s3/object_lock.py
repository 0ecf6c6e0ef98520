"""Object lock: what clients ask to be locked, over a store in which nothing is removed anyway.

Retention and legal holds are kept as clients set them and given back; they add nothing to what
the store does. Where none was set the answer says what is so: a version stays.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.xml_tree import (
    children_of,
    name_of,
    parse_document,
    refuse_malformed,
    text_of,
    texts_of,
)
from gateway.s3.xml_writer import configuration, write_configuration

GOVERNANCE = "GOVERNANCE"
COMPLIANCE = "COMPLIANCE"
MODES = frozenset({GOVERNANCE, COMPLIANCE})

MODE_HEADER = "x-amz-object-lock-mode"
UNTIL_HEADER = "x-amz-object-lock-retain-until-date"
HOLD_HEADER = "x-amz-object-lock-legal-hold"
BYPASS_HEADER = "x-amz-bypass-governance-retention"

# The longest that AWS lets a rule say. "For ever" has no form of its own.
PERMANENT_DAYS = 36_500
PERIOD_MAX = {"Days": 36_500, "Years": 100}
_DIGITS_MAX = 18

_MICROSECONDS = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Retention:
    """A mode, and until when in microseconds since 1970, whole milliseconds."""

    mode: str
    until_us: int

    def to_note(self) -> str:
        """The retention as a record keeps it."""
        return f"{self.mode} {self.until_us}"

    @classmethod
    def from_note(cls, note: str) -> Retention:
        """What `to_note` wrote."""
        mode, _, until_us = note.partition(" ")
        return cls(mode, int(until_us))

    @property
    def until(self) -> str:
        """Until when, as documents and headers say it."""
        moment = _EPOCH + self.until_us * _MICROSECONDS
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def intrinsic_retention(created_us: int) -> Retention:
    """What is so of every version, whatever anybody asked for; `created_us` since 1970."""
    return Retention(COMPLIANCE, (created_us // 1000 + PERMANENT_DAYS * 86_400_000) * 1000)


def parse_lock_headers(
    headers: Mapping[str, str], *, now_seconds: int
) -> tuple[Retention | None, str | None]:
    """The retention and the legal hold (`ON`, `OFF`) that a PUT asks for; lower-case names.

    Raises S3Error InvalidArgument.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
    """
    mode, until, hold = map(headers.get, (MODE_HEADER, UNTIL_HEADER, HOLD_HEADER))
    if (mode is None) != (until is None):
        _refuse(
            UNTIL_HEADER if until is None else MODE_HEADER,
            f"{UNTIL_HEADER} and {MODE_HEADER} must both be supplied",
        )
    retention = None
    if mode is not None and until is not None:
        if mode not in MODES:
            _refuse(MODE_HEADER, "Unknown wormMode directive.", mode)
        until_us = _parse_date(until)
        if until_us is None:
            _refuse(
                UNTIL_HEADER, "The retain until date must be provided in ISO 8601 format", until
            )
        retention = Retention(mode, until_us)
        _check_future(retention, now_seconds)
    if hold is not None and hold not in ("ON", "OFF"):
        _refuse(HOLD_HEADER, "Legal Hold must be either of 'ON' or 'OFF'", hold)
    return retention, hold


def bypasses_governance(headers: Mapping[str, str]) -> bool:
    """Whether a request asks to pass over a retention in GOVERNANCE mode; lower-case names."""
    return headers.get(BYPASS_HEADER, "").lower() == "true"


def read_retention(body: bytes, *, now_seconds: int) -> Retention | None:
    """Read the body of PutObjectRetention; None for an empty one, which removes the retention.

    Raises S3Error MalformedXML, or InvalidArgument for a date that is not in the future.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectRetention.html
    """
    fields = texts_of(parse_document(body, "Retention"), {"Mode", "RetainUntilDate"})
    if not fields:
        return None
    until_us = _parse_date(fields.get("RetainUntilDate", ""))
    if until_us is None or fields.get("Mode") not in MODES:
        refuse_malformed()
    retention = Retention(fields["Mode"], until_us)
    _check_future(retention, now_seconds)
    return retention


def check_retention_change(
    current: Retention | None, wanted: Retention | None, *, bypass: bool, now_seconds: int
) -> None:
    """Refuse to shorten or to weaken a retention in force, by S3Error AccessDenied.

    COMPLIANCE is only ever extended; GOVERNANCE does what its owner wants who asks to `bypass` it.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock-managing.html
    """
    if current is None or current.until_us <= now_seconds * 1_000_000:
        return
    if wanted is not None and wanted.mode == current.mode and wanted.until_us >= current.until_us:
        return
    if current.mode == COMPLIANCE or not bypass:
        raise S3Error(
            ErrorCode.AccessDenied, "Access Denied because object protected by object lock."
        )


def write_retention(retention: Retention) -> bytes:
    """The Retention document."""
    fields = f"<Mode>{retention.mode}</Mode><RetainUntilDate>{retention.until}</RetainUntilDate>"
    return write_configuration(configuration("Retention", fields))


def read_legal_hold(body: bytes) -> str:
    """Read the body of PutObjectLegalHold: `ON` or `OFF`; S3Error MalformedXML.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLegalHold.html
    """
    status = texts_of(parse_document(body, "LegalHold"), {"Status"}).get("Status")
    if status not in ("ON", "OFF"):
        refuse_malformed()
    return status


def write_legal_hold(status: str) -> bytes:
    """The LegalHold document."""
    return write_configuration(configuration("LegalHold", f"<Status>{status}</Status>"))


def read_lock_configuration(body: bytes) -> str:
    """Read the body of PutObjectLockConfiguration; the document to keep and to give back.

    Raises S3Error MalformedXML, or InvalidRetentionPeriod.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLockConfiguration.html
    """
    root = parse_document(body, "ObjectLockConfiguration")
    enabled = None
    rule = ""
    for child in children_of(root, {"ObjectLockEnabled", "Rule"}):
        if name_of(child) == "ObjectLockEnabled" and enabled is None:
            enabled = text_of(child).strip()
        elif name_of(child) == "Rule" and not rule:
            (fields, *more) = [
                texts_of(default, {"Mode", "Days", "Years"})
                for default in children_of(child, {"DefaultRetention"})
            ] or [{}]
            if more:
                refuse_malformed()
            rule = _default_rule(fields)
        else:
            refuse_malformed()
    if enabled != "Enabled":
        refuse_malformed()
    return _lock_configuration(rule)


def _lock_configuration(rule: str) -> str:
    enabled = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>"
    return configuration("ObjectLockConfiguration", enabled + rule)


LOCK_CONFIGURATION = _lock_configuration("")
"""What is so of every bucket: objects can be locked, and no rule does it by default."""


def _default_rule(fields: Mapping[str, str]) -> str:
    mode = fields.get("Mode")
    periods = [(unit, fields[unit]) for unit in PERIOD_MAX if unit in fields]
    if mode not in MODES or len(periods) != 1:
        refuse_malformed()
    ((unit, text),) = periods
    if not text.removeprefix("-").isdecimal() or len(text) > _DIGITS_MAX:
        refuse_malformed()
    if not 1 <= int(text) <= PERIOD_MAX[unit]:
        raise S3Error(ErrorCode.InvalidRetentionPeriod)
    period = f"<{unit}>{int(text)}</{unit}>"
    return f"<Rule><DefaultRetention><Mode>{mode}</Mode>{period}</DefaultRetention></Rule>"


def _check_future(retention: Retention, now_seconds: int) -> None:
    if retention.until_us <= now_seconds * 1_000_000:
        _refuse("RetainUntilDate", "The retain until date must be in the future!", retention.until)


def _parse_date(text: str) -> int | None:
    """Microseconds since 1970, cut to milliseconds; None for what is no date of ISO 8601."""
    try:
        moment = datetime.fromisoformat(text)
        # A zone can put a moment past the last year, in which nothing could show it again.
        utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return (utc - _EPOCH) // timedelta(milliseconds=1) * 1000
    except (ValueError, OverflowError):
        return None


def _refuse(name: str, message: str, value: str = "") -> NoReturn:
    raise S3Error(ErrorCode.InvalidArgument, message, ArgumentName=name, ArgumentValue=value)
