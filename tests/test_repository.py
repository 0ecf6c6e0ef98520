"""What is tracked fits together: pinned requirements, no addresses of package indexes."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# In pieces, since this file is tracked too.
REGISTRIES = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "npm" + "js.com",
    "yarn" + "pkg.com",
    "--index" + "-url",
    "--extra" + "-index-url",
    "--find" + "-links",
    "--trusted" + "-host",
]


def tracked() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if listed.returncode:
        pytest.skip("not a git work tree")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, set[str]]:
    """Names and versions of a lock file."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / lock).read_text(), re.M):
        found.setdefault(normal(name), set()).add(version)
    return found


def test_no_tracked_file_names_a_registry() -> None:
    for path in tracked():
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        for registry in REGISTRIES:
            assert registry not in text, f"{path} names {registry}"


def test_npm_lock_has_no_address() -> None:
    for path in tracked():
        if path.name == "package-lock.json" and path.is_file():
            assert '"resolved"' not in path.read_text(), path


@pytest.mark.parametrize(
    ("lock", "extra"),
    [
        ("requirements.lock", None),
        ("requirements-test.lock", "test"),
        ("requirements-clients.lock", "test"),
        ("requirements-clients.lock", "clients"),
    ],
)
def test_lock_pins_every_requirement_with_a_hash(lock: str, extra: str | None) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else [])]
    pinned = pins(lock)
    for requirement in wanted:
        name = re.match(r"[\w.-]+", requirement)
        assert name
        assert normal(name[0]) in pinned, f"{requirement}: run `make lock`"
    for entry in re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip()):
        assert re.match(r"[\w.\[\]-]+==\S+", entry), f"{lock}: not pinned: {entry[:60]}"
        assert "--hash=sha256:" in entry, f"{lock}: no hash: {entry[:60]}"


def test_pinned_versions_are_those_that_the_project_allows() -> None:
    requirements = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = pins("requirements.lock")
    for text in project["dependencies"]:
        requirement = requirements.Requirement(text)
        for version in pinned[normal(requirement.name)]:
            assert requirement.specifier.contains(version), f"{text}: {version}; run `make lock`"


@pytest.mark.parametrize("lock", ["requirements-test.lock", "requirements-clients.lock"])
def test_tests_run_on_what_is_shipped(lock: str) -> None:
    tested = pins(lock)
    for name, versions in pins("requirements.lock").items():
        if name != "setuptools":
            assert tested.get(name) == versions, f"{name}: run `make lock`"


def test_build_tool_is_pinned() -> None:
    assert "setuptools" in pins("requirements.lock")
