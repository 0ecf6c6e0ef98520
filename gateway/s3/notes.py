"""What may change about a version while its bytes stay: tags, retention, legal hold, ACL.

With the PUT they come as headers; each becomes a note, a text under a name, and later changes
replace the note.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.object_lock import (
    HOLD_HEADER,
    MODE_HEADER,
    UNTIL_HEADER,
    Retention,
    check_retention_change,
    parse_lock_headers,
)
from gateway.s3.tagging import encode_tags, parse_tagging_header, tag_count

TAGGING = "tagging"
RETENTION = "retention"
LEGAL_HOLD = "legal-hold"
ACL = "acl"

TAGGING_HEADER = "x-amz-tagging"
_HEADERS = frozenset({TAGGING_HEADER, MODE_HEADER, UNTIL_HEADER, HOLD_HEADER})
_NO_NOTES: Mapping[str, str] = {}


def parse_notes(headers: Mapping[str, str], *, now_seconds: int) -> Mapping[str, str]:
    """The notes that the headers of PutObject, CopyObject or CreateMultipartUpload ask for.

    `headers` have lower-case names. Raises S3Error as `parse_tagging_header` and
    `parse_lock_headers` do.
    """
    if _HEADERS.isdisjoint(headers):
        return _NO_NOTES
    notes: dict[str, str] = {}
    tags = encode_tags(parse_tagging_header(headers.get(TAGGING_HEADER, "")))
    if tags is not None:
        notes[TAGGING] = tags
    return notes | parse_lock_notes(headers, now_seconds=now_seconds)


def parse_lock_notes(headers: Mapping[str, str], *, now_seconds: int) -> dict[str, str]:
    """Those of `parse_notes` without the tags, for a copy that takes the tags of its source."""
    notes: dict[str, str] = {}
    retention, hold = parse_lock_headers(headers, now_seconds=now_seconds)
    if retention is not None:
        notes[RETENTION] = retention.to_note()
    if hold is not None:
        notes[LEGAL_HOLD] = hold
    return notes


def check_removal(notes: Mapping[str, str], *, bypass: bool, now_seconds: int) -> None:
    """Refuse to remove a version under legal hold or retention, by S3Error AccessDenied.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
    """
    if notes.get(LEGAL_HOLD) == "ON":
        raise S3Error(
            ErrorCode.AccessDenied, "Access Denied because object protected by object lock."
        )
    if RETENTION in notes:
        retention = Retention.from_note(notes[RETENTION])
        check_retention_change(retention, None, bypass=bypass, now_seconds=now_seconds)


def note_headers(notes: Mapping[str, str]) -> dict[str, str]:
    """What GetObject and HeadObject say of the notes: of tags the number, of locks what was set.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
    """
    headers: dict[str, str] = {}
    if TAGGING in notes:
        headers["x-amz-tagging-count"] = str(tag_count(notes[TAGGING]))
    if RETENTION in notes:
        retention = Retention.from_note(notes[RETENTION])
        headers[MODE_HEADER] = retention.mode
        headers[UNTIL_HEADER] = retention.until
    if LEGAL_HOLD in notes:
        headers[HOLD_HEADER] = notes[LEGAL_HOLD]
    return headers
