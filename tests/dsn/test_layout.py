from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsn.errors import InvalidLayoutError
from dsn.framing import FULL_SECTION_BYTES
from dsn.layout import Layout, Run, RunList, decode_layout, encode_layout, layout_segments
from dsn.place import Place

SEGMENTS = st.integers(0, (1 << 63) - 1)
OFFSETS = st.integers(0, (1 << 48) - 1)
PLACES = st.builds(Place, SEGMENTS, OFFSETS)
RUNS = st.builds(
    Run, SEGMENTS, OFFSETS, st.integers(1, 1 << 30), st.sampled_from([0, FULL_SECTION_BYTES])
)
LAYOUTS = st.builds(
    Layout, st.lists(RUNS, max_size=20).map(tuple), st.lists(PLACES, max_size=20).map(tuple)
)
# Few segments and neighbouring slots, so that many leaves continue the run before them.
LEAVES = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 3)), max_size=60)


def place_of(leaf: tuple[int, int]) -> tuple[int, int]:
    return leaf[0], 100 + leaf[1] * FULL_SECTION_BYTES


def unrolled(runs: tuple[Run, ...]) -> list[tuple[int, int]]:
    return [(run.segment, run.offset + i * run.stride) for run in runs for i in range(run.leaves)]


@given(LAYOUTS)
def test_a_layout_survives_being_written(layout: Layout) -> None:
    assert decode_layout(encode_layout(layout)) == layout


@given(LAYOUTS)
def test_the_segments_are_told_without_the_rest(layout: Layout) -> None:
    assert layout_segments(encode_layout(layout)) == layout.segments()


@given(st.binary(max_size=40))
def test_segments_of_any_bytes_are_told_or_refused(encoded: bytes) -> None:
    with suppress(InvalidLayoutError):
        layout_segments(encoded)
    with pytest.raises(InvalidLayoutError):
        layout_segments(encode_layout(Layout((), (Place(1, 2),)))[:9])


@given(LAYOUTS, st.data())
def test_a_layout_that_is_cut_is_refused(layout: Layout, data: st.DataObject) -> None:
    encoded = encode_layout(layout)
    stop = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(InvalidLayoutError):
        decode_layout(encoded[:stop])
    with pytest.raises(InvalidLayoutError):
        decode_layout(encoded + b"\x00")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_layout_or_refused(encoded: bytes) -> None:
    with suppress(InvalidLayoutError):
        decode_layout(encoded)


@given(LEAVES)
def test_runs_hold_the_places_in_order(leaves: list[tuple[int, int]]) -> None:
    runs = RunList()
    for leaf in leaves:
        extends = runs.extends(*place_of(leaf))
        before = len(runs)
        runs.append(*place_of(leaf))
        assert len(runs) == before + (0 if extends else 1)
    assert unrolled(runs.runs()) == [place_of(leaf) for leaf in leaves]


@given(LEAVES, LEAVES)
def test_runs_added_whole_are_those_of_their_leaves(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    one_by_one, whole = RunList(), RunList()
    for leaf in (*first, *second):
        one_by_one.append(*place_of(leaf))
    for part in (first, second):
        runs = RunList()
        for leaf in part:
            runs.append(*place_of(leaf))
        whole.extend(runs.runs())
    assert unrolled(whole.runs()) == unrolled(one_by_one.runs())


def test_neighbours_and_repeats_are_one_run_each() -> None:
    runs = RunList()
    for _ in range(1000):
        runs.append(1, 100)
    for i in range(1000):
        runs.append(2, 100 + i * FULL_SECTION_BYTES)
    assert runs.runs() == (Run(1, 100, 1000, 0), Run(2, 100, 1000))


@given(LEAVES.filter(bool), st.data())
def test_covering_gives_the_places_of_just_those_leaves(
    leaves: list[tuple[int, int]], data: st.DataObject
) -> None:
    runs = RunList()
    for leaf in leaves:
        runs.append(*place_of(leaf))
    layout = Layout(runs.runs(), ())
    assert layout.leaf_count == len(leaves)
    first = data.draw(st.integers(0, len(leaves) - 1))
    count = data.draw(st.integers(1, len(leaves) - first))
    covering = tuple(layout.covering(first, count))
    assert unrolled(covering) == [place_of(leaf) for leaf in leaves[first : first + count]]
    with pytest.raises(InvalidLayoutError):
        list(layout.covering(first, len(leaves) - first + 1))
