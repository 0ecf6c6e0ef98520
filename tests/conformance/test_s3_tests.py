"""The tables of expected failures are sound, and a run is compared with them both ways."""

from __future__ import annotations

import pytest

from tests.conformance.s3_tests import FILES, MODES, Outcome, compare, expected_outcomes

PASS, FAIL, SKIP = Outcome("passed", ""), Outcome("failed", "why"), Outcome("skipped", "")


@pytest.mark.parametrize(
    ("outcome", "expected", "failed", "passed"),
    [
        (PASS, {}, [], []),
        (FAIL, {"t": "reason"}, [], []),
        (SKIP, {}, [], []),
        (SKIP, {"t": "reason"}, [], []),
        (FAIL, {}, ["t"], []),
        (PASS, {"t": "reason"}, [], ["t"]),
    ],
)
def test_what_is_unexpected_is_named(
    outcome: Outcome, expected: dict[str, str], failed: list[str], passed: list[str]
) -> None:
    found = compare({"t": outcome}, expected, whole=True)
    assert (found.failed, found.passed, found.missing) == (failed, passed, [])
    assert bool(found) is bool(failed or passed)


def test_what_the_suite_no_longer_has_is_named_by_a_whole_run_only() -> None:
    assert compare({}, {"gone": "reason"}, whole=True).missing == ["gone"]
    assert not compare({}, {"gone": "reason"}, whole=False)


@pytest.mark.parametrize("mode", MODES)
def test_each_expected_failure_has_a_reason(mode: str) -> None:
    for test, reason in expected_outcomes(mode).failures.items():
        file, _, name = test.partition("::")
        assert file in FILES
        assert name.startswith("test_")
        assert reason.strip()
        assert "\n" not in reason
