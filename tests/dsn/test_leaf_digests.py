from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

import dsn
import dsn.leaf_digests
from dsn.framing import FULL_NODE_BYTES, FULL_NODE_START, FULL_SECTION_BYTES
from tests.support.modules import load_anew

try:
    from dsn._blake3_lanes import ENGINES, digests
except ImportError:
    ENGINES = ()

NOISE = os.urandom(40 * (65_536 + 64))
CHUNKS_64 = (64_513, 65_536)

needs_engine = pytest.mark.skipif(not ENGINES, reason="the extension is not built, or no vectors")


def expected(data: bytes, start: int, length: int, stride: int, count: int) -> bytes:
    starts = range(start, start + count * stride, stride) if count else ()
    return b"".join(blake3(data[at : at + length]).digest() for at in starts)


@needs_engine
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 33])
@pytest.mark.parametrize("length", [*CHUNKS_64, 64_576, 64_577, 65_080, 65_535])
def test_leaves_are_hashed_as_the_package_does(engine: str, count: int, length: int) -> None:
    found = digests(NOISE, 39, length, length + 39, count, engine)
    assert found == expected(NOISE, 39, length, length + 39, count)


@needs_engine
@settings(deadline=None)
@given(st.data())
def test_any_leaves_in_any_place(data: st.DataObject) -> None:
    length = data.draw(st.integers(*CHUNKS_64))
    stride = data.draw(st.integers(length, length + 64))
    count = data.draw(st.integers(0, 20))
    start = data.draw(st.integers(0, len(NOISE) - count * stride))
    engine = data.draw(st.sampled_from(ENGINES))
    shape = (start, length, stride, count)
    assert digests(memoryview(NOISE), *shape, engine) == expected(NOISE, *shape)


@needs_engine
@pytest.mark.parametrize(
    ("start", "length", "stride", "count"),
    [
        (0, 64_512, 65_536, 1),
        (0, 65_537, 65_537, 1),
        (0, 65_000, 64_999, 1),
        (-1, 65_000, 65_000, 1),
        (0, 65_000, 65_000, -1),
        (1, 65_536, 65_536, 2),
        (0, 65_536, 65_537, 2),
        (2 * 65_536, 65_536, 65_536, 1),
        (0, 65_536, sys.maxsize, 2),
        (sys.maxsize, 65_536, 65_536, 1),
        (0, 65_536, 65_536, sys.maxsize),
    ],
)
def test_leaves_that_are_not_there_are_refused(
    start: int, length: int, stride: int, count: int
) -> None:
    with pytest.raises(ValueError):
        digests(bytes(2 * 65_536), start, length, stride, count)


@needs_engine
def test_an_engine_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no such engine"):
        digests(b"", 0, 65_000, 65_000, 0, "abacus")  # type: ignore[arg-type]


@pytest.fixture(params=["as built", "without the extension", "without vectors"])
def leaf_digests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if request.param == "as built":
        return dsn.leaf_digests
    if request.param == "without vectors":
        lanes = pytest.importorskip("dsn._blake3_lanes")
        monkeypatch.setattr(lanes, "ENGINES", ())
    else:
        monkeypatch.delattr(dsn, "_blake3_lanes", raising=False)
        monkeypatch.setitem(sys.modules, "dsn._blake3_lanes", None)
    module = load_anew(dsn.leaf_digests)
    assert module.ENGINE is None
    return module


@pytest.mark.parametrize("count", [0, 1, 16, 20])
def test_sections_give_the_digests_of_their_nodes(leaf_digests: ModuleType, count: int) -> None:
    sections = memoryview(NOISE[: 20 * FULL_SECTION_BYTES])
    joined = expected(NOISE, FULL_NODE_START, FULL_NODE_BYTES, FULL_SECTION_BYTES, count)
    found = leaf_digests.full_leaf_digests(sections, count)
    assert b"".join(found) == joined
    assert len(found) == count
