"""s3fs, by itself and through fsspec, with its default settings, on http and https."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import GatewayServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

MIB = 1 << 20


@pytest.fixture
def options(either_server: GatewayServer) -> dict[str, Any]:
    pytest.importorskip("s3fs")
    trust = {"verify": str(either_server.tls_cert)} if either_server.tls_cert else {}
    return {
        "key": either_server.access_key,
        "secret": either_server.secret,
        "endpoint_url": either_server.endpoint,
        "client_kwargs": {"region_name": "us-east-1", **trust},
    }


@pytest.fixture
def files(options: dict[str, Any]) -> Any:
    import s3fs

    return s3fs.S3FileSystem(**options)


def test_tree_goes_up_and_comes_down(files: Any, folder: Path, bucket: str, tmp_path: Path) -> None:
    files.makedirs(bucket, exist_ok=True)
    # A glob pattern is no name for it, however it is quoted.
    (folder / "odd/[brackets]{braces}(parens).txt").unlink()
    files.put(f"{folder}/", f"{bucket}/tree/", recursive=True)
    files.get(f"{bucket}/tree/", f"{tmp_path}/back/", recursive=True)
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    for name in names:
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    assert len(files.find(f"{bucket}/tree")) == len(names)


def test_file_written_in_blocks_and_read_at_places(files: Any, bucket: str) -> None:
    content = random.Random(1).randbytes(11 * MIB)
    files.makedirs(bucket, exist_ok=True)
    with files.open(f"{bucket}/k", "wb", block_size=5 * MIB) as out:
        for start in range(0, len(content), MIB):
            out.write(content[start : start + MIB])
    with files.open(f"{bucket}/k", "rb") as file:
        file.seek(-9, 2)
        assert file.read() == content[-9:]
        file.seek(5 * MIB - 3)
        assert file.read(6) == content[5 * MIB - 3 : 5 * MIB + 3]
    assert files.info(f"{bucket}/k")["size"] == len(content)
    assert files.cat_file(f"{bucket}/k", start=-4) == content[-4:]


def test_exclusive_creation(files: Any, bucket: str) -> None:
    files.makedirs(bucket, exist_ok=True)
    files.pipe_file(f"{bucket}/k", b"first", mode="create")
    with pytest.raises(FileExistsError):
        files.pipe_file(f"{bucket}/k", b"second", mode="create")
    assert files.cat_file(f"{bucket}/k") == b"first"


def test_listing_and_existence(files: Any, bucket: str) -> None:
    files.makedirs(bucket, exist_ok=True)
    for name in ("a/1", "a/b/2", "top"):
        files.pipe_file(f"{bucket}/{name}", b"x")
    assert sorted(files.ls(bucket, detail=False)) == [f"{bucket}/a", f"{bucket}/top"]
    assert files.isdir(f"{bucket}/a/b")
    assert files.exists(f"{bucket}/a/1")
    assert not files.exists(f"{bucket}/a/absent")
    with pytest.raises(FileNotFoundError):
        files.info(f"{bucket}/absent")


def test_removal_is_denied(files: Any, bucket: str) -> None:
    files.makedirs(bucket, exist_ok=True)
    files.pipe_file(f"{bucket}/k", b"x")
    with pytest.raises(PermissionError):
        files.rm(f"{bucket}/k")
    assert files.cat_file(f"{bucket}/k") == b"x"


def test_address_of_fsspec(options: dict[str, Any], bucket: str) -> None:
    import fsspec

    with fsspec.open(f"s3://{bucket}/new/k.txt", "wt", **options) as out:
        out.write("text")
    with fsspec.open(f"s3://{bucket}/new/k.txt", "rt", **options) as file:
        assert file.read() == "text"
