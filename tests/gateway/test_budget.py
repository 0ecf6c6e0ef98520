from __future__ import annotations

import asyncio

import pytest

from dsn.chunker import SLAB_BYTES
from gateway.budget import ByteBudget, SlabPool
from gateway.s3.errors import ErrorCode, S3Error


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_taken_is_in_use_until_it_is_given_back() -> None:
    budget = ByteBudget(100)
    await budget.take(60)
    assert budget.try_take(40)
    assert not budget.try_take(1)
    assert budget.bytes_in_use == 100
    budget.give(60)
    budget.give(40)
    assert budget.bytes_in_use == 0


async def test_who_waits_first_is_served_first() -> None:
    budget = ByteBudget(100)
    await budget.take(100)
    served: list[int] = []

    async def wait(number: int, count: int) -> None:
        await budget.take(count)
        served.append(number)

    waiting = [asyncio.create_task(wait(n, count)) for n, count in enumerate((80, 10, 10))]
    await settle()
    budget.give(20)
    await settle()
    assert served == []
    assert not budget.try_take(1)
    budget.give(80)
    await asyncio.gather(*waiting)
    assert served == [0, 1, 2]
    assert budget.bytes_in_use == 100


async def test_who_waits_too_long_is_told_to_slow_down() -> None:
    budget = ByteBudget(100, wait_seconds_max=0.01)
    await budget.take(100)
    with pytest.raises(S3Error) as refused:
        await budget.take(1)
    assert refused.value.code is ErrorCode.SlowDown
    assert "Retry-After" in refused.value.headers
    budget.give(100)
    assert budget.bytes_in_use == 0


@pytest.mark.parametrize("served", [True, False])
async def test_who_goes_away_while_waiting_takes_nothing(served: bool) -> None:
    budget = ByteBudget(100)
    await budget.take(100)
    first = asyncio.create_task(budget.take(50))
    second = asyncio.create_task(budget.take(50))
    await settle()
    if served:
        budget.give(50)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    if not served:
        budget.give(50)
    await second
    assert budget.bytes_in_use == 100


async def test_more_than_there_is_at_all_takes_everything() -> None:
    budget = ByteBudget(100)
    await budget.take(1000)
    assert budget.bytes_in_use == 100
    budget.give(1000)
    assert budget.bytes_in_use == 0


async def test_slabs_are_lent_again_empty() -> None:
    pool = SlabPool(ByteBudget(2 * SLAB_BYTES))
    slab = await pool.take()
    slab.filled = 10
    pool.give(slab)
    again = await pool.take()
    assert again is slab
    assert again.filled == 0


async def test_more_slabs_are_lent_as_long_as_they_will_be_kept() -> None:
    budget = ByteBudget(40 * SLAB_BYTES)
    pool = SlabPool(budget)
    lent = [await pool.take() for _ in range(10)]
    while (slab := pool.try_take_more()) is not None:
        lent.append(slab)
    assert len(lent) == 16
    lent += [await pool.take(), await pool.take()]
    kept = lent[:16]
    for slab in kept:
        pool.give(slab)
    assert pool.try_take_more() in kept
    assert budget.bytes_in_use == 3 * SLAB_BYTES


async def test_no_more_slabs_are_lent_than_the_budget_has() -> None:
    pool = SlabPool(ByteBudget(SLAB_BYTES))
    slab = await pool.take()
    assert pool.try_take() is None
    assert pool.try_take_more() is None
    pool.give(slab)
    assert pool.try_take_more() is slab
