"""A whole run, tiny, from the command line to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.cli import cli
from benchmarks.peers import KINDS, PeerError, make_server
from benchmarks.results import read
from benchmarks.scenarios import SCENARIOS, Wishes


def test_run_writes_results_and_report(tmp_path: Path) -> None:
    results, page = tmp_path / "a.json", tmp_path / "a.html"
    arguments = ["run", "-s", "put,get,range,cold-start", "--size", "4KiB", "--range", "1KiB"]
    arguments += ["-c", "2", "--quick", "--verify", "--peer", "sendfile,one=sendfile"]
    arguments += ["--work-dir", str(tmp_path / "work")]
    arguments += ["--json", str(results), "--html", str(page)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    found = read(results)
    assert found.endpoints == ["sendfile", "one"]
    assert len(found.cases) == 4
    for line in found.lines:
        assert not line.errors
        assert line.rounds[0]["server"]["peak_bytes"] > 1 << 20
        assert line.rounds[0]["generator"]["cpu_seconds"] > 0
    # Endpoints take turns.
    order = [json.loads(text) for text in results.read_text().splitlines()]
    labels = [one["endpoint"] for one in order if one["kind"] == "result"]
    assert labels == ["sendfile", "one"] * 4
    assert "cold-start" in page.read_text()
    assert not any((tmp_path / "work").iterdir())
    again = CliRunner().invoke(cli, ["compare", str(results), str(results)])
    assert again.exit_code == 0, again.output


def test_full_peer_starts_anew_and_has_what_is_read(tmp_path: Path) -> None:
    arguments = ["run", "-s", "put,get", "--size", "64KiB", "-c", "1", "--rounds", "2"]
    arguments += ["--seconds", "0.1", "--warmup", "0", "--no-limits", "--verify"]
    arguments += ["--peer-bytes-max", "4KiB", "--dataset", "1MiB", "--peer", "sendfile"]
    done = CliRunner().invoke(cli, [*arguments, "--work-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output


def test_missing_peer_is_skipped_loudly(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli,
        [
            "run",
            "-s",
            "head",
            "--quick",
            "--peer",
            "minio:/nowhere/minio",
            "--work-dir",
            str(tmp_path),
        ],
    )
    assert done.exit_code == 1
    assert "skipped: minio" in done.output


@pytest.mark.parametrize(
    "arguments",
    [["-s", "nothing"], ["--size", "big"], ["--payload", "maybe"], ["--order", "up"]],
)
def test_wrong_call_is_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, ["run", *arguments]).exit_code == 2


def test_results_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    done = CliRunner().invoke(cli, ["report", str(path)])
    assert done.exit_code == 2
    assert "not the results of a run" in done.output


def test_unknown_peer_is_an_error_that_lists_them(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="versitygw"):
        make_server("nothing", tmp_path, {})


def test_peer_is_named_by_its_label(tmp_path: Path) -> None:
    server = make_server("before=sendfile", tmp_path, {"before": "--x 'a b'"})
    assert server.label == "before"
    assert server.kind is KINDS["sendfile"]
    assert server.arguments == ("--x", "a b")


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_cases_of_a_scenario_are_told_apart(name: str) -> None:
    cases = list(SCENARIOS[name].cases(Wishes()))
    assert cases
    assert len({case.id for case in cases}) == len(cases)


def test_sizes_and_concurrency_are_multiplied() -> None:
    wishes = Wishes(sizes=(1, 2), concurrency=(3, 4))
    found = [(case.parameters["size"], case.connections) for case in SCENARIOS["put"].cases(wishes)]
    assert found == [(1, 3), (1, 4), (2, 3), (2, 4)]


def test_parts_are_swept_in_both_orders() -> None:
    wishes = Wishes(parts=(5 << 20, 8 << 20), orders=("ascending", "shuffled"))
    assert len(list(SCENARIOS["multipart"].cases(wishes))) == 4
