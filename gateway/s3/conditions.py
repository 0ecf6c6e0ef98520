"""Conditional requests: If-Match and its kin, read once and checked in the order of RFC 9110."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.etags import EntityTags, parse_etags
from gateway.s3.timestamps import parse_http_date, parse_iso_seconds


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
COPY_PREFIX = "x-amz-copy-source-"
RENAME_PREFIX = "x-amz-rename-source-"


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


def parse_source_conditions(headers: Mapping[str, str], prefix: str) -> Conditions:
    """Read the conditions that a copy or rename puts on its source, by lower-case names."""
    given = {
        name: headers[prefix + name]
        for name in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
        if prefix + name in headers
    }
    return parse_conditions(given)


def check_read(
    conditions: Conditions,
    etag: str,
    modified_seconds: int,
    *,
    now_seconds: int,
    prefix: str = "",
) -> bool:
    """Check a GET or HEAD against the object: True means "not modified" (answer 304).

    `etag` is unquoted, times are whole seconds since the epoch. A given If-Match overrides
    If-Unmodified-Since, a given If-None-Match overrides If-Modified-Since, and an
    If-Modified-Since in the future is ignored. Raises S3Error PreconditionFailed, naming the
    Condition, whose name begins with `prefix`.

    https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2
    """
    if conditions is NO_CONDITIONS:
        return False
    if conditions.if_match is not None:
        if not conditions.if_match.match_strongly(etag):
            raise S3Error(ErrorCode.PreconditionFailed, Condition=f"{prefix}If-Match")
    elif (
        conditions.if_unmodified_since is not None
        and modified_seconds > conditions.if_unmodified_since
    ):
        raise S3Error(ErrorCode.PreconditionFailed, Condition=f"{prefix}If-Unmodified-Since")
    if conditions.if_none_match is not None:
        return conditions.if_none_match.match_weakly(etag)
    since = conditions.if_modified_since
    return since is not None and modified_seconds <= since <= now_seconds


def check_source(
    conditions: Conditions, etag: str, modified_seconds: int, *, now_seconds: int, prefix: str
) -> None:
    """Check the conditions of a copy or rename on its source. Raises S3Error PreconditionFailed.

    A source that was not modified is a failure like the others: there is no 304 for a copy.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """
    if check_read(conditions, etag, modified_seconds, now_seconds=now_seconds, prefix=prefix):
        by_tag = conditions.if_none_match is not None
        failed = "If-None-Match" if by_tag else "If-Modified-Since"
        raise S3Error(ErrorCode.PreconditionFailed, Condition=prefix + failed)


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


@dataclass(frozen=True, slots=True)
class DeleteConditions:
    """What a DELETE expects of what it deletes; None is "not given", the date whole seconds."""

    if_match: EntityTags | None = None
    modified_seconds: int | None = None
    size: int | None = None


NO_DELETE_CONDITIONS = DeleteConditions()


def parse_delete_conditions(headers: Mapping[str, str]) -> DeleteConditions:
    """Read the conditions of a DeleteObject; `headers` are looked up by lower-case names.

    Raises S3Error: NotImplemented for other conditions, which S3 knows on reads and writes only,
    and InvalidArgument for what cannot be read: to leave it out would delete too much.
    """
    for name in ("if-none-match", "if-modified-since", "if-unmodified-since"):
        if name in headers:
            raise S3Error(ErrorCode.NotImplemented, Header=name)
    return read_delete_conditions(
        headers.get("if-match"),
        headers.get("x-amz-if-match-last-modified-time"),
        headers.get("x-amz-if-match-size"),
    )


def read_delete_conditions(
    etag: str | None, modified: str | None, size: str | None
) -> DeleteConditions:
    """The conditions of one deletion from their texts. Raises S3Error InvalidArgument."""
    if not (etag or modified or size):
        return NO_DELETE_CONDITIONS
    seconds: int | None = None
    if modified:
        seconds = parse_http_date(modified)
        if seconds is None:
            seconds = parse_iso_seconds(modified)
        if seconds is None:
            raise S3Error(
                ErrorCode.InvalidArgument,
                ArgumentName="x-amz-if-match-last-modified-time",
                ArgumentValue=modified,
            )
    if size and not (size.isascii() and size.isdigit() and len(size) < 20):
        raise S3Error(
            ErrorCode.InvalidArgument, ArgumentName="x-amz-if-match-size", ArgumentValue=size
        )
    return DeleteConditions(
        parse_etags(etag) if etag else None, seconds, int(size) if size else None
    )


def check_delete(
    conditions: DeleteConditions, etag: str | None, modified_seconds: int, size: int
) -> None:
    """Check a deletion against the version that it means; a delete marker has no ETag, size 0.

    Must run in the transaction that commits. Where there is nothing to delete there is nothing to
    check. Raises S3Error PreconditionFailed, naming the Condition.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html
    """
    tags = conditions.if_match
    if tags is not None and not tags.any and (etag is None or not tags.match_strongly(etag)):
        raise S3Error(ErrorCode.PreconditionFailed, Condition="If-Match")
    if conditions.modified_seconds not in (None, modified_seconds):
        condition = "x-amz-if-match-last-modified-time"
        raise S3Error(ErrorCode.PreconditionFailed, Condition=condition)
    if conditions.size not in (None, size):
        raise S3Error(ErrorCode.PreconditionFailed, Condition="x-amz-if-match-size")


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
