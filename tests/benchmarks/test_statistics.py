"""Figures from samples."""

from __future__ import annotations

from array import array
from collections import Counter

import pytest

from benchmarks.engine import Observed, Samples
from benchmarks.statistics import QUANTILES, quantile, spread, summarize
from benchmarks.units import MIB


def observed(latencies: list[float], payload: int, last_end: float) -> Observed:
    count = len(latencies)
    samples = Samples(
        array("d", [0.5] * count),
        array("d", latencies),
        array("d", [value / 2 for value in latencies]),
        payload,
        last_end,
    )
    return Observed(
        {"PutObject": samples},
        Counter({("PutObject", "503 SlowDown"): 2}),
        timeline=[payload],
        requests=[0, count],
        cpu_seconds=0.5,
        wall_seconds=2.0,
    )


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 50), (0.9, 90), (0.99, 99), (0.999, 100), (1.0, 100)]
)
def test_quantile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert quantile(range(1, 101), share) == expected


def test_quantile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.5)


def test_processes_are_summed_and_their_samples_merged() -> None:
    summary = summarize([observed([0.1, 0.2], 10 * MIB, 1.5), observed([0.3], 20 * MIB, 2.5)])
    total = summary["total"]
    assert total["requests"] == 3
    assert total["errors"] == 4
    assert total["seconds"] == 2.0  # from the first start to the last end
    assert total["mib_per_second"] == pytest.approx(15)
    operation = summary["operations"]["PutObject"]
    assert operation["errors"] == {"503 SlowDown": 4}
    assert operation["latency_ms"]["p50"] == pytest.approx(200)
    assert operation["latency_ms"]["max"] == pytest.approx(300)
    assert operation["first_byte_ms"]["p50"] == pytest.approx(100)
    assert len(operation["quantiles_ms"]) == len(QUANTILES)
    assert summary["generator"]["cpu_share"] == pytest.approx(0.5)
    assert summary["generator"]["busiest_share"] == pytest.approx(0.25)
    assert summary["timeline"]["bytes"] == [30 * MIB, 0]
    assert summary["timeline"]["requests"] == [0, 3]


def test_operation_that_only_failed_has_no_latency() -> None:
    summary = summarize([Observed(errors=Counter({("GetObject", "404 NoSuchKey"): 3}))])
    assert summary["operations"]["GetObject"]["count"] == 0
    assert "latency_ms" not in summary["operations"]["GetObject"]
    assert summary["total"]["errors"] == 3


def test_long_timeline_is_thinned_and_loses_nothing() -> None:
    one = Observed(timeline=[1] * 1001)
    timeline = summarize([one])["timeline"]
    assert sum(timeline["bytes"]) == 1001
    assert len(timeline["bytes"]) <= 100
    assert timeline["seconds"] == pytest.approx(1.1)


def test_spread_is_median_least_most() -> None:
    assert spread([3, 1, 2]) == (2, 1, 3)
