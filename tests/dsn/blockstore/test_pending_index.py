"""The pending index: additions are found at once, and reach the index whole or stay."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dsn.blockstore.digest_index import DigestIndex
from dsn.blockstore.pending_index import PendingIndex
from dsn.place import Place

A, B, C = (bytes([n]) * 32 for n in range(3))


@pytest.fixture
def index(tmp_path: Path):
    index = DigestIndex(tmp_path / "digests.lmdb", sync=False)
    yield index
    index.close()


def test_an_addition_is_found_before_and_after_the_flush(index: DigestIndex):
    pending = PendingIndex(index)
    pending.add([(A, 1, 10)], {1: 100})
    assert pending.lookup([B, A]) == [None, Place(1, 10)]
    assert (index.lookup([A]), index.mark(1), len(pending)) == ([None], 0, 1)
    assert pending.flush() == 1
    assert pending.lookup([B, A]) == [None, Place(1, 10)]
    assert (index.lookup([A]), index.mark(1), len(pending)) == ([Place(1, 10)], 100, 0)


def test_places_from_memory_and_from_the_index_come_in_the_order_asked(index: DigestIndex):
    index.add([(A, 1, 1), (C, 3, 3)])
    pending = PendingIndex(index)
    pending.add([(B, 2, 2)])
    assert pending.lookup([C, B, bytes(31) + b"x", A, B]) == [
        Place(3, 3),
        Place(2, 2),
        None,
        Place(1, 1),
        Place(2, 2),
    ]


def test_the_first_addition_wins(index: DigestIndex):
    pending = PendingIndex(index)
    pending.add([(A, 1, 1), (A, 2, 2)])
    pending.add([(A, 3, 3)])
    pending.flush()
    assert pending.lookup([A]) == [Place(1, 1)]


def test_marks_travel_with_their_entries_and_never_go_back(index: DigestIndex):
    pending = PendingIndex(index)
    pending.add([], {1: 100, 2: 5})
    pending.add([], {1: 50})
    assert index.marks() == {}
    pending.flush()
    assert index.marks() == {1: 100, 2: 5}


def test_an_empty_flush_writes_nothing(index: DigestIndex):
    assert PendingIndex(index).flush() == 0


def test_a_flush_is_due_after_enough_entries(index: DigestIndex):
    pending = PendingIndex(index, entries_due=2)
    pending.add([(A, 1, 1)])
    assert not pending.due
    pending.add([(B, 1, 2)])
    assert pending.due
    pending.flush()
    assert not pending.due


def test_memory_is_bounded_even_if_nobody_flushes(index: DigestIndex):
    pending = PendingIndex(index, entries_due=1, entries_max=3)
    pending.add([(A, 1, 1), (B, 1, 2)])
    assert index.count() == 0
    pending.add([(C, 1, 3)])
    assert (index.count(), len(pending)) == (3, 0)


def test_a_failed_flush_keeps_everything_for_the_next(index: DigestIndex, monkeypatch):
    pending = PendingIndex(index)
    pending.add([(A, 1, 1)], {1: 10})
    with monkeypatch.context() as patch:
        patch.setattr(DigestIndex, "add", raise_disk_error)
        with pytest.raises(OSError):
            pending.flush()
    pending.add([(A, 9, 9), (B, 2, 2)], {1: 20})
    assert pending.lookup([A, B]) == [Place(1, 1), Place(2, 2)]
    assert pending.flush() == 2
    assert index.lookup([A, B]) == [Place(1, 1), Place(2, 2)]
    assert index.mark(1) == 20


def test_nothing_is_unseen_while_it_moves(index: DigestIndex):
    pending = PendingIndex(index)
    rows = 3000
    added = threading.Event()
    stop = threading.Event()
    missing: list[int] = []

    def look() -> None:
        added.wait()
        while not stop.is_set():
            places = pending.lookup([number.to_bytes(32, "big") for number in range(known[0])])
            missing.extend(number for number, place in enumerate(places) if place is None)

    def flush() -> None:
        while not stop.is_set():
            pending.flush()

    known = [0]
    threads = [threading.Thread(target=look), threading.Thread(target=flush)]
    for thread in threads:
        thread.start()
    for number in range(rows):
        pending.add([(number.to_bytes(32, "big"), 1, number)], {1: number})
        known[0] = number + 1
        added.set()
    stop.set()
    for thread in threads:
        thread.join()
    pending.flush()
    assert not missing
    assert (index.count(), index.mark(1)) == (rows, rows - 1)


def raise_disk_error(*_arguments: object) -> int:
    raise OSError("no space left on device")
