from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import chunk_cost


def test_every_step_has_a_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chunk_cost.main(["--rounds", "1", "--indexed", "1000", "--directory", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    costs = [float(found[1]) for line in lines if (found := re.search(r" ([0-9.]+)$", line))]
    assert len(costs) >= 11
    assert all(cost > 0 for cost in costs)
    assert list(tmp_path.iterdir()) == []
