"""Two runs: a difference counts when it is larger than the noise."""

from __future__ import annotations

from benchmarks.compare import compare, pair_endpoints, regressions
from benchmarks.show import comparison_table
from tests.benchmarks.made_results import results


def test_clear_loss_is_a_regression() -> None:
    before, after = results(dsn=[100, 102, 98]), results(dsn=[70, 72, 71])
    changes = list(compare(before, after, pair_endpoints(before, after)))
    worse = {change.figure for change in regressions(changes, 0.1)}
    assert worse == {"MiB/s", "p50 ms", "p99 ms"}
    assert not regressions(changes, 0.9)
    assert comparison_table(changes, 0.1).row_count == len(changes)


def test_gain_is_no_regression() -> None:
    before, after = results(dsn=[100, 102, 98]), results(dsn=[170, 172, 171])
    changes = list(compare(before, after, pair_endpoints(before, after)))
    assert not regressions(changes, 0.1)
    rate = next(change for change in changes if change.figure == "MiB/s")
    assert rate.clear
    assert rate.ratio == 1.71
    assert rate.worse_by() < 0


def test_overlapping_rounds_are_noise() -> None:
    before, after = results(dsn=[100, 40, 110]), results(dsn=[60, 61, 62])
    assert not regressions(list(compare(before, after, {"dsn": "dsn"})), 0.1)


def test_single_round_proves_nothing() -> None:
    before, after = results(dsn=[100]), results(dsn=[10])
    assert not regressions(list(compare(before, after, {"dsn": "dsn"})), 0.1)


def test_only_endpoints_are_paired_whatever_their_names() -> None:
    before, after = results(old=[1]), results(new=[1])
    assert pair_endpoints(before, after) == {"old": "new"}
    assert list(compare(before, after, {"old": "new"}))


def test_endpoints_are_paired_by_name() -> None:
    assert pair_endpoints(results(a=[1], b=[1]), results(b=[1], c=[1])) == {"b": "b"}
