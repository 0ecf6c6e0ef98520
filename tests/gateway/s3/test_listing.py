from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.listing import (
    Folding,
    ObjectEntry,
    Page,
    decode_token,
    encode_name,
    encode_token,
    list_page,
    parse_list_objects,
    parse_list_objects_v2,
    successor,
)
from gateway.s3.xml_writer import Owner, write_list_objects_v2

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "lists.json").read_text()
)
# max-keys=0 is no walk, see test_max_keys_zero_is_an_empty_whole_page.
WALKS = [vector for vector in VECTORS["walks"] if vector["maxKeys"] > 0]


class Bucket:
    """Sorted keys that count what a listing costs."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.entries = [row(key.encode()) for key in sorted(set(keys), key=str.encode)]
        self.seeks = 0
        self.rows_read = 0

    def seek(
        self, start: bytes, stop: bytes | None, limit: int, folding: Folding | None
    ) -> Sequence[ObjectEntry]:
        assert limit > 0
        self.seeks += 1
        found: list[ObjectEntry] = []
        at = bisect_left(self.entries, (start,))
        while at < len(self.entries) and len(found) < limit:
            key = self.entries[at][0]
            if stop is not None and key >= stop:
                break
            found.append(self.entries[at])
            group = folding.common_prefix(key) if folding else None
            at += 1
            while group is not None and at < len(self.entries):
                if not self.entries[at][0].startswith(group):
                    break
                at += 1
        self.rows_read += len(found)
        return found


def row(key: bytes) -> ObjectEntry:
    return (key, 1, b"etag", 0, None)


def ideal(keys: Sequence[str], prefix: str, delimiter: str) -> list[str]:
    """Every name that a complete listing has, in order; common prefixes end in `*`."""
    names: list[str] = []
    for key in sorted(set(keys), key=str.encode):
        if not key.startswith(prefix):
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key if end < 0 else key[: end + len(delimiter)] + "*"
        if name not in names:
            names.append(name)
    return names


def names_of(page: Page[ObjectEntry, bytes]) -> list[str]:
    found = [(entry[0], "") for entry in page.entries]
    found += [(prefix, "*") for prefix in page.common_prefixes]
    return [name.decode() + star for name, star in sorted(found)]


def walk(bucket: Bucket, query: dict[str, str], version: int) -> list[list[str]]:
    """All pages of a listing, as a client of this version asks for them."""
    pages = []
    query = dict(query)
    while True:
        request = parse_list_objects(query) if version == 1 else parse_list_objects_v2(query)
        page = list_page(bucket.seek, request)
        pages.append(names_of(page))
        if not page.is_truncated:
            assert page.last is None and page.next_position is None
            return pages
        assert len(pages[-1]) == request.max_names
        assert page.last is not None and page.next_position is not None
        if version == 1:
            query["marker"] = page.last.decode()
        else:
            query["continuation-token"] = encode_token(page.next_position)


def keys_of(vector: dict[str, Any]) -> list[str]:
    if "keys" in vector:
        return list(vector["keys"])

    def numbered(pattern: str, count: int) -> list[str]:
        return [pattern.format(number) for number in range(count)]

    folds = {f"folds-{n}-one-dir-max-2": n for n in (119, 129)}
    made = {
        **{name: numbered("dir/k{:03}", count) for name, count in folds.items()},
        "folds-120-exact-dblimit-max-2": numbered("dir/k{:03}", 120),
        "folds-120-then-file-max-2": [*numbered("dir/k{:03}", 120), "e.txt"],
        "two-dirs-100-each-max-2": [*numbered("a/k{:03}", 100), *numbered("b/k{:03}", 100), "c"],
        "three-dirs-100-each-max-1": [
            *(key for name in "abc" for key in numbered(name + "/k{:03}", 100)),
            "d",
        ],
        "sentinel-emoji-reappears": [*numbered("dir/k{:03}", 120), "dir/😀", "e.txt"],
        "sentinel-uffff-key": [
            *numbered("dir/k{:03}", 120),
            *("dir/\uffff", "dir/\uffffx", "e.txt"),
        ],
        "many-dirs-max-1000": numbered("d{:04}/x", 1200),
        "flat-2500-max-1000": numbered("k{:05}", 2500),
        "dir-10000-max-1000": [*numbered("dir/k{:05}", 10000), "z"],
    }[vector["id"]]
    digest = hashlib.sha256("\n".join(sorted(made, key=str.encode)).encode()).hexdigest()
    assert digest == vector["keysSha256"]
    return made


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("vector", WALKS, ids=lambda vector: vector["id"])
def test_walk_gives_each_name_once(vector: dict[str, Any], version: int) -> None:
    bucket = Bucket(keys_of(vector))
    query = {"prefix": vector["prefix"], "max-keys": str(vector["maxKeys"])}
    if vector["delimiter"]:
        query["delimiter"] = vector["delimiter"]
    pages = walk(bucket, query, version)
    names = [name for page in pages for name in page]
    prefixes = [name[:-1] for name in names if name.endswith("*")]
    objects = [name for name in names if not name.endswith("*")]
    # The vector with 1200 common prefixes keeps only the first 50.
    shown = 50 if vector["id"] == "many-dirs-max-1000" else None
    assert prefixes[:shown] == vector["ideal"]["commonPrefixes"]
    assert len(objects) == vector["ideal"]["objectCount"]
    assert objects == vector["ideal"].get("objects", objects)
    assert names == ideal(keys_of(vector), vector["prefix"], vector["delimiter"] or "")
    assert len(pages) == max(1, -(-len(names) // vector["maxKeys"]))


# Few letters make many groups; the last code points of each UTF-8 length try the successors.
LETTERS = st.sampled_from(["a", "b", "/", "é", "\x7f", "\x01", "\u07ff", "\uffff", "\U0010ffff"])
KEYS = st.lists(st.text(LETTERS, min_size=1, max_size=6), max_size=30)
DELIMITERS = st.one_of(st.just(""), st.just("/"), st.text(LETTERS, min_size=1, max_size=3))


@given(KEYS, st.text(LETTERS, max_size=2), DELIMITERS, st.integers(1, 5), st.sampled_from([1, 2]))
def test_pages_join_to_the_whole_listing(
    keys: list[str], prefix: str, delimiter: str, max_keys: int, version: int
) -> None:
    query = {"prefix": prefix, "delimiter": delimiter, "max-keys": str(max_keys)}
    pages = walk(Bucket(keys), query, version)
    assert [name for page in pages for name in page] == ideal(keys, prefix, delimiter)


@given(KEYS, st.text(LETTERS, max_size=2), DELIMITERS, st.text(LETTERS, max_size=4))
def test_any_marker_continues_behind_itself_and_its_group(
    keys: list[str], prefix: str, delimiter: str, marker: str
) -> None:
    expected = [
        name
        for name in ideal(keys, prefix, delimiter)
        if name.removesuffix("*").encode() > marker.encode()
        and not (name.endswith("*") and marker.startswith(name[:-1]))
    ]
    query = {"prefix": prefix, "delimiter": delimiter}
    for request in (
        parse_list_objects({**query, "marker": marker}),
        parse_list_objects_v2({**query, "start-after": marker}),
    ):
        assert names_of(list_page(Bucket(keys).seek, request)) == expected


@pytest.mark.parametrize("query", [{}, {"delimiter": "/"}, {"delimiter": "x", "max-keys": "7"}])
def test_page_is_one_seek_that_reads_one_row_too_many(query: dict[str, str]) -> None:
    bucket = Bucket([f"{number:05}/{name}" for number in range(2000) for name in "ab"])
    page = list_page(bucket.seek, parse_list_objects_v2(query))
    names = len(page.entries) + len(page.common_prefixes)
    assert names == int(query.get("max-keys", 1000))
    assert (bucket.seeks, bucket.rows_read) == (1, names + 1)


def test_max_keys_zero_is_an_empty_whole_page() -> None:
    page = list_page(Bucket(["a"]).seek, parse_list_objects_v2({"max-keys": "0"}))
    assert page == Page((), ())


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        (b"a", b"b"),
        (b"dir/", b"dir0"),
        (b"a\xff", b"b"),
        (b"a\xfe\xff\xff", b"a\xff"),
        ("\U0010ffff".encode(), b"\xf4\x8f\xbf\xc0"),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_successor_is_above_the_whole_group(prefix: bytes, expected: bytes | None) -> None:
    assert successor(prefix) == expected


@given(st.binary(max_size=4), st.binary(max_size=4))
def test_successor_parts_what_starts_with_the_prefix(prefix: bytes, key: bytes) -> None:
    above = successor(prefix)
    assert key.startswith(prefix) == (prefix <= key and (above is None or key < above))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, 1000),
        ({"max-keys": ""}, 1000),
        ({"max-keys": "0"}, 0),
        ({"max-keys": "7"}, 7),
        ({"max-keys": "1001"}, 1000),
        ({"max-keys": "2147483647"}, 1000),
    ],
)
def test_max_keys_is_at_most_1000(query: dict[str, str], expected: int) -> None:
    assert parse_list_objects(query).max_names == expected
    assert parse_list_objects_v2(query).max_names == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max-keys", value) for value in ("-1", "x", "1.0", "+1", " 1", "1_0", "１", "9" * 5000)),
        ("max-keys", "2147483648"),
        ("encoding-type", "xml"),
        ("continuation-token", "garbage"),
        ("continuation-token", "é"),
        ("continuation-token", "AmE="),
        ("continuation-token", "AWE"),
        ("list-type", "3"),
    ],
)
def test_garbage_is_an_invalid_argument(name: str, value: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_list_objects_v2({name: value})
    assert caught.value.code is ErrorCode.InvalidArgument
    assert caught.value.fields["ArgumentName"] == name


def test_empty_parameters_are_absent() -> None:
    names = ["prefix", "delimiter", "start-after", "encoding-type"]
    assert parse_list_objects_v2(dict.fromkeys(names, "")) == parse_list_objects_v2({})


def test_empty_token_is_the_start_and_is_repeated() -> None:
    request = parse_list_objects_v2({"continuation-token": "", "start-after": "m"})
    assert (request.start, request.continuation_token) == (b"m\0", "")
    assert b"<ContinuationToken></ContinuationToken>" in write_list_objects_v2(
        "b", request, Page((), ()), Owner("me", "me")
    )


def test_token_wins_over_start_after() -> None:
    query = {"continuation-token": encode_token(b"m"), "start-after": "z"}
    assert parse_list_objects_v2(query).start == b"m"


@given(st.binary(max_size=1100))
def test_tokens_are_read_back(position: bytes) -> None:
    assert decode_token(encode_token(position)) == position


def test_names_are_percent_encoded_on_demand() -> None:
    name = "a b+c/é&%\n".encode()
    assert encode_name(name, url_encoded=True) == "a%20b%2Bc/%C3%A9%26%25%0A"
    assert unquote_to_bytes(encode_name(name, url_encoded=True)) == name
    assert encode_name(name, url_encoded=False) == "a b+c/é&%\n"
