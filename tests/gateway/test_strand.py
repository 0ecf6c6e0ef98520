from __future__ import annotations

import asyncio
import random
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.strand import Strand


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


async def test_jobs_run_one_at_a_time_and_in_order(threads: ThreadPoolExecutor) -> None:
    async def stream(seed: int) -> None:
        rng = random.Random(seed)
        strand, ran, running = Strand(threads), [], threading.Lock()

        def work(n: int, seconds: float) -> None:
            assert running.acquire(blocking=False)
            time.sleep(seconds)
            ran.append(n)
            running.release()

        jobs = []
        for n in range(60):
            seconds = rng.choice([0, 0, 0.001])
            jobs.append(strand.submit(lambda n=n, seconds=seconds: work(n, seconds)))
            if rng.random() < 0.2:
                # Also where it has fallen idle meanwhile.
                await rng.choice(jobs)
        await asyncio.gather(*jobs)
        assert ran == list(range(60))

    await asyncio.gather(*(stream(seed) for seed in range(8)))


async def test_a_job_begins_without_a_turn_of_the_loop(threads: ThreadPoolExecutor) -> None:
    strand, second = Strand(threads), threading.Event()
    jobs = [strand.submit(lambda: None), strand.submit(second.set)]
    assert second.wait(20)
    assert not jobs[0].done()
    await asyncio.gather(*jobs)


async def test_what_waits_behind_a_failure_fails_with_it(threads: ThreadPoolExecutor) -> None:
    strand, begun, ran = Strand(threads), threading.Event(), []

    def fail() -> None:
        assert begun.wait(20)
        raise OSError("broken")

    jobs = [strand.submit(fail), strand.submit(lambda: ran.append(2))]
    begun.set()
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["broken", "broken"]
    assert ran == []


async def test_who_is_gone_holds_nobody_up(threads: ThreadPoolExecutor) -> None:
    strand, begun = Strand(threads), threading.Event()
    gone = strand.submit(lambda: begun.wait(20) and None)
    stays = strand.submit(lambda: None)
    gone.cancel()
    begun.set()
    await stays


async def test_what_is_done_with_is_let_go(threads: ThreadPoolExecutor) -> None:
    class Work:
        def __call__(self) -> None: ...

    work = Work()
    gone = weakref.ref(work)
    strand = Strand(threads)
    await strand.submit(work)
    del work
    for _ in range(100):
        if gone() is None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("held")


def test_a_loop_that_is_closed_is_no_reason_to_stop(threads: ThreadPoolExecutor) -> None:
    strand, begun, ran = Strand(threads), threading.Event(), threading.Event()

    async def submit_and_leave() -> None:
        strand.submit(lambda: begun.wait(20) and None)
        strand.submit(ran.set)

    asyncio.run(submit_and_leave())
    begun.set()
    assert ran.wait(20)
