"""Spans of files over layouts of every kind, and over disks that are damaged in every place."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dsn.blockstore.segments.known_nodes import KnownNodes
from dsn.blockstore.segments.reader import FileReader
from dsn.errors import BlockMismatchError, BlockNotFoundError
from dsn.framing import (
    FULL_DIGEST_START,
    FULL_NODE_START,
    FULL_PAYLOAD_START,
    FULL_SECTION_BYTES,
)
from dsn.node import CHUNK_BYTES
from tests.support.bodies import noise
from tests.support.parts import Parts

LEAF = noise(CHUNK_BYTES, 7)
OTHER = noise(5 * CHUNK_BYTES, 8)
CONTENTS = {
    "plain": noise(40 * CHUNK_BYTES + 1234),
    "even": noise(20 * CHUNK_BYTES),
    "one leaf many times": LEAF * 30 + b"tail",
    "all kinds": LEAF * 3 + noise(17 * CHUNK_BYTES, 9) + OTHER + LEAF * 2 + noise(99, 10),
    "two leaves": noise(CHUNK_BYTES + 1),
    "one leaf": noise(CHUNK_BYTES),
}


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with Parts(tmp_path) as opened:
        # Known leaves, so that others are stored in several runs.
        await opened.put("other", OTHER + noise(13 * CHUNK_BYTES, 11))
        yield opened


async def opened_reader(parts: Parts, content: bytes, known: KnownNodes | None) -> FileReader:
    await parts.put("key", content)
    version = await parts.objects.find("main", "bucket", b"key")
    assert version is not None
    return FileReader(parts.store, version.layout, version.root, version.size, known)


def segment_path(parts: Parts, reader: FileReader) -> Path:
    return parts.store.files.path(reader._layout.runs[0].segment)


def damage(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("known", [None, KnownNodes()], ids=["", "known"])
@pytest.mark.parametrize("name", CONTENTS)
async def test_every_span_is_those_bytes(parts: Parts, name: str, known: KnownNodes | None) -> None:
    content = CONTENTS[name]
    reader = await opened_reader(parts, content, known)
    size = len(content)
    borders = {
        0,
        1,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        17 * CHUNK_BYTES,
        size - 1,
        size,
    }
    spans = [(a, b) for a in borders for b in borders if a <= b <= size]
    # A buffer that another file's bytes are still in.
    buffer = memoryview(bytearray(b"\xff" * (reader.leaf_count * FULL_SECTION_BYTES)))
    for start, stop in spans:
        assert b"".join(reader.read(start, stop, buffer)) == content[start:stop]
        assert b"".join(reader.read(start, stop)) == content[start:stop]


@pytest.mark.parametrize(
    ("at", "is_refused"),
    [
        (0, False),
        (FULL_DIGEST_START, False),
        (FULL_NODE_START, False),
        (FULL_PAYLOAD_START - 1, False),
        (FULL_PAYLOAD_START, True),
        (FULL_SECTION_BYTES - 1, True),
    ],
)
async def test_a_payload_that_rots_is_refused_and_framing_is_not_believed(
    parts: Parts, at: int, is_refused: bool
) -> None:
    content = CONTENTS["plain"]
    reader = await opened_reader(parts, content, None)
    run = reader._layout.runs[0]
    damage(segment_path(parts, reader), run.offset + 2 * FULL_SECTION_BYTES + at)
    assert b"".join(reader.read(0, 2 * CHUNK_BYTES)) == content[: 2 * CHUNK_BYTES]
    if is_refused:
        with pytest.raises(BlockMismatchError):
            reader.read(0, 3 * CHUNK_BYTES)
    else:
        assert b"".join(reader.read(0, 3 * CHUNK_BYTES)) == content[: 3 * CHUNK_BYTES]


@pytest.mark.parametrize("leaves", [0, 3, 39])
async def test_a_segment_that_is_cut_short_is_refused(parts: Parts, leaves: int) -> None:
    """Also where the buffer still holds what was read before the cut."""
    content = CONTENTS["plain"]
    reader = await opened_reader(parts, content, None)
    buffer = memoryview(bytearray(reader.leaf_count * FULL_SECTION_BYTES))
    reader.read(0, len(content), buffer)
    buffer[:] = bytes(len(buffer))
    os.truncate(
        segment_path(parts, reader),
        reader._layout.runs[0].offset + leaves * FULL_SECTION_BYTES + 5000,
    )
    with pytest.raises(BlockMismatchError):
        reader.read(leaves * CHUNK_BYTES, (leaves + 1) * CHUNK_BYTES, buffer)


async def test_a_segment_that_is_gone_is_said(parts: Parts) -> None:
    reader = await opened_reader(parts, CONTENTS["plain"], None)
    reader.root()
    segment = reader._layout.runs[0].segment
    parts.store.files.forget(segment)
    parts.store.files.path(segment).unlink()
    with pytest.raises(BlockNotFoundError):
        reader.read(0, 1)


async def test_a_leaf_that_stands_for_many_is_refused_where_another_is_named(parts: Parts) -> None:
    reader = await opened_reader(parts, CONTENTS["one leaf many times"], None)
    links = list(reader.leaf_digests(0))
    links[3] = bytes(32)
    object.__setattr__(reader.root(), "links", tuple(links))
    assert b"".join(reader.read(0, 3 * CHUNK_BYTES)) == LEAF * 3
    with pytest.raises(BlockMismatchError):
        reader.read(0, 4 * CHUNK_BYTES)


def drop_from_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def test_what_is_not_cached_is_not_waited_for(parts: Parts) -> None:
    known = KnownNodes()
    content = CONTENTS["plain"]
    reader = await opened_reader(parts, content, known)
    assert reader.read_cached(0, 10) is None, "the root has not been read"
    reader.read(0, len(content))
    cached = reader.read_cached(0, len(content))
    if cached is None:
        pytest.skip("this file system does not tell what is cached")
    assert b"".join(cached) == content
    path = segment_path(parts, reader)
    drop_from_cache(path)
    # The first try may have asked the kernel to read.
    if (left := reader.read_cached(0, len(content))) is not None:
        assert b"".join(left) == content
        pytest.skip("this file system keeps what it has")
    assert b"".join(reader.read(0, len(content))) == content
    assert b"".join(reader.read_cached(0, len(content)) or ()) == content


async def test_known_nodes_are_not_read_again_but_leaves_are(parts: Parts) -> None:
    known = KnownNodes()
    content = CONTENTS["plain"]
    first = await opened_reader(parts, content, known)
    assert b"".join(first.read(0, len(content))) == content
    layout = first._layout
    root = parts.store.files.path(layout.links[-1].segment)
    for offset in range(layout.links[-1].offset, layout.links[-1].offset + 200):
        damage(root, offset)
    again = FileReader(parts.store, layout, first._root_digest, len(content), known)
    assert b"".join(again.read(0, len(content))) == content
    unknowing = FileReader(parts.store, layout, first._root_digest, len(content))
    with pytest.raises(BlockMismatchError):
        unknowing.read(0, 1)
    damage(segment_path(parts, first), layout.runs[0].offset + FULL_PAYLOAD_START)
    with pytest.raises(BlockMismatchError):
        again.read(0, 1)


@pytest.mark.parametrize("size", [0, 1, 4096, CHUNK_BYTES])
async def test_a_file_of_one_node_is_verified_each_time(parts: Parts, size: int) -> None:
    known = KnownNodes()
    content = noise(size, 5)
    first = await opened_reader(parts, content, known)
    place = first._layout.links[-1]
    for _ in range(2):
        reader = FileReader(parts.store, first._layout, first._root_digest, size, known)
        assert b"".join(reader.read(0, size)) == content
        assert reader.root().size == size
        for stop in {size, size // 2}:
            assert b"".join(reader.read_cached(0, stop) or ()) in (content[:stop], b"")
    damage(parts.store.files.path(place.segment), place.offset + 40)
    for start in {0, size // 2}:
        again = FileReader(parts.store, first._layout, first._root_digest, size, known)
        with pytest.raises(BlockMismatchError):
            again.read(start, size)
