"""CPU time, peak memory and stored bytes of a local server, read from /proc."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

PROC = Path("/proc")
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


class ProcessTree:
    """A process and all that descend from it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def pids(self) -> list[int]:
        children: dict[int, list[int]] = {}
        for entry in PROC.iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found = [self.pid] if (PROC / str(self.pid)).exists() else []
        for pid in found:
            found.extend(children.get(pid, []))
        return found

    def cpu_seconds(self) -> float:
        """User and system time so far, of children that ended too."""
        ticks = 0
        for pid in self.pids():
            if fields := _stat(pid):
                ticks += sum(map(int, fields[11:15]))
        return ticks * TICK_SECONDS

    def reset_peak(self) -> None:
        """Lets `peak_bytes` count from now on."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                (PROC / str(pid) / "clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """The most resident memory of each process, in sum (VmHWM)."""
        return self._status("VmHWM")

    def resident_bytes(self) -> int:
        """Resident memory now."""
        return self._status("VmRSS")

    def _status(self, name: str) -> int:
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                text = (PROC / str(pid) / "status").read_text()
                if found := re.search(rf"{name}:\s+(\d+) kB", text):
                    total += int(found[1]) * 1024
        return total


def stored_bytes(directory: Path) -> int:
    """What a directory takes on disk."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


def drop_cached(directory: Path) -> None:
    """Lets the kernel forget the pages of every file below a directory, and of no other."""
    os.sync()
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
                try:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(descriptor)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/pid/stat from the state on (man 5 proc_pid_stat)."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
