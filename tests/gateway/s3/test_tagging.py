from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.tagging import (
    BUCKET_TAGS_MAX,
    OBJECT_TAGS_MAX,
    decode_tags,
    encode_tags,
    parse_tagging_header,
    read_tagging,
    tag_count,
    write_tagging,
)


def document(*tags: tuple[str, str]) -> bytes:
    rows = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in tags)
    return f"<Tagging><TagSet>{rows}</TagSet></Tagging>".encode()


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ("", ()),
        ("a=b", (("a", "b"),)),
        ("a=b&c", (("a", "b"), ("c", ""))),
        ("a=b=c", (("a", "b=c"),)),
        ("a+b=c%20d&e%2Bf=%C3%A9", (("a b", "c d"), ("e+f", "é"))),
        ("a=b&", (("a", "b"),)),
    ],
)
def test_header_is_a_query(header: str, tags: tuple[tuple[str, str], ...]) -> None:
    assert parse_tagging_header(header) == tags


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("a=1&a=2", "InvalidArgument"),
        ("a=%FF", "InvalidArgument"),
        ("=b", "InvalidTag"),
        ("a=%00", "InvalidTag"),
        ("a=<", "InvalidTag"),
        ("aws:a=b", "InvalidTag"),
        (f"{'k' * 129}=v", "InvalidTag"),
        (f"k={'v' * 257}", "InvalidTag"),
        ("&".join(f"k{n}=v" for n in range(11)), "BadRequest"),
    ],
)
def test_header_is_refused(header: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_tagging_header(header)
    assert caught.value.code is ErrorCode[code]


@pytest.mark.parametrize("tags_max", [OBJECT_TAGS_MAX, BUCKET_TAGS_MAX])
def test_there_are_so_many_tags_and_no_more(tags_max: int) -> None:
    tags = [(f"k{number}", "v") for number in range(tags_max + 1)]
    assert read_tagging(document(*tags[:-1]), tags_max=tags_max) == tuple(tags[:-1])
    with pytest.raises(S3Error) as caught:
        read_tagging(document(*tags), tags_max=tags_max)
    assert caught.value.code is ErrorCode.BadRequest


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MalformedXML"),
        (b"<Tagging/>", "MalformedXML"),
        (b"<Tagging><TagSet/><TagSet/></Tagging>", "MalformedXML"),
        (b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", "MalformedXML"),
        (b"<Tagging><TagSet><Other/></TagSet></Tagging>", "MalformedXML"),
        (document(("a", "1"), ("a", "2")), "InvalidTag"),
        (document(("k" * 128, "v" * 257)), "InvalidTag"),
        (document(("k" * 129, "v")), "InvalidTag"),
        (document(("", "v")), "InvalidTag"),
        (document(("AWS:k", "v")), "InvalidTag"),
        (document(("a;b", "v")), "InvalidTag"),
    ],
)
def test_document_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_tagging(body, tags_max=OBJECT_TAGS_MAX)
    assert caught.value.code is ErrorCode[code]


TEXTS = st.text(
    st.one_of(st.sampled_from(" _.:/=+-@"), st.characters(categories=["L", "N"])), max_size=20
).map(str.strip)
KEYS = TEXTS.filter(lambda key: key and not key.lower().startswith("aws:"))


@given(st.dictionaries(KEYS, TEXTS, max_size=OBJECT_TAGS_MAX))
def test_tags_survive_every_form(tags: dict[str, str]) -> None:
    pairs = tuple(sorted(tags.items()))
    assert encode_tags(tuple(tags.items())) == encode_tags(pairs)
    kept = encode_tags(pairs)
    assert decode_tags(kept) == pairs
    assert read_tagging(write_tagging(pairs), tags_max=OBJECT_TAGS_MAX) == pairs
    if kept is not None:
        assert parse_tagging_header(kept) == pairs
        assert tag_count(kept) == len(pairs)
