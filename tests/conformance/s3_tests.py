"""Runs ceph/s3-tests from a checkout against this gateway and compares with what is expected.

    python -m tests.conformance.s3_tests CHECKOUT [--mode MODE]... [-k EXPRESSION] [--report DIR]

The suite is a program of its own: a checkout of https://github.com/ceph/s3-tests outside this
repository, with what its requirements.txt names (and pytest-xdist, pytest-timeout) installed for
the interpreter CHECKOUT/.venv/bin/python or S3_TESTS_PYTHON. `expected/MODE.toml` lists the tests
that fail on purpose, by reason; anything else must pass, and what is listed must fail.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.keys import AccessKey, KeyStore
from tests.support.server import GatewayServer, clean_environment

HERE = Path(__file__).parent
FILES = ("test_s3.py", "test_headers.py")
"""What the suite holds of S3 itself; the rest is about IAM, STS, SNS and S3 Select."""

DAY_SECONDS = 2
"""How long a day of a lifecycle rule is where deletes hide; tests wait for up to ten of them."""

_AS_ON_AWS = (
    *("--set", "implicit_buckets=false", "--set", "cid_header=x-dsn-cid"),
    *("--set", "global_buckets=true", "--set", "object_ownership=ObjectWriter"),
)
MODES: dict[str, tuple[str, ...]] = {
    "deny": (),
    "aws": _AS_ON_AWS,
    "hide": (
        *_AS_ON_AWS,
        *("--set", "delete_policy=hide", "--set", f"lifecycle_day_seconds={DAY_SECONDS}"),
    ),
}
"""Modes of the gateway and their flags of `serve`: all defaults, buckets and metadata as on AWS,
and deletes besides.
"""

BEYOND = (
    *("access", "acl", "anon", "cors", "delete", "encrypt", "expir", "head_extended", "kms"),
    *("lifecycle", "lock", "logging", "marker", "owner", "policy", "post_object", "raw_", "sse"),
    *("tagging", "tags", "torrent", "unordered", "usage", "version"),
)
"""What the name of a test holds that is about more than objects, parts and listings."""

WORKERS = 4
TEST_SECONDS_MAX = 60
FRESH_ACCOUNTS = 64
PASSED = "passed"


@dataclass(frozen=True)
class Outcome:
    """How one test ended: passed, failed or skipped, with the message of a failure."""

    outcome: str
    message: str


@dataclass(frozen=True)
class Expected:
    """How a run of the whole suite ends: counts, and the reason of each test that fails.

    `core` tests, of those not skipped, are about objects, parts and listings alone.
    """

    tests: int
    skipped: int
    core: int
    failures: dict[str, str]

    @property
    def core_passed(self) -> int:
        """How many of the `core` pass."""
        return self.core - sum(map(is_core, self.failures))


@dataclass(frozen=True)
class Comparison:
    """Where a run differs from the table. Each field is a sorted list of tests."""

    failed: list[str]
    passed: list[str]
    missing: list[str]

    def __bool__(self) -> bool:
        return bool(self.failed or self.passed or self.missing)


def run_suite(checkout: Path, mode: str, select: str | None = None) -> dict[str, Outcome]:
    """The outcome of every test of the suite, by `file.py::test`.

    Raises RuntimeError if the suite could not be started or ran no test.
    """
    with tempfile.TemporaryDirectory(prefix="s3-tests-") as scratch:
        folder = Path(scratch)
        flags = (*MODES[mode], "--base-path", "/", "--set", "access_log=false")
        server = GatewayServer(folder / "data", flags)
        keys = KeyStore(server.data_dir)
        server.start()
        try:
            return _run_against(server, keys, folder, checkout, select)
        finally:
            server.close()


def expected_outcomes(mode: str) -> Expected:
    """What `expected/MODE.toml` says. Raises ValueError for a test that has two reasons."""
    path = HERE / "expected" / f"{mode}.toml"
    table = tomllib.loads(path.read_text())
    failures: dict[str, str] = {}
    for group in table["group"]:
        for test in group["tests"]:
            if test in failures:
                raise ValueError(f"{path}: {test} is listed twice")
            failures[test] = group["reason"]
    return Expected(table["tests"], table["skipped"], table["core"], failures)


def is_core(test: str) -> bool:
    """Whether a test, by its name, is about objects, parts and listings alone."""
    return not any(word in test for word in BEYOND)


def compare(outcomes: dict[str, Outcome], expected: dict[str, str], whole: bool) -> Comparison:
    """What failed unexpectedly, what passed unexpectedly, and, of a `whole` run, what is gone."""
    bad = {test for test, found in outcomes.items() if found.outcome == "failed"}
    good = {test for test, found in outcomes.items() if found.outcome == PASSED}
    missing = sorted(expected.keys() - outcomes.keys()) if whole else []
    return Comparison(sorted(bad - expected.keys()), sorted(good & expected.keys()), missing)


def _run_against(
    server: GatewayServer, keys: KeyStore, folder: Path, checkout: Path, select: str | None
) -> dict[str, Outcome]:
    conf, outcomes = folder / "s3tests.conf", folder / "outcomes.jsonl"
    _write_conf(conf, server, keys)
    fresh = [keys.create(account=f"fresh-{n}") for n in range(FRESH_ACCOUNTS)]
    environment = clean_environment(
        S3TEST_CONF=str(conf),
        PYTHONPATH=os.pathsep.join((str(checkout), str(HERE))),
        PYTHONDONTWRITEBYTECODE="1",
        DSN_S3_TESTS_OUTCOMES=str(outcomes),
        DSN_S3_TESTS_KEYS=json.dumps([[k.access_key, k.secret, k.account] for k in fresh]),
    )
    command = [_interpreter(checkout), "-m", "pytest", "-p", "s3_tests_plugin", "-q", "--tb=line"]
    command += ["-p", "no:cacheprovider", f"--timeout={TEST_SECONDS_MAX}", "-n", str(WORKERS)]
    command += ["-k", select] if select else []
    command += [str(Path("s3tests/functional", name)) for name in FILES]
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if not outcomes.exists():
        raise RuntimeError(f"no test ran\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return _read_outcomes(outcomes)


def _read_outcomes(path: Path) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    for line in path.read_text().splitlines():
        report = json.loads(line)
        # A test that passed may still fail in its teardown.
        if found.get(report["test"], Outcome(PASSED, "")).outcome == PASSED:
            found[report["test"]] = Outcome(report["outcome"], report["message"])
    return found


def _interpreter(checkout: Path) -> str:
    return os.environ.get("S3_TESTS_PYTHON") or str(checkout / ".venv/bin/python")


def _write_conf(path: Path, server: GatewayServer, keys: KeyStore) -> None:
    def section(account: str, **more: str) -> dict[str, str]:
        key: AccessKey = keys.create(account=account)
        return {
            "display_name": account,
            "user_id": account,
            "email": f"{account}@example.com",
            "access_key": key.access_key,
            "secret_key": key.secret or "",
            **more,
        }

    conf = configparser.RawConfigParser()
    conf["DEFAULT"] = {
        "host": "127.0.0.1",
        "port": str(server.port),
        "is_secure": "False",
        "ssl_verify": "False",
    }
    conf["fixtures"] = {"bucket prefix": "t-{random}-"}
    # Intervals in seconds after which the suite looks for the effect of a lifecycle rule.
    intervals = dict.fromkeys(("rgw_restore_debug_interval", "rgw_restore_processor_period"), "1")
    intervals["lc_debug_interval"] = str(DAY_SECONDS)
    conf["s3 main"] = section("s3-main", api_name="", **intervals)
    conf["s3 alt"] = section("s3-alt")
    conf["s3 tenant"] = section("s3-tenant", tenant="testx")
    conf["iam"] = section("iam")
    conf["iam root"] = section("iam-root")
    conf["iam alt root"] = section("iam-alt-root")
    with path.open("w") as out:
        conf.write(out)


def main(arguments: list[str] | None = None) -> int:
    """Runs, prints the differences and returns the exit code: 1 if there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--mode", choices=MODES, action="append", help="default: every one")
    parser.add_argument("-k", dest="select", metavar="EXPRESSION", help="as of pytest")
    parser.add_argument("--report", type=Path, metavar="DIR", help="all outcomes as JSON go here")
    given: Any = parser.parse_args(arguments)
    differs = False
    for mode in given.mode or MODES:
        outcomes = run_suite(given.checkout.resolve(), mode, given.select)
        if given.report:
            document = {name: vars(found) for name, found in sorted(outcomes.items())}
            given.report.mkdir(parents=True, exist_ok=True)
            (given.report / f"{mode}.json").write_text(json.dumps(document, indent=1))
        counts = Counter(found.outcome for found in outcomes.values())
        print(f"{mode}: {len(outcomes)} tests, {dict(counts)}")
        expected = expected_outcomes(mode)
        difference = compare(outcomes, expected.failures, whole=given.select is None)
        for title, tests in vars(difference).items():
            for test in tests:
                print(f"{mode}: unexpectedly {title}: {test}")
        differs = differs or bool(difference)
        core = [found for test, found in outcomes.items() if is_core(test)]
        found_counts = {
            "tests": len(outcomes),
            "skipped": counts["skipped"],
            "core": sum(found.outcome != "skipped" for found in core),
        }
        for name, count in found_counts.items():
            if not given.select and count != getattr(expected, name):
                print(f"{mode}: {name}: {count}, expected {getattr(expected, name)}")
                differs = True
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
