"""The data directory: where things lie in it, who may use it, and what opening it takes."""

from __future__ import annotations

import fcntl
import os
from contextlib import closing
from pathlib import Path

import structlog

from dsn.blockstore.digest_index import DigestIndex
from dsn.blockstore.segments.store import SegmentStore
from gateway.catalog.database import (
    open_catalog,
    outdated_applied,
    remove_catalog,
    writer_lock,
)
from gateway.recovery import Progress, Recovered, cut_torn_tails, recover

log = structlog.get_logger()

# The descriptor whose lock keeps the data directory ours; workers inherit it.
_held: dict[Path, int] = {}


class DataDirLockedError(RuntimeError):
    """Another process serves this data directory, or rebuilds it."""


class DataPaths:
    """Where things lie in a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.segments = data_dir / "segments"
        self.catalog = data_dir / "catalog.db"
        self.index = data_dir / "index"
        self.lock = data_dir / "lock"


def lock_data_dir(data_dir: Path) -> None:
    """Make the data directory ours until the process ends; DataDirLockedError if it is taken."""
    os.umask(0o077)
    data_dir.mkdir(parents=True, exist_ok=True)
    path = DataPaths(data_dir).lock
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise DataDirLockedError(f"{data_dir} is in use by another process") from None
    _held[data_dir] = fd


def open_store(data_dir: Path) -> SegmentStore:
    """The segments and the digest index of a data directory, made where they are missing."""
    paths = DataPaths(data_dir)
    store = SegmentStore(paths.segments, DigestIndex(paths.index))
    store.files.create_directories()
    return store


def recover_data_dir(data_dir: Path, progress: Progress | None = None) -> Recovered:
    """Bring catalog and index of a locked data directory up to its segments.

    A catalog of an earlier version of the program is made anew from the records. Commands that
    commit beside a server wait meanwhile.
    """
    catalog = DataPaths(data_dir).catalog
    store = open_store(data_dir)
    try:
        with closing(writer_lock(catalog)) as lock, lock:
            return _recover(store, catalog, progress)
    finally:
        store.close()


def _recover(store: SegmentStore, catalog: Path, progress: Progress | None) -> Recovered:
    outdated = outdated_applied(catalog)
    if outdated is not None:
        log.info("catalog of an earlier version: made anew from the records")
        cut_torn_tails(store, outdated)
        remove_catalog(catalog)
    connection = open_catalog(catalog)
    try:
        return recover(store, connection, progress)
    finally:
        connection.close()
