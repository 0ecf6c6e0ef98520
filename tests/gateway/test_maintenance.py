from __future__ import annotations

import asyncio
import io
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dsn.blockstore.segments.files import SegmentKind, kind_of
from dsn.car import read_header, read_sections, write_dag
from dsn.cid import cid_text, node_cid
from dsn.dag_builder import build_file
from dsn.node import DagLimits
from gateway.cli.program import cli
from gateway.data_dir import DataPaths
from gateway.delete_policy import DeleteMode, DeletePolicy
from gateway.deletes import Deletion
from gateway.maintenance import NotFoundError, export_object, import_car, verify
from tests.support.bodies import noise
from tests.support.parts import Parts, cid_of, etag, recover, tables

LARGE = noise(3_000_000, 1)
OTHER = noise(2_000_000, 2)
PART = noise(900_000, 3)
OPEN = noise(900_000, 4)


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    """Two large objects, a small one, a completed upload, and an open one with two parts."""
    path = tmp_path / "data"
    async with Parts(path) as parts:
        await parts.put("large", LARGE)
        await parts.put("other", OTHER)
        await parts.put("small", b"small content")
        done = await parts.create_upload("done")
        for number in (1, 2):
            await parts.put_part("done", done, number, PART)
        await parts.complete("done", done, {1: etag(PART), 2: etag(PART)})
        open_upload = await parts.create_upload("open")
        for number, content in ((1, OPEN[:300_000]), (2, OPEN[300_000:])):
            await parts.put_part("open", open_upload, number, content)
    recover(path)
    return path


def flip(data_dir: Path, needle: bytes, at: int = 0) -> None:
    """Flips a bit in the one segment that holds these bytes."""
    for path in data_dir.rglob("*.car"):
        content = bytearray(path.read_bytes())
        found = content.find(needle)
        if found >= 0:
            content[found + at] ^= 4
            path.write_bytes(content)
            return
    raise AssertionError("not on disk")


def damaged(data_dir: Path) -> set[str]:
    return {damage.key for damage in verify(data_dir).damages}


def version(data_dir: Path, key: str) -> dict[str, Any]:
    rows = [dict(row) for row in tables(data_dir)["versions"]]
    return next(row for row in rows if row["key"] == key.encode())


def test_what_is_healthy_is_found_healthy(data_dir: Path) -> None:
    before = tables(data_dir)
    report = verify(data_dir)
    assert report.damages == []
    assert report.objects == 4
    assert tables(data_dir) == before
    assert verify(data_dir) == report


def test_a_flipped_bit_in_a_leaf_damages_its_object_alone(data_dir: Path) -> None:
    flip(data_dir, LARGE[1_000_000:1_000_100])
    assert damaged(data_dir) == {"large"}


def test_a_flipped_bit_in_a_small_object_damages_it_alone(data_dir: Path) -> None:
    flip(data_dir, b"small content")
    # It lies in the log, which is damaged with it.
    assert damaged(data_dir) == {"small", ""}


@pytest.mark.parametrize("key", ["large", "other", "done"])
def test_a_flipped_bit_in_a_root_or_link_node_damages_its_object(data_dir: Path, key: str) -> None:
    flip(data_dir, node_cid(version(data_dir, key)["root"]), at=60)
    assert damaged(data_dir) - {""} == {key}


def test_a_flipped_bit_in_a_record_damages_its_object(data_dir: Path) -> None:
    row = version(data_dir, "large")
    path = next(p for p in data_dir.rglob("*.car") if int(p.stem, 16) == row["log"])
    content = bytearray(path.read_bytes())
    content[row["log_offset"] + 60] ^= 1
    path.write_bytes(content)
    assert damaged(data_dir) == {"large", ""}


def test_a_flipped_bit_in_a_fragment_damages_the_part(data_dir: Path) -> None:
    flip(data_dir, OPEN[299_900:300_000])
    (damage,) = verify(data_dir).damages
    assert damage.key == "open"
    assert damage.version.endswith("part 1")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("size", 7),
        ("root", bytes(32)),
        ("etag", bytes(16)),
        ("key", b"renamed"),
        ("metadata", b'{"content-type":"evil"}'),
        ("layout", b""),
        ("layout", bytes.fromhex("01000000")),
        ("layout", b"\xff" * 40),
        ("metadata", b"not json"),
        ("log_offset", 3),
        ("log", 8),
        ("part_sizes", b"[[1, 2]]"),
        ("checksum", '["CRC32", "FULL_OBJECT", "AAAAAA=="]'),
    ],
)
def test_a_changed_row_of_the_catalog_is_noticed(
    data_dir: Path, column: str, value: object
) -> None:
    sequence = version(data_dir, "large")["sequence"]
    connection = sqlite3.connect(DataPaths(data_dir).catalog)
    connection.execute(f"UPDATE versions SET {column} = ? WHERE sequence = ?", (value, sequence))
    connection.commit()
    connection.close()
    found = {damage.version for damage in verify(data_dir).damages}
    # With another size the bucket is not counted right either, which is no version's damage.
    assert found - {""} == {f"{sequence:016x}"}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE objects SET size = 7 WHERE key = ?",
        "UPDATE objects SET etag = x'00' WHERE key = ?",
        "UPDATE objects SET part_count = 3 WHERE key = ?",
        "UPDATE objects SET sequence = sequence + 1 WHERE key = ?",
        "DELETE FROM objects WHERE key = ?",
        "DELETE FROM versions WHERE key = ?",
    ],
)
def test_a_listing_that_is_not_what_was_stored_is_noticed(data_dir: Path, change: str) -> None:
    connection = sqlite3.connect(DataPaths(data_dir).catalog)
    connection.execute(change, (b"large",))
    connection.commit()
    connection.close()
    assert damaged(data_dir) == {"large"}


@pytest.mark.parametrize(
    ("change", "damage"),
    [
        ("DELETE FROM notes WHERE name = 'retention'", "small"),
        ("DELETE FROM notes WHERE name = 'tagging'", "small"),
        ("UPDATE notes SET sequence = version WHERE name = 'tagging'", "small"),
        ("DELETE FROM settings", ""),
        ("DELETE FROM removals", "gone"),
        ("DELETE FROM versions WHERE root = x''", "hidden"),
        ("UPDATE buckets SET objects = objects + 1", ""),
        ("UPDATE buckets SET bytes = bytes + 1", ""),
        ("UPDATE clock SET sequence = sequence", None),
    ],
)
async def test_what_the_catalog_forgot_of_the_records_is_noticed(
    tmp_path: Path, change: str, damage: str | None
) -> None:
    policy = DeletePolicy(DeleteMode.HIDE, scratch=("gone",))
    async with Parts(tmp_path, delete_policy=policy) as parts:
        await parts.put("small", b"x", notes={"retention": "r"})
        version = await parts.objects.get("main", "bucket", b"small")
        await parts.objects.annotate("main", "bucket", version, "tagging", "a=1")
        for key in ("hidden", "gone"):
            await parts.put(key, b"x")
            await parts.deletes.delete(Deletion("main", "bucket", key.encode()))
        await parts.buckets.configure("main", "bucket", "cors", None)
    with closing(sqlite3.connect(DataPaths(tmp_path).catalog)) as connection:
        connection.execute(change)
        connection.commit()
    assert damaged(tmp_path) == (set() if damage is None else {damage})


def test_two_objects_that_share_a_leaf_are_both_damaged(tmp_path: Path) -> None:
    async def fill() -> None:
        async with Parts(tmp_path / "data") as parts:
            await parts.put("large", LARGE)
            await parts.put("longer", LARGE + OTHER)
            await parts.put("other", OTHER)

    asyncio.run(fill())
    flip(tmp_path / "data", LARGE[1_000_000:1_000_100])
    assert damaged(tmp_path / "data") == {"large", "longer"}


def test_a_missing_segment_is_noticed(data_dir: Path) -> None:
    (path, *_) = (
        p
        for p in data_dir.rglob("*.car")
        if kind_of(int(p.stem, 16)) is SegmentKind.BODY and LARGE[:100] in p.read_bytes()
    )
    path.unlink()
    assert damaged(data_dir) == {"large", ""}


def test_the_command_tells_damage_by_its_exit_code(data_dir: Path) -> None:
    arguments = ["verify", "--data-dir", str(data_dir), "--json"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    flip(data_dir, LARGE[:100])
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 3
    assert '"key": "large"' in done.stdout


@pytest.mark.parametrize(
    ("key", "content"),
    [("large", LARGE), ("small", b"small content"), ("done", PART + PART)],
)
async def test_an_object_goes_out_as_a_car_and_comes_back(
    data_dir: Path, tmp_path: Path, key: str, content: bytes
) -> None:
    car = tmp_path / "file.car"
    export_object(data_dir, "bucket", key, car)
    stream = io.BytesIO(car.read_bytes())
    header = read_header(stream)
    blocks = {s.cid[4:]: s.block for s in read_sections(stream, offset=header.header_bytes)}
    assert blocks == dict(build_file(content, key))
    assert cid_text(header.roots[0][4:]) == cid_of(content, key)
    imported = await asyncio.to_thread(
        import_car, tmp_path / "other", "main", car, "bucket", "under/another-name"
    )
    assert imported == cid_of(content, key)
    async with Parts(tmp_path / "other") as parts:
        assert await parts.get("under/another-name") == content


async def test_an_object_whose_name_has_no_room_goes_out_and_comes_back(tmp_path: Path) -> None:
    key = "n" * 300
    async with Parts(tmp_path / "data") as parts:
        record = await parts.put(key, LARGE)
    recover(tmp_path / "data")
    export_object(tmp_path / "data", "bucket", key, tmp_path / "file.car")
    imported = await asyncio.to_thread(
        import_car, tmp_path / "other", "main", tmp_path / "file.car", "bucket", "short"
    )
    assert imported == cid_text(record.root)


def test_what_is_not_there_is_not_exported(data_dir: Path, tmp_path: Path) -> None:
    for bucket, key in (("bucket", "missing"), ("missing", "large")):
        with pytest.raises(NotFoundError):
            export_object(data_dir, bucket, key, tmp_path / "file.car")
    assert not list(tmp_path.glob("file.car*"))


def test_a_damaged_object_is_not_exported(data_dir: Path, tmp_path: Path) -> None:
    flip(data_dir, LARGE[1_000_000:1_000_100])
    with pytest.raises(ValueError, match="does not match"):
        export_object(data_dir, "bucket", "large", tmp_path / "file.car")
    assert not (tmp_path / "file.car").exists()


async def test_a_car_that_auto_drive_would_not_have_made_leaves_nothing(tmp_path: Path) -> None:
    """Leaves of another size are a DAG as well, but the network gives its bytes another CID."""
    content = noise(3000)
    blocks = dict(build_file([content], "small.bin", limits=DagLimits(node_bytes_max=1469)))
    *_, root = blocks
    with (tmp_path / "foreign.car").open("wb") as car:
        write_dag(blocks.__getitem__, root, car)
    with pytest.raises(ValueError, match=r"canonical|CID"):
        await asyncio.to_thread(
            import_car, tmp_path / "data", "main", tmp_path / "foreign.car", "bucket", "key"
        )
    assert verify(tmp_path / "data").objects == 0
