"""Describes the machine of a run: what a reader must know to compare, and nothing that names it."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.signer import microseconds_per_signature


def describe(directory: Path) -> dict[str, Any]:
    """Processor, memory, kernel, file system below the servers, and the cost of a signature."""
    cpuinfo = _text("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", cpuinfo)
    flags = re.search(r"flags\s*:\s*(.+)", cpuinfo)
    memory = re.search(r"MemTotal:\s+(\d+)", _text("/proc/meminfo"))
    wanted = ("avx2", "avx512f", "sha_ni")
    return {
        "cpu": model[1].strip() if model else platform.machine(),
        "cpu_features": [flag for flag in wanted if flags and flag in flags[1].split()],
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 1024**2, 1) if memory else None,
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "file_system": _file_system(directory),
        "load_before": round(os.getloadavg()[0], 2),
        "signature_microseconds": round(microseconds_per_signature(), 2),
    }


def _file_system(directory: Path) -> str:
    best = ("", "unknown")
    path = str(directory.resolve())
    for line in _text("/proc/mounts").splitlines():
        _, mount, kind, *_ = line.split()
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
