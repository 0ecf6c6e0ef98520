from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dsn.blockstore.segments.files import SegmentKind
from dsn.cid import digest_of
from dsn.codec import leaf_prefix
from dsn.framing import node_section
from gateway.catalog.queries import list_buckets
from gateway.catalog.records import BucketRecord
from gateway.commits import Change
from gateway.s3.bucket_listing import ListBucketsRequest
from gateway.s3.conditions import Conditions, parse_conditions
from gateway.s3.errors import ErrorCode, S3Error
from tests.support.bodies import noise
from tests.support.parts import Parts, recover, target

IF_ABSENT: Conditions = parse_conditions({"if-none-match": "*"})


def bucket(name: str, **more) -> Change:
    return Change(lambda sequence, _: BucketRecord(sequence, "main", name), **more)


def block_of(text: bytes) -> tuple[bytes, bytes]:
    block = leaf_prefix(len(text)) + text
    return digest_of(block), node_section(digest_of(block), block)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


class Syncs:
    """Counts fdatasync, and lets it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.error: OSError | None = None
        self._real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._sync)

    def _sync(self, fd: int) -> None:
        self.count += 1
        if self.error is not None:
            raise self.error
        self._real(fd)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)


async def names(parts: Parts) -> list[str]:
    return [row.name for row in await parts.buckets.list("main", ListBucketsRequest())]


async def test_changes_that_wait_together_share_one_sync(data_dir: Path, syncs: Syncs) -> None:
    async with Parts(data_dir) as parts:
        await asyncio.gather(*(parts.committer.commit(bucket(f"b{n}")) for n in range(50)))
        assert syncs.count == 1
        assert len(await names(parts)) == 50


async def test_sequence_numbers_ascend_within_a_group(data_dir: Path) -> None:
    async with Parts(data_dir) as parts:
        records = await asyncio.gather(*(parts.committer.commit(bucket(f"{n}")) for n in range(20)))
        sequences = [record.sequence for record in records]
        assert sequences == sorted(set(sequences))


async def test_a_second_record_shares_the_fate_of_the_first(data_dir: Path, syncs: Syncs) -> None:
    def both(name: str, **more) -> Change:
        return bucket(
            name, then=(lambda sequence: BucketRecord(sequence, "main", f"{name}-too"),), **more
        )

    def refuse(_: sqlite3.Connection) -> None:
        raise S3Error(ErrorCode.AccessDenied)

    async with Parts(data_dir) as parts:
        first, other = await asyncio.gather(
            parts.committer.commit(both("kept")),
            parts.committer.commit(both("refused", condition=refuse)),
            return_exceptions=True,
        )
        assert isinstance(first, BucketRecord)
        assert first.bucket == "kept"
        assert isinstance(other, S3Error)
        assert syncs.count == 1
        assert await names(parts) == ["kept", "kept-too"]
        syncs.error = OSError(5, "broken")
        with pytest.raises(OSError):
            await parts.committer.commit(both("lost"))
        syncs.error = None
        assert await names(parts) == ["kept", "kept-too"]


async def test_of_racing_conditional_writers_exactly_one_wins(data_dir: Path) -> None:
    async with Parts(data_dir) as parts:
        outcomes = await asyncio.gather(
            *(parts.put("k", b"%d" % n, conditions=IF_ABSENT) for n in range(20)),
            return_exceptions=True,
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, S3Error)]
        assert len(refused) == 19
        assert {error.code for error in refused} == {ErrorCode.PreconditionFailed}
        winner = next(n for n, outcome in enumerate(outcomes) if not isinstance(outcome, S3Error))
        assert await parts.get("k") == b"%d" % winner


async def test_a_refused_change_writes_nothing(data_dir: Path, syncs: Syncs) -> None:
    def refuse(_: sqlite3.Connection) -> None:
        raise S3Error(ErrorCode.PreconditionFailed)

    async with Parts(data_dir) as parts:
        digest, section = block_of(b"refused")
        with pytest.raises(S3Error):
            await parts.committer.commit(bucket("b", blocks={digest: section}, condition=refuse))
        assert syncs.count == 0
        assert not parts.store.has(digest)


async def test_blocks_are_found_once_they_are_committed(data_dir: Path) -> None:
    async with Parts(data_dir) as parts:
        digest, section = block_of(b"new")
        await parts.committer.commit(bucket("a", blocks={digest: section}))
        place = parts.store.lookup([digest])[0]
        await parts.committer.commit(bucket("b", blocks={digest: section}))
        assert parts.store.lookup([digest]) == [place]
        assert parts.store.get(digest) == leaf_prefix(3) + b"new"


async def test_an_error_reaches_every_waiter_and_nothing_of_them_is_seen(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Parts(data_dir) as parts:
        await parts.committer.commit(bucket("before"))
        with monkeypatch.context() as patch:

            def full(*_: object) -> int:
                raise OSError(28, "No space left on device")

            patch.setattr(os, "pwritev", full)
            outcomes = await asyncio.gather(
                *(parts.committer.commit(bucket(f"b{n}")) for n in range(5)), return_exceptions=True
            )
        assert all(isinstance(outcome, OSError) for outcome in outcomes)
        assert await names(parts) == ["before"]
        await parts.committer.commit(bucket("after"))
        assert await names(parts) == ["after", "before"]
        assert len(parts.segments(SegmentKind.LOG)) == 1
    (data_dir / "catalog.db").unlink()
    recover(data_dir)
    async with Parts(data_dir) as parts:
        assert await names(parts) == ["after", "before"]


async def test_a_failed_sync_leaves_the_log_behind(data_dir: Path, syncs: Syncs) -> None:
    async with Parts(data_dir) as parts:
        await parts.committer.commit(bucket("before"))
        syncs.error = OSError(5, "Input/output error")
        with pytest.raises(OSError, match="Input/output"):
            await parts.committer.commit(bucket("lost"))
        syncs.error = None
        assert await names(parts) == ["before"]
        await parts.committer.commit(bucket("after"))
        assert len(parts.segments(SegmentKind.LOG)) == 2
        assert await names(parts) == ["after", "before"]


async def test_what_a_failed_sync_left_in_the_log_is_never_an_object_without_bytes(
    data_dir: Path, syncs: Syncs
) -> None:
    """The client was told of a failure; a restart brings the whole object or nothing of it."""
    old, new = noise(3_000_000, 1), noise(3_000_000, 2)
    async with Parts(data_dir) as parts:
        await parts.put("k", old)

        def fail_at_commit() -> None:
            syncs.error = OSError(5, "Input/output error")

        finish = parts.ingest.file

        async def file(*arguments):
            taken = await finish(*arguments)
            fail_at_commit()
            return taken

        parts.ingest.file = file  # type: ignore[method-assign]
        with pytest.raises(OSError, match="Input/output"):
            await parts.put("k", new)
        syncs.error = None
    recover(data_dir)
    async with Parts(data_dir) as parts:
        assert await parts.get("k") in (old, new)


async def test_a_transaction_that_cannot_begin_takes_nothing_back(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group before was acknowledged; a failure before the next one must not cut it off."""
    async with Parts(data_dir) as parts:
        await parts.put("k", b"acknowledged")
        write = parts.database.write

        async def locked(change):
            raise sqlite3.OperationalError("database is locked")

        parts.database.write = locked  # type: ignore[method-assign]
        with pytest.raises(sqlite3.OperationalError):
            await parts.put("k", b"refused")
        parts.database.write = write  # type: ignore[method-assign]
        assert await parts.get("k") == b"acknowledged"
        await parts.put("other", b"goes on")
    (data_dir / "catalog.db").unlink()
    recover(data_dir)
    async with Parts(data_dir) as parts:
        assert await parts.get("k") == b"acknowledged"
        assert await parts.get("other") == b"goes on"


async def test_what_goes_wrong_after_a_commit_stops_nothing(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Parts(data_dir) as parts:

        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(parts.store, "index_blocks", fail)
            async with asyncio.timeout(10):
                await parts.put("k", b"committed")
        async with asyncio.timeout(10):
            await parts.put("l", b"next")
        assert await parts.get("k") == b"committed"
        assert await parts.get("l") == b"next"


async def test_a_log_that_is_long_enough_is_followed_by_another(data_dir: Path) -> None:
    async with Parts(data_dir, segment_bytes_max=2000) as parts:
        for n in range(40):
            await parts.put(f"k{n}", noise(100, n))
        assert len(parts.segments(SegmentKind.LOG)) > 3
        for n in range(40):
            assert await parts.get(f"k{n}") == noise(100, n)


@pytest.mark.parametrize("size", [10, 500_000, 3_000_000])
async def test_a_client_that_goes_away_during_its_commit_harms_nobody(
    data_dir: Path, size: int
) -> None:
    """Its memory and its segment are let go when the outcome is known, not before."""
    async with Parts(data_dir) as parts:
        await parts.put("first", b"x")
        write = parts.database.write
        arrived, leave = asyncio.Event(), asyncio.Event()

        async def slow(change):
            arrived.set()
            await leave.wait()
            return await write(change)

        parts.database.write = slow  # type: ignore[method-assign]
        content = noise(size, 1)
        going = asyncio.create_task(parts.put("k", content))
        await arrived.wait()
        going.cancel()
        others = [asyncio.create_task(parts.put(f"o{n}", noise(size, 10 + n))) for n in range(3)]
        for _ in range(200):
            await asyncio.sleep(0)
        leave.set()
        await asyncio.gather(*others)
        with pytest.raises(asyncio.CancelledError):
            await going
        parts.database.write = write  # type: ignore[method-assign]
        await parts.put("last", b"x")
        assert await parts.get("k") == content
        for n in range(3):
            assert await parts.get(f"o{n}") == noise(size, 10 + n)
        assert parts.budget.bytes_in_use == 0
    assert recover(data_dir).removed == []


@pytest.mark.parametrize("size", [10, 500_000, 3_000_000])
async def test_a_refused_commit_of_a_client_that_went_away_leaves_nothing(
    data_dir: Path, size: int
) -> None:
    async with Parts(data_dir) as parts:
        write = parts.database.write
        arrived, leave = asyncio.Event(), asyncio.Event()

        async def slow(change):
            arrived.set()
            await leave.wait()
            return await write(change)

        await parts.put("other", b"x")
        parts.database.write = slow  # type: ignore[method-assign]
        first = asyncio.create_task(parts.put("k", b"first"))
        await arrived.wait()
        before = parts.segments()
        going = asyncio.create_task(parts.put("k", noise(size, 1), conditions=IF_ABSENT))
        while not parts.committer._queue:
            await asyncio.sleep(0.001)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        leave.set()
        await first
        await parts.put("last", b"x")
        while parts.budget.bytes_in_use:
            await asyncio.sleep(0.001)
        assert parts.segments() == before
        assert await parts.get("k") == b"first"


async def test_sequence_numbers_follow_the_commits_whatever_the_clocks_say(data_dir: Path) -> None:
    """A worker that started after the clock was set back must not be overruled by the others."""
    hour = 3_600_000_000_000

    def clocks(wall_ns: int) -> dict[str, Any]:
        return {"wall_ns": lambda: wall_ns, "steady_ns": itertools.count(1 << 60, 1000).__next__}

    ahead = Parts(data_dir, worker=0, **clocks(100 * hour))
    behind = Parts(data_dir, worker=1, beside=ahead, **clocks(1 * hour))
    async with ahead, behind:
        await ahead.put("k", b"1")
        await behind.put("k", b"2")
        assert await ahead.get("k") == b"2"
        await ahead.put("k", b"3")
        assert await behind.get("k") == b"3"
        upload = await ahead.create_upload("u")
        await behind.put_part("u", upload, 1, b"part")
    (data_dir / "catalog.db").unlink()
    recover(data_dir)
    async with Parts(data_dir) as parts:
        assert await parts.get("k") == b"3"
        rows = await parts.uploads.parts(await parts.uploads.find(target("u", upload)))
        assert [row.number for row in rows] == [1]


async def test_closing_commits_what_waits(data_dir: Path) -> None:
    async with Parts(data_dir) as parts:
        waiting = [asyncio.create_task(parts.committer.commit(bucket(f"b{n}"))) for n in range(5)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    async with Parts(data_dir) as parts:
        rows = await parts.database.read(lambda c: list_buckets(c, "main"))
        assert len(rows) == 5
