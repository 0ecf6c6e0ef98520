"""Conditional requests: If-Match and its kin, read once and checked in the order of RFC 9110."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.etags import EntityTags, parse_etags
from gateway.s3.timestamps import parse_http_date


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of a request; None is "not given", dates are seconds since the epoch.

    A date that cannot be read counts as not given. `if_range` is the header as sent.
    """

    if_match: EntityTags | None = None
    if_none_match: EntityTags | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None
    if_range: str | None = None


NO_CONDITIONS = Conditions()


def parse_conditions(headers: Mapping[str, str]) -> Conditions:
    """Read the conditional headers; `headers` are looked up by lower-case names."""
    if_match = headers.get("if-match")
    if_none_match = headers.get("if-none-match")
    if_modified_since = headers.get("if-modified-since")
    if_unmodified_since = headers.get("if-unmodified-since")
    if_range = headers.get("if-range")
    if not (if_match or if_none_match or if_modified_since or if_unmodified_since or if_range):
        return NO_CONDITIONS
    return Conditions(
        parse_etags(if_match) if if_match else None,
        parse_etags(if_none_match) if if_none_match else None,
        parse_http_date(if_modified_since) if if_modified_since else None,
        parse_http_date(if_unmodified_since) if if_unmodified_since else None,
        if_range or None,
    )


def check_read(
    conditions: Conditions, etag: str, modified_seconds: int, *, now_seconds: int
) -> bool:
    """Check a GET or HEAD against the object: True means "not modified" (answer 304).

    `etag` is unquoted, times are whole seconds since the epoch. A given If-Match overrides
    If-Unmodified-Since, a given If-None-Match overrides If-Modified-Since, and an
    If-Modified-Since in the future is ignored. Raises S3Error PreconditionFailed, naming the
    Condition.

    https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2
    """
    if conditions is NO_CONDITIONS:
        return False
    if conditions.if_match is not None:
        if not conditions.if_match.match_strongly(etag):
            raise S3Error(ErrorCode.PreconditionFailed, Condition="If-Match")
    elif (
        conditions.if_unmodified_since is not None
        and modified_seconds > conditions.if_unmodified_since
    ):
        raise S3Error(ErrorCode.PreconditionFailed, Condition="If-Unmodified-Since")
    if conditions.if_none_match is not None:
        return conditions.if_none_match.match_weakly(etag)
    since = conditions.if_modified_since
    return since is not None and modified_seconds <= since <= now_seconds


def check_write(conditions: Conditions, current_etag: str | None) -> None:
    """Check PutObject or CompleteMultipartUpload against what the key holds now.

    `current_etag` is unquoted, None if there is no object (or a delete marker). Must run again
    in the transaction that commits. As on S3, dates do not condition writes. Raises S3Error
    NoSuchKey for If-Match without an object, else PreconditionFailed, naming the Condition.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    """
    if conditions.if_match is not None:
        if current_etag is None:
            raise S3Error(ErrorCode.NoSuchKey)
        if not conditions.if_match.match_strongly(current_etag):
            raise S3Error(ErrorCode.PreconditionFailed, Condition="If-Match")
    if (
        conditions.if_none_match is not None
        and current_etag is not None
        and conditions.if_none_match.match_weakly(current_etag)
    ):
        raise S3Error(ErrorCode.PreconditionFailed, Condition="If-None-Match")


def allows_range(conditions: Conditions, etag: str, modified_seconds: int) -> bool:
    """Whether a Range header counts: False if If-Range names another state of the object.

    Without it, a download resumed after an overwrite would join two different objects.

    https://www.rfc-editor.org/rfc/rfc9110#section-13.1.5
    """
    if conditions.if_range is None:
        return True
    date = parse_http_date(conditions.if_range)
    if date is not None:
        return date == modified_seconds
    tags = parse_etags(conditions.if_range)
    return not tags.any and tags.match_strongly(etag)
