from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsn.blockstore.segments.files import SegmentKind
from dsn.node import CHUNK_BYTES
from gateway.catalog.queries import find_bucket
from gateway.objects import NewObject
from gateway.s3.conditions import parse_conditions
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.etags import composite_etag
from tests.support.bodies import FakeBody, noise
from tests.support.parts import Parts, etag, recover, root_of, target

CONTENT = noise(8 << 20)
NEAR_CHUNKS = st.builds(
    lambda chunks, off: max(chunks * CHUNK_BYTES + off, 0),
    st.integers(0, 18),
    st.integers(-2, 2) | st.integers(-CHUNK_BYTES, CHUNK_BYTES),
)


class Loop:
    """One gateway for all examples, and the loop that it runs in."""

    def __init__(self, data_dir: Path) -> None:
        self.runner = asyncio.Runner()
        self.parts = Parts(data_dir)
        self.keys = (f"key-{n}" for n in itertools.count())

    def run(self, work: Callable[[Parts, str], Coroutine[Any, Any, None]]) -> None:
        self.runner.run(work(self.parts, next(self.keys)))


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    opened = Loop(tmp_path_factory.mktemp("uploads") / "data")
    opened.runner.run(opened.parts.__aenter__())
    yield opened
    opened.runner.run(opened.parts.__aexit__())
    opened.runner.close()


@pytest.fixture
async def parts(tmp_path: Path):
    async with Parts(tmp_path / "data") as opened:
        yield opened


async def check(parts: Parts, key: str, content: list[bytes]) -> None:
    """The object is what a single PUT of the bytes makes, but for its ETag."""
    whole = b"".join(content)
    version = await parts.objects.find("main", "bucket", key.encode())
    assert version is not None
    assert version.root == root_of(whole, key)
    assert version.size == len(whole)
    md5s = [bytes.fromhex(etag(part)) for part in content]
    assert f"{version.etag.hex()}-{version.part_count}" == composite_etag(md5s)
    assert await parts.get(key) == whole
    assert not parts.segments() - await named(parts)
    for segment in version.layout.segments():
        assert parts.store.files.exists(segment)


async def named(parts: Parts) -> set[int]:
    return await parts.database.read(
        lambda c: (
            {row[0] for row in c.execute("SELECT id FROM segments")}
            | {row[0] for row in c.execute("SELECT segment FROM parts")}
        )
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(NEAR_CHUNKS, min_size=1, max_size=6), st.randoms(use_true_random=False), st.data())
def test_parts_of_any_sizes_in_any_order_make_the_file_of_a_single_put(
    loop: Loop, sizes: list[int], chance, data: st.DataObject
) -> None:
    stops = list(itertools.accumulate(sizes))
    content = {
        number: CONTENT[stop - size : stop]
        for number, (size, stop) in enumerate(zip(sizes, stops, strict=True), start=1)
    }
    order = data.draw(st.permutations(sorted(content)))
    again = data.draw(st.lists(st.sampled_from(order), max_size=2))
    dropped = data.draw(st.lists(st.sampled_from(order), max_size=len(sizes) - 1, unique=True))
    announce = data.draw(st.booleans())

    async def work(parts: Parts, key: str) -> None:
        upload = await parts.create_upload(key)
        for number in again:
            await parts.put_part(key, upload, number, CONTENT[-100_000 * number :][:90_000])
        for number in order:
            await parts.put_part(key, upload, number, FakeBody(content[number], announce=announce))
        kept = {number: part for number, part in content.items() if number not in dropped}
        await parts.complete(key, upload, {number: etag(part) for number, part in kept.items()})
        await check(parts, key, [part for _, part in sorted(kept.items())])

    loop.run(work)


async def test_equal_parts_are_adopted_where_they_lie(parts: Parts) -> None:
    size = 1_500_000
    content = [CONTENT[n * size : (n + 1) * size] for n in range(4)] + [CONTENT[-700_000:]]
    upload = await parts.create_upload("key")
    for number in (3, 1, 5, 2, 4):
        await parts.put_part("key", upload, number, content[number - 1])
    segments = parts.segments(SegmentKind.PART)
    before = sum(p.stat().st_size for p in parts.data_dir.rglob("*.car"))
    await parts.complete("key", upload, {n: etag(part) for n, part in enumerate(content, start=1)})
    await check(parts, "key", content)
    assert parts.segments(SegmentKind.PART) == segments
    grown = sum(p.stat().st_size for p in parts.data_dir.rglob("*.car")) - before
    assert grown < 6 * CHUNK_BYTES


async def test_a_part_that_was_replaced_or_left_out_is_unlinked(parts: Parts) -> None:
    first, second, third = CONTENT[:900_000], CONTENT[900_000:1_800_000], CONTENT[-900_000:]
    upload = await parts.create_upload("key")
    replaced = await parts.put_part("key", upload, 1, third)
    await parts.put_part("key", upload, 1, first)
    assert not parts.store.files.exists(replaced.segment)
    await parts.put_part("key", upload, 2, second)
    left_out = await parts.put_part("key", upload, 3, third)
    await parts.complete("key", upload, {1: etag(first), 2: etag(second)})
    assert not parts.store.files.exists(left_out.segment)
    await check(parts, "key", [first, second])


async def test_nobody_points_at_the_parts_of_an_open_upload(parts: Parts) -> None:
    """They may go away with it."""
    upload = await parts.create_upload("key")
    part = await parts.put_part("key", upload, 1, CONTENT[:2_000_000])
    other = await parts.put("other", CONTENT[:2_000_000])
    version = await parts.objects.find("main", "bucket", b"other")
    assert version is not None
    assert part.segment not in version.layout.segments()
    await parts.uploads.abort(await parts.uploads.find(target("key", upload)))
    assert not parts.store.files.exists(part.segment)
    assert await parts.get("other") == CONTENT[:2_000_000]
    assert other.root == root_of(CONTENT[:2_000_000], "other")


async def test_adopted_parts_are_pointed_at(parts: Parts) -> None:
    upload = await parts.create_upload("key")
    await parts.put_part("key", upload, 1, CONTENT[:2_000_000])
    await parts.complete("key", upload, {1: etag(CONTENT[:2_000_000])})
    await asyncio.gather(*parts.uploads._background)
    before = parts.segments(SegmentKind.BODY)
    await parts.put("other", CONTENT[:1_900_000])
    written = parts.segments(SegmentKind.BODY) - before
    # The link node, the root and the last leaf, which is shorter.
    assert sum(parts.store.files.path(s).stat().st_size for s in written) < 2 * CHUNK_BYTES
    assert await parts.get("other") == CONTENT[:1_900_000]


@pytest.mark.parametrize(
    "content",
    [CONTENT[:2_000_000], bytes(2_000_000), CONTENT[: 3 * CHUNK_BYTES] * 4],
    ids=["noise", "zeros", "repeated"],
)
async def test_adopted_parts_are_indexed_as_a_scan_would(parts: Parts, content: bytes) -> None:
    upload = await parts.create_upload("key")
    part = await parts.put_part("key", upload, 1, content)
    known = parts.store.pending._recent
    known.clear()
    await parts.complete("key", upload, {1: etag(content)})
    await asyncio.gather(*parts.uploads._background)
    found = {digest: place for digest, place in known.items() if place.segment == part.segment}
    assert parts.store.pending._recent_marks[part.segment] == parts.store.files.size(part.segment)
    known.clear()
    parts.store.index_segment(part.segment)
    assert found == known
    assert len(found) == len(set(_leaves(content)))


def _leaves(content: bytes) -> list[bytes]:
    """The full leaves of a body."""
    starts = range(0, len(content) - CHUNK_BYTES + 1, CHUNK_BYTES)
    return [content[at : at + CHUNK_BYTES] for at in starts]


async def test_an_upload_is_gone_when_it_is_aborted(parts: Parts) -> None:
    upload = await parts.create_upload("key")
    await parts.put_part("key", upload, 1, CONTENT[:500_000])
    row = await parts.uploads.find(target("key", upload))
    await parts.uploads.abort(row)
    for act in (
        lambda: parts.put_part("key", upload, 1, b"x"),
        lambda: parts.complete("key", upload, {1: etag(b"x")}),
        lambda: parts.uploads.abort(row),
    ):
        with pytest.raises(S3Error) as refused:
            await act()
        assert refused.value.code is ErrorCode.NoSuchUpload
    assert parts.segments(SegmentKind.PART) == set()
    assert await parts.get("key") is None


async def test_an_upload_may_be_kept_from_making_its_bucket(parts: Parts) -> None:
    new = NewObject("main", "removed-meanwhile", b"key", makes_bucket=False)
    with pytest.raises(S3Error) as refused:
        await parts.uploads.create(new, None)
    assert refused.value.code is ErrorCode.NoSuchBucket
    buckets = await parts.database.read(lambda c: find_bucket(c, "main", "removed-meanwhile"))
    assert buckets is None
    assert await parts.uploads.create(replace(new, makes_bucket=True), None)


@pytest.mark.parametrize(("key", "account"), [("other", "main"), ("key", "somebody")])
async def test_an_upload_is_known_under_its_own_name_only(
    parts: Parts, key: str, account: str
) -> None:
    upload = await parts.create_upload("key")
    wanted = target(key, upload)
    with pytest.raises(S3Error) as refused:
        await parts.uploads.find(replace(wanted, account=account))
    assert refused.value.code is ErrorCode.NoSuchUpload


async def test_a_part_that_arrives_after_the_end_is_refused_and_leaves_nothing(
    parts: Parts,
) -> None:
    upload = await parts.create_upload("key")
    await parts.put_part("key", upload, 1, CONTENT[:500_000])
    arrived, leave = asyncio.Event(), asyncio.Event()

    class Late(FakeBody):
        async def fill(self, views) -> int:
            arrived.set()
            await leave.wait()
            return await super().fill(views)

    late = asyncio.create_task(parts.put_part("key", upload, 2, Late(CONTENT[:300_000])))
    await arrived.wait()
    await parts.complete("key", upload, {1: etag(CONTENT[:500_000])})
    leave.set()
    with pytest.raises(S3Error) as refused:
        await late
    assert refused.value.code is ErrorCode.NoSuchUpload
    assert not parts.segments() - await named(parts)
    await check(parts, "key", [CONTENT[:500_000]])


async def test_two_completions_at_once_are_one_object(parts: Parts) -> None:
    upload = await parts.create_upload("key")
    await parts.put_part("key", upload, 1, CONTENT[:500_000])
    list_of_parts = {1: etag(CONTENT[:500_000])}
    outcomes = await asyncio.gather(
        *(parts.complete("key", upload, list_of_parts) for _ in range(5)), return_exceptions=True
    )
    records = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(records) == 1
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, S3Error)
            assert outcome.code is ErrorCode.NoSuchUpload
    completed = await parts.uploads.completed(target("key", upload))
    assert completed is not None
    assert completed.sequence == records[0].sequence
    versions = await parts.database.read(lambda c: c.execute("SELECT * FROM versions").fetchall())
    assert len(versions) == 1


async def test_a_completion_can_be_repeated_after_a_restart(tmp_path: Path) -> None:
    async with Parts(tmp_path / "data") as parts:
        upload = await parts.create_upload("key")
        await parts.put_part("key", upload, 1, CONTENT[:500_000])
        record = await parts.complete("key", upload, {1: etag(CONTENT[:500_000])})
    recover(tmp_path / "data")
    async with Parts(tmp_path / "data") as parts:
        completed = await parts.uploads.completed(target("key", upload))
        assert completed is not None
        assert (completed.sequence, completed.root) == (record.sequence, record.root)
        assert await parts.uploads.completed(target("other", upload)) is None


async def test_an_upload_goes_on_after_a_restart(tmp_path: Path) -> None:
    content = [CONTENT[:1_000_000], CONTENT[1_000_000:2_000_000], CONTENT[-300_000:]]
    async with Parts(tmp_path / "data") as parts:
        upload = await parts.create_upload("key")
        await parts.put_part("key", upload, 2, content[1])
        await parts.put_part("key", upload, 3, content[2])
    recover(tmp_path / "data")
    async with Parts(tmp_path / "data") as parts:
        await parts.put_part("key", upload, 1, content[0])
        await parts.complete("key", upload, {n: etag(part) for n, part in enumerate(content, 1)})
        await check(parts, "key", content)


@pytest.mark.parametrize("act", ["replace", "abort"])
async def test_what_changes_during_the_assembly_is_noticed(
    parts: Parts, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await parts.create_upload("key")
    old, new, rest = CONTENT[:700_000], CONTENT[-600_000:], CONTENT[700_000:1_000_000]
    for number, content in ((1, old), (2, rest)):
        await parts.put_part("key", upload, number, content)
    row = await parts.uploads.find(target("key", upload))
    assemble = parts.uploads._assemble
    calls = []

    async def late(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            if act == "abort":
                await parts.uploads.abort(row)
            else:
                await parts.put_part("key", upload, 1, new)
        return await assemble(*arguments)

    monkeypatch.setattr(parts.uploads, "_assemble", late)
    with pytest.raises(S3Error) as refused:
        await parts.complete("key", upload, {1: etag(old), 2: etag(rest)})
    if act == "abort":
        assert refused.value.code is ErrorCode.NoSuchUpload
    else:
        assert refused.value.code is ErrorCode.InvalidPart
        await parts.complete("key", upload, {1: etag(new), 2: etag(rest)})
        await check(parts, "key", [new, rest])
    assert not parts.segments() - await named(parts)


async def test_the_same_part_sent_again_during_the_assembly_changes_nothing(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = [CONTENT[:700_000], CONTENT[700_000:1_000_000]]
    upload = await parts.create_upload("key")
    for number in (1, 2):
        await parts.put_part("key", upload, number, content[number - 1])
    commit = parts.committer.commit
    sent = []

    async def late(change):
        if change.blocks and not sent:
            sent.append(True)
            await parts.put_part("key", upload, 1, content[0])
        return await commit(change)

    monkeypatch.setattr(parts.committer, "commit", late)
    await parts.complete("key", upload, {n: etag(part) for n, part in enumerate(content, 1)})
    assert sent
    await check(parts, "key", content)


async def test_conditions_hold_at_the_completion(parts: Parts) -> None:
    upload = await parts.create_upload("key")
    await parts.put_part("key", upload, 1, b"part")
    await parts.put("key", b"there already")
    with pytest.raises(S3Error) as refused:
        await parts.complete(
            "key",
            upload,
            {1: etag(b"part")},
            conditions=parse_conditions({"if-none-match": "*"}),
        )
    assert refused.value.code is ErrorCode.PreconditionFailed
    assert await parts.get("key") == b"there already"
    await parts.complete("key", upload, {1: etag(b"part")})
    assert await parts.get("key") == b"part"


async def test_a_part_of_nothing_is_an_empty_object(parts: Parts) -> None:
    upload = await parts.create_upload("key")
    await parts.put_part("key", upload, 1, b"")
    await parts.complete("key", upload, {1: etag(b"")})
    await check(parts, "key", [b""])


async def test_uploads_that_are_left_open_do_not_pile_up_in_memory(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.uploads.ANNOUNCED_MAX", 3)
    for n in range(6):
        upload = await parts.create_upload(f"key{n}")
        await parts.put_part(f"key{n}", upload, 2, b"part")
    assert len(parts.uploads._announced) == 3
