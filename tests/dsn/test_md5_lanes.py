from __future__ import annotations

import hashlib
import mmap
import random
import sys
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import clients

try:
    from dsn._md5_lanes import ENGINES, LANES, State, update_many
except ImportError:
    if clients.required():  # where nothing may be missing, neither may a compiler
        raise
    pytest.skip("the extension was not built", allow_module_level=True)

NOISE = random.Random(5).randbytes(1 << 20)

# Around one block, around a padding that needs a second one, and long runs of blocks.
LENGTHS = st.sampled_from([0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 128, 129, 1000, 4096, 65_066])


@st.composite
def pieces(draw: st.DrawFn) -> list[memoryview]:
    """A stream: views of any length at any offset."""
    found = []
    for _ in range(draw(st.integers(0, 4))):
        size = draw(LENGTHS | st.integers(0, 300))
        at = draw(st.integers(0, 4096))
        found.append(memoryview(NOISE)[at : at + size])
    return found


def hashed(*pieces: bytes | memoryview) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


@pytest.mark.parametrize("engine", ENGINES)
@settings(deadline=None, max_examples=150)
@given(rounds=st.lists(st.lists(pieces(), max_size=40), max_size=3))
def test_every_stream_is_hashed_as_if_alone(
    engine: str, rounds: list[list[list[memoryview]]]
) -> None:
    count = max(map(len, rounds), default=0)
    states = [State() for _ in range(count)]
    taken: list[list[memoryview]] = [[] for _ in range(count)]
    for streams in rounds:
        update_many(states[: len(streams)], streams, engine)
        for stream, own in zip(streams, taken, strict=False):
            own.extend(stream)
        assert [state.digest() for state in states] == [hashed(*own) for own in taken]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", range(1, 35))
def test_any_number_of_streams_of_any_lengths(engine: str, count: int) -> None:
    """Lanes run dry one after the other, and are filled again while streams wait."""
    chance = random.Random(count)
    streams = []
    for _ in range(count):
        at, size = chance.randrange(1 << 16), chance.choice([0, 70, 5_000, 100_000])
        streams.append([memoryview(NOISE)[at : at + chance.randint(0, size)] for _ in range(3)])
    states = [State() for _ in streams]
    update_many(states, streams, engine)
    assert [state.digest() for state in states] == [hashed(*stream) for stream in streams]


@pytest.mark.parametrize("size", range(260))
def test_every_short_length(size: int) -> None:
    state = State()
    state.update([NOISE[:size]])
    assert state.digest() == hashed(NOISE[:size])


def test_one_byte_at_a_time() -> None:
    state = State()
    for at in range(300):
        state.update([NOISE[at : at + 1]])
        assert state.digest() == hashed(NOISE[: at + 1])


def test_a_digest_changes_nothing() -> None:
    state = State()
    state.update([b"some"])
    assert state.digest() == state.digest()
    state.update([b" more"])
    assert state.digest() == hashed(b"some more")


def test_a_copy_goes_its_own_way() -> None:
    state = State()
    state.update([NOISE[:100]])
    copy = state.copy()
    copy.update([b"copy"])
    state.update([b"original"])
    assert state.digest() == hashed(NOISE[:100], b"original")
    assert copy.digest() == hashed(NOISE[:100], b"copy")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken(kind: type) -> None:
    state = State()
    state.update((kind(NOISE[:1000]), kind(b"")))
    assert state.digest() == hashed(NOISE[:1000])


def test_bits_are_counted_beyond_32() -> None:
    state, short = State(), State()
    update_many([short, state], [[NOISE], [NOISE] * 513])
    assert state.digest() == hashed(*[NOISE] * 513)
    assert short.digest() == hashed(NOISE)


@pytest.mark.long
@pytest.mark.parametrize("engine", ENGINES)
def test_bytes_are_counted_beyond_32(engine: str) -> None:
    size = (4 << 30) + 100
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as zeros:
        states = [State() for _ in range(6)]
        update_many(states, [[zeros]] * 3 + [[b"x", zeros]] * 3, engine)
        digests = [state.digest() for state in states]
        expected = [hashed(memoryview(zeros)), hashed(b"x", memoryview(zeros))]
    assert digests == [expected[0]] * 3 + [expected[1]] * 3


@pytest.mark.parametrize(
    ("states", "buffers", "error"),
    [
        ((0, 1), [[b"a"]], ValueError),
        ((0, 0), [[b"a"], [b"b"]], ValueError),
        ((0, 1), [[b"a"], ["text"]], TypeError),
        ((0, 1), [[b"a"], [b"b", None]], TypeError),
        ((0, 1), [[b"a"], None], TypeError),
        ((0, 1), [[b"a"], [memoryview(NOISE)[::2]]], BufferError),
        ((0, "state"), [[b"a"], [b"b"]], TypeError),
        ((0, 1), 5, TypeError),
        (5, [], TypeError),
    ],
)
def test_what_cannot_be_taken_changes_nothing(
    states: object, buffers: object, error: type[Exception]
) -> None:
    streams = [State(), State()]
    first = bytearray(b"first")
    for stream in streams:
        stream.update([first])
    chosen = states
    if isinstance(states, tuple):
        chosen = [streams[n] if isinstance(n, int) else n for n in states]
    with pytest.raises(error):
        update_many(chosen, buffers)  # type: ignore[arg-type]
    assert [stream.digest() for stream in streams] == [hashed(b"first")] * 2
    update_many(streams, [[b"!"], [b"?"]])
    assert [stream.digest() for stream in streams] == [hashed(b"first!"), hashed(b"first?")]
    first.append(0)  # nobody holds on to the buffer


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="abacus"):
        update_many([], [], "abacus")  # type: ignore[arg-type]


def test_the_best_engine_comes_first_and_the_plain_one_last() -> None:
    assert ENGINES[-1] == "scalar"
    assert {"avx512": 16, "avx2": 8, "scalar": 2}[ENGINES[0]] == LANES


def test_references_are_given_back() -> None:
    state, piece = State(), bytearray(1000)
    stream: Sequence[bytearray] = [piece, piece]
    before = sys.getrefcount(state), sys.getrefcount(piece), sys.getrefcount(stream)
    for _ in range(100):
        update_many([state], [stream])
        with pytest.raises(ValueError):
            update_many([state, state], [stream, stream])
    assert (sys.getrefcount(state), sys.getrefcount(piece), sys.getrefcount(stream)) == before


def test_a_stream_under_way_is_left_alone() -> None:
    state = State()
    large = [NOISE] * 256
    thread = threading.Thread(target=state.update, args=(large,))
    thread.start()
    refused = 0
    while thread.is_alive():
        try:
            state.copy().update([b"x"])
            state.digest()
        except ValueError:
            refused += 1
    thread.join()
    assert refused
    assert state.digest() == hashed(*large)
