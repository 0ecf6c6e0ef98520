"""The digest index: first wins, marks only rise, and no kill can damage it."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsn.blockstore.digest_index import (
    OFFSET_MAX,
    SEGMENT_MAX,
    DigestIndex,
    IndexDamagedError,
    Place,
)

SPAWN = multiprocessing.get_context("spawn")


def digest(number: int) -> bytes:
    return random.Random(number).randbytes(32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "digests.lmdb"


@pytest.fixture
def index(path: Path):
    index = DigestIndex(path, sync=False)
    yield index
    index.close()


def test_places_come_back_in_the_order_asked(index: DigestIndex):
    assert index.add([(digest(n), n, n * 100) for n in range(50)]) == 50
    asked = [digest(n) for n in (7, 99, 3, 7)]
    assert index.lookup(asked) == [Place(7, 700), None, Place(3, 300), Place(7, 700)]
    assert index.lookup([]) == []
    assert index.count() == 50


@pytest.mark.parametrize("segment", [0, 1, 255, 256, 1 << 40, SEGMENT_MAX])
@pytest.mark.parametrize("offset", [0, 1, 59, 1 << 32, OFFSET_MAX])
def test_every_place_survives_packing(index: DigestIndex, segment: int, offset: int):
    index.add([(digest(1), segment, offset)])
    assert index.lookup([digest(1)]) == [Place(segment, offset)]


@pytest.mark.parametrize(
    "entry",
    [
        (b"short", 1, 1),
        (bytes(33), 1, 1),
        (bytes(32), -1, 1),
        (bytes(32), SEGMENT_MAX + 1, 1),
        (bytes(32), 1, -1),
        (bytes(32), 1, OFFSET_MAX + 1),
    ],
)
def test_a_bad_entry_refuses_the_whole_addition(index: DigestIndex, entry):
    with pytest.raises(ValueError):
        index.add([(digest(1), 1, 1), entry], {1: 100})
    assert (index.count(), index.marks()) == (0, {})


def test_an_existing_digest_keeps_its_place(index: DigestIndex):
    assert index.add([(digest(1), 1, 10)]) == 1
    assert index.add([(digest(1), 2, 20), (digest(2), 2, 40)]) == 1
    assert index.lookup([digest(1), digest(2)]) == [Place(1, 10), Place(2, 40)]


def test_the_first_of_equal_digests_in_one_addition_wins(index: DigestIndex):
    assert index.add([(digest(1), 9, 9), (digest(0), 1, 1), (digest(1), 2, 2)]) == 2
    assert index.lookup([digest(1)]) == [Place(9, 9)]


def test_marks_only_rise(index: DigestIndex):
    index.add([], {1: 100, 1 << 62: 200})
    index.add([], {1: 50, 1 << 62: 300})
    assert index.marks() == {1: 100, 1 << 62: 300}
    assert [index.mark(1), index.mark(1 << 62), index.mark(5)] == [100, 300, 0]


def test_clear_forgets_places_and_marks(index: DigestIndex):
    index.add([(digest(1), 1, 10)], {1: 100})
    index.clear()
    assert (index.count(), index.marks(), index.lookup([digest(1)])) == (0, {}, [None])
    assert index.add([(digest(1), 2, 20)]) == 1


def test_reopening_finds_everything(path: Path):
    index = DigestIndex(path)
    index.add([(digest(n), n, n) for n in range(1000)], {1: 100})
    index.close()
    again = DigestIndex(path)
    assert again.lookup([digest(999)]) == [Place(999, 999)]
    assert (again.count(), again.marks()) == (1000, {1: 100})
    again.close()


def test_a_large_addition_and_a_small_file(path: Path):
    index = DigestIndex(path, sync=False)
    assert index.add([(digest(n), n, n) for n in range(100_000)]) == 100_000
    index.close()
    assert path.stat().st_size < 20_000_000


def test_a_damaged_file_is_named(path: Path):
    path.write_bytes(b"not an index" * 1000)
    with pytest.raises(IndexDamagedError) as caught:
        DigestIndex(path)
    assert caught.value.path == path


def test_threads_share_one_index(index: DigestIndex):
    def work(worker: int) -> None:
        for batch in range(20):
            numbers = range(batch * 50, batch * 50 + 100)  # half of it added before, or by others
            index.add([(digest(n), worker, n) for n in numbers], {worker: batch})
            places = index.lookup([digest(n) for n in numbers])
            assert [place.offset for place in places if place] == list(numbers)

    run_threads(work, 4)
    assert index.count() == 1050
    assert index.marks() == dict.fromkeys(range(4), 19)


def test_a_forked_child_is_told_to_open_its_own(path: Path, index: DigestIndex):
    index.add([(digest(1), 1, 1)])
    child = os.fork()
    if not child:  # no assertion may leave the child: it would run the other tests again
        try:
            index.lookup([digest(1)])
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert index.lookup([digest(1)]) == [Place(1, 1)]


def test_processes_share_one_index(path: Path):
    workers = [SPAWN.Process(target=add_in_batches, args=(path, n, 30, 200)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    index = DigestIndex(path)
    assert index.count() == 30 * 200
    assert index.marks() == dict.fromkeys(range(3), 30)
    segments = {place.segment for place in index.lookup(batch_digests(29, 200)) if place}
    assert len(segments) == 1  # a batch is one transaction: its digests were all new, or none was
    index.close()


def test_a_killed_writer_leaves_whole_batches_and_no_lock(path: Path):
    index = DigestIndex(path)
    for delay in (0.02, 0.05, 0.1, 0.15, 0.2):
        known = index.mark(1)
        writer = SPAWN.Process(target=add_in_batches, args=(path, 1, 100_000, 2000))
        writer.start()
        wait_until(lambda known=known: index.mark(1) > known)
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        index.add([(bytes(32), 7, 7)])  # waits for ever if the dead writer still held the lock
        batches = index.mark(1)
        assert index.count() == batches * 2000 + 1
        assert None not in index.lookup(batch_digests(batches - 1, 2000))
        assert set(index.lookup(batch_digests(batches, 2000))) == {None}
    index.close()


def test_a_killed_reader_does_not_make_the_file_grow(path: Path):
    index = DigestIndex(path, sync=False)
    index.add([(digest(n), n, n) for n in range(5000)])
    reader = SPAWN.Process(target=hold_a_snapshot, args=(path, path.with_suffix(".ready")))
    reader.start()
    wait_until(path.with_suffix(".ready").exists)
    os.kill(reader.pid, signal.SIGKILL)
    reader.join()
    index.add([], {1: 1})
    bytes_before = path.stat().st_size
    for stop in range(2, 200):
        index.add([(digest(stop), 0, 0)], {1: stop})
    assert path.stat().st_size <= bytes_before + 64 * 4096
    index.close()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("add"),
                st.lists(
                    st.tuples(
                        st.integers(0, 30).map(digest),
                        st.integers(0, SEGMENT_MAX),
                        st.integers(0, OFFSET_MAX),
                    )
                ),
                st.dictionaries(st.integers(0, 3), st.integers(0, OFFSET_MAX)),
            ),
            st.tuples(st.sampled_from(["clear", "reopen"])),
        ),
        max_size=12,
    )
)
def test_behaves_like_a_dict(tmp_path_factory: pytest.TempPathFactory, steps):
    path = tmp_path_factory.mktemp("index") / "digests.lmdb"
    index = DigestIndex(path, sync=False)
    places: dict[bytes, Place] = {}
    marks: dict[int, int] = {}
    for name, *arguments in steps:
        if name == "add":
            entries, newer = arguments
            before = len(places)
            for key, segment, offset in entries:
                places.setdefault(key, Place(segment, offset))
            marks = {n: max(marks.get(n, 0), newer.get(n, 0)) for n in marks | newer}
            assert index.add(entries, newer) == len(places) - before
        elif name == "clear":
            index.clear()
            places, marks = {}, {}
        else:
            index.close()
            index = DigestIndex(path, sync=False)
        everything = [digest(n) for n in range(31)]
        assert index.lookup(everything) == [places.get(key) for key in everything]
        assert (index.count(), index.marks()) == (len(places), marks)
    index.close()


def batch_digests(batch: int, rows: int) -> list[bytes]:
    numbers = random.Random(batch)
    return [numbers.randbytes(32) for _ in range(rows)]


def add_in_batches(path: Path, segment: int, batches: int, rows: int) -> None:
    index = DigestIndex(path)
    for batch in range(index.mark(segment), batches):
        entries = [(key, segment, offset) for offset, key in enumerate(batch_digests(batch, rows))]
        assert index.add(entries, {segment: batch + 1}) in (0, rows)
    index.close()


def hold_a_snapshot(path: Path, ready: Path) -> None:
    index = DigestIndex(path)
    with index._begin():
        ready.touch()
        time.sleep(60)


def run_threads(work, count: int) -> None:
    failures: list[BaseException] = []

    def guarded(worker: int) -> None:
        try:
            work(worker)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def wait_until(true, seconds: float = 30) -> None:
    stop = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < stop
        time.sleep(0.005)
