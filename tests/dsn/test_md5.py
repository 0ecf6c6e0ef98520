from __future__ import annotations

import hashlib
import sys
from types import ModuleType

import pytest

import dsn
import dsn.md5
from tests.support.modules import load_anew

STREAMS = [[memoryview(b"ab"), memoryview(b"c" * n)] for n in (0, 1, 64, 100_000)]


@pytest.fixture(params=["as built", "without the extension", "without vectors"])
def md5(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if request.param == "as built":
        return dsn.md5
    missing = request.param == "without the extension"
    if not missing:
        lanes = pytest.importorskip("dsn._md5_lanes")
        monkeypatch.setattr(lanes, "LANES", 2)
    else:
        monkeypatch.delattr(dsn, "_md5_lanes", raising=False)
        monkeypatch.setitem(sys.modules, "dsn._md5_lanes", None)
    module = load_anew(dsn.md5)
    assert module.LANES == 1
    return module


def test_streams_side_by_side_are_what_hashlib_says(md5: ModuleType) -> None:
    md5s = [md5.new_md5() for _ in STREAMS]
    for _ in range(2):
        md5.update_side_by_side(md5s, STREAMS)
    expected = [hashlib.md5(b"".join(pieces) * 2).digest() for pieces in STREAMS]
    assert [own.digest() for own in md5s] == expected


def test_a_stream_alone_is_what_hashlib_says(md5: ModuleType) -> None:
    for pieces in STREAMS:
        own = md5.new_md5()
        own.update(pieces)
        assert own.digest() == own.digest() == hashlib.md5(b"".join(pieces)).digest()


def test_each_stream_needs_its_pieces(md5: ModuleType) -> None:
    with pytest.raises(ValueError):
        md5.update_side_by_side([md5.new_md5()], [])
