from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.query import hoisted_headers, parse_query

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", {}),
        ("&&", {}),
        ("uploads", {"uploads": ""}),
        ("uploads=", {"uploads": ""}),
        ("uploads&prefix=a", {"uploads": "", "prefix": "a"}),
        ("prefix=a+b%2Bc%20d", {"prefix": "a b+c d"}),
        ("prefix=a=b", {"prefix": "a=b"}),
        ("prefix=a&prefix=b", {"prefix": "a"}),
        ("%70refix=%C3%A9", {"prefix": "é"}),
        ("prefix=é", {"prefix": "é"}),
        ("marker=%0A", {"marker": "\n"}),
        ("=x", {"": "x"}),
    ],
)
def test_query_is_read_as_s3_reads_it(raw: str, expected: dict[str, str]) -> None:
    assert parse_query(raw) == expected


@pytest.mark.parametrize("raw", ["prefix=%", "prefix=%zz", "prefix=%ff", "%00", "a=\udcff", "a=\0"])
def test_broken_query_is_refused(raw: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_query(raw)
    assert caught.value.code is ErrorCode.InvalidURI


@given(st.dictionaries(TEXT, TEXT))
def test_every_query_survives_encoding(query: dict[str, str]) -> None:
    assert parse_query(urlencode(query)) == query


def test_presigned_headers_are_found_without_the_signature() -> None:
    query = {
        "X-Amz-Signature": "00",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Meta-Mtime": "1",
        "x-amz-acl": "private",
        "x-id": "PutObject",
    }
    assert hoisted_headers(query) == {"x-amz-meta-mtime": "1", "x-amz-acl": "private"}
