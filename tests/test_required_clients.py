"""A build that requires clients does not pass by skipping them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SKIPPING = """
import pytest
from tests.support.clients import require_client

@pytest.mark.clients
def test_client():
    require_client("no-such-program")
"""


@pytest.mark.parametrize(("required", "code"), [("", 0), ("1", 1)])
def test_missing_client_is_skipped_or_fails(tmp_path: Path, required: str, code: int) -> None:
    (tmp_path / "test_scratch.py").write_text(SKIPPING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-ra"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "REQUIRE_CLIENTS": required},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout
    assert "no-such-program is not installed" in done.stdout
