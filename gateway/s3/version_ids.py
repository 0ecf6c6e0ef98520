"""Version ids: opaque to clients, to us the sequence number of the commit in 16 hex digits.

Their order as text is the order of the commits. Every version has one, from its first byte on, so
there is no version `null`: on S3 that is what was written before versioning was switched on.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html
"""

from __future__ import annotations

import re

from gateway.s3.errors import ErrorCode, S3Error

NULL_VERSION = "null"

_VERSION_ID = re.compile(r"[0-7][0-9a-f]{15}", re.ASCII)


def version_id(sequence: int) -> str:
    """The id of the version with this sequence number."""
    return f"{sequence:016x}"


def parse_version_id(text: str, argument: str = "versionId") -> int | None:
    """The sequence number in a version id; None for `null`, which is nobody's.

    Raises S3Error InvalidArgument, naming the `argument`, for what no version id looks like.
    """
    if text == NULL_VERSION:
        return None
    if _VERSION_ID.fullmatch(text) is None:
        raise S3Error(
            ErrorCode.InvalidArgument,
            "Invalid version id specified",
            ArgumentName=argument,
            ArgumentValue=text,
        )
    return int(text, 16)
