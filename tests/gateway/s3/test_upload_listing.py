from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.listing import Page
from gateway.s3.upload_listing import (
    ListPartsRequest,
    PartEntry,
    PartsPage,
    UploadEntry,
    UploadPosition,
    list_uploads_page,
    parse_list_parts,
    parse_list_uploads,
    parts_page,
)


class Uploads:
    """Sorted uploads that count what a listing costs."""

    def __init__(self, uploads: Sequence[tuple[str, str]]) -> None:
        self.rows = sorted({UploadEntry(key.encode(), upload_id, 0) for key, upload_id in uploads})
        self.seeks = 0
        self.rows_read = 0

    def seek(self, after: UploadPosition, limit: int, stop: bytes | None) -> Sequence[UploadEntry]:
        assert limit > 0
        self.seeks += 1
        first = bisect_right(self.rows, after, key=lambda row: row[:2])
        last = len(self.rows) if stop is None else bisect_left(self.rows, (stop,))
        found = self.rows[first : min(last, first + limit)]
        self.rows_read += len(found)
        return found


def walk(uploads: Uploads, query: dict[str, str]) -> list[tuple[str, str]]:
    """All names of a listing, page by page: uploads with their ids, common prefixes without."""
    names: list[tuple[str, str]] = []
    query = dict(query)
    while True:
        page = list_uploads_page(uploads.seek, parse_list_uploads(query))
        names += sorted(
            [(row.key.decode(), row.upload_id) for row in page.entries]
            + [(prefix.decode(), "") for prefix in page.common_prefixes],
            key=lambda name: (name[0].encode(), name[1]),
        )
        if not page.is_truncated:
            return names
        assert page.last is not None
        last_row = page.entries[-1] if page.entries else None
        query["key-marker"] = page.last.decode()
        query["upload-id-marker"] = (
            last_row.upload_id if last_row and last_row.key == page.last else ""
        )


def ideal(uploads: Uploads, prefix: str, delimiter: str) -> list[tuple[str, str]]:
    names: list[tuple[str, str]] = []
    for row in uploads.rows:
        key = row.key.decode()
        if not key.startswith(prefix):
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        name = (key, row.upload_id) if end < 0 else (key[: end + len(delimiter)], "")
        if name not in names:
            names.append(name)
    return names


LETTERS = st.sampled_from(["a", "b", "/", "é", "\U0010ffff"])
UPLOADS = st.lists(
    st.tuples(st.text(LETTERS, min_size=1, max_size=4), st.sampled_from(["1", "2", "3"])),
    max_size=25,
)


@given(
    UPLOADS, st.text(LETTERS, max_size=2), st.sampled_from(["", "/", "a", "a/"]), st.integers(1, 4)
)
def test_pages_join_to_the_whole_listing(
    rows: list[tuple[str, str]], prefix: str, delimiter: str, max_uploads: int
) -> None:
    uploads = Uploads(rows)
    query = {"prefix": prefix, "delimiter": delimiter, "max-uploads": str(max_uploads)}
    assert walk(uploads, query) == ideal(uploads, prefix, delimiter)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ([f"dir/{number:06}" for number in range(100_000)], 1),
        ([f"{group:03}/{number:04}" for group in range(50) for number in range(2000)], 50),
        ([f"{number:06}/x" for number in range(20_000)], 1000),
        ([f"{number:06}" for number in range(20_000)], 1000),
        # Stretches of plain keys tempt to read far, and each is followed by a large group.
        ([f"{n:05}/{i}" if n % 40 == 39 else f"{n:05}" for n in range(2000) for i in range(99)], 0),
    ],
    ids=["one-group", "big-groups", "small-groups", "no-group", "mixed"],
)
def test_cost_depends_on_the_page_alone(keys: list[str], names: int) -> None:
    uploads = Uploads([(key, "1") for key in keys])
    page = list_uploads_page(uploads.seek, parse_list_uploads({"delimiter": "/"}))
    found = len(page.entries) + len(page.common_prefixes)
    assert found == (names or 1000)
    assert uploads.rows_read <= 9 * found + 10
    assert uploads.seeks <= found + 10


def test_group_at_the_end_of_all_bytes_ends_the_listing() -> None:
    request = replace(parse_list_uploads({}), delimiter=b"\xff")
    uploads = Uploads([])
    uploads.rows = [UploadEntry(key, "1", 0) for key in (b"a", b"\xff\xff", b"\xff\xffx")]
    page = list_uploads_page(uploads.seek, request)
    assert ([row.key for row in page.entries], page.common_prefixes) == ([b"a"], [b"\xff"])


def test_upload_id_marker_without_key_marker_is_ignored() -> None:
    assert parse_list_uploads({"upload-id-marker": "u"}) == parse_list_uploads({})


def test_marker_inside_a_group_continues_behind_it() -> None:
    request = parse_list_uploads({"delimiter": "/", "key-marker": "d/a", "upload-id-marker": "1"})
    page = list_uploads_page(Uploads([("d/a", "1"), ("d/b", "1"), ("e", "1")]).seek, request)
    assert (page.common_prefixes, [row.key for row in page.entries]) == ([], [b"e"])


def test_marker_behind_the_prefix_ends_the_listing() -> None:
    request = parse_list_uploads({"prefix": "a", "key-marker": "b", "upload-id-marker": "1"})
    assert list_uploads_page(Uploads([("a", "1")]).seek, request) == Page((), ())


PARTS = [PartEntry(number, 1, "e", 0) for number in (1, 2, 5)]


@pytest.mark.parametrize(
    ("query", "rows", "expected"),
    [
        ({}, PARTS, PartsPage(PARTS, False, 5)),
        ({"max-parts": "2"}, PARTS, PartsPage(PARTS[:2], True, 2)),
        ({"max-parts": "3"}, PARTS, PartsPage(PARTS, False, 5)),
        ({"max-parts": "0"}, PARTS, PartsPage([], False, 0)),
        ({"part-number-marker": "5"}, [], PartsPage([], False, 0)),
    ],
)
def test_parts_come_in_pages(
    query: dict[str, str], rows: list[PartEntry], expected: PartsPage[PartEntry]
) -> None:
    assert parts_page(rows, parse_list_parts(query)) == expected


def test_parts_request() -> None:
    query = {"part-number-marker": "7", "max-parts": "5000", "encoding-type": "url"}
    assert parse_list_parts(query) == ListPartsRequest(7, 1000, True)


@pytest.mark.parametrize("name", ["max-parts", "part-number-marker"])
@pytest.mark.parametrize("value", ["-1", "x", "1.5"])
def test_garbage_is_an_invalid_argument(name: str, value: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_list_parts({name: value})
    assert caught.value.code is ErrorCode.InvalidArgument
