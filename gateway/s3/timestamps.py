"""Times as S3 writes them: microseconds since the epoch in, whole seconds out."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

MICROSECONDS = 1_000_000


def iso_timestamp(micros: int) -> str:
    """`2026-03-01T12:00:00.000Z`, the form of XML documents.

    Cut to whole seconds, so that a listing and the Last-Modified header agree.
    """
    return _iso_of_second(micros // MICROSECONDS)


def http_date(micros: int) -> str:
    """`Sun, 01 Mar 2026 12:00:00 GMT`, the form of headers.

    https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7
    """
    return _http_of_second(micros // MICROSECONDS)


def parse_http_date(text: str) -> int | None:
    """Seconds since the epoch, or None for what is not a date; all three forms of RFC 9110."""
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def parse_iso_seconds(text: str) -> int | None:
    """Seconds since the epoch of an ISO 8601 time, UTC unless it says otherwise; None for none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


@lru_cache(maxsize=8192)
def _iso_of_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@lru_cache(maxsize=8192)
def _http_of_second(second: int) -> str:
    return formatdate(second, usegmt=True)
