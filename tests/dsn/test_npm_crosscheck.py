"""Our DAGs against those of the official npm package, on random input.

Install it with `npm ci --prefix tests/clients/node`. Sizes of 2 GiB up to 4 GiB are not compared:
the package's protobuf runtime writes garbage there.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dsn.cid import cid_text, node_cid
from dsn.dag_builder import Block, build_file, build_folder
from dsn.node import CHUNK_BYTES, LINKS_MAX, Compression, DagLimits, Encryption, UploadOptions

NODE_CLIENTS = Path(__file__).parents[1] / "clients" / "node"
DEFAULT = DagLimits()
MIB = 1 << 20

Build = Callable[[dict[str, Any]], dict[str, Any]]

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def package() -> Iterator[Build]:
    """Builds with the npm package."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (NODE_CLIENTS / "node_modules" / "@autonomys" / "auto-dag-data").is_dir():
        pytest.skip("run `npm ci --prefix tests/clients/node` first")
    with subprocess.Popen(
        [node, str(NODE_CLIENTS / "dag.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        requests, answers = process.stdin, process.stdout
        assert requests is not None
        assert answers is not None

        def build(request: dict[str, Any]) -> dict[str, Any]:
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            answer: dict[str, Any] = json.loads(answers.readline())
            return answer

        yield build
        requests.close()
        assert process.wait(10) == 0


def test_the_installed_package_is_the_one_we_mean() -> None:
    locked = json.loads((NODE_CLIENTS / "package-lock.json").read_text())["packages"]
    assert locked["node_modules/@autonomys/auto-dag-data"]["version"] == "1.6.10"
    assert not any("resolved" in package for package in locked.values())


EDGES = [
    edge + around
    for edge in (CHUNK_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES, 81 * CHUNK_BYTES)
    for around in (-1, 0, 1)
]
SIZES = [0, 1, 2, 127, 128, 16_383, 16_384, *EDGES, 5 * MIB, 8 * MIB + 3]
LARGE = [LINKS_MAX * CHUNK_BYTES, LINKS_MAX * CHUNK_BYTES + 1, 120 * MIB]


@pytest.mark.parametrize("size", SIZES + LARGE)
def test_a_file_has_the_same_nodes(package: Build, tmp_path: Path, size: int) -> None:
    source = random.Random(size)
    compare_file(package, tmp_path, source, size, DEFAULT)


@pytest.mark.parametrize("seed", range(20))
def test_random_files_have_the_same_nodes(package: Build, tmp_path: Path, seed: int) -> None:
    source = random.Random(f"files {seed}")
    for _ in range(10):
        compare_file(package, tmp_path, source, source.randrange(5 * CHUNK_BYTES), DEFAULT)


@pytest.mark.parametrize("seed", range(10))
def test_deep_trees_have_the_same_nodes(package: Build, tmp_path: Path, seed: int) -> None:
    source = random.Random(f"deep {seed}")
    for _ in range(20):
        limits = DagLimits(469 + source.randint(300, 600), source.randint(2, 6))
        compare_file(package, tmp_path, source, source.randrange(100_000), limits)


@pytest.mark.parametrize("seed", range(10))
def test_folders_have_the_same_nodes(package: Build, seed: int) -> None:
    source = random.Random(f"folders {seed}")
    limits = DagLimits(links_max=source.choice([2, 3, 7, LINKS_MAX]))
    count = source.choice([0, 1, 2, 3, 8, 100, LINKS_MAX, LINKS_MAX + 1])
    children = [source.randbytes(32) for _ in range(count)]
    name, size = random_name(source), source.randrange(1 << 31)
    answer = package(
        {
            "children": [cid_text(child) for child in children],
            "size": size,
            "name": name,
            "limits": {"maxLinkPerNode": limits.links_max},
        }
    )
    assert answer == summary(lambda: build_folder(children, name, size, limits=limits))


def compare_file(
    package: Build, tmp_path: Path, source: random.Random, size: int, limits: DagLimits
) -> None:
    content = source.randbytes(size) if source.random() < 0.8 else bytes(size)
    path = tmp_path / "content"
    path.write_bytes(content)
    name = source.choice([None, "", random_name(source)])
    options, given = random_options(source)
    answer = package(
        {
            "path": str(path),
            "size": size,
            **({} if name is None else {"name": name}),
            "options": given,
            "limits": {
                "maxNodeSize": limits.node_bytes_max,
                "maxLinkPerNode": limits.links_max,
            },
        }
    )
    assert answer == summary(lambda: build_file(content, name, options, limits))


def summary(build: Callable[[], Iterator[Block]]) -> dict[str, Any]:
    written = hashlib.sha256()
    count = 0
    try:
        for digest, _ in build():
            written.update(node_cid(digest))
            count += 1
    except ValueError as error:
        return {"error": str(error)}
    return {"root": cid_text(digest), "nodes": count, "nodesSha256": written.hexdigest()}


def random_name(source: random.Random) -> str:
    alphabet = source.choice(
        ["abc.-_ /", "äöüßéñ", "文件夹日本語", "😀🚀👩‍👩‍👧", "e\u0301\u202e\ufeff\0\n"]
    )
    return "".join(source.choices(alphabet, k=source.choice([1, 5, 40, 127, 128, 255, 256, 300])))


def random_options(source: random.Random) -> tuple[UploadOptions, dict[str, Any]]:
    """Options as ours and as the package's. 1.6.10 does not check the compression flag."""
    level, chunk_size = source.choice([None, 0, 9]), source.choice([None, 1, MIB])
    compression = source.choice([None, Compression(level=level, chunk_size=chunk_size)])
    encryption = source.choice([None, Encryption(chunk_size=chunk_size)])
    given: dict[str, Any] = {}
    if compression:
        numbers = {"level": level, "chunkSize": chunk_size}
        given["compression"] = {"algorithm": "ZLIB"} | without_none(numbers)
    if encryption:
        given["encryption"] = {"algorithm": "AES_256_GCM"} | without_none({"chunkSize": chunk_size})
    return UploadOptions(compression, encryption), given


def without_none(fields: dict[str, int | None]) -> dict[str, int]:
    return {key: value for key, value in fields.items() if value is not None}
