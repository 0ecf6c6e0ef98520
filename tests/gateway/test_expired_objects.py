"""What lifecycle rules do to objects whose time is over."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.database import remove_catalog
from gateway.catalog.queries import find_version
from gateway.catalog.records import ObjectRecord
from gateway.commits import Committer
from gateway.data_dir import DataPaths
from gateway.delete_policy import SETTING_NAME, DeleteMode, DeletePolicy, encode_policy
from gateway.deletes import ENABLED, VERSIONING, Deleted, Deletion
from gateway.expired_objects import ExpiredObjects
from gateway.s3.errors import S3Error
from gateway.s3.lifecycle import SETTING, read_lifecycle
from gateway.s3.lifecycle_rules import DAY_US
from gateway.s3.listing import parse_list_objects_v2
from gateway.s3.notes import LEGAL_HOLD, RETENTION, TAGGING
from gateway.s3.version_ids import version_id
from tests.support.parts import Parts, recover, tables

HIDE = DeletePolicy(DeleteMode.HIDE)
NOW_US = time.time_ns() // 1000
LATER_US = NOW_US + 4 * DAY_US
BELOW_TMP = "<Filter><Prefix>tmp/</Prefix></Filter>"


def expire(
    where: str = BELOW_TMP, when: str = "<Days>2</Days>", status: str = "Enabled", name: str = "r"
) -> str:
    return (
        f"<Rule><ID>{name}</ID>{where}<Status>{status}</Status>"
        f"<Expiration>{when}</Expiration></Rule>"
    )


async def configure(parts: Parts, *rules: str, bucket: str = "bucket") -> None:
    body = f"<LifecycleConfiguration>{''.join(rules)}</LifecycleConfiguration>"
    document = read_lifecycle(body.encode(), lambda: "rule")
    await parts.buckets.configure("main", bucket, SETTING, document)


async def keys(parts: Parts) -> set[str]:
    page = await parts.objects.list("main", "bucket", parse_list_objects_v2({}))
    return {entry[0].decode() for entry in page.entries}


async def sweep(parts: Parts, now_us: int = LATER_US) -> int:
    return await ExpiredObjects(parts.database, parts.deletes).hide_due(now_us)


async def test_only_what_is_due_is_hidden(tmp_path: Path) -> None:
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        kept = {"tmp", "tmp0", "a", "z"}
        due = {"tmp/", "tmp/a", "tmp/b/c"}
        records = {key: await parts.put(key, key.encode()) for key in sorted(kept | due)}
        assert await sweep(parts) == 0
        await configure(parts, expire(status="Disabled"))
        assert await sweep(parts) == 0
        await configure(parts, expire())
        assert await sweep(parts, NOW_US + DAY_US) == 0
        assert await keys(parts) == kept | due
        assert await sweep(parts) == len(due)
        assert await keys(parts) == kept
        assert await sweep(parts) == 0
        for key in due:
            version = await parts.objects.get(
                "main", "bucket", key.encode(), version_id(records[key].sequence)
            )
            assert version.root == records[key].root
    before = tables(tmp_path / "data")
    remove_catalog(DataPaths(tmp_path / "data").catalog)
    recover(tmp_path / "data")
    assert tables(tmp_path / "data") == before


TAG = "<Tag><Key>{}</Key><Value>{}</Value></Tag>"
FILTER = "<Filter>{}</Filter>"
LARGE = "<ObjectSizeGreaterThan>10</ObjectSizeGreaterThan>"
PAST, FUTURE = "<Date>2015-01-01T00:00:00Z</Date>", "<Date>2400-01-01T00:00:00Z</Date>"


@pytest.mark.parametrize(
    ("rules", "hidden"),
    [
        ([expire("<Filter/>")], {"small", "big", "huge"}),
        ([expire("<Prefix>s</Prefix>")], {"small"}),
        ([expire("<Filter/>", PAST)], {"small", "big", "huge"}),
        ([expire("<Filter/>", FUTURE)], set()),
        ([expire("<Filter/>", "<Days>400</Days>")], set()),
        ([expire(FILTER.format(TAG.format("a", "1")))], {"small", "big"}),
        ([expire(FILTER.format(TAG.format("a", "2")))], set()),
        (
            [expire(FILTER.format(f"<And>{TAG.format('a', '1')}{TAG.format('b', '2')}</And>"))],
            {"big"},
        ),
        ([expire(FILTER.format(LARGE))], {"huge"}),
        ([expire(FILTER.format("<ObjectSizeLessThan>10</ObjectSizeLessThan>"))], {"small"}),
        (
            [
                expire(
                    FILTER.format(
                        f"<And>{TAG.format('a', '1')}"
                        "<ObjectSizeGreaterThan>9</ObjectSizeGreaterThan></And>"
                    )
                )
            ],
            {"big"},
        ),
        (
            [
                expire("<Prefix>s</Prefix>", name="1"),
                expire("<Prefix>h</Prefix>", name="2"),
                expire("<Prefix>b</Prefix>", FUTURE, name="3"),
                expire("<Prefix>b</Prefix>", status="Disabled", name="4"),
            ],
            {"small", "huge"},
        ),
        (
            [
                expire(FILTER.format(TAG.format("b", "2")), name="1"),
                expire(FILTER.format(LARGE), name="2"),
            ],
            {"big", "huge"},
        ),
        (
            [expire("<Filter/>", "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>")],
            set(),
        ),
    ],
)
async def test_rules_by_all_conditions(tmp_path: Path, rules: list[str], hidden: set[str]) -> None:
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        await parts.put("small", b"x" * 5, notes={TAGGING: "a=1"})
        await parts.put("big", b"x" * 10, notes={TAGGING: "a=1&b=2"})
        await parts.put("huge", b"x" * 11)
        await configure(parts, *rules)
        assert await sweep(parts) == len(hidden)
        assert await keys(parts) == {"small", "big", "huge"} - hidden


async def test_buckets_have_rules_of_their_own(tmp_path: Path) -> None:
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        await parts.put("tmp/k", b"x")
        await parts.buckets.create("main", "other")
        await configure(parts, expire(), bucket="other")
        assert await sweep(parts) == 0


async def test_more_than_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.expired_objects._PAGE", 4)
    monkeypatch.setattr("gateway.expired_objects._BATCH", 3)
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        for number in range(16):
            await parts.put(f"tmp/{number:02}", b"x" * (number % 3))
        await configure(
            parts, expire(FILTER.format("<ObjectSizeGreaterThan>0</ObjectSizeGreaterThan>"))
        )
        assert await sweep(parts) == 10
        assert await keys(parts) == {f"tmp/{number:02}" for number in range(0, 16, 3)}


async def test_sweep_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        for number in range(6):
            await parts.put(f"tmp/{number}", b"x")
        await configure(parts, expire())
        await parts.deletes.delete(Deletion("main", "bucket", b"tmp/0"))
        before = len(tables(tmp_path / "data")["versions"])
    remove_catalog(DataPaths(tmp_path / "data").catalog)
    recover(tmp_path / "data")
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        assert await sweep(parts) == 5
        assert await keys(parts) == set()
    assert len(tables(tmp_path / "data")["versions"]) == before + 5


async def _put_again(parts: Parts, _: ObjectRecord | None) -> None:
    await parts.put("tmp/k", b"new")


async def _delete(parts: Parts, _: ObjectRecord) -> None:
    await parts.deletes.delete(Deletion("main", "bucket", b"tmp/k"))


async def _retag(parts: Parts, record: ObjectRecord) -> None:
    version = await parts.database.read(lambda c: find_version(c, record.sequence))
    assert version is not None
    await parts.objects.annotate("main", "bucket", version, TAGGING, "a=2")


async def _remove_rules(parts: Parts, _: ObjectRecord | None) -> None:
    await parts.buckets.configure("main", "bucket", SETTING, None)


async def _deny(parts: Parts, _: ObjectRecord | None) -> None:
    document = encode_policy(DeletePolicy())
    await parts.buckets.configure("main", "bucket", SETTING_NAME, document)


def change_once(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, when: str, change: Callable[[], Awaitable[None]]
) -> list[str]:
    """Have something changed before the sweep decides, or before it commits; filled by then."""
    changed: list[str] = []
    delete_all, scan = parts.deletes.delete_all, parts.database.scan

    async def once(now: str) -> None:
        if now == when and not changed:
            changed.append(now)
            await change()

    async def delete_later(deletions: Sequence[Deletion]) -> list[Deleted | S3Error]:
        await once("before the decision")
        return await delete_all(deletions)

    async def scan_first(query: Callable) -> Any:
        found = await scan(query)
        if getattr(query, "__name__", "") == "decide_early":
            await once("before the commit")
        return found

    monkeypatch.setattr(parts.deletes, "delete_all", delete_later)
    monkeypatch.setattr(parts.database, "scan", scan_first)
    return changed


@pytest.mark.parametrize("change", [_put_again, _delete, _retag, _remove_rules, _deny])
@pytest.mark.parametrize("when", ["before the decision", "before the commit"])
async def test_what_changed_meanwhile_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable, when: str
) -> None:
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        record = await parts.put("tmp/k", b"x", notes={TAGGING: "a=1"})
        await configure(parts, expire(FILTER.format(TAG.format("a", "1"))))
        changed = change_once(parts, monkeypatch, when, lambda: change(parts, record))
        before = len(tables(tmp_path / "data")["versions"])
        assert await sweep(parts) == 0
        assert changed
        markers = 1 if change is _delete else 0
        puts = 1 if change is _put_again else 0
        assert len(tables(tmp_path / "data")["versions"]) == before + markers + puts
        assert (await parts.get("tmp/k") is None) == bool(markers)


async def test_locks_keep_nothing_from_being_hidden(tmp_path: Path) -> None:
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        locks = {LEGAL_HOLD: "ON", RETENTION: "COMPLIANCE 2400-01-01T00:00:00Z"}
        record = await parts.put("tmp/k", b"x", notes=locks)
        await configure(parts, expire())
        assert await sweep(parts) == 1
        found = await parts.database.read(lambda c: find_version(c, record.sequence))
        assert found is not None
        assert found.notes == locks


async def test_hidden_object_comes_back_and_is_hidden_again(tmp_path: Path) -> None:
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        await parts.put("tmp/k", b"x")
        await configure(parts, expire())
        assert await sweep(parts) == 1
        (marker,) = await parts.database.read(_markers)
        await parts.deletes.delete(Deletion("main", "bucket", b"tmp/k", version_id(marker)))
        assert await parts.get("tmp/k") == b"x"
        assert await sweep(parts) == 1


def _markers(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT sequence FROM versions WHERE root = x''")]


async def test_policy_that_has_come_to_deny_is_obeyed(tmp_path: Path) -> None:
    mixed = DeletePolicy(DeleteMode.HIDE, deny=("tmp/kept/",))
    async with Parts(tmp_path / "data", delete_policy=mixed) as parts:
        for key in ("tmp/a", "tmp/kept/a"):
            await parts.put(key, b"x")
        await configure(parts, expire())
        await _deny(parts, None)
        assert await sweep(parts) == 0
        await parts.buckets.configure("main", "bucket", SETTING_NAME, None)
        assert await sweep(parts) == 1
        assert await keys(parts) == {"tmp/kept/a"}


@pytest.mark.parametrize("versioned", [False, True])
async def test_scratch_expires_as_a_delete_has_it(tmp_path: Path, versioned: bool) -> None:
    policy = DeletePolicy(DeleteMode.HIDE, scratch=("tmp/",))
    async with Parts(tmp_path / "data", delete_policy=policy) as parts:
        for content in (b"old", b"new"):
            await parts.put("tmp/k", content)
        locked = await parts.put("tmp/locked", b"x", notes={LEGAL_HOLD: "ON"})
        if versioned:
            await parts.buckets.configure("main", "bucket", VERSIONING, ENABLED)
        await configure(parts, expire())
        assert await sweep(parts) == (2 if versioned else 1)
        assert await parts.get("tmp/k") is None
        assert await parts.database.read(lambda c: find_version(c, locked.sequence)) is not None
    assert len(tables(tmp_path / "data")["versions"]) == (5 if versioned else 1)


async def test_bucket_that_was_removed_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        for bucket in ("gone", "bucket"):
            await parts.buckets.create("main", bucket)
            await configure(parts, expire(), bucket=bucket)
        await parts.put("tmp/k", b"x")
        scan = parts.database.scan

        async def remove_after(query):
            found = await scan(query)
            if await parts.buckets.find("main", "gone") is not None:
                await parts.deletes.delete_bucket("main", "gone")
            return found

        monkeypatch.setattr(parts.database, "scan", remove_after)
        assert await sweep(parts) == 1


async def test_sweep_commits_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        for number in range(20):
            await parts.put(f"tmp/{number}", b"x")
        await configure(parts, expire())
        groups = []
        write = Committer._write

        def counted(self, group, connection):
            groups.append(len(group))
            return write(self, group, connection)

        monkeypatch.setattr(Committer, "_write", counted)
        assert await sweep(parts) == 20
        assert groups == [20]


MARKERS = "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>"


async def remove_lone_markers(parts: Parts) -> int:
    return await ExpiredObjects(parts.database, parts.deletes).remove_lone_markers()


async def marked(parts: Parts) -> list[bytes]:
    def look(connection: sqlite3.Connection) -> list[bytes]:
        rows = connection.execute("SELECT key FROM versions WHERE root = x'' ORDER BY sequence")
        return [row[0] for row in rows]

    return await parts.database.read(look)


async def delete(parts: Parts, *keys: bytes) -> None:
    for key in keys:
        await parts.deletes.delete(Deletion("main", "bucket", key))


async def test_markers_that_hide_nothing_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.expired_objects._PAGE", 2)
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        await parts.put("tmp/hidden", b"x")
        await parts.put("tmp/shown", b"x")
        await parts.buckets.configure("main", "bucket", VERSIONING, ENABLED)
        kept = [b"tmp/hidden", b"tmp/twice", b"tmp/twice", b"other"]
        await delete(parts, *kept, b"tmp/a", b"tmp/b", b"tmp/z")
        await configure(parts, expire(when=MARKERS, status="Disabled"))
        assert await remove_lone_markers(parts) == 0
        await configure(parts, expire(when=MARKERS))
        assert await sweep(parts) == 0
        assert await remove_lone_markers(parts) == 3
        assert await marked(parts) == kept
        assert await keys(parts) == {"tmp/shown"}
        assert await remove_lone_markers(parts) == 0
    before = tables(tmp_path / "data")
    remove_catalog(DataPaths(tmp_path / "data").catalog)
    recover(tmp_path / "data")
    assert tables(tmp_path / "data") == before


async def _mark_again(parts: Parts, _: ObjectRecord | None) -> None:
    await delete(parts, b"tmp/k")


@pytest.mark.parametrize("change", [_put_again, _mark_again, _remove_rules, _deny])
@pytest.mark.parametrize("when", ["before the decision", "before the commit"])
async def test_marker_that_is_no_longer_alone_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable, when: str
) -> None:
    async with Parts(tmp_path / "data", delete_policy=HIDE) as parts:
        await parts.buckets.create("main", "bucket")
        await parts.buckets.configure("main", "bucket", VERSIONING, ENABLED)
        await delete(parts, b"tmp/k")
        await configure(parts, expire(when=MARKERS))
        changed = change_once(parts, monkeypatch, when, lambda: change(parts, None))
        assert await remove_lone_markers(parts) == 0
        assert changed
        assert (await marked(parts))[0] == b"tmp/k"
