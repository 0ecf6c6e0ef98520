"""A disk that forgets what was not synced: records what this process does to the files of a folder.

`photo` writes what a power cut at this moment may leave: of each unsynced write any pages or none,
of each unsynced name or removal either state. It sees the calls of `os`; what C libraries do to
their own files (SQLite, LMDB) is not its business.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE_BYTES = 4096


class PowerCutError(BaseException):
    """The power went; nothing after this reached the disk."""


@dataclass(eq=False)
class _File:
    """What is durable of a file, and what was done to it since: (offset, bytes), or a new size."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)
    name_is_durable: bool = False

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.durable, change)
        self.pending = []

    def after_power_cut(self, rng: random.Random) -> bytes:
        content = bytearray(self.durable)
        kept = rng.choice([0.0, 0.0, 0.5, 0.9, 1.0])
        extended = rng.random() < 0.5
        for change in self.pending:
            if isinstance(change, int):
                if rng.random() < kept:
                    _apply(content, change)
                continue
            start, data = change
            if extended and kept:
                # The size may reach the disk ahead of the bytes.
                content.extend(bytes(max(0, start + len(data) - len(content))))
            for offset, page in _pages(start, data):
                if rng.random() < kept:
                    _apply(content, (offset, page))
        return bytes(content)


class FaultyDisk:
    """The files below a folder. Thread-safe; `installed` while its process works on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._fds: dict[int, str] = {}
        self._files: dict[str, _File] = {}
        self._removed: dict[str, _File] = {}
        self._left: int | None = None
        # Called with the path of a file, while it still holds back what it is asked to sync.
        self.before_sync: Callable[[Path], None] | None = None
        for path in folder.rglob("*.car"):
            self._files[str(path)] = _File(bytearray(path.read_bytes()), name_is_durable=True)

    def cut_after(self, changes: int | None) -> None:
        """Raise PowerCutError at the change after so many; never, for None."""
        self._left = changes

    def photo(self, folder: Path, rng: random.Random) -> None:
        """Write what a power cut leaves into another folder."""
        with self._lock:
            for name, file in self._files.items():
                if file.name_is_durable or rng.random() < 0.5:
                    self._leave(folder, name, file, rng)
            for name, file in self._removed.items():
                if rng.random() < 0.5:
                    self._leave(folder, name, file, rng)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The functions of `os` go through this disk."""
        names = ("open", "close", "write", "pwritev", "ftruncate", "fdatasync", "fsync", "unlink")
        real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in names}
        for name in names:
            setattr(os, name, self._wrapped(name, real[name]))
        try:
            yield
        finally:
            for name in names:
                setattr(os, name, real[name])

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        note = getattr(self, f"_{name}")

        def call(*arguments: Any, **more: Any) -> Any:
            with self._lock:
                return note(real, *arguments, **more)

        return call

    def _change(self) -> None:
        if self._left is not None:
            if self._left <= 0:
                raise PowerCutError
            self._left -= 1

    def _leave(self, folder: Path, name: str, file: _File, rng: random.Random) -> None:
        path = folder / Path(name).relative_to(self.folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.after_power_cut(rng))

    def _open(
        self, real: Callable[..., int], path: Any, flags: int, *arguments: Any, **more: Any
    ) -> int:
        name = os.fspath(path)
        inside = isinstance(name, str) and Path(name).is_relative_to(self.folder)
        if inside and flags & os.O_CREAT:
            self._change()
        fd = real(path, flags, *arguments, **more)
        if inside:
            self._fds[fd] = str(name)
            if flags & os.O_CREAT:
                self._files[str(name)] = _File()
        return fd

    def _close(self, real: Callable[..., None], fd: int) -> None:
        self._fds.pop(fd, None)
        real(fd)

    def _write(self, real: Callable[..., int], fd: int, data: bytes) -> int:
        offset = os.lseek(fd, 0, os.SEEK_CUR) if fd in self._fds else 0
        if fd in self._fds:
            self._change()
        written = real(fd, data)
        self._note(fd, (offset, bytes(data[:written])))
        return written

    def _pwritev(
        self, real: Callable[..., int], fd: int, buffers: Sequence[Any], offset: int
    ) -> int:
        if fd in self._fds:
            self._change()
        written = real(fd, buffers, offset)
        self._note(fd, (offset, b"".join(bytes(buffer) for buffer in buffers)[:written]))
        return written

    def _ftruncate(self, real: Callable[..., None], fd: int, size: int) -> None:
        if fd in self._fds:
            self._change()
        real(fd, size)
        self._note(fd, size)

    def _fdatasync(self, real: Callable[..., None], fd: int) -> None:
        self._sync(fd)

    def _fsync(self, real: Callable[..., None], fd: int) -> None:
        self._sync(fd)

    def _unlink(self, real: Callable[..., None], path: Any, **more: Any) -> None:
        name = str(os.fspath(path))
        if name in self._files:
            self._change()
        real(path, **more)
        if name in self._files:
            self._removed[name] = self._files.pop(name)

    def _note(self, fd: int, change: tuple[int, bytes] | int) -> None:
        name = self._fds.get(fd)
        file = self._files.get(name or "")
        if file is not None:
            file.pending.append(change)

    def _sync(self, fd: int) -> None:
        name = self._fds.get(fd)
        if name is None:
            return
        self._change()
        if name in self._files:
            if self.before_sync is not None:
                self.before_sync(Path(name))
            self._files[name].sync()
            return
        for other, file in self._files.items():
            if os.path.dirname(other) == name:
                file.name_is_durable = True
        for other in [other for other in self._removed if os.path.dirname(other) == name]:
            del self._removed[other]


def _apply(content: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        del content[change:]
        content.extend(bytes(change - len(content)))
        return
    offset, data = change
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _pages(start: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = start
    while offset < start + len(data):
        stop = min(start + len(data), (offset // PAGE_BYTES + 1) * PAGE_BYTES)
        yield offset, data[offset - start : stop - start]
        offset = stop
