"""Listing the buckets of an account: reads the request of ListBuckets and cuts one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.listing import decode_token, encode_token, parse_count

PAGE_BUCKETS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class ListBucketsRequest:
    """Which buckets are asked for: names that start with `prefix`, from `start` on.

    `most` is max-buckets, None for all of them. `region` is None unless only the buckets of one
    are wanted. `shows_region` says whether the answer names the region of each bucket: S3 does
    so only for requests that carry a parameter.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html
    """

    prefix: str = ""
    start: str = ""
    most: int | None = None
    region: str | None = None
    shows_region: bool = False

    @property
    def rows_max(self) -> int:
        """How many names to look up: one more than a page holds tells whether it is the last."""
        return -1 if self.most is None else self.most + 1


def parse_list_buckets(query: Mapping[str, str]) -> ListBucketsRequest:
    """Read a ListBuckets request.

    Raises S3Error InvalidArgument for max-buckets outside of 1 to 10,000 and for a token that is
    none of ours.
    """
    if query.keys().isdisjoint(_PARAMETERS):
        return ListBucketsRequest()
    most = parse_count(query, "max-buckets", default=PAGE_BUCKETS_MAX)
    if not 1 <= most <= PAGE_BUCKETS_MAX:
        raise S3Error(
            ErrorCode.InvalidArgument,
            f"Argument max-buckets must be an integer between 1 and {PAGE_BUCKETS_MAX}.",
            ArgumentName="max-buckets",
            ArgumentValue=query["max-buckets"],
        )
    prefix, token = query.get("prefix", ""), query.get("continuation-token")
    start = decode_token(token).decode("utf-8", "replace") if token else ""
    return ListBucketsRequest(
        prefix=prefix,
        start=max(start, prefix),
        most=most if query.get("max-buckets") else None,
        region=query.get("bucket-region") or None,
        shows_region=True,
    )


def cut_page(request: ListBucketsRequest, names: Sequence[str]) -> tuple[int, str | None]:
    """How many of the `names` found fit the page, and the token of the next one, if there is one.

    `names` are sorted; one more than fits is enough.
    """
    if request.most is None or len(names) <= request.most:
        return len(names), None
    return request.most, encode_token(names[request.most].encode())


_PARAMETERS = frozenset({"bucket-region", "continuation-token", "max-buckets", "prefix"})
