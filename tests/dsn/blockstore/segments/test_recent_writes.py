from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsn.blockstore.digest_index import DigestIndex
from dsn.blockstore.segments import writing
from dsn.blockstore.segments.files import SegmentKind
from dsn.blockstore.segments.store import SegmentStore
from dsn.codec import leaf_prefix
from dsn.place import Place
from tests.support.segments import leaf

KEPT = 10_000


@pytest.fixture
def advised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What the kernel was told that it may let go of: file, start, stop."""
    spans = []

    def note(fd: int, start: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        spans.append((Path(os.readlink(f"/proc/self/fd/{fd}")).name, start, start + length))

    monkeypatch.setattr(os, "posix_fadvise", note)
    return spans


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SegmentStore]:
    index = DigestIndex(tmp_path / "index", sync=False)
    opened = SegmentStore(tmp_path / "segments", index, recent_bytes_max=KEPT)
    opened.files.create_directories()
    yield opened
    opened.close()


def write(store: SegmentStore, kind: SegmentKind, size: int) -> tuple[str, int]:
    """A synced segment of some size; its file's name, where it ends."""
    writer = store.new_writer(kind)
    writer.append([bytes(size - writer.end)])
    writer.sync()
    writer.sync()
    writer.close()
    return store.files.path(writer.segment).name, size


@pytest.mark.parametrize("kind", SegmentKind)
def test_the_oldest_bytes_are_let_go_once_newer_ones_need_their_place(
    store: SegmentStore, kind: SegmentKind, advised: list[tuple[str, int, int]]
) -> None:
    written = [write(store, kind, size) for size in (4000, 6000)]
    assert advised == []
    written.append(write(store, kind, 1000))
    assert advised == [(written[0][0], 0, 4000)]
    write(store, kind, KEPT)
    assert advised == [(name, 0, size) for name, size in written]


def test_a_body_beyond_the_bound_keeps_its_end(
    store: SegmentStore, advised: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "WRITE_BACK_BYTES", 2000)
    writer = store.new_writer(SegmentKind.BODY)
    while writer.end < 4 * KEPT:
        writer.append([bytes(1500)])
    writer.sync()
    writer.close()
    # Side by side from the front, without a gap, up to the bound.
    assert [start for _, start, _ in advised] == [0, *(stop for _, _, stop in advised[:-1])]
    kept = writer.end - advised[-1][2]
    assert KEPT - 3000 <= kept <= KEPT


def test_a_log_that_is_synced_often_is_let_go_in_few_stretches(
    store: SegmentStore, advised: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "WRITE_BACK_BYTES", 2000)
    log = store.new_writer(SegmentKind.LOG)
    while log.end < 3 * KEPT:
        log.append([bytes(300)])
        log.sync()
    assert [start for _, start, _ in advised] == [0, *(stop for _, _, stop in advised[:-1])]
    assert all(stop - start >= 2000 for _, start, stop in advised)
    assert KEPT - 3000 <= log.end - advised[-1][2] <= KEPT + 2000
    log.close()


def test_bytes_that_were_cut_back_are_noted_once_when_they_come_again(
    store: SegmentStore, advised: list[tuple[str, int, int]]
) -> None:
    log = store.new_writer(SegmentKind.LOG)
    start = log.end
    log.append([bytes(5000)])
    log.cut_back(start)
    log.append([bytes(3000)])
    log.close()
    write(store, SegmentKind.BODY, KEPT)
    assert advised == [(store.files.path(log.segment).name, 0, start + 3000)]


def test_a_segment_that_is_gone_is_no_error(
    store: SegmentStore, advised: list[tuple[str, int, int]]
) -> None:
    writer = store.new_writer(SegmentKind.BODY)
    writer.append([bytes(KEPT // 2)])
    writer.sync()
    writer.discard()
    name, size = write(store, SegmentKind.BODY, KEPT)
    write(store, SegmentKind.BODY, KEPT)
    assert advised == [(name, 0, size)]


def test_a_file_system_that_takes_no_advice_is_no_error(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        write(store, SegmentKind.BODY, KEPT)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_was_let_go_is_still_there(store: SegmentStore) -> None:
    digest, section = leaf(b"a" * 8000)
    block = section[-len(leaf_prefix(8000)) - 8000 :]
    writer = store.new_writer(SegmentKind.BODY)
    offset = writer.append([section])
    writer.sync()
    writer.close()
    write(store, SegmentKind.BODY, KEPT)
    assert store.read(Place(writer.segment, offset), digest) == block
