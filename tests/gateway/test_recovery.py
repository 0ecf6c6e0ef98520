from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dsn.blockstore.segments.files import SegmentKind, kind_of
from dsn.blockstore.segments.scan import header_bytes
from dsn.car import section_prefix
from dsn.cid import RECORD_CID_PREFIX, digest_of
from gateway.catalog.records import BucketRecord, encode_record
from gateway.data_dir import DataPaths
from gateway.objects import NewObject
from tests.support.bodies import noise
from tests.support.parts import Parts, copy, etag, recover, tables, target

LARGE = noise(3_000_000, 1)
PART = noise(1_500_000, 2)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def fill(data_dir: Path) -> str:
    """Objects small and large, versions, an open upload, a completed and an aborted one."""
    async with Parts(data_dir) as parts:
        await parts.put("small", b"small")
        await parts.put("empty", b"")
        await parts.put("large", LARGE)
        await parts.put("small", b"second version", metadata={"content-type": "text/plain"})
        done = await parts.create_upload("done")
        for number in (2, 1):
            await parts.put_part("done", done, number, PART)
        await parts.complete("done", done, {1: etag(PART), 2: etag(PART)})
        aborted = await parts.create_upload("aborted")
        await parts.put_part("aborted", aborted, 1, PART)
        await parts.uploads.abort(await parts.uploads.find(target("aborted", aborted)))
        open_upload = await parts.create_upload("open")
        await parts.put_part("open", open_upload, 1, LARGE)
        await parts.put_part("open", open_upload, 1, PART)
        await parts.put_part("open", open_upload, 3, LARGE)
    return open_upload


async def check(data_dir: Path) -> None:
    async with Parts(data_dir) as parts:
        assert await parts.get("small") == b"second version"
        assert await parts.get("empty") == b""
        assert await parts.get("large") == LARGE
        assert await parts.get("done") == PART + PART


def drop_catalog(data_dir: Path) -> None:
    for path in data_dir.glob("catalog.db*"):
        path.unlink()


def drop_index(data_dir: Path) -> None:
    for path in data_dir.glob("index*"):
        path.unlink()


@pytest.mark.parametrize("lost", [(), (drop_catalog,), (drop_index,), (drop_catalog, drop_index)])
async def test_catalog_and_index_come_back_from_the_segments(data_dir: Path, lost) -> None:
    await fill(data_dir)
    recover(data_dir)
    before = tables(data_dir)
    files = set((data_dir / "segments").rglob("*.car"))
    for drop in lost:
        drop(data_dir)
    found = recover(data_dir)
    assert (found.rot, found.removed) == ([], [])
    assert tables(data_dir) == before
    assert set((data_dir / "segments").rglob("*.car")) == files
    again = recover(data_dir)
    assert (again.records, again.rot, again.removed) == (0, [], [])
    await check(data_dir)


async def test_every_node_is_found_by_its_digest_after_the_index_was_lost_half_way(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Parts(data_dir) as parts:
        await parts.put("large", LARGE)
        version = await parts.objects.find("main", "bucket", b"large")
        digests = parts.objects.reader(version).leaf_digests(0)
    drop_index(data_dir)
    recover_some = pytest.MonkeyPatch()
    from dsn.blockstore.segments import store

    recover_some.setattr(store, "_INDEX_BATCH", 10)
    add = store.PendingIndex.add
    calls = []

    def crash(self, entries, marks=None):
        calls.append(marks)
        if len(calls) == 3:
            raise KeyboardInterrupt
        add(self, entries, marks)
        self.flush()

    recover_some.setattr(store.PendingIndex, "add", crash)
    with pytest.raises(KeyboardInterrupt):
        recover(data_dir)
    recover_some.undo()
    recover(data_dir)
    async with Parts(data_dir) as parts:
        assert None not in parts.store.lookup(digests)


async def test_what_no_record_names_is_removed_and_nothing_else(data_dir: Path) -> None:
    open_upload = await fill(data_dir)
    recover(data_dir)
    named = set((data_dir / "segments").rglob("*.car"))
    async with Parts(data_dir) as parts:
        for kind in (SegmentKind.BODY, SegmentKind.PART):
            writer = parts.store.new_writer(kind)
            writer.append([b"left by a crash"])
            writer.close()
    found = recover(data_dir)
    assert len(found.removed) == 2
    assert set((data_dir / "segments").rglob("*.car")) == named
    await check(data_dir)
    async with Parts(data_dir) as parts:
        parts_left = await parts.uploads.parts(
            await parts.uploads.find(target("open", open_upload))
        )
        assert [(part.number, part.size) for part in parts_left] == [
            (1, len(PART)),
            (3, len(LARGE)),
        ]


async def test_orphans_stay_for_good_where_a_log_has_rotted(data_dir: Path) -> None:
    """The record that named them may be what has rotted."""
    async with Parts(data_dir) as parts:
        await parts.put("first", LARGE)
        await parts.put("second", b"x")
        await parts.put("third", b"y")
    bodies = {p for p in data_dir.rglob("*.car") if kind_of(int(p.stem, 16)) is SegmentKind.BODY}
    assert bodies
    (log,) = set(data_dir.rglob("*.car")) - bodies
    content = bytearray(log.read_bytes())
    content[header_bytes(int(log.stem, 16)) + 60] ^= 1
    log.write_bytes(content)
    drop_catalog(data_dir)
    assert recover(data_dir).rot
    for _ in range(2):
        recover(data_dir)
        assert all(path.exists() for path in bodies)
    async with Parts(data_dir) as parts:
        assert await parts.get("third") == b"y"


async def test_a_rebuild_without_a_log_sets_aside_what_it_named(data_dir: Path) -> None:
    """They may be all that is left of the objects that the lost log held."""
    async with Parts(data_dir) as parts:
        await parts.put("first", LARGE)
    bodies = {p for p in data_dir.rglob("*.car") if kind_of(int(p.stem, 16)) is SegmentKind.BODY}
    (log,) = set(data_dir.rglob("*.car")) - bodies
    log.unlink()
    drop_catalog(data_dir)
    assert len(recover(data_dir).set_aside) == len(bodies) == 1
    assert {path.name for path in (data_dir / "orphans").iterdir()} == {p.name for p in bodies}
    assert not recover(data_dir).removed


async def test_a_damaged_log_header_costs_no_record(data_dir: Path) -> None:
    await fill(data_dir)
    for log in data_dir.rglob("*.car"):
        if kind_of(int(log.stem, 16)) is SegmentKind.LOG:
            content = bytearray(log.read_bytes())
            content[5] ^= 1
            log.write_bytes(content)
    drop_catalog(data_dir)
    assert recover(data_dir).rot
    await check(data_dir)


async def test_a_record_inside_of_somebodys_bytes_is_never_applied(data_dir: Path) -> None:
    """Behind damage a log is searched byte by byte, also within what clients have stored."""
    forged = b""
    for durable_end in (0, 1 << 20):
        block = encode_record(BucketRecord(1 << 62, "victim", "forged"), durable_end, 7)
        forged += section_prefix(RECORD_CID_PREFIX + digest_of(block), len(block)) + block
    body = noise(1000) + forged + noise(1000)
    async with Parts(data_dir) as parts:
        await parts.put("evil", body)
        await parts.put("after", b"x")
    (log,) = data_dir.rglob("*.car")
    content = bytearray(log.read_bytes())
    at = content.index(forged)
    content[at - 500] ^= 1
    log.write_bytes(content)
    drop_catalog(data_dir)
    recover(data_dir)
    assert [dict(row)["name"] for row in tables(data_dir)["buckets"]] == ["bucket"]
    async with Parts(data_dir) as parts:
        assert await parts.get("after") == b"x"


async def test_a_crash_at_any_moment_loses_nothing_that_was_acknowledged(
    data_dir: Path, tmp_path: Path
) -> None:
    """The data directory as it is behind each write, sync and transaction."""
    from dsn.blockstore.segments.writing import SegmentWriter

    copies: list[tuple[Path, set[str]]] = []
    acknowledged: set[str] = set()
    patch = pytest.MonkeyPatch()

    def behind(name: str, owner) -> None:
        real = getattr(owner, name)

        def wrapped(*arguments, **more):
            done = real(*arguments, **more)
            if len(copies) < 60:
                to = copy(data_dir, tmp_path / f"copy{len(copies)}")
                copies.append((to, set(acknowledged)))
            return done

        patch.setattr(owner, name, wrapped)

    contents = {"a": b"small", "b": noise(2_000_000, 5), "u": PART + PART, "c": b"last"}
    async with Parts(data_dir) as parts:
        behind("append", SegmentWriter)
        behind("sync", SegmentWriter)
        await parts.put("a", contents["a"])
        acknowledged.add("a")
        await parts.put("b", contents["b"])
        acknowledged.add("b")
        upload = await parts.create_upload("u")
        for number in (1, 2):
            await parts.put_part("u", upload, number, PART)
        await parts.complete("u", upload, {1: etag(PART), 2: etag(PART)})
        acknowledged.add("u")
        await parts.put("c", contents["c"])
        patch.undo()
    assert len(copies) > 10
    for directory, known in copies:
        found = recover(directory)
        assert found.rot == []
        async with Parts(directory) as parts:
            for key, content in contents.items():
                assert await parts.get(key) in ({content} if key in known else {content, None})
            named = await parts.database.read(
                lambda c: (
                    {row[0] for row in c.execute("SELECT id FROM segments")}
                    | {row[0] for row in c.execute("SELECT segment FROM parts")}
                )
            )
            assert parts.segments() <= named
        assert DataPaths(directory).catalog.exists()
        again = recover(directory)
        assert (again.records, again.rot, again.removed) == (0, [], [])


async def test_settings_and_notes_come_back_from_the_records(data_dir: Path) -> None:
    async with Parts(data_dir) as parts:
        await parts.put("tagged", b"x", notes={"tagging": "a=1", "retention": "r"})
        version = await parts.objects.find("main", "bucket", b"tagged")
        await parts.objects.annotate("main", "bucket", version, "tagging", "a=2")
        await parts.objects.annotate("main", "bucket", version, "retention", None)
        await parts.buckets.configure("main", "bucket", "cors", "one")
        await parts.buckets.configure("main", "bucket", "cors", "two")
        await parts.uploads.create(
            NewObject("main", "bucket", b"open", notes={"tagging": "b=1"}), None
        )
    before = tables(data_dir)
    drop_catalog(data_dir)
    recover(data_dir)
    assert tables(data_dir) == before
    async with Parts(data_dir) as parts:
        version = await parts.objects.find("main", "bucket", b"tagged")
        assert version.notes == {"tagging": "a=2"}
        assert await parts.buckets.setting("main", "bucket", "cors") == "two"


async def test_notes_show_in_the_next_look(data_dir: Path) -> None:
    """Also where another worker wrote them."""
    async with Parts(data_dir) as parts, Parts(data_dir, worker=1, beside=parts) as other:
        await parts.put("k", b"x")
        for document in ("a=1", "a=2", None):
            version = await other.objects.find("main", "bucket", b"k")
            await other.objects.annotate("main", "bucket", version, "tagging", document)
            shown = await parts.objects.find("main", "bucket", b"k")
            assert shown.notes == ({"tagging": document} if document else {})
            await other.buckets.configure("main", "bucket", "cors", document)
            assert await parts.buckets.setting("main", "bucket", "cors") == document


async def test_catalog_of_an_earlier_version_is_made_anew(data_dir: Path, tmp_path: Path) -> None:
    """With what a crash left behind it torn, as the earlier version would have had it."""
    await fill(data_dir)
    recover(data_dir)
    before = tables(data_dir)
    (log, *_) = [p for p in data_dir.rglob("*.car") if kind_of(int(p.stem, 16)) is SegmentKind.LOG]
    for tail in (b"", b"\x80torn", bytes(10_000)):
        crashed = copy(data_dir, tmp_path / f"crashed-{len(tail)}")
        with (crashed / log.relative_to(data_dir)).open("ab") as file:
            file.write(tail)
        with closing(sqlite3.connect(DataPaths(crashed).catalog)) as connection:
            connection.executescript("DROP TABLE settings; PRAGMA user_version = 1")
        found = recover(crashed)
        assert (found.rot, tables(crashed)) == ([], before)
        assert (crashed / log.relative_to(data_dir)).read_bytes() == log.read_bytes()
