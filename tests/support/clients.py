"""Real client programs: finds them, and says loudly when one is missing.

With REQUIRE_CLIENTS=1 in the environment a skipped test of a client is a failure (`conftest.py`
holds that), so that a build never passes because it tested nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

NODE_PROJECT = Path(__file__).parents[1] / "clients" / "node"

# How each program proves that it runs; a launcher alone may be in the path.
PROBES = {
    "rclone": ["rclone", "version"],
    "restic": ["restic", "version"],
    "aws": ["aws", "--version"],
    "node": ["node", "--version"],
    "fusermount3": ["fusermount3", "--version"],
}


def required() -> bool:
    """Whether a missing client is a failure."""
    return os.environ.get("REQUIRE_CLIENTS", "") not in ("", "0")


def require_client(name: str) -> str:
    """The path of the program, or the test is skipped with the reason."""
    path, reason = _probe(name)
    if path is None:
        pytest.skip(reason)
    return path


def installed(name: str) -> list[str]:
    """Every program of this name in the path, for tests with each; the bare name if there is none.

    `require_client` takes what this gives. A machine may have several versions of one client.
    """
    found = {}
    for folder in os.get_exec_path():
        path = Path(folder, name)
        if os.access(path, os.X_OK):
            found.setdefault(path.resolve(), str(path))
    return list(found.values()) or [name]


def require_node_packages(*names: str) -> Path:
    """The folder whose `node_modules` hold the packages, or the test is skipped."""
    require_client("node")
    for name in names:
        if not (NODE_PROJECT / "node_modules" / name).is_dir():
            pytest.skip(f"{name} is not installed; run: npm ci --prefix tests/clients/node")
    return NODE_PROJECT


def require_fuse() -> None:
    """The machine can mount file systems in user space, or the test is skipped."""
    if not Path("/dev/fuse").exists() or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse is missing or not open to this user")
    if shutil.which("fusermount3") is None and shutil.which("fusermount") is None:
        pytest.skip("fusermount is not installed (Debian package fuse3)")


@cache
def _probe(name: str) -> tuple[str | None, str]:
    path = shutil.which(name)
    if path is None:
        return None, f"{name} is not installed"
    try:
        _, *flags = PROBES.get(Path(name).name, [name, "--version"])
        done = subprocess.run([path, *flags], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{name} does not run: {error}"
    if done.returncode:
        return None, f"{name} does not run: {done.stderr.decode(errors='replace')[-200:]}"
    return path, ""
