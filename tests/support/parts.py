"""The parts of a gateway below its doors, over a data directory, and ways to look at the result."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dsn.blockstore.segments.files import SegmentKind, kind_of
from dsn.cid import cid_text
from dsn.dag_builder import build_file
from gateway.buckets import Buckets
from gateway.budget import ByteBudget
from gateway.catalog.database import Database, open_catalog
from gateway.catalog.queries import last_sequence
from gateway.catalog.records import ObjectRecord, PartRecord
from gateway.catalog.sequence import SequenceClock
from gateway.commits import Committer
from gateway.copies import Copies
from gateway.data_dir import DataPaths, open_store, recover_data_dir
from gateway.delete_policy import DeletePolicy
from gateway.deletes import DeletePolicies, Deletes
from gateway.digests import BodyDigests
from gateway.ingest import Body, Ingest
from gateway.md5_lanes import new_md5_lanes
from gateway.objects import NewObject, Objects
from gateway.quotas import Quotas
from gateway.recovery import Recovered
from gateway.s3.part_list import RequestedPart
from gateway.uploads import Uploads, UploadTarget
from tests.support.bodies import FakeBody

BUDGET_BYTES = 64 << 20


class Parts:
    """One process's worth of a gateway, opened by `async with`.

    `beside` is another one over the same directory: one process may open an index only once.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        worker: int = 0,
        beside: Parts | None = None,
        segment_bytes_max: int = 1 << 30,
        part_bytes_min: int = 0,
        budget_bytes: int = BUDGET_BYTES,
        delete_policy: DeletePolicy | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        steady_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.data_dir = data_dir
        self._worker = worker
        self._segment_bytes_max = segment_bytes_max
        self._part_bytes_min = part_bytes_min
        self._policies = DeletePolicies(delete_policy or DeletePolicy(), {})
        self._wall_ns, self._steady_ns = wall_ns, steady_ns
        self._owns_store = beside is None
        self.store = open_store(data_dir) if beside is None else beside.store
        self.database = Database(DataPaths(data_dir).catalog)
        self.budget = ByteBudget(budget_bytes)
        self.threads = ThreadPoolExecutor(4)
        self.md5_lanes = new_md5_lanes(self.threads)
        self.ingest = Ingest(self.store, self.budget, self.threads, self.md5_lanes)
        self._ids = (f"{worker}-upload-{n}" for n in itertools.count())

    async def __aenter__(self) -> Parts:
        await self.database.open()
        clock = SequenceClock(
            self._worker,
            last=await self.database.read(last_sequence),
            wall_ns=self._wall_ns,
            steady_ns=self._steady_ns,
        )
        self.committer = Committer(
            self.store, self.database, clock, segment_bytes_max=self._segment_bytes_max
        )
        self.committer.start()
        self.buckets = Buckets(self.database, self.committer, Quotas(lambda *_: ()))
        shared = (self.store, self.database, self.committer, self.ingest, self.buckets)
        self.objects = Objects(*shared)
        self.uploads = Uploads(
            *shared, part_bytes_min=self._part_bytes_min, new_id=lambda: next(self._ids)
        )
        self.deletes = Deletes(self.database, self.committer, self._policies, now_seconds=lambda: 0)
        self.copies = Copies(
            self.database,
            self.committer,
            self.ingest,
            self.buckets,
            self.objects,
            self.uploads,
            self._policies,
            self.budget,
            now_seconds=lambda: 0,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        async with asyncio.timeout(20):
            await self._close()

    async def _close(self) -> None:
        await self.uploads.close()
        await self.committer.close()
        await self.database.close()
        self.md5_lanes.close()
        self.threads.shutdown()
        if self._owns_store:
            self.store.close()

    async def put(self, key: str, content: bytes | Body, **more: Any) -> ObjectRecord:
        """Store an object in the bucket `bucket` of the account `main`."""
        body = FakeBody(content) if isinstance(content, bytes) else content
        new = NewObject("main", "bucket", key.encode(), **more)
        return await self.objects.put(new, body, BodyDigests(), lambda: None)

    async def get(self, key: str) -> bytes | None:
        """The bytes of an object, None where there is none."""
        version = await self.objects.find("main", "bucket", key.encode())
        if version is None:
            return None
        reader = self.objects.reader(version)
        return b"".join(
            view for piece in reader.pieces(0, version.size) for view in reader.read(*piece)
        )

    async def create_upload(self, key: str) -> str:
        """Open an upload; its id."""
        return await self.uploads.create(NewObject("main", "bucket", key.encode()), None)

    async def put_part(self, key: str, upload_id: str, number: int, content: Any) -> PartRecord:
        """Store a part."""
        body = FakeBody(content) if isinstance(content, bytes) else content
        upload = await self.uploads.find(target(key, upload_id))
        return await self.uploads.put_part(upload, number, body, BodyDigests(), lambda: None)

    async def complete(
        self, key: str, upload_id: str, parts: Mapping[int, str], **more: Any
    ) -> ObjectRecord:
        """Complete an upload from parts by number, each with its ETag."""
        upload = await self.uploads.find(target(key, upload_id))
        new = NewObject("main", "bucket", key.encode(), **more)
        requested = [RequestedPart(number, etag) for number, etag in sorted(parts.items())]
        return await self.uploads.complete(upload, new, requested, lambda _: None)

    def segments(self, kind: SegmentKind | None = None) -> set[int]:
        """The segments on disk, of one kind or all."""
        ids = {segment for segment, _ in self.store.files.list_ids()}
        return {segment for segment in ids if kind is None or kind_of(segment) is kind}


def target(key: str, upload_id: str) -> UploadTarget:
    """An upload to the bucket `bucket`."""
    return UploadTarget("main", "bucket", key.encode(), upload_id)


def etag(content: bytes) -> str:
    """The ETag of a part."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def root_of(content: bytes, name: str) -> bytes:
    """The root (digest) that the network gives these bytes."""
    *_, (root, _block) = build_file(content, name)
    return root


def cid_of(content: bytes, name: str) -> str:
    """The CID that the network gives these bytes."""
    return cid_text(root_of(content, name))


def recover(data_dir: Path) -> Recovered:
    """What a start does before it serves."""
    return recover_data_dir(data_dir)


def tables(data_dir: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the catalog, by table; bucket ids as the names they stand for."""
    connection = open_catalog(DataPaths(data_dir).catalog)
    try:
        names = dict(connection.execute("SELECT id, account || '/' || name FROM buckets"))
        found = {}
        for (table,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            found[table] = sorted(_named(connection, table, names), key=repr)
        return found
    finally:
        connection.close()


def _named(
    connection: sqlite3.Connection, table: str, names: dict[int, str]
) -> list[tuple[Any, ...]]:
    cursor = connection.execute(f"SELECT * FROM {table}")
    columns = [column[0] for column in cursor.description]
    rows = []
    for row in cursor:
        fields = dict(zip(columns, row, strict=True))
        if table == "buckets":
            fields.pop("id")
        elif "bucket" in fields:
            fields["bucket"] = names[fields["bucket"]]
        rows.append(tuple(fields.items()))
    return rows


def copy(data_dir: Path, to: Path) -> Path:
    """The data directory as it is at this moment, as a crash would leave it."""
    to.mkdir()
    for path in sorted(data_dir.rglob("*")):
        other = to / path.relative_to(data_dir)
        if path.is_dir():
            other.mkdir(exist_ok=True)
        else:
            shutil.copyfile(path, other)
    return to
