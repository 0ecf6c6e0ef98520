"""Whatever was acknowledged survives kill -9: the server, a worker, the recovery itself.

`CRASH_SEED` repeats a run, `CRASH_ROUNDS` makes it longer (a round is one kill or a few).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from tests.support.crash import CrashRun


def _seed() -> str:
    return os.environ.get("CRASH_SEED") or secrets.token_hex(4)


@pytest.mark.timeout(60)
def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    CrashRun(tmp_path / "data", _seed(), load_seconds_max=0.6).run(3)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    CrashRun(tmp_path / "data", _seed()).run(int(os.environ.get("CRASH_ROUNDS", "48")))
