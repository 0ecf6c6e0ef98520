from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dsn.blockstore.segments.files import SegmentKind
from dsn.blockstore.segments.scan import Rot, SegmentScan, header_bytes, read_block
from dsn.blockstore.segments.store import SegmentStore
from dsn.car import read_header, read_sections, section_prefix
from dsn.cid import NODE_CID_PREFIX, RAW_CID_PREFIX, digest_of, node_cid
from dsn.errors import InvalidSegmentError
from dsn.place import Place
from tests.support.segments import leaf, segment_store, write_segment

TEXTS = [b"", b"one", b"two" * 50, b"three" * 100]
LEAVES = [leaf(text) for text in TEXTS]
SECTIONS = [section for _, section in LEAVES]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SegmentStore]:
    with segment_store(tmp_path) as opened:
        yield opened


def scanned(store: SegmentStore, segment: int, **more) -> tuple[list[bytes], SegmentScan]:
    """The digests found, and the scan."""
    store.files.forget(segment)
    scan = SegmentScan(store.files, segment, **more)
    return [head.digest for head in scan.heads()], scan


def test_a_segment_is_a_car(store: SegmentStore) -> None:
    segment, _ = write_segment(store, SECTIONS)
    with store.files.path(segment).open("rb") as file:
        header = read_header(file)
        descriptor, *rest = read_sections(file, offset=header.header_bytes)
    assert header.roots == (descriptor.cid,)
    assert [section.cid for section in rest] == [node_cid(digest) for digest, _ in LEAVES]
    assert all(digest_of(section.block) == section.cid[4:] for section in rest)


def test_every_section_is_found_where_it_lies(store: SegmentStore) -> None:
    segment, offsets = write_segment(store, SECTIONS)
    found, scan = scanned(store, segment)
    assert found == [digest for digest, _ in LEAVES]
    assert scan.rot == []
    assert scan.end == scan.file_bytes == store.files.path(segment).stat().st_size
    for offset, (digest, _), text in zip(offsets, LEAVES, TEXTS, strict=True):
        named, block = read_block(store.files, Place(segment, offset))
        assert named == digest
        assert block.endswith(text)
        assert store.read(Place(segment, offset), digest) == block


def test_a_scan_goes_on_from_where_the_last_one_ended(store: SegmentStore) -> None:
    segment, offsets = write_segment(store, SECTIONS)
    for start, rest in zip(offsets, range(4), strict=True):
        found, _ = scanned(store, segment, start=start)
        assert found == [digest for digest, _ in LEAVES[rest:]]


def test_a_tail_torn_at_any_byte_ends_the_scan_before_it(store: SegmentStore) -> None:
    segment, offsets = write_segment(store, SECTIONS)
    path = store.files.path(segment)
    content = path.read_bytes()
    for stop in range(len(content) - 1, offsets[-1] - 1, -1):
        path.write_bytes(content[:stop])
        for verify in (True, False):
            found, scan = scanned(store, segment, verify=verify)
            assert found == [digest for digest, _ in LEAVES[:-1]]
            assert (scan.end, scan.rot) == (offsets[-1], [])
        path.write_bytes(content[:stop] + bytes(len(content) - stop))
        if content[stop:].strip(b"\x00"):
            found, scan = scanned(store, segment)
            assert found == [digest for digest, _ in LEAVES[:-1]]
            assert (scan.end, scan.rot) == (offsets[-1], [])


def test_a_flipped_bit_anywhere_is_rot_of_that_section_alone(store: SegmentStore) -> None:
    segment, offsets = write_segment(store, SECTIONS)
    path = store.files.path(segment)
    content = bytearray(path.read_bytes())
    start, stop = offsets[2], offsets[3]
    hash_code = content.index(NODE_CID_PREFIX, start) + 2
    for at in range(start, stop):
        for bit in (0, 7):
            content[at] ^= 1 << bit
            path.write_bytes(content)
            found, scan = scanned(store, segment)
            content[at] ^= 1 << bit
            if at == hash_code and bit == 0:
                # This alone gives another CID that is right: that of a raw block.
                assert (len(found), scan.rot) == (len(LEAVES), [])
                continue
            assert found == [digest for i, (digest, _) in enumerate(LEAVES) if i != 2]
            assert scan.rot == [Rot(segment, start, stop)]
            assert scan.end == len(content)


@pytest.mark.parametrize("at", [0, 1, 20, 59, 100])
def test_a_damaged_header_is_noticed(store: SegmentStore, at: int) -> None:
    segment, _ = write_segment(store, SECTIONS)
    path = store.files.path(segment)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidSegmentError):
        scanned(store, segment)
    found, _ = scanned(store, segment, start=header_bytes(segment))
    assert len(found) == len(LEAVES)


def test_a_file_under_another_name_is_noticed(store: SegmentStore) -> None:
    segment, _ = write_segment(store, SECTIONS)
    other, _ = write_segment(store, SECTIONS, SegmentKind.BODY)
    store.files.path(other).write_bytes(store.files.path(segment).read_bytes())
    with pytest.raises(InvalidSegmentError):
        scanned(store, other)


def test_nodes_records_and_raw_blocks_are_told_apart(store: SegmentStore) -> None:
    raw = section_prefix(RAW_CID_PREFIX + digest_of(b"raw"), 3) + b"raw"
    segment, _ = write_segment(store, [SECTIONS[1], raw], SegmentKind.PART)
    store.files.forget(segment)
    heads = list(SegmentScan(store.files, segment).heads())
    assert [(head.is_node, head.is_record) for head in heads] == [(True, False), (False, False)]
    assert store.index_segment(segment) == 1
    assert store.lookup([LEAVES[1][0], digest_of(b"raw")])[1] is None
