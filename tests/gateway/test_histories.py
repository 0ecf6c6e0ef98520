"""Histories at random, by two workers: what the records alone give is what the catalog held."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.database import remove_catalog
from gateway.data_dir import DataPaths
from gateway.delete_policy import SETTING_NAME, DeleteMode, DeletePolicy, encode_policy
from gateway.deletes import Deletion
from gateway.digests import BodyDigests
from gateway.expired_objects import ExpiredObjects
from gateway.maintenance import verify
from gateway.objects import NewObject
from gateway.s3.conditions import NO_CONDITIONS
from gateway.s3.copy_source import CopySource, CopyWish
from gateway.s3.errors import S3Error
from gateway.s3.lifecycle import SETTING as LIFECYCLE
from gateway.s3.lifecycle import read_lifecycle
from gateway.s3.lifecycle_rules import DAY_US
from gateway.s3.ranges import ByteSpan
from gateway.s3.version_ids import version_id
from gateway.uploads import UploadTarget
from tests.support.bodies import FakeBody, noise
from tests.support.parts import Parts, recover, tables, target

KEYS = ("plain", "folder/a", "folder/b", "locks/a", "locks/b")
POLICY = DeletePolicy(DeleteMode.HIDE, scratch=("locks/",))
RULES = (
    "<LifecycleConfiguration><Rule><ID>a</ID><Prefix>{0}</Prefix><Status>Enabled</Status>"
    "<Expiration><Days>1</Days></Expiration></Rule><Rule><ID>b</ID><Prefix>{0}</Prefix>"
    "<Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true"
    "</ExpiredObjectDeleteMarker></Expiration></Rule></LifecycleConfiguration>"
)
WISH = CopyWish(NO_CONDITIONS, replaces_metadata=False, replaces_tags=False)


class Client:
    """One client of one worker, which does whatever its random numbers say."""

    def __init__(self, parts: Parts, seed: str) -> None:
        self.parts = parts
        self.rng = random.Random(seed)
        self.done = 0

    async def run(self, steps: int) -> None:
        """So many operations, of which many are refused."""
        does = (
            (self.put, 6),
            (self.delete, 4),
            (self.delete_version, 4),
            (self.copy, 4),
            (self.rename, 3),
            (self.annotate, 3),
            (self.configure, 1),
            (self.expire, 1),
            (self.upload, 3),
            (self.come_and_go, 6),
        )
        operations, weights = zip(*does, strict=True)
        for _ in range(steps):
            (operation,) = self.rng.choices(operations, weights)
            try:
                await operation()
                self.done += 1
            except S3Error:
                pass

    @property
    def key(self) -> str:
        return self.rng.choice(KEYS)

    @property
    def content(self) -> bytes:
        return noise(self.rng.choice([0, 10, 10, 3_000, 70_000]), self.rng.randrange(9))

    @property
    def new(self) -> NewObject:
        return NewObject("main", "bucket", self.key.encode())

    async def put(self) -> None:
        notes = {"tagging": f"a={self.rng.random()}"} if self.rng.random() < 0.3 else {}
        await self.parts.put(self.key, self.content, notes=notes)

    async def delete(self) -> None:
        await self.parts.deletes.delete(Deletion("main", "bucket", self.key.encode()))

    async def delete_version(self) -> None:
        rows = await self.parts.database.read(
            lambda c: c.execute("SELECT key, sequence FROM versions").fetchall()
        )
        if rows:
            key, sequence = self.rng.choice(rows)
            await self.parts.deletes.delete(Deletion("main", "bucket", key, version_id(sequence)))

    async def copy(self) -> None:
        await self.parts.copies.copy(
            self.new, "main", CopySource("bucket", self.key.encode()), WISH
        )

    async def rename(self) -> None:
        await self.parts.copies.rename(self.new, self.key.encode(), WISH)

    async def annotate(self) -> None:
        version = await self.parts.objects.get("main", "bucket", self.key.encode())
        document = self.rng.choice([None, f"a={self.rng.random()}"])
        await self.parts.objects.annotate("main", "bucket", version, "tagging", document)

    async def configure(self) -> None:
        document = self.rng.choice([None, encode_policy(POLICY)])
        await self.parts.buckets.configure("main", "bucket", SETTING_NAME, document)

    async def expire(self) -> None:
        """What lifecycle rules do in some years."""
        prefix = self.rng.choice(["plain", "folder/", "locks/"])
        document = read_lifecycle(RULES.format(prefix).encode(), lambda: "rule")
        await self.parts.buckets.configure("main", "bucket", LIFECYCLE, document)
        expired = ExpiredObjects(self.parts.database, self.parts.deletes)
        await expired.hide_due(time.time_ns() // 1000 + 1000 * DAY_US)
        await expired.remove_lone_markers()

    async def come_and_go(self) -> None:
        """What happens to a bucket that is removed and made anew."""
        bucket, key = "passing", b"locks/a"
        new = NewObject("main", bucket, key)
        match self.rng.randrange(8):
            case 0:
                await self.parts.buckets.create("main", bucket)
            case 1:
                await self.parts.buckets.configure("main", bucket, "tagging", str(self.done))
            case 2:
                upload_id = await self.parts.uploads.create(new, None)
                where = UploadTarget("main", bucket, key, upload_id)
                await self.parts.uploads.abort(await self.parts.uploads.find(where))
            case 3:
                body = FakeBody(self.content)
                await self.parts.objects.put(new, body, BodyDigests(), lambda: None)
            case 4:
                await self.parts.deletes.delete(Deletion("main", bucket, key))
            case _:
                await self.parts.deletes.delete_bucket("main", bucket)

    async def upload(self) -> None:
        key, rng = self.key, self.rng
        upload_id = await self.parts.create_upload(key)
        upload = await self.parts.uploads.find(target(key, upload_id))
        sent = {}
        for number in range(1, rng.randrange(2, 5)):
            content: Any = noise(rng.choice([5, 70_000, 140_000]), rng.randrange(9))
            part = await self.parts.put_part(key, upload_id, number, content)
            if rng.random() < 0.4:
                source = CopySource("bucket", self.key.encode())
                try:
                    version = await self.parts.copies.find("main", source, WISH)
                    span = ByteSpan(0, version.size)
                    part = await self.parts.copies.copy_part(upload, number, version, span, None)
                except S3Error:
                    pass
            sent[number] = part.etag
        if rng.random() < 0.2:
            await self.parts.uploads.abort(upload)
        elif rng.random() < 0.8:
            for number in list(sent)[1:]:
                if rng.random() < 0.2:
                    del sent[number]
            await self.parts.complete(key, upload_id, sent)


@pytest.mark.parametrize("seed", range(3))
async def test_records_alone_give_the_catalog_back(tmp_path: Path, seed: int) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    recover(data_dir)
    options: Any = {"segment_bytes_max": 200_000, "delete_policy": POLICY}
    async with (
        Parts(data_dir, **options) as parts,
        Parts(data_dir, worker=1, beside=parts, **options) as other,
    ):
        clients = [Client(parts if n % 2 else other, f"{seed}/{n}") for n in range(4)]
        await asyncio.gather(*(client.run(60) for client in clients))
        assert sum(client.done for client in clients) > 100
        shown = {key: await parts.get(key) for key in KEYS}
    before = tables(data_dir)
    assert all(before[table] for table in ("removals", "notes", "settings"))
    assert any(removed for *_, removed, _, _ in before["buckets"])
    assert verify(data_dir).damages == []
    recover(data_dir)
    assert tables(data_dir) == before
    remove_catalog(DataPaths(data_dir).catalog)
    found = recover(data_dir)
    assert (found.rot, found.set_aside) == ([], [])
    assert tables(data_dir) == before
    assert verify(data_dir).damages == []
    async with Parts(data_dir) as parts:
        assert {key: await parts.get(key) for key in KEYS} == shown
