from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsn.codec import decode_node
from dsn.dag_builder import build_file
from dsn.node import CHUNK_BYTES, LINKS_MAX, DagLimits
from dsn.shape import FileShape

TINY = DagLimits(469 + 10, 3)


@pytest.mark.parametrize(
    ("size", "leaf_count", "level_counts"),
    [
        (0, 0, (1,)),
        (1, 1, ()),
        (CHUNK_BYTES, 1, ()),
        (CHUNK_BYTES + 1, 2, (1,)),
        (CHUNK_BYTES * LINKS_MAX, 1626, (1,)),
        (CHUNK_BYTES * LINKS_MAX + 1, 1627, (2, 1)),
        (CHUNK_BYTES * LINKS_MAX**2, 1626**2, (1626, 1)),
        (CHUNK_BYTES * LINKS_MAX**2 + 1, 1626**2 + 1, (1627, 2, 1)),
    ],
)
def test_the_counts_of_a_shape(size: int, leaf_count: int, level_counts: tuple[int, ...]) -> None:
    shape = FileShape.of(size)
    assert shape.leaf_count == leaf_count
    assert shape.level_counts == level_counts
    assert shape.depth == len(level_counts)
    assert shape.node_count == leaf_count + sum(level_counts)


@given(st.integers(0, 1500))
def test_a_shape_foretells_what_the_builder_makes(size: int) -> None:
    shape = FileShape.of(size, TINY)
    blocks = [block for _, block in build_file(bytes(size), "n", limits=TINY)]
    assert len(blocks) == shape.node_count or shape.depth == 0
    assert decode_node(blocks[-1]).link_depth == shape.depth
    at = 0
    for level in range(shape.depth):
        for index in range(shape.count_at(level)):
            assert len(blocks[at]) == shape.node_bytes(level, index)
            if level:
                assert len(decode_node(blocks[at]).links) == shape.links_of(level, index)
            at += 1


@given(st.integers(1, 1500), st.data())
def test_every_byte_is_below_the_parents_of_its_leaf(size: int, data: st.DataObject) -> None:
    shape = FileShape.of(size, TINY)
    offset = data.draw(st.integers(0, size - 1))
    leaf = shape.leaf_of(offset)
    for level, index in enumerate((leaf, *shape.parents_of(leaf))):
        start, stop = shape.bytes_below(level, index)
        assert start <= offset < stop
    assert shape.leaves_covering(offset, offset + 1) == range(leaf, leaf + 1)


@given(st.integers(0, 1500), st.integers(-5, 1600), st.integers(-5, 1600))
def test_the_leaves_covering_a_span_are_those_that_hold_its_bytes(
    size: int, start: int, stop: int
) -> None:
    shape = FileShape.of(size, TINY)
    expected = sorted({offset // 10 for offset in range(max(start, 0), min(stop, size))})
    assert list(shape.leaves_covering(start, stop)) == expected


@given(st.integers(1, 1500))
def test_the_leaves_make_up_the_file(size: int) -> None:
    shape = FileShape.of(size, TINY)
    lengths = [shape.leaf_bytes(i) for i in range(shape.leaf_count)]
    assert sum(lengths) == size
    assert set(lengths[:-1]) <= {10}


def test_what_is_outside_the_file_is_refused() -> None:
    shape = FileShape.of(100, TINY)
    for ask in (
        lambda: shape.leaf_of(100),
        lambda: shape.leaf_of(-1),
        lambda: shape.leaf_bytes(10),
        lambda: shape.parents_of(-1),
        lambda: shape.bytes_below(shape.depth, 1),
        lambda: shape.bytes_below(shape.depth + 1, 0),
    ):
        with pytest.raises(IndexError):
            ask()
    with pytest.raises(ValueError, match="root"):
        shape.node_bytes(shape.depth, 0)
    with pytest.raises(ValueError, match="no size"):
        FileShape.of(-1)


def test_a_shape_costs_no_memory_of_the_size_of_the_file() -> None:
    shape = FileShape.of(1 << 62)
    assert shape.parents_of(shape.leaf_count - 1)[-1] == 0
