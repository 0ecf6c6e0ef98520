from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dsn.blockstore.base import Blockstore
from dsn.blockstore.segments.store import SegmentStore
from dsn.errors import BlockMismatchError, BlockNotFoundError
from dsn.place import Place
from tests.dsn.blockstore.contract import BLOCKS, BlockstoreContract
from tests.support.segments import leaf, segment_store, write_segment


class TestSegmentStore(BlockstoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Blockstore]:
        with segment_store(tmp_path) as opened:
            yield opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SegmentStore]:
    with segment_store(tmp_path) as opened:
        yield opened


def test_what_was_flushed_is_there_after_a_restart(tmp_path: Path) -> None:
    with segment_store(tmp_path) as store:
        for digest, block in BLOCKS.items():
            store.put(digest, block)
        store.flush()
    with segment_store(tmp_path) as store:
        for digest, block in BLOCKS.items():
            assert store.get(digest) == block


def test_an_index_is_filled_again_from_a_segment(store: SegmentStore) -> None:
    leaves = [leaf(b"%d" % n) for n in range(100)]
    segment, offsets = write_segment(store, [section for _, section in leaves])
    assert store.index_segment(segment, stop=offsets[60]) == 60
    store.pending.flush()
    assert store.index_segment(segment) == 40
    store.pending.flush()
    assert store.index_segment(segment) == 0
    expected = [Place(segment, offset) for offset in offsets]
    assert store.lookup([digest for digest, _ in leaves]) == expected


def test_a_block_that_rotted_is_not_handed_on(store: SegmentStore) -> None:
    digest, section = leaf(b"content")
    segment, (offset,) = write_segment(store, [section])
    block = store.read(Place(segment, offset), digest)
    path = store.files.path(segment)
    content = bytearray(path.read_bytes())
    for at in range(offset, len(content)):
        content[at] ^= 1
        path.write_bytes(content)
        # The CID in the framing is not what is asked for: only the block has to be right.
        try:
            assert store.read(Place(segment, offset), digest) == block
        except BlockMismatchError as error:
            assert error.digest == digest
        content[at] ^= 1


def test_a_missing_segment_is_a_missing_block(store: SegmentStore) -> None:
    digest, section = leaf(b"content")
    segment, (offset,) = write_segment(store, [section])
    store.files.remove(segment)
    with pytest.raises(BlockNotFoundError):
        store.read(Place(segment, offset), digest)


def test_descriptors_are_bounded_and_closed(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from dsn.blockstore.segments import files

    monkeypatch.setattr(files, "OPEN_FILES_MAX", 4)
    digest, section = leaf(b"content")
    written = [write_segment(store, [section]) for _ in range(20)]
    before = len(os.listdir("/proc/self/fd"))
    for segment, (offset,) in written:
        assert store.read(Place(segment, offset), digest)
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    store.files.close()
    assert len(os.listdir("/proc/self/fd")) <= before
