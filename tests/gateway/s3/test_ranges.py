from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.ranges import ByteSpan, content_range, resolve_range


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-0", 10, ByteSpan(0, 1)),
        ("bytes=2-5", 10, ByteSpan(2, 6)),
        ("bytes=5-", 10, ByteSpan(5, 10)),
        ("bytes=-3", 10, ByteSpan(7, 10)),
        ("bytes=-10", 10, ByteSpan(0, 10)),
        ("bytes=-11", 10, ByteSpan(0, 10)),
        ("bytes=0-999999", 10, ByteSpan(0, 10)),
        ("bytes=9-", 10, ByteSpan(9, 10)),
        ("bytes=0002-0005", 10, ByteSpan(2, 6)),
        ("Bytes=0-1", 10, ByteSpan(0, 2)),
        ("bytes=0-" + "9" * 6000, 10, ByteSpan(0, 10)),
        ("bytes=" + "0" * 6000 + "-1", 10, ByteSpan(0, 2)),
        ("bytes=-" + "9" * 6000, 10, ByteSpan(0, 10)),
    ],
)
def test_range_is_a_span(header: str, size: int, expected: ByteSpan) -> None:
    assert resolve_range(header, size) == expected


@pytest.mark.parametrize("size", [0, 10])
@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes 0-9", "0-9", "items=0-1"),
        *("bytes=a-b", "bytes=0x1-2", "bytes=0-1,3-4", "bytes=0-1,", "bytes= 0-1", "bytes=0 -1"),
        *("bytes=+1-2", "bytes=1--2", "bytes=1-2-3", "bytes=１-２", "bytes=0-1\n", "bytes=-1-2"),
    ],
)
def test_what_cannot_be_read_is_the_whole_object(header: str | None, size: int) -> None:
    assert resolve_range(header, size) is None


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=10-", 10),
        ("bytes=10-10", 10),
        ("bytes=" + "9" * 6000 + "-", 10),
        ("bytes=-0", 10),
        ("bytes=0-", 0),
        ("bytes=0-0", 0),
        ("bytes=-1", 0),
    ],
)
def test_range_outside_the_object_is_refused(header: str, size: int) -> None:
    with pytest.raises(S3Error) as caught:
        resolve_range(header, size)
    assert caught.value.code is ErrorCode.InvalidRange
    assert caught.value.headers == {"Content-Range": f"bytes */{size}"}
    assert caught.value.fields == {"RangeRequested": header, "ActualObjectSize": size}


@given(st.integers(1, 50), st.integers(0, 60), st.integers(0, 60))
def test_span_holds_exactly_the_bytes_asked_for(size: int, first: int, last: int) -> None:
    body = bytes(range(size))
    try:
        span = resolve_range(f"bytes={first}-{last}", size)
    except S3Error:
        assert first >= size
        return
    if span is None:
        assert last < first
    else:
        assert body[span.start : span.stop] == body[first : last + 1]
        assert len(span) == len(body[first : last + 1])


def test_content_range_counts_inclusively() -> None:
    assert content_range(ByteSpan(0, 500), 1234) == "bytes 0-499/1234"
