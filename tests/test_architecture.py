"""Imports point down, and what is pure stays pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From top to bottom. A module may import from layers below its own, and inside its own package.
LAYERS: list[set[str]] = [
    {"gateway.__main__"},
    {"gateway.cli"},
    {"gateway.supervisor"},
    {"gateway.maintenance"},
    {"gateway.app"},
    {"gateway.listeners"},
    {"gateway.web"},
    {"gateway.copies"},
    {"gateway.expired_objects", "gateway.stale_uploads"},
    {"gateway.uploads"},
    {"gateway.deletes"},
    {"gateway.objects"},
    {"gateway.assembly", "gateway.buckets", "gateway.expirations"},
    {"gateway.ingest"},
    {"gateway.stored_body"},
    {"gateway.file_draft"},
    {"gateway.commits"},
    {"gateway.quotas", "gateway.sharing"},
    {"gateway.data_dir"},
    {"gateway.recovery"},
    {"gateway.catalog"},
    {"gateway.room", "gateway.budget", "gateway.digests", "gateway.file_cid"},
    {"gateway.md5_lanes"},
    {"gateway.strand"},
    {"gateway.s3"},
    {"gateway.config", "gateway.keys", "gateway.logs"},
    {"gateway.operator_file", "gateway.rights", "gateway.delete_policy"},
    {"dsn"},
]

# The whole configuration is seen where a process is put together, nowhere else.
SEES_CONFIG = {
    "gateway.app",
    "gateway.cli.common",
    "gateway.cli.config",
    "gateway.cli.program",
    "gateway.listeners",
    "gateway.maintenance",
    "gateway.supervisor",
}

OUTSIDE_WORLD = {"os", "socket", "time", "asyncio", "threading", "random", "secrets", "tempfile"}
FRAMEWORKS = {"aiohttp", "sqlite3", "aiosqlite", "lmdb", "uvloop", "pydantic_settings", "structlog"}

# Library -> the only places that may know it.
OWNERS = {
    "aiohttp": ("gateway.web", "gateway.app"),
    "aiosqlite": ("gateway.catalog",),
    "pydantic_settings": ("gateway.config",),
    "typer": ("gateway.cli",),
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in [*(ROOT / "dsn").rglob("*.py"), *(ROOT / "gateway").rglob("*.py")]:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text(), str(path))
    return found


MODULES = modules()


def imports(module: str) -> Iterator[str]:
    """Full names of everything imported, inside functions and for types too."""
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where they point"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def layer_of(module: str) -> tuple[int, str] | None:
    """Place and name of the layer, 0 at the top; None for what is not ours."""
    for place, names in enumerate(LAYERS):
        for name in names:
            if module == name or module.startswith(name + "."):
                return place, name
    return None


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module: str) -> None:
    if module == "gateway":
        assert not list(imports(module)), "the package itself holds nothing"
        return
    own = layer_of(module)
    assert own, f"{module} has no layer yet: give it one in LAYERS"
    for imported in imports(module):
        if imported.split(".")[0] not in ("dsn", "gateway") or imported == "gateway":
            continue
        other = layer_of(imported)
        assert other, f"{imported} has no layer yet: give it one in LAYERS"
        assert other[1] == own[1] or other[0] > own[0], f"{module} imports {imported} upwards"


def test_dsn_knows_no_gateway() -> None:
    for module in MODULES:
        if is_in(module, ("dsn",)):
            assert not [name for name in imports(module) if name.startswith("gateway")], module


@pytest.mark.parametrize("module", sorted(name for name in MODULES if is_in(name, ("gateway.s3",))))
def test_protocol_has_no_socket_disk_or_clock(module: str) -> None:
    used = {name.split(".")[0] for name in imports(module)}
    assert not used & (OUTSIDE_WORLD | FRAMEWORKS)


def test_node_layer_has_no_socket_disk_or_clock() -> None:
    for module in MODULES:
        if is_in(module, ("dsn",)) and not is_in(module, ("dsn.blockstore",)):
            used = {name.split(".")[0] for name in imports(module)}
            assert not used & (OUTSIDE_WORLD | FRAMEWORKS), module


def test_configuration_is_seen_where_it_is_put_together() -> None:
    for module in MODULES:
        if module not in SEES_CONFIG:
            assert "gateway.config" not in set(imports(module)), module


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_library_is_known_in_its_place_only(library: str) -> None:
    for module in MODULES:
        if library in {name.split(".")[0] for name in imports(module)}:
            assert is_in(module, OWNERS[library]), f"{module} imports {library}"


def test_every_file_starts_with_its_purpose() -> None:
    for module, tree in MODULES.items():
        assert ast.get_docstring(tree), f"{module} does not say what it is for"
