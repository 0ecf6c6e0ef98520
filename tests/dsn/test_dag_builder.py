"""The builder's own rules; the golden cases are in test_vectors.py."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsn.cid import digest_of
from dsn.codec import FULL_LEAF_PREFIX, decode_node
from dsn.dag_builder import (
    FileDagBuilder,
    LinkNode,
    build_file,
    build_folder,
    build_metadata,
    checked_upload_options,
    single_file_node,
)
from dsn.errors import NameTooLongError, NodeTooLargeError
from dsn.node import (
    CHUNK_BYTES,
    LINKS_MAX,
    Compression,
    DagLimits,
    Encryption,
    NodeType,
    UploadOptions,
)
from dsn.shape import FileShape

TINY = DagLimits(469 + 10, 3)


def digests(count: int) -> list[bytes]:
    return [i.to_bytes(32, "big") for i in range(count)]


@given(st.integers(0, 1200), st.data())
def test_leaves_in_any_batches_make_the_same_nodes(size: int, data: st.DataObject) -> None:
    blocks = list(build_file(bytes(i % 251 for i in range(size)), "n", limits=TINY))
    shape = FileShape.of(size, TINY)
    if shape.leaf_count == 1:
        return
    leaves = [digest for digest, _ in blocks[: shape.leaf_count]]
    builder = FileDagBuilder(TINY)
    nodes: list[LinkNode] = []
    while leaves:
        taken = data.draw(st.integers(0, 40))
        nodes += builder.add_leaves(leaves[:taken])
        leaves = leaves[taken:]
    remaining, root = builder.finish(size, "n")
    assert [(n.level, n.index) for n in remaining] == sorted((n.level, n.index) for n in remaining)
    nodes = sorted(nodes + remaining, key=lambda node: (node.level, node.index))
    assert [(n.digest, n.block) for n in (*nodes, root)] == blocks[shape.leaf_count :]
    assert root.level == shape.depth
    for level in range(1, shape.depth):
        indexes = [node.index for node in nodes if node.level == level]
        assert indexes == list(range(shape.count_at(level)))


@given(st.lists(st.binary(max_size=35)))
def test_pieces_of_any_size_make_the_same_blocks(pieces: list[bytes]) -> None:
    whole = list(build_file(b"".join(pieces), "n", limits=TINY))
    assert list(build_file(iter(pieces), "n", limits=TINY)) == whole
    assert list(build_file(memoryview(b"".join(pieces)), "n", limits=TINY)) == whole


def test_a_full_group_is_held_back_until_the_next_leaf_shows_that_it_folds() -> None:
    builder = FileDagBuilder()
    assert builder.add_leaves(digests(LINKS_MAX)) == []
    (node,) = builder.add_leaves(digests(1))
    assert (node.level, node.index) == (1, 0)
    assert decode_node(node.block).links == tuple(digests(LINKS_MAX))
    assert digest_of(node.block) == node.digest


def test_a_file_of_one_full_group_has_its_leaves_in_the_root() -> None:
    builder = FileDagBuilder()
    builder.add_leaves(digests(LINKS_MAX))
    remaining, root = builder.finish(CHUNK_BYTES * LINKS_MAX, "n")
    assert remaining == []
    assert (root.level, root.index) == (1, 0)
    assert decode_node(root.block).links == tuple(digests(LINKS_MAX))


def test_the_last_group_is_wrapped_even_when_it_is_one_link() -> None:
    builder = FileDagBuilder(TINY)
    first = builder.add_leaves(digests(4))
    remaining, root = builder.finish(31, None)
    assert [len(decode_node(node.block).links) for node in (*first, *remaining)] == [3, 1]
    assert [decode_node(node.block).size for node in (*first, *remaining)] == [3, 1]
    assert decode_node(root.block).links == (first[0].digest, remaining[0].digest)


def test_a_builder_holds_back_at_most_one_group_a_level() -> None:
    builder = FileDagBuilder(TINY)
    items: Counter[int] = Counter()
    for digest in digests(3000):
        items[0] += 1
        items.update(node.level for node in builder.add_leaves([digest]))
        assert all(items[level] - 3 * items[level + 1] in (1, 2, 3) for level in list(items))


def test_leaves_that_do_not_make_the_size_are_refused() -> None:
    builder = FileDagBuilder(TINY)
    builder.add_leaves(digests(3))
    with pytest.raises(ValueError, match="3 leaves do not make a file of 31 bytes"):
        builder.finish(31, "n")


def test_one_leaf_is_no_dag() -> None:
    builder = FileDagBuilder()
    builder.add_leaves(digests(1))
    with pytest.raises(ValueError, match="single node"):
        builder.finish(5, "n")


def test_an_empty_file_is_a_root_without_links() -> None:
    remaining, root = FileDagBuilder().finish(0, "empty.bin")
    assert remaining == []
    assert [(root.digest, root.block)] == list(build_file(b"", "empty.bin"))
    assert decode_node(root.block).link_depth == 1


def test_a_file_of_one_chunk_is_its_own_root() -> None:
    block = single_file_node(b"hello", "n")
    assert list(build_file(b"hello", "n")) == [(digest_of(block), block)]


def test_no_name_an_empty_name_and_a_name_are_three_files() -> None:
    roots = {list(build_file(b"x", name))[-1][0] for name in (None, "", "x")}
    assert len(roots) == 3


def test_the_name_of_a_large_file_is_in_its_root_alone() -> None:
    *leaves, root = build_file(bytes(CHUNK_BYTES + 1), "a")
    *same_leaves, other_root = build_file(bytes(CHUNK_BYTES + 1), "b")
    assert leaves == same_leaves
    assert root != other_root
    assert leaves[0][1].startswith(FULL_LEAF_PREFIX)


def test_a_name_that_is_too_long_is_refused_by_every_builder() -> None:
    long = "n" * 256
    for build in (
        lambda: single_file_node(b"x", long),
        lambda: FileDagBuilder().finish(0, long),
        lambda: list(build_file(b"x", long)),
        lambda: list(build_metadata(b"{}", long)),
        lambda: list(build_folder([], long, 0)),
    ):
        with pytest.raises(NameTooLongError):
            build()


def test_a_long_name_does_not_fit_beside_a_full_chunk() -> None:
    message = "^Node is too large to fit in a single chunk: 65848 > 65535$"
    with pytest.raises(NodeTooLargeError, match=message):
        single_file_node(bytes(CHUNK_BYTES), "文" * 255)


def test_a_single_metadata_node_has_no_limit() -> None:
    ((_, block),) = build_metadata(b"x" * CHUNK_BYTES, "文" * 255)
    assert len(block) > 65535


@pytest.mark.parametrize(
    ("options", "head", "expected"),
    [
        (UploadOptions(), "78da", UploadOptions()),
        (UploadOptions(Compression()), "78da", UploadOptions(Compression())),
        (UploadOptions(Compression(level=9)), "7801", UploadOptions(Compression(level=9))),
        (UploadOptions(Compression()), "789b", UploadOptions()),
        (UploadOptions(Compression()), "88da", UploadOptions()),  # window larger than 32 KiB
        (UploadOptions(Compression()), "79da", UploadOptions()),
        (UploadOptions(Compression()), "78", UploadOptions()),
        (UploadOptions(Compression()), "", UploadOptions()),
        (
            UploadOptions(Compression(), Encryption()),
            "0000",
            UploadOptions(Compression(), Encryption()),
        ),
    ],
)
def test_a_claim_of_compression_needs_a_zlib_header(
    options: UploadOptions, head: str, expected: UploadOptions
) -> None:
    assert checked_upload_options(options, bytes.fromhex(head)) == expected


def test_a_folder_counts_its_depth_from_zero() -> None:
    *links, (_, root) = build_folder(digests(4), "dir", 40, limits=TINY)
    inlinks = [decode_node(block) for _, block in links]
    assert [node.type for node in inlinks] == [NodeType.FolderInlink] * 2
    assert [node.link_depth for node in inlinks] == [0, 0]
    assert decode_node(root).link_depth == 1
