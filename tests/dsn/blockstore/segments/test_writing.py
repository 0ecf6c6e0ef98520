from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsn.blockstore.segments import writing
from dsn.blockstore.segments.files import SegmentKind
from dsn.blockstore.segments.scan import SegmentScan, header_bytes
from dsn.blockstore.segments.store import SegmentStore
from dsn.blockstore.segments.writing import SegmentWriter, write_fully
from dsn.errors import PoisonedSegmentError
from tests.support.segments import leaf, segment_store

SECTIONS = [leaf(b"%d" % n * 100)[1] for n in range(5)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SegmentStore]:
    with segment_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def writer(store: SegmentStore) -> Iterator[SegmentWriter]:
    opened = store.new_writer(SegmentKind.LOG)
    yield opened
    opened.close()


def content_of(writer: SegmentWriter) -> bytes:
    return writer.files.path(writer.segment).read_bytes()[header_bytes(writer.segment) :]


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_short_writes_are_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    real = os.pwritev

    def short(fd: int, buffers, offset: int) -> int:
        return real(fd, [b"".join(bytes(b) for b in buffers)[:most]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    buffers = [b"abc", b"", memoryview(b"defghij"), bytearray(b"k" * 2000), b"l"]
    assert write_fully(fd, buffers, 5) == 2011
    assert os.pread(fd, 3000, 5) == b"abcdefghij" + b"k" * 2000 + b"l"
    os.close(fd)


def test_more_buffers_than_one_call_takes(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert write_fully(fd, [b"%04d" % n for n in range(3000)], 0) == 12_000
    assert os.pread(fd, 12_000, 0) == b"".join(b"%04d" % n for n in range(3000))
    os.close(fd)


@pytest.mark.parametrize("room", range(0, 400, 57))
def test_a_write_that_a_full_disk_tore_is_overwritten_by_the_next(
    writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    writer.append(SECTIONS[:1])
    left = [room]
    real = os.pwritev

    def full(fd: int, buffers, offset: int) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = real(fd, [b"".join(bytes(b) for b in buffers)[: left[0]]], offset)
        left[0] -= taken
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        with pytest.raises(OSError, match="No space"):
            writer.append(SECTIONS[1:4])
    assert writer.append(SECTIONS[4:]) == header_bytes(writer.segment) + len(SECTIONS[0])
    writer.sync()
    assert content_of(writer).startswith(SECTIONS[0] + SECTIONS[4])


def test_a_failed_sync_poisons(writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.append(SECTIONS[:1])
    writer.sync()
    writer.append(SECTIONS[1:2])

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="Input/output"):
            writer.sync()
    for act in (writer.sync, lambda: writer.append(SECTIONS[2:3]), lambda: writer.cut_back(100)):
        with pytest.raises(PoisonedSegmentError):
            act()
    assert writer.durable_end == header_bytes(writer.segment) + len(SECTIONS[0])


def test_cutting_back_forgets_what_lies_behind(writer: SegmentWriter) -> None:
    writer.append(SECTIONS[:1])
    end = writer.append(SECTIONS[1:3])
    writer.cut_back(end)
    assert content_of(writer) == SECTIONS[0]
    assert writer.append(SECTIONS[3:4]) == end
    writer.sync()
    assert content_of(writer) == SECTIONS[0] + SECTIONS[3]
    assert SegmentScan(writer.files, writer.segment).rot == []


def test_discarding_leaves_no_file_and_no_descriptor(store: SegmentStore) -> None:
    before = len(os.listdir("/proc/self/fd"))
    writer = store.new_writer(SegmentKind.BODY)
    writer.append(SECTIONS)
    writer.discard()
    writer.close()
    assert not store.files.exists(writer.segment)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_name_is_durable_with_the_first_sync(
    writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(writer.files, "sync_name", synced.append)
    writer.append(SECTIONS[:1])
    assert synced == []
    writer.sync()
    writer.sync()
    assert synced == [writer.segment]


def test_a_header_that_does_not_fit_leaves_no_file(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the disk takes a part of it only."""
    real = os.write

    def short(fd: int, data: bytes) -> int:
        return real(fd, data[:10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        try:
            writer = store.new_writer(SegmentKind.LOG)
        except OSError:
            assert not list(store.files.directory.rglob("*.car"))
            return
    writer.append(SECTIONS[:1])
    assert len(list(SegmentScan(store.files, writer.segment).sections())) == 1
    writer.close()


@pytest.mark.parametrize("kind", [SegmentKind.BODY, SegmentKind.PART])
def test_a_large_segment_reserves_ahead_and_gives_back_what_it_did_not_need(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch, kind: SegmentKind
) -> None:
    monkeypatch.setattr(writing, "RESERVE_BYTES", 1 << 20)
    real, reserved = writing._fallocate, []
    assert real is not None

    def note(fd: int, mode: int, offset: int, length: int) -> int:
        reserved.append((offset, offset + length))
        return real(fd, mode, offset, length)

    monkeypatch.setattr(writing, "_fallocate", note)
    writer = store.new_writer(kind)
    path = store.files.path(writer.segment)
    for _ in range(30):
        writer.append([bytes(50_000), bytes(50_000)])
        # Reserved before it was written, and never more than needed in sight.
        assert writer.end <= reserved[-1][1] <= writer.end + (1 << 20)
        assert path.stat().st_size == writer.end
    assert len(reserved) == 3
    assert [start for start, _ in reserved[1:]] == [stop for _, stop in reserved[:-1]]
    writer.sync()
    assert path.stat().st_size == writer.end
    assert path.stat().st_blocks * 512 < writer.end + 64_000
    # It may go on.
    writer.append([bytes(50_000)])
    assert reserved[-1][0] < writer.end <= reserved[-1][1]
    writer.sync()
    assert path.stat().st_size == writer.end
    writer.close()


def test_a_log_reserves_nothing(writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved: list[object] = []
    monkeypatch.setattr(writing, "_fallocate", lambda *arguments: reserved.append(arguments))
    writer.append(SECTIONS)
    writer.sync()
    assert reserved == []


@pytest.mark.parametrize("function", [None, lambda *_: -1])
def test_a_file_system_that_reserves_nothing_is_no_error(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch, function: object
) -> None:
    monkeypatch.setattr(writing, "_fallocate", function)
    writer = store.new_writer(SegmentKind.BODY)
    writer.append(SECTIONS)
    writer.sync()
    assert content_of(writer) == b"".join(SECTIONS)
    writer.close()


def test_what_was_torn_behind_the_end_is_cut_by_the_sync(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = store.new_writer(SegmentKind.BODY)
    writer.append(SECTIONS[:1])
    real = os.pwritev

    def tear(fd: int, buffers, offset: int) -> int:
        real(fd, [bytes(buffers[0])[:50]], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", tear)
        with pytest.raises(OSError, match="No space"):
            writer.append(SECTIONS[1:])
    writer.sync()
    assert content_of(writer) == SECTIONS[0]
    writer.close()
