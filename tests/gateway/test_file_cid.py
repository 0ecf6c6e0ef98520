"""A file on disk has the CID that its bytes have in memory, whatever its size."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dsn.cid import cid_text
from dsn.dag_builder import build_file
from dsn.errors import NameTooLongError
from dsn.node import CHUNK_BYTES, DEFAULT_LIMITS
from gateway import file_cid as module
from gateway.file_cid import BATCH_LEAVES, FileChangedError, file_cid

BATCH = BATCH_LEAVES * CHUNK_BYTES
GROUP = DEFAULT_LIMITS.links_max * CHUNK_BYTES


SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, BATCH - 1, BATCH, BATCH + 1]


@pytest.mark.parametrize("size", [*SIZES, 9 * BATCH + 12345, GROUP, GROUP + 1])
def test_cid_is_that_of_the_bytes(tmp_path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    *_, (digest, _) = build_file(content, "name.bin")
    assert file_cid(path, "name.bin") == cid_text(digest)


def test_progress_grows_to_the_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(20 * BATCH + 5))
    calls: list[tuple[int, int]] = []
    file_cid(path, "n", lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1] == (20 * BATCH + 5, 20 * BATCH + 5)


def test_too_long_a_name_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with pytest.raises(NameTooLongError):
        file_cid(path, "n" * 256)


def test_file_that_changes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * BATCH))
    real = module._read_into

    def shortened(file: int, views: list[memoryview], offset: int) -> None:
        with path.open("r+b") as writer:
            writer.truncate(BATCH)
        real(file, views, offset)

    monkeypatch.setattr(module, "_read_into", shortened)
    with pytest.raises(FileChangedError):
        file_cid(path, "n")


def test_short_reads_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    content = random.Random(1).randbytes(BATCH + 3)
    path.write_bytes(content)
    real = module.os.preadv

    def stingy(file: int, views: list[memoryview], offset: int) -> int:
        return real(file, [views[0][:30_000]], offset)

    monkeypatch.setattr(module.os, "preadv", stingy)
    *_, (digest, _) = build_file(content, "n")
    assert file_cid(path, "n") == cid_text(digest)
