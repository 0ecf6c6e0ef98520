from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsn.blockstore.memory import MemoryBlockstore
from dsn.car import (
    Section,
    dag_bytes,
    dag_pieces,
    encode_header,
    read_header,
    read_sections,
    section_prefix,
    write_dag,
)
from dsn.cid import NODE_CID_PREFIX, RECORD_CID_PREFIX, digest_of, node_cid
from dsn.codec import decode_links
from dsn.dag_builder import build_file, build_folder
from dsn.errors import (
    BlockMismatchError,
    BlockNotFoundError,
    InvalidCarError,
    NonCanonicalDagError,
    TruncatedCarError,
)
from dsn.node import CHUNK_BYTES, DagLimits

TINY = DagLimits(469 + 10, 3)
ROOT = NODE_CID_PREFIX + bytes(range(32))
SHA256_CID = bytes.fromhex("01701220") + bytes(32)
CID_V0 = bytes.fromhex("1220") + bytes(32)
IDENTITY_CID = bytes.fromhex("01550003") + b"abc"


class Dripping:
    """A stream that gives at most one byte at a time."""

    def __init__(self, content: bytes) -> None:
        self._stream = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        return self._stream.read(min(size, 1))


def car(*blocks: tuple[bytes, bytes], roots: tuple[bytes, ...] = (ROOT,)) -> bytes:
    sections = (section_prefix(cid, len(block)) + block for cid, block in blocks)
    return encode_header(roots) + b"".join(sections)


def read_all(content: bytes, drip: bool = False) -> tuple[tuple[bytes, ...], list[Section]]:
    stream = Dripping(content) if drip else io.BytesIO(content)
    header = read_header(stream)
    return header.roots, list(read_sections(stream, offset=header.header_bytes))


def stored(blocks: Iterator[tuple[bytes, bytes]]) -> tuple[MemoryBlockstore, bytes]:
    store = MemoryBlockstore()
    for digest, block in blocks:
        store.put(digest, block)
    return store, digest


def test_the_header_of_one_root_is_a_constant_around_its_cid() -> None:
    header = encode_header([ROOT])
    assert header.hex() == (
        "3aa265726f6f747381d82a58250001551f20" + bytes(range(32)).hex() + "6776657273696f6e01"
    )
    assert len(header) == 59


def test_the_prefix_of_a_full_leaf_has_39_bytes() -> None:
    assert len(section_prefix(ROOT, 14 + CHUNK_BYTES)) == 39


@pytest.mark.parametrize("drip", [False, True])
def test_a_car_reads_as_it_was_written(drip: bool) -> None:
    blocks = [(ROOT, b""), (CID_V0, b"x" * 300), (SHA256_CID, b"y"), (IDENTITY_CID, b"abc")]
    content = car(*blocks)
    roots, sections = read_all(content, drip)
    assert roots == (ROOT,)
    assert [(section.cid, section.block) for section in sections] == blocks
    for section in sections:
        assert content[section.offset :].startswith(
            section_prefix(section.cid, len(section.block)) + section.block
        )


@pytest.mark.parametrize("count", [0, 1, 2, 23, 24, 300])
def test_a_header_may_have_any_number_of_roots(count: int) -> None:
    roots = tuple([ROOT, CID_V0, IDENTITY_CID, RECORD_CID_PREFIX + bytes(32)] * 75)[:count]
    assert read_all(car(roots=roots)) == (roots, [])


def test_a_car_cut_short_anywhere_is_truncated_or_ends_at_a_section() -> None:
    content = car((ROOT, b"one"), (CID_V0, b"two"), (SHA256_CID, b""))
    ends = {59, 59 + 40, 59 + 40 + 38, len(content)}
    for length in range(len(content)):
        for drip in (False, True):
            if length in ends:
                assert len(read_all(content[:length], drip)[1]) == sorted(ends).index(length)
                continue
            with pytest.raises(TruncatedCarError) as truncated:
                read_all(content[:length], drip)
            starts = [start for start in (0, *sorted(ends)) if start < length]
            assert truncated.value.offset == (0 if length < 59 else starts[-1])


@pytest.mark.parametrize(
    "header",
    [
        "00",
        "0aa16776657273696f6e02",  # the pragma of version 2
        "11a265726f6f7473806776657273696f6e02",
        "12a265726f6f7473806776657273696f6e0100",  # bytes left over
        "11a26776657273696f6e0165726f6f747380",  # keys in another order
        "12a265726f6f747398006776657273696f6e01",  # 0 in two bytes
        "13a265726f6f747399ffff6776657273696f6e01",
        "11a265726f6f74739f6776657273696f6e01",  # a list of unknown length
        "14a265726f6f747381d82a406776657273696f6e01",  # an empty byte string as a CID
        "8080808080808080808001",
        "9100a265726f6f7473806776657273696f6e01",  # a padded length
    ],
)
def test_a_header_that_is_not_canonical_is_refused(header: str) -> None:
    with pytest.raises(InvalidCarError):
        read_header(io.BytesIO(bytes.fromhex(header)))


def test_a_header_that_claims_to_be_huge_is_refused_unread() -> None:
    with pytest.raises(InvalidCarError, match="header of"):
        read_header(io.BytesIO(b"\xff\xff\xff\xff\x0f"))


@pytest.mark.parametrize(
    "section",
    [
        "00",
        "0400000000",
        "2002551f20" + "00" * 28,
        "2301551f20" + "00" * 31,  # a digest one byte short
        "0501551f8020",
        "8500" + "01551f2000",
        "ffffffffffffffffffff01",
    ],
)
def test_a_malformed_section_is_refused_with_its_offset(section: str) -> None:
    stream = io.BytesIO(car((ROOT, b"one")) + bytes.fromhex(section))
    header = read_header(stream)
    with pytest.raises(InvalidCarError) as refused:
        list(read_sections(stream, offset=header.header_bytes))
    assert not isinstance(refused.value, TruncatedCarError)
    assert refused.value.offset == 59 + 40


def test_a_block_over_the_bound_is_refused() -> None:
    sections = section_prefix(ROOT, 101) + bytes(101)
    assert len(list(read_sections(io.BytesIO(sections), block_bytes_max=101))) == 1
    with pytest.raises(InvalidCarError, match="block of 101 bytes"):
        list(read_sections(io.BytesIO(sections), block_bytes_max=100))
    with pytest.raises(InvalidCarError, match="section of"):
        list(read_sections(io.BytesIO(section_prefix(ROOT, 1 << 40)), block_bytes_max=100))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(content: bytes) -> None:
    for read in (
        lambda: read_header(io.BytesIO(content)),
        lambda: list(read_sections(io.BytesIO(content))),
        lambda: read_all(encode_header([ROOT]) + content, drip=True),
    ):
        try:
            read()
        except InvalidCarError as error:
            assert 0 <= error.offset <= 59 + len(content)


@pytest.mark.parametrize("duplicates", [False, True])
@pytest.mark.parametrize("size", [0, 1, 10, 11, 30, 31, 95, 1000])
@pytest.mark.parametrize("seed", [b"\0", b"0123456789abc"])
def test_the_car_of_a_file(size: int, seed: bytes, duplicates: bool) -> None:
    store, root = stored(build_file((seed * size)[:size], "n", limits=TINY))
    out = io.BytesIO()
    write_dag(store.get, root, out, duplicates=duplicates)
    roots, sections = read_all(out.getvalue())
    assert roots == (node_cid(root),)
    digests = [section.cid[4:] for section in sections]
    assert all(digest_of(s.block) == s.cid[4:] for s in sections)
    every = list(depth_first(store, root))
    assert digests == (every if duplicates else list(dict.fromkeys(every)))
    length = dag_bytes(store.get, root, duplicates=duplicates, limits=TINY)
    assert length == len(out.getvalue())


def test_the_car_of_a_folder() -> None:
    store, first = stored(build_file(bytes(1000), "first", limits=TINY))
    for digest, block in build_folder([first, first], "dir", 2000):
        store.put(digest, block)
    out = io.BytesIO()
    write_dag(store.get, digest, out)
    _, sections = read_all(out.getvalue())
    assert [s.cid[4:] for s in sections] == list(dict.fromkeys(depth_first(store, digest)))
    with pytest.raises(NonCanonicalDagError):
        dag_bytes(store.get, digest)


def test_a_missing_or_rotten_block_ends_a_car() -> None:
    *leaves, (root, block) = build_file(bytes(range(30)), "n", limits=TINY)
    store = MemoryBlockstore()
    store.put(root, block)
    pieces = dag_pieces(store.get, root)
    assert len([next(pieces) for _ in range(3)]) == 3
    with pytest.raises(BlockNotFoundError) as missing:
        next(pieces)
    assert missing.value.digest == leaves[0][0]
    store.put(leaves[0][0], b"rotten")
    with pytest.raises(BlockMismatchError):
        list(dag_pieces(store.get, root))


def depth_first(store: MemoryBlockstore, digest: bytes) -> Iterator[bytes]:
    yield digest
    for link in decode_links(store.get(digest)):
        yield from depth_first(store, link)
