"""The table for a README: the fastest is bold, what was not measured is empty."""

from __future__ import annotations

from benchmarks.markdown import markdown_table
from benchmarks.results import gather
from tests.benchmarks.made_results import record, records, results


def test_table_has_the_medians_and_the_limits() -> None:
    assert markdown_table(
        results(ours=[30.0, 10.0, 20.0], theirs=[5.0, 5.0, 5.0])
    ).splitlines() == [
        "| | ours | theirs | limits |",
        "|---|---|---|---|",
        "| put size=1048576 c=8, MiB/s | **20.0** (2.00) | 5.00 (2.00) | md5 701 |",
    ]


def test_what_is_missing_is_empty_and_small_requests_are_counted() -> None:
    made = records(ours=[20.0], theirs=[5.0])
    extra = record("theirs", 0, 70.0, size=4096)
    extra["total"]["bytes"] = 100 * 4096
    assert markdown_table(gather([*made, extra])).splitlines()[-1] == (
        "| put size=4096, /s |  | **70.0** (30.0) |  |"
    )
