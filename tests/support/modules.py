"""Imports a module a second time, as a process would see it that starts now."""

from __future__ import annotations

import importlib.util
from types import ModuleType


def load_anew(module: ModuleType) -> ModuleType:
    """A fresh copy of a module; the one that others have imported stays as it is."""
    spec = importlib.util.spec_from_file_location(f"{module.__name__}_anew", str(module.__file__))
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
