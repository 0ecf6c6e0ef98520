"""Which buckets a request of ListBuckets asks for, and where its page ends."""

from __future__ import annotations

import pytest

from gateway.s3.bucket_listing import ListBucketsRequest, cut_page, parse_list_buckets
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.listing import encode_token


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, ListBucketsRequest()),
        ({"x-id": "ListBuckets"}, ListBucketsRequest()),
        ({"prefix": "p"}, ListBucketsRequest("p", "p", shows_region=True)),
        ({"max-buckets": "7"}, ListBucketsRequest(most=7, shows_region=True)),
        ({"max-buckets": ""}, ListBucketsRequest(shows_region=True)),
        ({"bucket-region": "eu"}, ListBucketsRequest(region="eu", shows_region=True)),
        ({"continuation-token": ""}, ListBucketsRequest(shows_region=True)),
        (
            {"continuation-token": encode_token(b"m"), "prefix": "b"},
            ListBucketsRequest("b", "m", shows_region=True),
        ),
        (
            {"continuation-token": encode_token(b"a"), "prefix": "b"},
            ListBucketsRequest("b", "b", shows_region=True),
        ),
    ],
)
def test_request_is_read(query: dict[str, str], wanted: ListBucketsRequest) -> None:
    assert parse_list_buckets(query) == wanted


@pytest.mark.parametrize(
    "query",
    [
        {"max-buckets": "0"},
        {"max-buckets": "10001"},
        {"max-buckets": "-1"},
        {"max-buckets": "many"},
        {"continuation-token": "garbage"},
    ],
)
def test_bad_request_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(S3Error) as caught:
        parse_list_buckets(query)
    assert caught.value.code is ErrorCode.InvalidArgument


@pytest.mark.parametrize(
    ("most", "names", "count", "next_start"),
    [
        (None, ["a", "b", "c"], 3, None),
        (3, ["a", "b", "c"], 3, None),
        (2, ["a", "b", "c"], 2, "c"),
        (1, [], 0, None),
    ],
)
def test_page_ends_where_it_is_full(
    most: int | None, names: list[str], count: int, next_start: str | None
) -> None:
    found, token = cut_page(ListBucketsRequest(most=most), names)
    assert found == count
    if next_start is None:
        assert token is None
    else:
        assert token is not None
        assert parse_list_buckets({"continuation-token": token}).start == next_start
