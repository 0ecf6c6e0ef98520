from __future__ import annotations

import json
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from gateway.s3.etags import (
    EntityTags,
    composite_etag,
    parse_etags,
    part_digest,
    quote_etag,
    unquote_etag,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "etags.json").read_text()
)
# Defects of the other implementation are not ours to repeat: it reads tags that are no digests
# as shorter ones. We refuse those, "composite-as-part" included.
SOUND = [
    vector
    for vector in VECTORS["multipartETag"]
    if not vector.get("note", "").startswith("defect") and vector["id"] != "composite-as-part"
]
DEFECTS = [vector for vector in VECTORS["multipartETag"] if vector not in SOUND]


@pytest.mark.parametrize("vector", VECTORS["formatETag"])
def test_quotes_come_and_go(vector: dict[str, str]) -> None:
    assert quote_etag(vector["hex"]) == vector["expect"]
    assert unquote_etag(vector["expect"]) == vector["hex"]


@pytest.mark.parametrize("vector", SOUND, ids=lambda vector: vector["id"])
def test_composite_etag_as_auto_drive_makes_it(vector: dict[str, Any]) -> None:
    if "partETagsRule" in vector:
        tags = [
            quote_etag(md5(f"part:{number}".encode()).hexdigest())
            for number in range(1, vector["count"] + 1)
        ]
    else:
        tags = vector["partETags"]
    assert quote_etag(composite_etag(map(part_digest, tags))) == vector["expect"]


@pytest.mark.parametrize("vector", DEFECTS, ids=lambda vector: vector["id"])
def test_what_is_no_digest_makes_no_etag(vector: dict[str, Any]) -> None:
    if vector["id"] == "spaces":  # these the helper stumbles over; they are no fault
        assert part_digest(vector["partETags"][0]).hex() == "0cc175b9c0f1b6a831c399e269772661"
        return
    with pytest.raises(ValueError, match="part"):
        composite_etag(map(part_digest, vector["partETags"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [('"a"', "a"), ("a", "a"), (' "a" ', "a"), ('"', '"'), ('""', ""), ('"a', '"a'), ("", "")],
)
def test_unquote(text: str, expected: str) -> None:
    assert unquote_etag(text) == expected


def strong(*tags: str) -> EntityTags:
    return EntityTags(strong=frozenset(tags))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("*", EntityTags(any=True)),
        (" * ", EntityTags(any=True)),
        ('"a"', strong("a")),
        ("a", strong("a")),
        ('"a", "b"', strong("a", "b")),
        ('"a","b"', strong("a", "b")),
        ("a, b-2", strong("a", "b-2")),
        ('W/"a"', EntityTags(weak=frozenset("a"))),
        ('W/"a", "b"', EntityTags(strong=frozenset("b"), weak=frozenset("a"))),
        ('"a,b"', strong("a,b")),
        ('"*"', strong("*")),
        ("", EntityTags()),
        (",,", EntityTags()),
    ],
)
def test_lists_of_tags(value: str, expected: EntityTags) -> None:
    assert parse_etags(value) == expected


def test_weak_tags_match_weakly_only() -> None:
    tags = parse_etags('W/"a"')
    assert tags.match_weakly("a")
    assert not tags.match_strongly("a")
