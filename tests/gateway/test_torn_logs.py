"""What a crash leaves at the end of a log: unacknowledged groups, whole, torn or not begun."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dsn.blockstore.segments.files import SegmentKind
from dsn.blockstore.segments.writing import SegmentWriter
from dsn.car import section_prefix
from dsn.cid import RECORD_CID_PREFIX, digest_of
from gateway import commits
from gateway.catalog.database import open_catalog
from gateway.catalog.queries import applied_segments, list_buckets
from gateway.catalog.records import BucketRecord, encode_record
from gateway.data_dir import DataPaths, open_store, recover_data_dir
from gateway.maintenance import verify
from tests.support.parts import Parts, etag, target


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with one acknowledged bucket, and a catalog that knows it."""
    path = tmp_path / "data"
    path.mkdir()
    with new_log(path) as log:
        log.append([section(log, "acknowledged", 0)])
        log.sync()
    recover_data_dir(path)
    return path


@contextmanager
def new_log(data_dir: Path) -> Iterator[SegmentWriter]:
    store = open_store(data_dir)
    log = store.new_writer(SegmentKind.LOG)
    yield log
    log.close()
    store.close()


def section(log: SegmentWriter, bucket: str, durable_end: int) -> bytes:
    record = BucketRecord(len(bucket), "main", bucket)
    block = encode_record(record, durable_end, log.segment)
    return section_prefix(RECORD_CID_PREFIX + digest_of(block), len(block)) + block


def path_of(log: SegmentWriter) -> Path:
    return log.files.path(log.segment)


def overwrite(log: SegmentWriter, offset: int, data: bytes) -> None:
    with path_of(log).open("r+b") as file:
        file.seek(offset)
        file.write(data)


@contextmanager
def catalog(data_dir: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_catalog(DataPaths(data_dir).catalog)) as connection:
        yield connection


def buckets(data_dir: Path) -> list[str]:
    with catalog(data_dir) as connection:
        return [row.name for row in list_buckets(connection, "main")]


def check_clean(data_dir: Path) -> None:
    """Nothing is damaged, and a second recovery has nothing left to do."""
    assert verify(data_dir).damages == []
    again = recover_data_dir(data_dir)
    assert (again.records, again.rot, again.removed) == (0, [], [])


@pytest.mark.parametrize("torn", [b"", b"\x00" * 5000, b"half a section"])
def test_a_log_without_a_whole_section_is_forgotten(data_dir: Path, torn: bytes) -> None:
    with new_log(data_dir) as log:
        if torn:
            log.append([torn])
    recover_data_dir(data_dir)
    assert not path_of(log).exists()
    with catalog(data_dir) as connection:
        assert log.segment not in applied_segments(connection)
    assert buckets(data_dir) == ["acknowledged"]
    check_clean(data_dir)


@pytest.mark.parametrize("header", [b"", b"\x00" * 40])
def test_a_log_whose_header_never_reached_the_disk_is_forgotten(
    data_dir: Path, header: bytes
) -> None:
    with new_log(data_dir) as log:
        log.append([section(log, "unacknowledged", 0)])
    overwrite(log, 0, header)
    if not header:
        path_of(log).write_bytes(b"")
    assert recover_data_dir(data_dir).rot == []
    assert not path_of(log).exists()
    assert buckets(data_dir) == ["acknowledged"]
    check_clean(data_dir)


def test_nothing_behind_a_tear_in_the_last_group_is_applied(data_dir: Path) -> None:
    """Its pages reached the disk out of order: what the records point at may be in the hole."""
    with new_log(data_dir) as log:
        log.append([section(log, "first", 0)])
        log.sync()
        start = log.end
        log.append(
            [
                section(log, "second", start),
                section(log, "third", start),
                section(log, "fourth", start),
            ]
        )
    hole = start + len(section(log, "second", start))
    overwrite(log, hole + 10, bytes(20))
    assert recover_data_dir(data_dir).rot == []
    assert buckets(data_dir) == ["acknowledged", "first", "second"]
    assert path_of(log).stat().st_size == hole
    check_clean(data_dir)


def test_damage_before_what_was_synced_is_reported_and_kept(data_dir: Path) -> None:
    with new_log(data_dir) as log:
        first = log.append([section(log, "first", 0)])
        log.append([section(log, "second", 0)])
        log.sync()
        log.append([section(log, "third", log.end)])
    overwrite(log, first + 10, bytes(20))
    assert [rot.start for rot in recover_data_dir(data_dir).rot] == [first]
    assert buckets(data_dir) == ["acknowledged", "second", "third"]
    assert verify(data_dir).damages != []


def test_the_first_power_cut_of_all_tears_too(tmp_path: Path) -> None:
    """The catalog had not one row, and lost none."""
    recover_data_dir(tmp_path)
    with new_log(tmp_path) as log:
        log.append([section(log, "first", 0), section(log, "second", 0)])
    hole = log.end - len(section(log, "second", 0)) - len(section(log, "first", 0))
    overwrite(log, hole + 10, bytes(20))
    assert recover_data_dir(tmp_path).rot == []
    assert buckets(tmp_path) == []
    assert not path_of(log).exists()


def test_an_empty_log_is_no_damage_even_to_a_rebuild(data_dir: Path) -> None:
    with new_log(data_dir) as log:
        pass
    path_of(log).write_bytes(b"")
    for path in data_dir.glob("catalog.db*"):
        path.unlink()
    assert recover_data_dir(data_dir).rot == []
    assert not path_of(log).exists()
    check_clean(data_dir)


def test_a_rebuild_never_takes_damage_for_a_tear(data_dir: Path) -> None:
    """Every log was cut clean by the start after its crash, so what is damaged now has rotted."""
    with new_log(data_dir) as log:
        first = log.append([section(log, "first", 0)])
        log.append([section(log, "second", 0)])
        log.sync()
    recover_data_dir(data_dir)
    size = path_of(log).stat().st_size
    overwrite(log, first + 10, bytes(20))
    for path in data_dir.glob("catalog.db*"):
        path.unlink()
    recover_data_dir(data_dir)
    assert buckets(data_dir) == ["acknowledged", "second"]
    assert path_of(log).stat().st_size == size
    assert verify(data_dir).damages != []


class DiedError(Exception):
    """Stands for a worker's death: nothing of it runs any more."""


@contextmanager
def dying_in_commit(worker: Parts, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The next group of a worker is durable in its log, but does not get into the catalog."""

    def die(*_: object) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(commits, "set_applied", die)
        patch.setattr(worker.committer, "_after_failure", lambda error: error)
        patch.setattr(worker.ingest, "discard", die)
        with pytest.raises(DiedError):
            yield


async def test_what_a_dead_worker_left_cannot_come_back_behind_later_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Complete was never answered; then a part was sent again, and its old bytes removed."""
    old, new = bytes(100_000), b"1" * 100_000
    dead = Parts(tmp_path, worker=0)
    alive = Parts(tmp_path, worker=1, beside=dead)
    async with dead, alive:
        upload = await alive.create_upload("k")
        await alive.put_part("k", upload, 1, old)
        with dying_in_commit(dead, monkeypatch):
            await dead.complete("k", upload, {1: etag(old)})
        await alive.put_part("k", upload, 1, new)
    recover_data_dir(tmp_path)
    async with Parts(tmp_path) as parts:
        assert await parts.get("k") is None
        rows = await parts.uploads.parts(await parts.uploads.find(target("k", upload)))
        assert [row.etag for row in rows] == [etag(new)]
    check_clean(tmp_path)


async def test_a_dead_workers_abort_does_not_void_later_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = Parts(tmp_path, worker=0)
    alive = Parts(tmp_path, worker=1, beside=dead)
    async with dead, alive:
        upload = await alive.create_upload("k")
        with dying_in_commit(dead, monkeypatch):
            await dead.uploads.abort(await dead.uploads.find(target("k", upload)))
        await alive.put_part("k", upload, 1, b"acknowledged")
    recover_data_dir(tmp_path)
    async with Parts(tmp_path) as parts:
        assert (await parts.complete("k", upload, {1: etag(b"acknowledged")})).size == 12
    check_clean(tmp_path)


async def test_the_last_commit_of_a_dead_worker_may_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has built on its absence, and it is whole."""
    dead = Parts(tmp_path, worker=0)
    alive = Parts(tmp_path, worker=1, beside=dead)
    async with dead, alive:
        await alive.put("before", b"1")
        with dying_in_commit(dead, monkeypatch):
            await dead.buckets.create("main", "late")
    recover_data_dir(tmp_path)
    assert buckets(tmp_path) == ["bucket", "late"]
    check_clean(tmp_path)
