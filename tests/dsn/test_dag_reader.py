from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsn.blockstore.memory import MemoryBlockstore
from dsn.cid import digest_of
from dsn.codec import decode_node, encode_node
from dsn.dag_builder import build_file, build_folder, build_metadata
from dsn.dag_reader import FileDag, FileInfo, file_info, read_file
from dsn.errors import (
    BlockMismatchError,
    BlockNotFoundError,
    InvalidNodeError,
    NonCanonicalDagError,
)
from dsn.node import (
    CHUNK_BYTES,
    NO_OPTIONS,
    Compression,
    DagLimits,
    Node,
    NodeType,
    UploadOptions,
)
from dsn.shape import FileShape
from tests.support.vectors import vector_bytes

TINY = DagLimits(469 + 10, 3)


class Counting:
    """A store that remembers what it was asked for."""

    def __init__(self, content: bytes, limits: DagLimits = TINY) -> None:
        self.blocks = dict(build_file(content, "n", limits=limits))
        self.root = list(self.blocks)[-1]
        self.asked: list[bytes] = []

    def get(self, digest: bytes) -> bytes:
        self.asked.append(digest)
        if digest not in self.blocks:
            raise BlockNotFoundError(digest)
        return self.blocks[digest]

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        return b"".join(read_file(self.get, self.root, start, stop, limits=TINY))


@given(st.integers(0, 400), st.integers(-3, 410), st.integers(-3, 410))
def test_a_span_reads_as_the_slice_it_is(size: int, start: int, stop: int) -> None:
    content = vector_bytes("s", size)
    store = Counting(content)
    expected = content[max(start, 0) : max(stop, 0)]
    assert store.read(start, stop) == expected
    assert store.read() == content


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_only_nodes_that_cover_the_span_are_read(size: int, start: int, stop: int) -> None:
    store = Counting(vector_bytes("s", size))
    shape = FileShape.of(size, TINY)
    store.read(start, stop)
    covering = {(shape.depth, 0)}
    for leaf in shape.leaves_covering(start, stop) if shape.depth else ():
        covering |= set(enumerate((leaf, *shape.parents_of(leaf))))
    assert len(store.asked) == len(covering)


def test_a_full_sized_file_reads_across_its_leaves() -> None:
    content = vector_bytes("s", 3 * CHUNK_BYTES + 5)
    blocks = dict(build_file(content, "n"))
    *_, root = blocks
    assert b"".join(read_file(blocks.__getitem__, root)) == content
    span = read_file(blocks.__getitem__, root, CHUNK_BYTES - 1, 2 * CHUNK_BYTES + 1)
    assert [len(piece) for piece in span] == [1, CHUNK_BYTES, 1]


def test_nodes_come_depth_first_with_their_place() -> None:
    store = Counting(vector_bytes("s", 95))
    nodes = FileDag.open(store.get, store.root, TINY).nodes_covering(28, 41)
    places = [(node.level, node.index) for node in nodes]
    assert places == [(3, 0), (2, 0), (1, 0), (0, 2), (1, 1), (0, 3), (0, 4)]


def test_a_span_outside_the_file_leads_to_the_root_alone() -> None:
    store = Counting(vector_bytes("s", 95))
    dag = FileDag.open(store.get, store.root, TINY)
    assert [node.digest for node in dag.nodes_covering(95, 200)] == [store.root]


def test_a_missing_block_is_named_when_it_is_reached() -> None:
    store = Counting(vector_bytes("s", 95))
    leaves = list(store.blocks)
    del store.blocks[leaves[4]]
    assert store.read(0, 40) == vector_bytes("s", 95)[:40]
    assert store.read(50) == vector_bytes("s", 95)[50:]
    pieces = read_file(store.get, store.root, limits=TINY)
    assert b"".join(next(pieces) for _ in range(4)) == vector_bytes("s", 40)
    with pytest.raises(BlockNotFoundError) as missing:
        next(pieces)
    assert missing.value.digest == leaves[4]


def test_every_rotten_block_is_noticed() -> None:
    sound = Counting(vector_bytes("s", 95))
    for digest in sound.blocks:
        store = Counting(vector_bytes("s", 95))
        block = bytearray(store.blocks[digest])
        block[-1] ^= 1
        store.blocks[digest] = bytes(block)
        with pytest.raises(BlockMismatchError) as rotten:
            store.read()
        assert rotten.value.digest == digest


ROOT_OF_95 = decode_node(
    Counting(vector_bytes("s", 95)).blocks[Counting(vector_bytes("s", 95)).root]
)


@pytest.mark.parametrize(
    "root",
    [
        replace(ROOT_OF_95, size=94),  # the last leaf then has another length
        replace(ROOT_OF_95, size=200),
        replace(ROOT_OF_95, size=30),
        replace(ROOT_OF_95, size=None),
        replace(ROOT_OF_95, size=(1 << 63) - 1),
        replace(ROOT_OF_95, link_depth=2),
        replace(ROOT_OF_95, links=ROOT_OF_95.links[:1]),
        replace(ROOT_OF_95, links=ROOT_OF_95.links[::-1]),
        replace(ROOT_OF_95, links=(ROOT_OF_95.links[0],) * 2),
        replace(ROOT_OF_95, data=b""),
        replace(ROOT_OF_95, type=NodeType.FileInlink),
        replace(ROOT_OF_95, type=NodeType.Metadata),
        Node(NodeType.File, size=5, data=b"four", upload_options=NO_OPTIONS),
        Node(NodeType.File, size=11, data=b"eleven char", upload_options=NO_OPTIONS),
        Node(NodeType.File, size=0, data=b"", upload_options=NO_OPTIONS),
        Node(NodeType.File, link_depth=0, size=0, upload_options=NO_OPTIONS),
    ],
)
def test_a_tree_of_another_shape_is_refused(root: Node) -> None:
    store = Counting(vector_bytes("s", 95))
    block = encode_node(root)
    store.root = digest_of(block)
    store.blocks[store.root] = block
    with pytest.raises(NonCanonicalDagError):
        store.read()


def test_bytes_that_are_no_node_are_refused() -> None:
    store = Counting(b"")
    store.root = digest_of(b"no node")
    store.blocks[store.root] = b"no node"
    with pytest.raises(NonCanonicalDagError):
        store.read()


def test_a_metadata_object_reads_like_a_file() -> None:
    content = vector_bytes("json", 95)
    blocks = dict(build_metadata(content, "n", TINY))
    *_, root = blocks
    assert b"".join(read_file(blocks.__getitem__, root, 7, 90, limits=TINY)) == content[7:90]


def test_what_a_root_says() -> None:
    options = UploadOptions(Compression())
    for content in (b"", b"x", bytes(95)):
        *_, (_, block) = build_file(content, "n", options, TINY)
        assert file_info(block) == FileInfo(len(content), "n", options)


def test_a_leaf_or_a_folder_is_no_root_of_a_file() -> None:
    (_, leaf), *_ = build_file(bytes(95), "n", limits=TINY)
    ((_, folder),) = build_folder([], "dir", 0)
    for block in (leaf, folder, b"no node"):
        with pytest.raises(InvalidNodeError):
            file_info(block)


def test_repeated_blocks_are_read_wherever_they_stand() -> None:
    store = Counting(bytes(270))
    assert len(store.blocks) == 4
    assert store.read(15, 255) == bytes(240)


def test_pieces_are_slices_of_blocks() -> None:
    store = MemoryBlockstore()
    for digest, block in build_file(b"hello", "n"):
        store.put(digest, block)
    (piece,) = read_file(store.get, digest, 1, 4)
    assert isinstance(piece, memoryview)
    assert bytes(piece) == b"ell"
