"""Results are written as lines and read back as medians."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.results import ResultsError, read
from tests.benchmarks.made_results import records, results


def test_rounds_become_a_median_and_a_spread() -> None:
    line = results(dsn=[100, 300, 200]).lines[0]
    figure = line.figure("total", "mib_per_second")
    assert figure
    assert (figure.median, figure.least, figure.most, figure.rounds) == (200, 100, 300, 3)
    assert line.errors == {"PutObject: 503 SlowDown": 1}
    assert line.figure("total", "nothing") is None


def test_limits_belong_to_their_case() -> None:
    found = results(dsn=[1, 2, 3])
    assert found.limits[found.cases[0]]["md5"].median == 701


def test_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("\n".join(map(json.dumps, records(a=[1, 2], b=[3, 4]))))
    found = read(path)
    assert found.endpoints == ["a", "b"]
    assert found.run["machine"]["cores"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not the results of a run"),
        ("{", "not JSON"),
        ('{"kind": "result"}', "not the results of a run"),
        ('{"kind": "run", "format": 99}', "format 99"),
    ],
)
def test_other_file_is_an_error_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=message) as raised:
        read(path)
    assert "a.json" in str(raised.value)
