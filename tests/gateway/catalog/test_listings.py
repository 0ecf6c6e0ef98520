"""What the catalog finds for a listing, held to the promises of `Seek`, and what that costs."""

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
from gateway.catalog.listings import seek_objects
from gateway.catalog.sequence import WORKER_BITS
from gateway.s3.listing import (
    Folding,
    ObjectEntry,
    encode_token,
    list_page,
    parse_list_objects_v2,
)

BUCKET = 7
ETAG = bytes(range(16))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("catalog") / "catalog.db"
    with closing(open_catalog(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


def store(catalog: sqlite3.Connection, keys: Iterable[bytes]) -> None:
    """Make these the keys of the bucket; buckets beside it hold keys everywhere."""
    catalog.execute("DELETE FROM objects")
    rows = [(BUCKET, key, 5 << WORKER_BITS | 3, 11, ETAG, 0, None) for key in keys]
    rows += [
        (b, key, 1, 1, ETAG, 0, None) for b in (BUCKET - 1, BUCKET + 1) for key in (b"\0", b"\xff")
    ]
    catalog.executemany("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def expected(
    keys: Iterable[bytes], start: bytes, stop: bytes | None, limit: int, folding: Folding | None
) -> list[bytes]:
    found: list[bytes] = []
    groups: set[bytes] = set()
    for key in sorted(keys):
        if key < start or (stop is not None and key >= stop):
            continue
        group = folding.common_prefix(key) if folding else None
        if group is None or group not in groups:
            found.append(key)
        if group is not None:
            groups.add(group)
    return found[:limit]


# Few letters make many groups. The last ones of each UTF-8 length try what comes behind a group;
# zero and what is no UTF-8 try whether SQLite takes a BLOB for a text.
LETTERS = st.sampled_from(
    [b"a", b"b", b"/", b"\0", b"\x7f", "é".encode(), "\uffff".encode(), b"\xc3", b"\xff"]
)
KEYS = st.sets(st.lists(LETTERS, min_size=1, max_size=6).map(b"".join), max_size=30)
TEXTS = st.lists(LETTERS, max_size=3).map(b"".join)
DELIMITERS = st.one_of(
    st.sampled_from([b"/", b"a", b"\0", "é".encode(), "\U0010ffff".encode()]),
    st.text(st.sampled_from("ab/é"), min_size=1, max_size=3).map(str.encode),
)


@given(keys=KEYS, start=TEXTS, stop=st.one_of(st.none(), TEXTS), limit=st.integers(1, 8))
def test_finds_what_lies_between(
    catalog: sqlite3.Connection, keys: set[bytes], start: bytes, stop: bytes | None, limit: int
) -> None:
    store(catalog, keys)
    found = seek_objects(catalog, start, stop, limit, None, bucket=BUCKET)
    assert [entry[0] for entry in found] == expected(keys, start, stop, limit, None)


@given(
    keys=KEYS,
    prefix=TEXTS,
    behind=TEXTS,
    delimiter=DELIMITERS,
    stop=st.one_of(st.none(), TEXTS),
    limit=st.integers(1, 8),
)
def test_finds_the_first_of_each_group(
    catalog: sqlite3.Connection,
    keys: set[bytes],
    prefix: bytes,
    behind: bytes,
    delimiter: bytes,
    stop: bytes | None,
    limit: int,
) -> None:
    keys = {key for key in keys if key.startswith(prefix)} | {prefix} - {b""}
    store(catalog, keys)
    folding = Folding(len(prefix), delimiter)
    arguments = (prefix + behind, stop, limit, folding)
    found = seek_objects(catalog, *arguments, bucket=BUCKET)
    assert [entry[0] for entry in found] == expected(keys, *arguments)


@pytest.mark.parametrize("plain", [0, 1, 31, 32, 33, 159, 160, 161, 400])
@pytest.mark.parametrize("limit", [1, 32, 33, 160, 161, 500])
def test_group_may_follow_any_number_of_plain_keys(
    catalog: sqlite3.Connection, plain: int, limit: int
) -> None:
    keys = [b"a%03d" % number for number in range(plain)]
    keys += [b"b%d/%d" % (group, number) for group in range(3) for number in range(50)]
    keys += [b"c"]
    store(catalog, keys)
    folding = Folding(0, b"/")
    found = seek_objects(catalog, b"", None, limit, folding, bucket=BUCKET)
    assert [entry[0] for entry in found] == expected(keys, b"", None, limit, folding)


@given(keys=KEYS, delimiter=st.sampled_from(["", "/", "a", "é", "b/"]), most=st.integers(1, 4))
def test_pages_join_to_the_whole_listing(
    catalog: sqlite3.Connection, keys: set[bytes], delimiter: str, most: int
) -> None:
    store(catalog, keys)
    query = {"delimiter": delimiter, "max-keys": str(most)}
    names: list[bytes] = []
    while True:
        request = parse_list_objects_v2(query)
        page = list_page(partial(seek_objects, catalog, bucket=BUCKET), request)
        names += sorted([*(entry[0] for entry in page.entries), *page.common_prefixes])
        if page.next_position is None:
            break
        query["continuation-token"] = encode_token(page.next_position)
    folding = Folding(0, delimiter.encode()) if delimiter else None
    whole = expected(keys, b"", None, 1000, folding)
    assert names == [(folding and folding.common_prefix(key)) or key for key in whole]


@pytest.mark.parametrize("folding", [None, Folding(0, b"/")])
@pytest.mark.parametrize(("parts", "etag"), [(0, ETAG.hex()), (2, f"{ETAG.hex()}-2")])
def test_entry_says_what_a_listing_shows(
    catalog: sqlite3.Connection, folding: Folding | None, parts: int, etag: str
) -> None:
    store(catalog, [b"k\0"])
    catalog.execute("UPDATE objects SET part_count = ?", (parts,))
    entry: ObjectEntry = (b"k\0", 11, etag.encode(), 5, None)
    assert seek_objects(catalog, b"", None, 9, folding, bucket=BUCKET) == [entry]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"prefix": "b/"},
        {"delimiter": "/"},
        {"prefix": "a/", "delimiter": "/"},
        {"prefix": "b/", "delimiter": "/"},
        {"prefix": "c/", "delimiter": "/"},
        {"start-after": "b/5", "delimiter": "/", "max-keys": "10"},
    ],
    ids=str,
)
def test_cost_depends_on_the_page_alone(catalog: sqlite3.Connection, query: dict[str, str]) -> None:
    """Counted in steps of SQLite's machine, of which a name takes some dozens."""

    def steps(size: int) -> tuple[int, int]:
        keys = [f"a/{number:06}" for number in range(size)]
        keys += [f"b/{number:03}/{name:04}" for number in range(200) for name in range(size // 200)]
        keys += [f"c/{number:06}/x" for number in range(size)]
        store(catalog, (key.encode() for key in keys))
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        catalog.set_progress_handler(step, 1)
        request = parse_list_objects_v2(query)
        page = list_page(partial(seek_objects, catalog, bucket=BUCKET), request)
        catalog.set_progress_handler(None, 0)
        return len(page.entries) + len(page.common_prefixes), count

    names, few = steps(2000)
    assert steps(20_000) == (names, few)
    assert few < 100 * (names + 5)
