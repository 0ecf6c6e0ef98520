"""A pytest plugin for ceph/s3-tests, loaded by `s3_tests.py` into the interpreter of that suite.

The suite empties its buckets before and after each test by deleting every version. A permanent
store refuses that, so the clean-up is left out: bucket names are never used twice anyway. Tests
that list all buckets of an account get an account of their own instead. Outcomes go to a file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from s3tests import functional

COUNTING = ("list_buckets", "buckets_list")
"""Parts of the names of tests that expect no bucket besides theirs."""

_OUTCOMES = Path(os.environ["DSN_S3_TESTS_OUTCOMES"])
_KEYS: list[list[str]] = json.loads(os.environ["DSN_S3_TESTS_KEYS"])


class _Accounts:
    """Gives a fresh account to the tests that need one, and the usual one back afterwards."""

    def __init__(self) -> None:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        self._fresh = iter(_KEYS[int(worker) :: workers])
        self._usual: tuple[str, str, str, str] | None = None
        self.test = ""

    def setup(self) -> None:
        """What the suite calls before each test, its configuration being read."""
        if not any(part in self.test for part in COUNTING):
            return
        config = functional.config
        self._usual = (
            config.main_access_key,
            config.main_secret_key,
            config.main_user_id,
            config.main_display_name,
        )
        config.main_access_key, config.main_secret_key, account = next(self._fresh)
        config.main_user_id = config.main_display_name = account

    def teardown(self) -> None:
        """What the suite calls after each test."""
        if self._usual is None:
            return
        config = functional.config
        (
            config.main_access_key,
            config.main_secret_key,
            config.main_user_id,
            config.main_display_name,
        ) = self._usual
        self._usual = None


_accounts = _Accounts()


def _leave_buckets(*_: Any, **__: Any) -> None:
    """Stands for the suite's clean-up."""


functional.setup = _accounts.setup
functional.teardown = _accounts.teardown
# Before the test modules take the name from here.
functional.nuke_prefixed_buckets = _leave_buckets


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remembers which test is about to start."""
    _accounts.test = item.name


class _Recorder:
    """Writes one line of JSON for each phase of a test that says how the test ended."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        document = {
            "test": report.nodeid.rpartition("/")[2],
            "outcome": report.outcome,
            "message": _message(report),
        }
        with _OUTCOMES.open("a") as out:
            out.write(json.dumps(document) + "\n")


def _message(report: pytest.TestReport) -> str:
    if report.passed:
        return ""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    return " ".join(text.split())[:300]


def pytest_configure(config: pytest.Config) -> None:
    """Records where all reports arrive: in the controller of parallel workers."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Recorder())
