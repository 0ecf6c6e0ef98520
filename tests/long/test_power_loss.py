"""Whatever was acknowledged survives a power cut that takes all that was not synced.

The segments lose unsynced writes, names and removals, in part and in any order; the catalog and
the index go back to an earlier state. `CRASH_SEED` repeats a run, `CRASH_ROUNDS` makes it longer.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
import shutil
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dsn.blockstore.segments.files import SegmentFiles, SegmentKind, kind_of
from gateway.catalog.queries import applied_segments, part_segments
from gateway.data_dir import DataPaths, open_store, recover_data_dir
from gateway.delete_policy import DeleteMode, DeletePolicy
from gateway.deletes import Deletion
from gateway.maintenance import verify
from gateway.objects import NewObject, etag_text
from gateway.s3.conditions import NO_CONDITIONS
from gateway.s3.copy_source import CopySource, CopyWish
from tests.support.crash_model import Content, Register, WrongError, match
from tests.support.faulty_disk import FaultyDisk, PowerCutError
from tests.support.parts import Parts, target

WRITERS = 6
KIB, MIB = 1 << 10, 1 << 20
POLICY = DeletePolicy(DeleteMode.HIDE, scratch=("**/scratch",))
COPY = CopyWish(NO_CONDITIONS, replaces_metadata=False, replaces_tags=False)


class Losses:
    """Rounds of load, power cut, recovery and a check, each in a directory of its own."""

    def __init__(self, folder: Path, seed: str) -> None:
        self.folder = folder
        self.seed = seed
        self.rng = random.Random(seed)
        self.objects: dict[str, Register] = {}
        self.parts: dict[tuple[str, str, int], Register] = {}
        self.counts: Counter[str] = Counter()
        self.round = 0
        self.data_dir = folder / "data"
        self.data_dir.mkdir(parents=True)
        recover_data_dir(self.data_dir)
        self.at_cut: tuple[Any, ...] = ()
        # States that the catalog and the index may fall back to.
        self.catalogs: list[Path] = []
        self.indexes: list[Path] = []

    async def run(self, rounds: int) -> None:
        for _ in range(rounds):
            self.round += 1
            try:
                await self.one_round()
            except WrongError as error:
                raise WrongError(f"seed {self.seed} round {self.round}: {error}") from error
        print(f"\nseed={self.seed} losses={self.round} {dict(self.counts)} lost=0")

    async def one_round(self) -> None:
        disk = FaultyDisk(self.data_dir)
        self.catalogs, self.indexes = [], []
        self.cut = False
        with disk.installed():
            async with Parts(
                self.data_dir, segment_bytes_max=2 * MIB, delete_policy=POLICY
            ) as parts:
                # Ids that no earlier round had.
                ids = map(f"{self.round}-{{}}".format, itertools.count())
                parts.uploads._new_id = ids.__next__
                await parts.buckets.create("main", "bucket")
                self.keep_states(parts)
                tasks = [asyncio.create_task(self.write(parts, n)) for n in range(WRITERS)]
                for _ in range(self.rng.randrange(1, 4)):
                    await asyncio.sleep(self.rng.uniform(0.02, 0.3))
                    self.keep_states(parts)
                disk.before_sync = partial(self.cut_power, disk)
                while not self.at_cut:
                    await asyncio.sleep(0.005)
                self.cut = True
                await asyncio.gather(*tasks)
        photo, self.objects, self.parts = self.at_cut
        self.at_cut = ()
        self.fall_back(photo)
        shutil.rmtree(self.data_dir)
        self.data_dir = photo
        self.counts["losses"] += 1
        if self.rng.random() < 0.3:
            self.cut_recovery()
        recovered = recover_data_dir(self.data_dir)
        if recovered.rot:
            raise WrongError(f"a tear was taken for rot: {recovered.rot}")
        await self.check()

    def cut_power(self, disk: FaultyDisk, path: Path) -> None:
        """Takes the photo, mostly while a group of the log waits for its sync.

        Nothing is acknowledged meanwhile: that takes this very sync.
        """
        is_log = kind_of(int(path.stem, 16)) is SegmentKind.LOG
        if self.at_cut or self.rng.random() > (0.3 if is_log else 0.02):
            return
        photo = self.folder / f"{self.round}"
        disk.photo(photo, self.rng)
        self.at_cut = (
            photo,
            {key: register.snapshot() for key, register in list(self.objects.items())},
            {at: register.snapshot() for at, register in list(self.parts.items())},
        )

    def cut_recovery(self) -> None:
        """The power goes again while the start is reading the logs."""
        disk = FaultyDisk(self.data_dir)
        disk.cut_after(self.rng.randrange(4))
        before = self.folder / "before.db"
        shutil.copy(DataPaths(self.data_dir).catalog, before)
        with disk.installed():
            try:
                recover_data_dir(self.data_dir)
            except PowerCutError:
                self.counts["losses while recovering"] += 1
            disk.cut_after(None)
        photo = self.folder / f"{self.round}-recovering"
        disk.photo(photo, self.rng)
        paths = DataPaths(photo)
        if self.rng.random() < 0.5:
            shutil.copy(before, paths.catalog)
        else:
            with closing(sqlite3.connect(DataPaths(self.data_dir).catalog)) as catalog:
                catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            shutil.copy(DataPaths(self.data_dir).catalog, paths.catalog)
        shutil.rmtree(self.data_dir)
        self.data_dir = photo

    def keep_states(self, parts: Parts) -> None:
        """Copies of the catalog and the index as they are."""
        n = len(self.catalogs)
        catalog = self.folder / f"catalog-{n}"
        with (
            closing(sqlite3.connect(DataPaths(self.data_dir).catalog)) as source,
            closing(sqlite3.connect(catalog)) as to,
        ):
            source.backup(to)
        self.catalogs.append(catalog)
        index = self.folder / f"index-{n}"
        index.unlink(missing_ok=True)
        parts.store.index._env.copy(str(index))
        self.indexes.append(index)

    def fall_back(self, data_dir: Path) -> None:
        """Puts an earlier catalog and an earlier index, or none, beside the segments."""
        data_dir.mkdir(exist_ok=True)
        paths = DataPaths(data_dir)
        shutil.copy(self.rng.choice(self.catalogs), paths.catalog)
        if self.rng.random() < 0.8:
            shutil.copy(self.rng.choice(self.indexes), paths.index)

    async def write(self, parts: Parts, number: int) -> None:
        rng = random.Random(f"{self.seed}/{self.round}/{number}")
        n = 0
        while not self.cut:
            n += 1
            seed = f"{self.seed}/{self.round}/{number}/{n}"
            if rng.random() < 0.1:
                seed = f"{self.seed}/common {rng.randrange(4)}"
            size = rng.choice([rng.randrange(4 * KIB), rng.randrange(100 * KIB)])
            if rng.random() < 0.15:
                size = rng.randrange(3 * MIB)
            key = f"k{rng.randrange(8)}" if rng.random() < 0.1 else f"w{number}/{rng.randrange(9)}"
            pick = rng.random()
            if pick < 0.5:
                await self.put(parts, key, Content(((seed, size),)))
            elif pick < 0.6:
                await self.put(parts, f"w{number}/scratch", Content(((seed, size),)))
                await self.delete(parts, f"w{number}/scratch")
            elif pick < 0.65:
                await self.delete(parts, key)
            elif pick < 0.75:
                await self.copy(parts, f"w{number}/{rng.randrange(9)}", f"w{number}/copy", rng)
            else:
                await self.upload(parts, f"w{number}/parts", rng, seed)

    async def put(self, parts: Parts, key: str, content: Content) -> None:
        register = self.objects.setdefault(key, Register())
        write = register.begin(content)
        await parts.put(key, content.data())
        register.acknowledge(write)
        self.counts["PUT"] += 1

    async def delete(self, parts: Parts, key: str) -> None:
        register = self.objects.setdefault(key, Register())
        removal = register.begin(None)
        await parts.deletes.delete(Deletion("main", "bucket", key.encode()))
        register.acknowledge(removal)
        self.counts["DELETE"] += 1

    async def copy(self, parts: Parts, source: str, key: str, rng: random.Random) -> None:
        """Copy what nobody else writes meanwhile, or rename it."""
        old = self.objects.setdefault(source, Register())
        (content,) = old.allowed()
        if content is None:
            return
        register = self.objects.setdefault(key, Register())
        write = register.begin(content)
        new, copied = NewObject("main", "bucket", key.encode()), source.encode()
        if rng.random() < 0.5:
            await parts.copies.copy(new, "main", CopySource("bucket", copied), COPY)
            self.counts["copy"] += 1
        else:
            removal = old.begin(None)
            await parts.copies.rename(new, copied, COPY)
            old.acknowledge(removal)
            self.counts["rename"] += 1
        register.acknowledge(write)

    async def upload(self, parts: Parts, key: str, rng: random.Random, seed: str) -> None:
        upload_id = await parts.create_upload(key)
        size = rng.choice([30 * KIB, 300 * KIB])
        sent = {}
        for number in range(1, rng.randrange(2, 6)):
            content = Content(((f"{seed}/{number}", size),))
            register = self.parts.setdefault((key, upload_id, number), Register())
            write = register.begin(content)
            await parts.put_part(key, upload_id, number, content.data())
            register.acknowledge(write)
            sent[number] = content
            self.counts["part"] += 1
        if rng.random() < 0.3:
            return
        whole = Content(tuple(c.pieces[0] for c in sent.values()), is_multipart=True)
        register = self.objects.setdefault(key, Register())
        write = register.begin(whole)
        gone = [self.parts[key, upload_id, number].begin(None) for number in sent]
        await parts.complete(key, upload_id, {number: c.etag for number, c in sent.items()})
        register.acknowledge(write)
        for number, removal in zip(sent, gone, strict=True):
            self.parts[key, upload_id, number].acknowledge(removal)
        self.counts["complete"] += 1

    async def check(self) -> None:
        """Everything acknowledged is there and whole, and nothing else."""
        async with Parts(self.data_dir) as parts:
            for key, register in self.objects.items():
                version = None
                with suppress(Exception):
                    version = await parts.objects.find("main", "bucket", key.encode())
                shown = match(
                    key, register.allowed(), etag_text(version) if version is not None else None
                )
                register.settle(shown)
                if shown is not None and await parts.get(key) != shown.data():
                    raise WrongError(f"{key} has other bytes than were written")
            for (key, upload_id, number), register in self.parts.items():
                found = {}
                with suppress(Exception):
                    upload = await parts.uploads.find(target(key, upload_id))
                    found = {row.number: row.etag for row in await parts.uploads.parts(upload)}
                what = f"part {number} of {key}"
                register.settle(match(what, register.allowed(), found.get(number)))
            self.parts = {k: r for k, r in self.parts.items() if r.allowed() != [None]}
            for key, upload_id in {(key, upload_id) for key, upload_id, _ in self.parts}:
                await self.finish(parts, key, upload_id)
        damages = verify(self.data_dir).damages
        if damages:
            raise WrongError(f"verify finds {damages}")
        self.check_files()

    async def finish(self, parts: Parts, key: str, upload_id: str) -> None:
        """An upload that the power cut has interrupted can be completed."""
        if self.rng.random() < 0.5:
            return
        shown = {
            n: register.allowed()[0] for (k, u, n), register in self.parts.items() if u == upload_id
        }
        stored = {n: content for n, content in sorted(shown.items()) if content is not None}
        await parts.complete(key, upload_id, {n: c.etag for n, c in stored.items()})
        whole = Content(tuple(c.pieces[0] for c in stored.values()), is_multipart=True)
        if await parts.get(key) != whole.data():
            raise WrongError(f"{key} has other bytes than its parts")
        self.objects.setdefault(key, Register()).settle(whole)
        self.parts = {at: r for at, r in self.parts.items() if at[1] != upload_id}
        self.counts["completed after a loss"] += 1

    def check_files(self) -> None:
        recover_data_dir(self.data_dir)
        files = {segment for segment, _ in SegmentFiles(self.data_dir / "segments").list_ids()}
        with closing(sqlite3.connect(DataPaths(self.data_dir).catalog)) as catalog:
            named = applied_segments(catalog).keys() | part_segments(catalog)
        if files != named:
            raise WrongError(f"orphans {files - named}, missing {named - files}")


def test_the_disk_forgets_what_was_not_synced(tmp_path: Path) -> None:
    """Without this the tests below would show nothing."""
    (tmp_path / "data").mkdir()
    disk = FaultyDisk(tmp_path / "data")
    with disk.installed():
        store = open_store(tmp_path / "data")
        store.put(bytes(32), b"unsynced" * 10_000)
        store.close()
    found = Counter()
    for n in range(50):
        photo = tmp_path / f"{n}"
        disk.photo(photo, random.Random(n))
        sizes = [path.stat().st_size for path in photo.rglob("*.car")]
        whole = any(b"unsynced" * 10_000 in path.read_bytes() for path in photo.rglob("*.car"))
        found["whole" if whole else "torn" if sum(sizes) else "empty" if sizes else "gone"] += 1
    assert set(found) == {"whole", "torn", "empty", "gone"}


@pytest.mark.timeout(60)
async def test_a_few_power_cuts_lose_nothing(tmp_path: Path) -> None:
    seed = os.environ.get("CRASH_SEED") or secrets.token_hex(4)
    await Losses(tmp_path, seed).run(4)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_power_cuts_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    seed = os.environ.get("CRASH_SEED") or secrets.token_hex(4)
    await Losses(tmp_path, seed).run(int(os.environ.get("CRASH_ROUNDS", "60")))
