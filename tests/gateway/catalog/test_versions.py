"""Pages of versions out of the catalog, held to the rules of ListObjectVersions, and their cost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.database import open_catalog
from gateway.catalog.listings import seek_versions
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.listing import Page
from gateway.s3.version_ids import version_id
from gateway.s3.version_listing import (
    VersionEntry,
    VersionPosition,
    list_versions_page,
    parse_list_versions,
)

BUCKET = 7
ETAG = bytes(range(16))

# (key, sequence number, whether it is a delete marker)
Version = tuple[bytes, int, bool]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("catalog") / "catalog.db"
    with closing(open_catalog(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


def store(catalog: sqlite3.Connection, versions: Iterable[Version]) -> None:
    """Make these the versions of the bucket; buckets beside it hold keys everywhere."""
    catalog.execute("DELETE FROM versions")
    rows = [
        (number, BUCKET, key, b"" if is_marker else bytes(32), b"" if is_marker else ETAG)
        for key, number, is_marker in versions
    ]
    rows += [(2**50 + b, b, b"a", bytes(32), ETAG) for b in (BUCKET - 1, BUCKET + 1)]
    catalog.executemany(
        "INSERT INTO versions (sequence, bucket, key, root, size, etag, metadata, layout, log, "
        "log_offset) VALUES (?, ?, ?, ?, 11, ?, '{}', x'', 0, 0)",
        rows,
    )


def page_of(
    catalog: sqlite3.Connection, query: dict[str, str]
) -> Page[VersionEntry, VersionPosition]:
    return list_versions_page(
        partial(seek_versions, catalog, bucket=BUCKET), parse_list_versions(query)
    )


def walk(catalog: sqlite3.Connection, query: dict[str, str]) -> list[object]:
    """All names of a listing, page by page as a client asks for them."""
    query = dict(query)
    names: list[object] = []
    while True:
        page = page_of(catalog, query)
        names += sorted(
            [*((e.key, -e.sequence, e.is_latest, e.is_marker) for e in page.entries)]
            + [(prefix, 1) for prefix in page.common_prefixes]
        )
        if not page.is_truncated:
            return names
        assert page.last is not None
        query["key-marker"] = page.last.decode()
        query.pop("version-id-marker", None)
        if page.entries and page.entries[-1].key == page.last:
            query["version-id-marker"] = version_id(page.entries[-1].sequence)


def expected(versions: Iterable[Version], prefix: str, delimiter: str) -> list[object]:
    names: list[object] = []
    latest: set[bytes] = set()
    for key, number, is_marker in sorted(versions, key=lambda row: (row[0], -row[1])):
        if not key.startswith(prefix.encode()):
            continue
        at = key.find(delimiter.encode(), len(prefix)) if delimiter else -1
        if at >= 0:
            name: object = (key[: at + len(delimiter)], 1)
            if name not in names:
                names.append(name)
            continue
        names.append((key, -number, key not in latest, is_marker))
        latest.add(key)
    return names


VERSIONS = st.lists(
    st.tuples(st.sampled_from([b"a", b"a/", b"a/1", b"a/2", b"b", b"b/x/y", b"c"]), st.booleans()),
    max_size=25,
).map(lambda rows: [(key, number + 1, hides) for number, (key, hides) in enumerate(rows)])


@given(
    versions=VERSIONS,
    prefix=st.sampled_from(["", "a", "a/", "b/", "x"]),
    delimiter=st.sampled_from(["", "/", "x/", "a"]),
    most=st.integers(1, 5),
)
def test_pages_join_to_the_whole_listing(
    catalog: sqlite3.Connection, versions: list[Version], prefix: str, delimiter: str, most: int
) -> None:
    store(catalog, versions)
    query = {"prefix": prefix, "delimiter": delimiter, "max-keys": str(most)}
    assert walk(catalog, query) == expected(versions, prefix, delimiter)


@pytest.mark.parametrize(
    ("marker", "names"),
    [
        ((b"a", None), [(b"b", 3, True)]),
        ((b"a", 4), [(b"a", 2, False), (b"a", 1, False), (b"b", 3, True)]),
        ((b"a", 3), [(b"a", 2, False), (b"a", 1, False), (b"b", 3, True)]),
        ((b"a", 1), [(b"b", 3, True)]),
        ((b"a", 9), [(b"a", 4, True), (b"a", 2, False), (b"a", 1, False), (b"b", 3, True)]),
        ((b"b", None), []),
    ],
)
def test_marker_need_not_exist(
    catalog: sqlite3.Connection, marker: tuple[bytes, int | None], names: list[object]
) -> None:
    store(catalog, [(b"a", 1, False), (b"a", 2, True), (b"b", 3, False), (b"a", 4, False)])
    query = {"key-marker": marker[0].decode()}
    if marker[1] is not None:
        query["version-id-marker"] = version_id(marker[1])
    page = page_of(catalog, query)
    assert [(e.key, e.sequence, e.is_latest) for e in page.entries] == names


def test_etag_of_an_upload_has_its_number_of_parts(catalog: sqlite3.Connection) -> None:
    store(catalog, [(b"a", 1, False)])
    catalog.execute("UPDATE versions SET part_sizes = CAST('[[5,2],[3,1]]' AS BLOB)")
    assert [e.etag for e in page_of(catalog, {}).entries] == [f"{ETAG.hex()}-3".encode()]


@pytest.mark.parametrize(
    ("query", "argument"),
    [
        ({"version-id-marker": version_id(1)}, "version-id-marker"),
        ({"key-marker": "a", "version-id-marker": "x"}, "version-id-marker"),
        ({"max-keys": "-1"}, "max-keys"),
        ({"encoding-type": "x"}, "encoding-type"),
    ],
)
def test_what_cannot_be_meant_is_refused(query: dict[str, str], argument: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_list_versions(query)
    assert caught.value.code is ErrorCode.InvalidArgument
    assert caught.value.fields["ArgumentName"] == argument


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"prefix": "b/", "max-keys": "50"},
        {"delimiter": "/"},
        {"key-marker": "a", "version-id-marker": version_id(1500), "max-keys": "50"},
        {"key-marker": "b/000", "max-keys": "50"},
    ],
    ids=str,
)
def test_cost_depends_on_the_page_alone(catalog: sqlite3.Connection, query: dict[str, str]) -> None:
    """Counted in steps of SQLite's machine, with many versions of a key and many keys."""

    def steps(size: int) -> tuple[int, int]:
        rows = [(b"a", number, number % 3 == 0) for number in range(1, size)]
        rows += [(b"b/%03d" % (number % 200), size + number, False) for number in range(size)]
        store(catalog, rows)
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        catalog.set_progress_handler(step, 1)
        page = page_of(catalog, query)
        catalog.set_progress_handler(None, 0)
        return len(page.entries) + len(page.common_prefixes), count

    names, few = steps(4000)
    again, many = steps(40_000)
    assert again == names
    # Of a key that begins the page it may take one step more to see that it is the first.
    assert abs(many - few) <= names
    assert few < 100 * (names + 5)
