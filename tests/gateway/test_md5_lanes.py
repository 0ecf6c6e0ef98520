from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from dsn.md5 import LANES, Md5, new_md5, update_side_by_side
from gateway import md5_lanes as module
from gateway.md5_lanes import SLICE_BYTES, Md5Lanes, OneByOne, SideBySide, new_md5_lanes

SLAB = random.Random(3).randbytes(1 << 20)


def slab(size: int = len(SLAB), at: int = 0) -> list[memoryview]:
    """Bytes as a slab holds them: leaf by leaf."""
    view = memoryview(SLAB)[at : at + size]
    return [view[n : n + 65_066] for n in range(0, len(view), 65_066)]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture(params=["side by side", "one by one"])
def lanes(request: pytest.FixtureRequest, threads: ThreadPoolExecutor) -> Iterator[Md5Lanes]:
    made: Md5Lanes = SideBySide() if request.param == "side by side" else OneByOne(threads)
    yield made
    made.close()


class Slices:
    """Records how many streams each slice had, and holds the hashing until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.streams: list[int] = []
        self.begun = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        monkeypatch.setattr(module, "update_side_by_side", self._update)

    def _update(self, md5s: Sequence[Md5], pieces: Sequence[Sequence[memoryview]]) -> None:
        self.streams.append(len(md5s))
        self.begun.release()
        assert self.allowed.acquire(timeout=20)
        update_side_by_side(md5s, pieces)

    async def next(self) -> None:
        """Wait until a slice is about to be hashed."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=20)

    def go_on(self) -> None:
        self.allowed.release(1000)


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> Slices:
    return Slices(monkeypatch)


@pytest.fixture
def side_by_side(slices: Slices) -> Iterator[SideBySide]:
    made = SideBySide()
    yield made
    slices.go_on()
    made.close()


async def test_many_streams_are_what_hashlib_says(lanes: Md5Lanes) -> None:
    async def stream(number: int) -> None:
        chance = random.Random(number)
        md5, expected = new_md5(), hashlib.md5()
        for _ in range(5):
            pieces = slab(chance.choice([0, 1, 1000, SLICE_BYTES, 1 << 20]), chance.randrange(99))
            await lanes.submit(md5, pieces)
            for piece in pieces:
                expected.update(piece)
        assert md5.digest() == expected.digest()

    await asyncio.gather(*(stream(n) for n in range(2 * LANES + 3)))


async def test_a_stream_may_go_on_by_itself(lanes: Md5Lanes) -> None:
    md5 = new_md5()
    md5.update(slab(100))
    await lanes.submit(md5, slab())
    md5.update(slab(7))
    assert md5.digest() == hashlib.md5(SLAB[:100] + SLAB + SLAB[:7]).digest()


async def test_who_is_at_fault_fails_alone(lanes: Md5Lanes) -> None:
    good = [new_md5() for _ in range(5)]
    jobs = [lanes.submit(md5, slab()) for md5 in good]
    bad = lanes.submit(new_md5(), [*slab(), memoryview(SLAB)[::2]])
    jobs.append(lanes.submit(new_md5(), []))
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert outcomes == [None] * 6
    with pytest.raises(BufferError):
        await bad
    assert {md5.digest() for md5 in good} == {hashlib.md5(SLAB).digest()}
    await lanes.submit(good[0], slab())
    assert good[0].digest() == hashlib.md5(SLAB * 2).digest()


async def test_what_is_submitted_of_a_stream_is_taken_in_that_order(lanes: Md5Lanes) -> None:
    """Also while some of it is under way, and among more streams than there are lanes."""

    async def stream(number: int) -> None:
        chance = random.Random(number)
        md5, expected, jobs = new_md5(), hashlib.md5(), []
        for _ in range(12):
            pieces = slab(chance.choice([0, 1, 1000, SLICE_BYTES, 1 << 20]), chance.randrange(99))
            jobs.append(lanes.submit(md5, pieces))
            for piece in pieces:
                expected.update(piece)
            if chance.random() < 0.3:
                await chance.choice(jobs)
        await asyncio.gather(*jobs)
        assert md5.digest() == expected.digest()

    await asyncio.gather(*(stream(n) for n in range(2 * LANES + 3)))


async def test_what_follows_in_a_stream_begins_without_a_turn_of_the_loop(
    side_by_side: SideBySide, slices: Slices
) -> None:
    md5 = new_md5()
    jobs = [side_by_side.submit(md5, slab(1000)), side_by_side.submit(md5, slab(2000))]
    slices.go_on()
    for _ in range(2):
        assert slices.begun.acquire(timeout=20)
    assert not jobs[0].done()
    await asyncio.gather(*jobs)
    assert slices.streams == [1, 1]


async def test_what_waits_behind_a_failure_fails_with_it(
    side_by_side: SideBySide, slices: Slices
) -> None:
    md5, other = new_md5(), new_md5()
    bad = [memoryview(SLAB)[::2]]
    jobs = [side_by_side.submit(md5, pieces) for pieces in (slab(), bad, slab(), slab())]
    jobs.append(side_by_side.submit(other, slab()))
    slices.go_on()
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(outcome, BufferError) for outcome in outcomes] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert other.digest() == hashlib.md5(SLAB).digest()


async def test_closing_finishes_what_was_submitted(lanes: Md5Lanes) -> None:
    md5s = [new_md5() for _ in range(LANES + 5)]
    jobs = [lanes.submit(md5, slab()) for md5 in md5s]
    lanes.close()
    await asyncio.gather(*jobs)
    assert {md5.digest() for md5 in md5s} == {hashlib.md5(SLAB).digest()}


async def test_a_stream_alone_does_not_wait(side_by_side: SideBySide, slices: Slices) -> None:
    done = side_by_side.submit(new_md5(), slab(SLICE_BYTES))
    slices.go_on()
    await done
    assert slices.streams == [1]


async def test_what_gathered_meanwhile_is_hashed_together(
    side_by_side: SideBySide, slices: Slices
) -> None:
    jobs = [side_by_side.submit(new_md5(), slab(1000))]
    await slices.next()
    jobs += [side_by_side.submit(new_md5(), slab(1000)) for _ in range(LANES + 2)]
    slices.go_on()
    await asyncio.gather(*jobs)
    assert slices.streams == [1, LANES, 2] if LANES > 1 else [1] * 4


async def test_others_join_a_stream_at_its_next_slice(
    side_by_side: SideBySide, slices: Slices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LANES", 8)
    md5s = [new_md5(), new_md5()]
    jobs = [side_by_side.submit(md5s[0], slab())]
    await slices.next()
    jobs.append(side_by_side.submit(md5s[1], slab(SLICE_BYTES)))
    slices.go_on()
    await asyncio.gather(*jobs)
    assert slices.streams == [1, 2, 1, 1, 1]
    assert [md5.digest() for md5 in md5s] == [
        hashlib.md5(part).digest() for part in (SLAB, SLAB[:SLICE_BYTES])
    ]


async def test_who_ends_together_is_told_together(
    side_by_side: SideBySide, slices: Slices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LANES", 8)
    told: list[int] = []
    tell = module._tell
    monkeypatch.setattr(module, "_tell", lambda jobs: (told.append(len(jobs)), tell(jobs)))
    jobs = [side_by_side.submit(new_md5(), slab(10))]
    await slices.next()
    jobs += [side_by_side.submit(new_md5(), slab(10 + n)) for n in range(7)]
    slices.go_on()
    await asyncio.gather(*jobs)
    assert told == [1, 7]


async def test_who_is_gone_holds_nobody_up(side_by_side: SideBySide, slices: Slices) -> None:
    gone = side_by_side.submit(new_md5(), slab(1000))
    await slices.next()
    md5 = new_md5()
    stays = side_by_side.submit(md5, slab())
    gone.cancel()
    slices.go_on()
    await stays
    assert md5.digest() == hashlib.md5(SLAB).digest()


def test_a_loop_that_is_closed_is_no_reason_to_stop() -> None:
    lanes = SideBySide()

    async def submit_and_leave() -> None:
        lanes.submit(new_md5(), slab())

    async def submit_and_wait() -> bytes:
        md5 = new_md5()
        await lanes.submit(md5, slab())
        return md5.digest()

    for _ in range(20):
        asyncio.run(submit_and_leave())
    assert asyncio.run(submit_and_wait()) == hashlib.md5(SLAB).digest()
    lanes.close()


def test_lanes_are_used_where_there_are_any(threads: ThreadPoolExecutor) -> None:
    made = new_md5_lanes(threads)
    assert isinstance(made, SideBySide if LANES > 1 else OneByOne)
