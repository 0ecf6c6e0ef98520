"""A file in which operators' commands keep entries while servers run, and read them at once."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VERSION = 1


class OperatorFile:
    """Entries, JSON objects, in one file; nobody ever sees it half written.

    `name` is what the entries are called in it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._name = name

    def stamp(self) -> tuple[int, int, int]:
        """Something that differs after every change."""
        # Renaming a new file into place changes the inode; the rest catches edits by hand.
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return 0, 0, 0
        return status.st_ino, status.st_mtime_ns, status.st_size

    def read(self) -> list[dict[str, Any]]:
        """The entries; none without a file. ValueError, KeyError or TypeError for damage."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return list(json.loads(text)[self._name])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For as long as the block runs nobody else changes the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A lock of its own: the file is replaced, and a lock stays with the old inode.
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def replace(self, entries: list[dict[str, Any]]) -> None:
        """Write the entries; durable on return. Only within `locked`."""
        scratch = self.path.with_suffix(".tmp")
        file = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(file, "w", encoding="utf-8") as out:
            out.write(json.dumps({"version": VERSION, self._name: entries}, indent=1))
            out.flush()
            os.fsync(out.fileno())
        scratch.replace(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
