"""A filled store is a store: served, listed, read, verified as far as it is real, rebuilt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.cli import cli
from benchmarks.fill import LARGE_LEAVES, SMALL_BYTES, Filling
from benchmarks.scale import cases, stored_sets
from dsn.blockstore.digest_index import DigestIndex
from gateway.data_dir import DataPaths, recover_data_dir
from tests.support.server import GatewayServer

FILLING = Filling(objects=2500, chunks=2500 + 3 * LARGE_LEAVES)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "data"
    counts = ["--objects", str(FILLING.objects), "--chunks", str(FILLING.chunks)]
    # It keeps the directory locked until its process ends.
    command = [sys.executable, "-m", "benchmarks", "fill", str(path), *counts]
    subprocess.run(command, check=True)
    return path


def test_counts_add_up() -> None:
    for filling in (FILLING, Filling()):
        sets = (filling.tree, filling.wide, filling.large_set)
        assert sum(objects.count for objects in sets) == filling.objects
        blocks = filling.objects + filling.large * LARGE_LEAVES
        assert 0 <= filling.chunks - blocks < LARGE_LEAVES
    assert Filling().chunks * 65_066 > 650e9
    assert Filling().wide.key(Filling().wide.count - 1).count("/") == 3


def test_cases_that_read_find_what_is_stored() -> None:
    identities = {(case.reads, case.reads_count, case.fanout) for case in cases() if case.fanout}
    assert identities == stored_sets(FILLING).keys()


def test_filled_store_is_served(data_dir: Path) -> None:
    index = DigestIndex(DataPaths(data_dir).index)
    # Of large objects the leaves; all of small ones, whose names make them differ.
    assert index.count() == FILLING.objects - FILLING.large + FILLING.large * LARGE_LEAVES
    index.close()
    server = GatewayServer(data_dir).start()
    try:
        s3 = server.s3()
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="benchmark")
        listed = {entry["Key"]: entry["Size"] for page in pages for entry in page["Contents"]}
        assert len(listed) == FILLING.objects
        for objects in (FILLING.tree, FILLING.wide):
            keys = [objects.key(number) for number in range(objects.count)]
            assert {listed[key] for key in keys} == {SMALL_BYTES}
            got = s3.get_object(Bucket="benchmark", Key=keys[-1])["Body"].read()
            assert int.from_bytes(got, "big") == objects.stamp + objects.count - 1
        size = listed[FILLING.large_set.key(0)]
        assert size == LARGE_LEAVES * 65_066
        segments = list((data_dir / "segments").rglob("*.car"))
        sparse = [path.stat() for path in segments if path.stat().st_size > size]
        assert len(sparse) == FILLING.large
        assert all(stat.st_blocks * 512 < 1 << 20 for stat in sparse)
    finally:
        server.stop()


def test_filled_store_needs_no_recovery(data_dir: Path) -> None:
    recovered = recover_data_dir(data_dir)
    assert (recovered.records, recovered.rot, recovered.removed) == (0, [], [])


def test_names_are_rebuilt_from_the_records(data_dir: Path) -> None:
    paths = DataPaths(data_dir)
    for path in (paths.catalog, paths.catalog.with_name("catalog.db-wal")):
        path.unlink(missing_ok=True)
    recovered = recover_data_dir(data_dir)
    assert (recovered.records, recovered.rot, recovered.set_aside) == (FILLING.objects, [], [])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--objects", "10", "--chunks", "9"], "every object is a chunk"),
        (["--objects", "many"], "is not a size"),
        ([], "has a store in it already"),
    ],
)
def test_wrong_filling_is_refused(data_dir: Path, arguments: list[str], reason: str) -> None:
    done = CliRunner().invoke(cli, ["fill", str(data_dir), *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert reason in done.output


def test_scale_compares_two_stores(tmp_path: Path) -> None:
    results = tmp_path / "scale.json"
    arguments = ["scale", "--objects", "2k", "--chunks", "4k", "--rounds", "1", "--seconds", "0.2"]
    arguments += ["--connections", "20", "-c", "2", "--work-dir", str(tmp_path / "work")]
    command = [sys.executable, "-m", "benchmarks", *arguments, "--json", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(line) for line in results.read_text().splitlines()]
    scales = [record for record in records if record["kind"] == "scale"]
    assert [record["endpoint"] for record in scales] == ["empty", "filled"]
    for record in scales:
        assert len(record["values"]) == 6
        assert all(value >= 0 for values in record["values"].values() for value in values)
    measured = {record["case"] for record in records if record["kind"] == "result"}
    assert measured == {case.id for case in cases(2)}
    assert "start after kill -9 under load" in done.stdout
    assert not any((tmp_path / "work").iterdir())
