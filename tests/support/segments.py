"""Segment stores over a temporary directory, and segments written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsn.blockstore.digest_index import DigestIndex
from dsn.blockstore.segments.files import SegmentKind
from dsn.blockstore.segments.store import SegmentStore
from dsn.cid import digest_of
from dsn.codec import leaf_prefix
from dsn.framing import node_section


@contextmanager
def segment_store(directory: Path) -> Iterator[SegmentStore]:
    """A store, made where it is missing."""
    store = SegmentStore(directory / "segments", DigestIndex(directory / "index", sync=False))
    store.files.create_directories()
    yield store
    store.close()


def leaf(text: bytes) -> tuple[bytes, bytes]:
    """The digest and the section of a leaf with this payload."""
    block = leaf_prefix(len(text)) + text
    return digest_of(block), node_section(digest_of(block), block)


def write_segment(
    store: SegmentStore, sections: list[bytes], kind: SegmentKind = SegmentKind.LOG
) -> tuple[int, list[int]]:
    """A durable segment of these sections; its id and their offsets."""
    writer = store.new_writer(kind)
    offsets = [writer.append([section]) for section in sections]
    writer.sync()
    writer.close()
    return writer.segment, offsets
