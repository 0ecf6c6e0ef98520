"""What holds for all tests: a client that was asked for must have been there."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.support import clients


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skipped test of a client into a failure where clients are required."""
    report = yield
    marked = item.get_closest_marker("clients") or item.get_closest_marker("long")
    if report.skipped and clients.required() and marked:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_CLIENTS is set, but: {reason}"
    return report
