from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dsn.chunker import SLAB_BYTES, SLAB_PAYLOAD_BYTES
from dsn.dag_builder import build_file
from dsn.node import CHUNK_BYTES, Compression, UploadOptions
from gateway.digests import BodyDigests
from gateway.objects import NewObject
from gateway.s3.errors import ErrorCode, S3Error
from tests.support.bodies import FakeBody, noise, random_sizes
from tests.support.parts import Parts, root_of

BORDERS = (0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES, SLAB_PAYLOAD_BYTES, 2 * SLAB_PAYLOAD_BYTES)
SIZES = sorted({max(border + near, 0) for border in BORDERS for near in (-1, 0, 1)})
CONTENT = noise(4 * SLAB_PAYLOAD_BYTES)


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with Parts(tmp_path / "data") as opened:
        yield opened
        assert opened.budget.bytes_in_use == 0


def files(parts: Parts) -> set[Path]:
    return set((parts.data_dir / "segments").rglob("*.car"))


@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("size", SIZES)
async def test_a_body_becomes_the_file_that_the_network_would_make(
    parts: Parts, size: int, announce: bool
) -> None:
    content = CONTENT[:size]
    for n, sizes in enumerate((None, random_sizes(size), itertools.repeat(CHUNK_BYTES))):
        record = await parts.put(f"{n}/name", FakeBody(content, sizes, announce=announce))
        assert record.root == root_of(content, "name")
        assert record.etag == hashlib.md5(content).digest()
        assert record.size == size
        assert await parts.get(f"{n}/name") == content


@pytest.mark.parametrize("size", [0, 1, 1000, CHUNK_BYTES, CHUNK_BYTES + 1])
async def test_a_body_may_come_one_byte_at_a_time(parts: Parts, size: int) -> None:
    content = CONTENT[:size]
    record = await parts.put("name", FakeBody(content, itertools.repeat(1)))
    assert record.root == root_of(content, "name")
    assert await parts.get("name") == content


@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("stop", SIZES)
async def test_a_body_that_fails_leaves_nothing(parts: Parts, stop: int, announce: bool) -> None:
    before = files(parts)
    error = S3Error(ErrorCode.IncompleteBody)
    body = FakeBody(CONTENT, random_sizes(1), announce=announce, stop=stop, error=error)
    with pytest.raises(S3Error) as raised:
        await parts.put("name", body)
    assert raised.value is error
    assert files(parts) == before
    assert parts.budget.bytes_in_use == 0


@pytest.mark.parametrize("stop", SIZES)
async def test_a_part_that_fails_leaves_nothing(parts: Parts, stop: int) -> None:
    upload = await parts.create_upload("name")
    before = files(parts)
    for number in (1, 2):
        error = S3Error(ErrorCode.IncompleteBody)
        with pytest.raises(S3Error):
            await parts.put_part("name", upload, number, FakeBody(CONTENT, stop=stop, error=error))
        assert files(parts) == before
        assert parts.budget.bytes_in_use == 0


@pytest.mark.parametrize("size", [10, CHUNK_BYTES + 1, SLAB_PAYLOAD_BYTES + 1])
async def test_a_body_that_is_refused_at_its_end_leaves_nothing(parts: Parts, size: int) -> None:
    def refuse() -> None:
        raise S3Error(ErrorCode.BadDigest)

    before = files(parts)
    with pytest.raises(S3Error):
        await parts.objects.put(
            NewObject("main", "bucket", b"key"), FakeBody(CONTENT[:size]), BodyDigests(), refuse
        )
    assert files(parts) == before


@pytest.mark.parametrize("size", [CHUNK_BYTES + 1, 3 * SLAB_PAYLOAD_BYTES])
async def test_a_cancelled_body_leaves_nothing(parts: Parts, size: int) -> None:
    before = files(parts)
    for stop in range(0, size, size // 7):
        reached = asyncio.Event()

        def note(at: int, stop: int = stop, reached: asyncio.Event = reached) -> None:
            if at >= stop:
                reached.set()

        body = FakeBody(CONTENT[:size], itertools.repeat(10_000), on_read=note)
        going = asyncio.create_task(parts.put("name", body))
        await reached.wait()
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        assert files(parts) == before
        assert parts.budget.bytes_in_use == 0


async def test_a_disk_that_fails_while_a_body_streams_leaves_nothing(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(parts)
    real, left = os.pwritev, [2]

    def full(*arguments) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(OSError, match="No space"):
        await parts.put("name", CONTENT)
    assert files(parts) == before


async def test_the_same_bytes_again_are_pointed_at(parts: Parts) -> None:
    size = 3 * SLAB_PAYLOAD_BYTES + 5
    first = await parts.put("first/name", CONTENT[:size])
    before = {path: path.stat().st_size for path in files(parts)}
    second = await parts.put("second/name", CONTENT[:size])
    third = await parts.put("third/other", CONTENT[:size])
    assert second.root == first.root != third.root
    grown = sum(path.stat().st_size for path in files(parts)) - sum(before.values())
    # A root with another name, its link nodes shared; records and framing.
    assert grown < 20_000
    assert await parts.get("third/other") == CONTENT[:size]


async def test_zeros_are_stored_once(parts: Parts) -> None:
    size = 5 * SLAB_PAYLOAD_BYTES
    record = await parts.put("name", bytes(size))
    assert record.root == root_of(bytes(size), "name")
    assert sum(path.stat().st_size for path in files(parts)) < 3 * CHUNK_BYTES
    assert await parts.get("name") == bytes(size)


async def test_compression_is_noted_where_the_bytes_bear_it_out(parts: Parts) -> None:
    options = UploadOptions(compression=Compression())
    for size in (100, CHUNK_BYTES + 1, SLAB_PAYLOAD_BYTES + 1):
        zlib, other = b"\x78\x9c" + CONTENT[:size], b"ab" + CONTENT[:size]
        record = await parts.put("z", zlib, options=options)
        assert record.root == list(build_file(zlib, "z", options))[-1][0]
        record = await parts.put("z", other, options=options)
        assert record.root == root_of(other, "z")


async def test_many_bodies_at_once_share_little_memory(tmp_path: Path) -> None:
    """Nobody waits for a second slab while holding a first one that somebody else waits for."""
    most = 0

    def note(_: int) -> None:
        nonlocal most
        most = max(most, parts.budget.bytes_in_use)

    async with Parts(tmp_path / "data", budget_bytes=4 * SLAB_BYTES) as parts:
        async with asyncio.timeout(15):
            records = await asyncio.gather(
                *(parts.put(f"{n}/name", FakeBody(CONTENT[n:], on_read=note)) for n in range(12))
            )
        assert most <= 4 * SLAB_BYTES
        assert parts.budget.bytes_in_use == 0
        assert records[3].root == root_of(CONTENT[3:], "name")
