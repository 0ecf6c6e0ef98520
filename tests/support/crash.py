"""Rounds of load, kill -9, restart and a check of everything, reproducible from a seed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

from dsn.blockstore.segments.files import SegmentFiles, SegmentKind, kind_of
from dsn.blockstore.segments.scan import header_bytes
from gateway.catalog.queries import applied_segments, part_segments
from gateway.keys import KeyStore
from tests.support.crash_model import Content, Register, Write, WrongError, match
from tests.support.server import GatewayServer
from tests.support.wire import UNFINISHED, Answer, Wire

BUCKET = "crash"
WRITERS, READERS = 8, 2
KIB, MIB = 1 << 10, 1 << 20
BODY_BYTES_MAX = 40 * MIB
CONFIG = f"""
part_bytes_min = {16 * KIB}
segment_bytes_max = {8 * MIB}
access_log = false
delete_policy = "hide"
"""


class CrashServer(GatewayServer):
    """A server that can also be killed while it starts."""

    _seconds_to_live: float | None = None

    def start_and_kill(self, seconds: float) -> None:
        """Starts it and kills it so much later, ready or not."""
        self._seconds_to_live = seconds
        try:
            self.start()
        finally:
            self._seconds_to_live = None

    def kill_everything(self) -> None:
        """Kills the supervisor and its workers."""
        with suppress(psutil.NoSuchProcess):
            for process in self.processes()[1:]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.kill()

    def kill_one_worker(self, rng: random.Random) -> bool:
        """Kills one of several workers; the supervisor starts it again."""
        workers = self.processes()[1:]
        if not workers:
            return False
        os.kill(rng.choice(workers).pid, signal.SIGKILL)
        return True

    def _wait_until_ready(self) -> None:
        if self._seconds_to_live is None:
            super()._wait_until_ready()
            return
        time.sleep(self._seconds_to_live)
        self.kill_everything()


@dataclass(eq=False)
class Upload:
    """An open multipart upload of one writer."""

    key: str
    upload_id: str
    sizes: list[int]
    parts: dict[int, Register] = field(default_factory=dict)
    # Parts whose last sending was not answered: they are sent again before anything builds on them.
    uncertain: set[int] = field(default_factory=set)
    # What Complete would make, once it was sent; the write of the object is `write`.
    requested: list[int] = field(default_factory=list)
    write: Write | None = None
    aborting: bool = False
    lost: bool = False

    def stored(self) -> dict[int, Content]:
        """The parts that are there for certain."""
        shown = {n: register.allowed() for n, register in self.parts.items()}
        return {n: c[0] for n, c in shown.items() if len(c) == 1 and c[0] is not None}


class World:
    """The model, and what happened to it."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.lock = threading.Lock()
        self.objects: dict[str, Register] = {}
        self.touched: set[str] = set()
        self.uploads: dict[str, Upload] = {}
        self.uncertain_uploads: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.bytes_written = 0
        self.errors: list[str] = []

    def register(self, key: str) -> Register:
        """The register of a key."""
        with self.lock:
            return self.objects.setdefault(key, Register())

    def begin(self, key: str, content: Content) -> Write:
        """An object is about to be written."""
        write = self.register(key).begin(content)
        with self.lock:
            self.touched.add(key)
            self.bytes_written += content.size + KIB
        return write

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def fail(self, what: str) -> None:
        with self.lock:
            self.errors.append(what)


def expect(answer: Answer, *statuses: int) -> Answer:
    """The answer, if it has one of these statuses."""
    if answer.status not in statuses:
        raise WrongError(f"answered {answer.status} {answer.code}, not {statuses}")
    return answer


class Writer(threading.Thread):
    """Random writes, one after another, until its server is gone for good."""

    def __init__(
        self,
        world: World,
        port: int,
        access_key: str,
        name: str,
        number: int,
        stop: threading.Event,
    ) -> None:
        super().__init__(name=f"writer {number}", daemon=True)
        self.world = world
        self.rng = random.Random(f"{world.seed}/{name}/{number}")
        self.number = number
        self.stop = stop
        self.prefix = f"{world.seed}/{name}/{number}"
        self.contents = 0
        self.wire = Wire(port, access_key)
        self.uploads = [u for u in world.uploads.values() if u.key.startswith(f"w{number}/")]

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self.step()
            except UNFINISHED:
                self.world.count("unanswered")
                time.sleep(0.02)
            except Exception as error:
                self.world.fail(f"{self.name}: {type(error).__name__}: {error}")
                return
        self.wire.close()

    def step(self) -> None:
        pick = self.rng.random()
        if pick < 0.50:
            self.put()
        elif pick < 0.56:
            self.delete()
        elif pick < 0.62:
            self.copy()
        elif pick < 0.70:
            self.read()
        elif self.uploads and (len(self.uploads) > 2 or pick < 0.97):
            self.go_on(self.rng.choice(self.uploads))
        else:
            self.create()

    def key(self) -> str:
        if self.rng.random() < 0.15:
            return f"shared/s{self.rng.randrange(6)}"
        i = self.rng.randrange(16)
        return f"w{self.number}/{'abc'[i % 3]}/key {i}"

    def size(self) -> int:
        pick = self.rng.random()
        if pick < 0.08:
            return 0
        if pick < 0.60:
            return self.rng.randrange(1, 4 * KIB)
        if pick < 0.86:
            return self.rng.randrange(4 * KIB, 300 * KIB)
        if pick < 0.99:
            return self.rng.randrange(300 * KIB, 3 * MIB)
        return self.rng.randrange(5 * MIB, BODY_BYTES_MAX)

    def piece(self, size: int) -> tuple[str, int]:
        self.contents += 1
        # Some bytes are everybody's, so that writes also point at what others wrote.
        if self.rng.random() < 0.15:
            return f"{self.world.seed}/common {self.rng.randrange(8)}", size
        return f"{self.prefix}/{self.contents}", size

    def put(self) -> None:
        key = self.key()
        content = Content((self.piece(self.size()),))
        data = content.data()
        register = self.world.register(key)
        write = self.world.begin(key, content)
        try:
            answer = self.wire.call("PUT", f"{BUCKET}/{key}", data)
        except UNFINISHED:
            register.lose(write)
            raise
        expect(answer, 200)
        self.check_stored(answer.headers.get("etag"), key, content)
        register.acknowledge(write)
        self.world.count("PUT")

    def delete(self) -> None:
        key = self.key()
        register = self.world.register(key)
        removal = register.begin(None)
        try:
            answer = self.wire.call("DELETE", f"{BUCKET}/{key}")
        except UNFINISHED:
            register.lose(removal)
            raise
        if answer.status == 404:
            # There was no bucket yet.
            register.refuse(removal)
            return
        expect(answer, 204)
        register.acknowledge(removal)
        self.world.count("DELETE")

    def copy(self) -> None:
        source = self.key()
        # The CID is that of the source, under whose name it was stored.
        key = f"w{self.number}/copies/{source.rpartition('/')[2]}"
        shown = self.world.register(source).allowed()
        # What others write meanwhile, or what may be there or not, gives no certain copy.
        if source.startswith("shared/") or len(shown) > 1 or shown[0] is None:
            return
        write = self.world.begin(key, shown[0])
        register = self.world.register(key)
        try:
            headers = {"x-amz-copy-source": f"{BUCKET}/{source.replace(' ', '%20')}"}
            answer = self.wire.call("PUT", f"{BUCKET}/{key}", headers=headers)
        except UNFINISHED:
            register.lose(write)
            raise
        expect(answer, 200)
        register.acknowledge(write)
        self.world.count("copy")

    def read(self) -> None:
        read_one(self.world, self.wire, self.key(), head=self.rng.random() < 0.5)

    def create(self) -> None:
        i = self.rng.randrange(4)
        key = f"w{self.number}/parts/{i}.bin"
        with self.world.lock:
            self.world.uncertain_uploads[key] += 1
        answer = expect(self.wire.call("POST", f"{BUCKET}/{key}", uploads=""), 200)
        upload_id = answer.texts("UploadId")[0]
        size = self.rng.choice([20 * KIB, 70 * KIB, 400 * KIB, 1_500 * KIB])
        sizes = [size + 16 * KIB] * self.rng.randrange(1, 6) + [self.rng.randrange(1, size)]
        if self.rng.random() < 0.2:
            sizes = [self.rng.randrange(16 * KIB, size + 17 * KIB) for _ in sizes]
        upload = Upload(key, upload_id, sizes)
        with self.world.lock:
            self.world.uncertain_uploads[key] -= 1
            self.world.uploads[upload_id] = upload
        self.uploads.append(upload)
        self.world.count("create")

    def go_on(self, upload: Upload) -> None:
        if upload.aborting:
            self.abort(upload)
        elif upload.write is not None:
            self.complete(upload)
        elif upload.uncertain:
            self.part(upload, self.rng.choice(sorted(upload.uncertain)))
        else:
            missing = [n for n in range(1, len(upload.sizes) + 1) if n not in upload.stored()]
            pick = self.rng.random()
            if pick < 0.06:
                self.abort(upload)
            elif missing and pick < 0.9:
                self.part(upload, self.rng.choice(missing))
            elif upload.stored() and (not missing or pick > 0.97):
                self.complete(upload)
            else:
                self.part(upload, self.rng.randrange(1, len(upload.sizes) + 1))

    def part(self, upload: Upload, number: int) -> None:
        content = Content((self.piece(upload.sizes[number - 1]),))
        register = upload.parts.setdefault(number, Register())
        write = register.begin(content)
        upload.uncertain.add(number)
        try:
            answer = self.wire.call(
                "PUT",
                f"{BUCKET}/{upload.key}",
                content.data(),
                partNumber=number,
                uploadId=upload.upload_id,
            )
        except UNFINISHED:
            register.lose(write)
            raise
        expect(answer, 200)
        register.acknowledge(write)
        upload.uncertain.discard(number)
        if answer.headers.get("etag", "").strip('"') != content.etag:
            raise WrongError(f"part {number} of {upload.key} has another ETag")
        self.world.count("part")

    def complete(self, upload: Upload) -> None:
        register = self.world.register(upload.key)
        if upload.write is None:
            stored = upload.stored()
            numbers = sorted(stored)
            if len(numbers) > 2 and self.rng.random() < 0.15:
                numbers.remove(self.rng.choice(numbers))
            sizes = [stored[n].size for n in numbers]
            if any(size < 16 * KIB for size in sizes[:-1]):
                numbers = numbers[:1]
            upload.requested = numbers
            pieces = tuple(stored[n].pieces[0] for n in numbers)
            upload.write = self.world.begin(upload.key, Content(pieces, is_multipart=True))
        write = upload.write
        write.stop = None
        content = write.content
        assert content is not None
        document = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{Content((piece,)).etag}</ETag></Part>"
            for number, piece in zip(upload.requested, content.pieces, strict=True)
        )
        upload.lost = False
        try:
            answer = self.wire.call(
                "POST",
                f"{BUCKET}/{upload.key}",
                f"<CompleteMultipartUpload>{document}</CompleteMultipartUpload>".encode(),
                uploadId=upload.upload_id,
            )
        except UNFINISHED:
            upload.lost = True
            register.lose(write)
            raise
        expect(answer, 200)
        self.check_stored(answer.texts("ETag")[0], upload.key, content)
        register.acknowledge(write)
        self.forget(upload)
        self.world.count("complete")

    def abort(self, upload: Upload) -> None:
        repeated = upload.aborting
        upload.aborting = upload.lost = True
        answer = self.wire.call("DELETE", f"{BUCKET}/{upload.key}", uploadId=upload.upload_id)
        expect(answer, *((204, 404) if repeated else (204,)))
        self.forget(upload)
        self.world.count("abort")

    def forget(self, upload: Upload) -> None:
        self.uploads.remove(upload)
        with self.world.lock:
            del self.world.uploads[upload.upload_id]

    def check_stored(self, etag: str | None, key: str, content: Content) -> None:
        if (etag or "").replace("&quot;", "").strip('"') != content.etag:
            raise WrongError(f"{key} was stored with ETag {etag}, not {content.etag}")


class Reader(threading.Thread):
    """Random reads of everything, until its server is gone for good."""

    def __init__(
        self,
        world: World,
        port: int,
        access_key: str,
        name: str,
        number: int,
        stop: threading.Event,
    ) -> None:
        super().__init__(name=f"reader {number}", daemon=True)
        self.world = world
        self.rng = random.Random(f"{world.seed}/{name}/reader {number}")
        self.stop = stop
        self.wire = Wire(port, access_key)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self.step()
                time.sleep(0.01)
            except UNFINISHED:
                time.sleep(0.02)
            except Exception as error:
                self.world.fail(f"{self.name}: {type(error).__name__}: {error}")
                return
        self.wire.close()

    def step(self) -> None:
        with self.world.lock:
            keys = list(self.world.objects)
        if keys and self.rng.random() < 0.9:
            read_one(self.world, self.wire, self.rng.choice(keys), head=self.rng.random() < 0.3)
            return
        with self.world.lock:
            before = dict(self.world.objects)
        start = time.monotonic()
        listed = list_objects(self.wire, f"w{self.rng.randrange(WRITERS)}/")
        for key, register in before.items():
            if key in listed:
                match(f"the listing of {key}", register.allowed(start), *listed[key])
        self.world.count("list")


def read_one(world: World, wire: Wire, key: str, *, head: bool = False) -> None:
    """Reads an object and compares it with what it may be."""
    register = world.register(key)
    start = time.monotonic()
    answer = expect(wire.call("HEAD" if head else "GET", f"{BUCKET}/{key}"), 200, 404)
    allowed = register.allowed(start)
    if answer.status == 404:
        match(key, allowed, None)
        return
    size = int(answer.headers["content-length"])
    shown = match(key, allowed, answer.headers["etag"].strip('"'), size)
    assert shown is not None
    if not head and answer.body != shown.data():
        raise WrongError(f"{key} has other bytes than its ETag says")
    world.count("HEAD" if head else "GET")


def list_objects(wire: Wire, prefix: str = "") -> dict[str, tuple[str, int]]:
    """ETag and size of every key, read page by page."""
    found: dict[str, tuple[str, int]] = {}
    query: dict[str, object] = {"list-type": 2, "prefix": prefix, "max-keys": 53}
    while True:
        answer = expect(wire.call("GET", BUCKET, **query), 200, 404)
        if answer.status == 404:
            return {}
        etags = [text.replace("&quot;", "").strip('"') for text in answer.texts("ETag")]
        rows = list(zip(answer.texts("Key"), etags, map(int, answer.texts("Size")), strict=True))
        if [row[0] for row in rows] != sorted({row[0] for row in rows} - found.keys()):
            raise WrongError("a listing is not in order or repeats a key")
        found.update({key: (etag, size) for key, etag, size in rows})
        if answer.texts("IsTruncated") != ["true"]:
            return found
        query["continuation-token"] = answer.texts("NextContinuationToken")[0]


def list_uploads(wire: Wire) -> Iterator[tuple[str, str]]:
    """Key and id of every open upload."""
    query: dict[str, object] = {"uploads": "", "max-uploads": 7}
    while True:
        answer = expect(wire.call("GET", BUCKET, **query), 200, 404)
        if answer.status == 404:
            return
        yield from zip(answer.texts("Key"), answer.texts("UploadId"), strict=True)
        if answer.texts("IsTruncated") != ["true"]:
            return
        query["key-marker"] = answer.texts("NextKeyMarker")[0]
        query["upload-id-marker"] = answer.texts("NextUploadIdMarker")[0]


def list_parts(wire: Wire, upload: Upload) -> dict[int, tuple[str, int]]:
    """ETag and size of every part."""
    found: dict[int, tuple[str, int]] = {}
    query: dict[str, object] = {"uploadId": upload.upload_id, "max-parts": 3}
    while True:
        answer = expect(wire.call("GET", f"{BUCKET}/{upload.key}", **query), 200)
        etags = [text.replace("&quot;", "").strip('"') for text in answer.texts("ETag")]
        shown = list(zip(etags, map(int, answer.texts("Size")), strict=True))
        found.update(zip(map(int, answer.texts("PartNumber")), shown, strict=True))
        if answer.texts("IsTruncated") != ["true"]:
            return found
        query["part-number-marker"] = answer.texts("NextPartNumberMarker")[0]


@dataclass
class CrashRun:
    """A data directory that is loaded, killed and checked, again and again."""

    data_dir: Path
    seed: str
    load_seconds_max: float = 2.0
    kills: Counter[str] = field(default_factory=Counter)
    restart_seconds: list[float] = field(default_factory=list)
    round: int = 0
    key_only: str = ""

    def __post_init__(self) -> None:
        self.world = World(self.seed)
        self.rng = random.Random(self.seed)
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        config = self.data_dir.with_name("config.toml")
        config.write_text(CONFIG)
        self.server = CrashServer(self.data_dir, ("--config", str(config)))
        self.config = config

    def run(self, rounds: int) -> None:
        """So many rounds, then everything that exists once more, also after a rebuild."""
        try:
            self.server.access_key = self.key_only = (
                KeyStore(self.data_dir).create(key_only=True).access_key
            )
            self.start()
            for _ in range(rounds):
                self.one_round()
                if self.round % 10 == 0:
                    self.verify()
            self.verify()
            self.rebuild()
        except BaseException:
            print(f"\nseed {self.seed}, round {self.round}\n{self.server.log()[-6000:]}")
            raise
        finally:
            self.server.close()
        shutil.rmtree(self.data_dir)
        print(f"\n{self.report()}")

    def report(self) -> str:
        """What happened, in one line."""
        counts = self.world.counts
        writes = sum(
            counts[what]
            for what in ("PUT", "DELETE", "copy", "part", "complete", "create", "abort")
        )
        times = sorted(self.restart_seconds)
        return (
            f"seed={self.seed} rounds={self.round} kills={sum(self.kills.values())} "
            f"{dict(self.kills)} acknowledged_writes={writes} {dict(counts)} lost=0 "
            f"objects={len(self.world.objects)} "
            f"restart_p50={median(times):.2f}s restart_max={times[-1]:.2f}s"
        )

    def start(self) -> None:
        """Starts the server, with one worker or two."""
        workers = 2 if self.rng.random() < 0.35 else 1
        flags = ("--config", str(self.config), "--workers", str(workers))
        self.server.arguments = flags
        begun = time.monotonic()
        self.server.start()
        self.restart_seconds.append(time.monotonic() - begun)
        self.workers = workers

    def one_round(self) -> None:
        """Load, a kill in the middle of it, a restart, a check."""
        self.round += 1
        stop = threading.Event()
        where = (self.world, self.server.port, self.key_only, str(self.round))
        threads: list[threading.Thread] = [
            *(Writer(*where, number, stop) for number in range(WRITERS)),
            *(Reader(*where, number, stop) for number in range(READERS)),
        ]
        for thread in threads:
            thread.start()
        if self.workers > 1 and self.rng.random() < 0.6:
            time.sleep(self.rng.uniform(0.1, self.load_seconds_max / 2))
            self.kills["worker"] += self.server.kill_one_worker(self.rng)
        time.sleep(self.rng.uniform(0.05, self.load_seconds_max))
        alive = self.server.process.poll() is None
        if self.rng.random() < 0.5:
            self.server.kill()
        else:
            self.server.kill_everything()
        self.kills["serving"] += 1
        stop.set()
        for thread in threads:
            thread.join(90)
        if not alive:
            self.world.fail("the server had ended by itself")
        if any(thread.is_alive() for thread in threads):
            self.world.fail("a request never ended")
        self.raise_errors()
        if self.rng.random() < 0.06:
            self.lose_catalog()
        while self.rng.random() < 0.3:
            self.server.start_and_kill(self.rng.uniform(0.05, 0.9))
            self.kills["recovering"] += 1
        self.start()
        self.check()

    def raise_errors(self) -> None:
        if self.world.errors:
            raise WrongError(
                f"seed {self.seed} round {self.round}: " + "; ".join(self.world.errors)
            )

    def lose_catalog(self) -> None:
        """Everything must come back from the segments."""
        lost = self.rng.choice(["catalog.db*", "index*"])
        for path in self.data_dir.glob(lost):
            path.unlink()

    def check(self, *, everything: bool = False) -> None:
        """Compare all that is stored with the model, which then holds what was seen."""
        self.check_files()
        wire = Wire(self.server.port, self.key_only)
        try:
            self.check_uploads(wire)
            self.check_objects(wire, everything)
            self.finish_some(wire)
        except WrongError as error:
            raise WrongError(f"seed {self.seed} round {self.round}: {error}") from error
        finally:
            wire.close()
        self.raise_errors()

    def check_files(self) -> None:
        """No file is there that nothing needs, and all of them hold little more than was sent."""
        files = dict(SegmentFiles(self.data_dir / "segments").list_ids())
        with closing(sqlite3.connect(self.data_dir / "catalog.db")) as catalog:
            named = applied_segments(catalog)
            parts = part_segments(catalog)
        orphans = files.keys() - named.keys() - parts
        missing = (named.keys() | parts) - files.keys()
        empty = [
            segment
            for segment, size in files.items()
            if kind_of(segment) is SegmentKind.LOG and size <= header_bytes(segment)
        ]
        if orphans or missing or empty:
            raise WrongError(
                f"seed {self.seed} round {self.round}: {len(orphans)} orphans, "
                f"{len(missing)} missing and {len(empty)} empty segments"
            )
        open_parts = sum(
            sum(upload.sizes) + KIB * len(upload.sizes) for upload in self.world.uploads.values()
        )
        allowed = 1.03 * (self.world.bytes_written + open_parts) + MIB
        if sum(files.values()) > allowed:
            raise WrongError(f"{sum(files.values())} bytes on disk, {allowed:.0f} allowed")

    def check_uploads(self, wire: Wire) -> None:
        """Every open upload is there with its parts, and no other."""
        listed = {upload_id: key for key, upload_id in list_uploads(wire)}
        for upload in list(self.world.uploads.values()):
            if listed.pop(upload.upload_id, None) is None:
                if not upload.lost:
                    raise WrongError(f"the upload of {upload.key} is lost")
                if upload.write is not None:
                    # It was completed, and so the object has been written.
                    self.world.register(upload.key).acknowledge(upload.write)
                del self.world.uploads[upload.upload_id]
                continue
            if upload.write is not None:
                self.world.register(upload.key).refuse(upload.write)
            upload.write, upload.requested, upload.aborting, upload.lost = None, [], False, False
            upload.uncertain.clear()
            found = list_parts(wire, upload)
            for number, register in upload.parts.items():
                what = f"part {number} of {upload.key}"
                shown = match(what, register.allowed(), *found.pop(number, (None, None)))
                register.settle(shown)
            if found:
                raise WrongError(f"{upload.key} has parts that nobody sent")
        for upload_id, key in listed.items():
            if self.world.uncertain_uploads[key] <= 0:
                raise WrongError(f"an upload of {key} is open that nobody began")
            self.world.uncertain_uploads[key] -= 1
            expect(wire.call("DELETE", f"{BUCKET}/{key}", uploadId=upload_id), 204)
        self.world.uncertain_uploads.clear()

    def check_objects(self, wire: Wire, everything: bool) -> None:
        """The listing is exact, and the objects are whole."""
        listed = list_objects(wire)
        for key, register in self.world.objects.items():
            shown = match(key, register.allowed(), *listed.pop(key, (None, None)))
            register.settle(shown)
            if not (everything or key in self.world.touched):
                continue
            answer = wire.call("GET", f"{BUCKET}/{key}")
            if shown is None:
                expect(answer, 404)
                continue
            expect(answer, 200)
            if answer.body != shown.data():
                raise WrongError(f"{key} has other bytes than were written")
            if answer.headers.get("x-amz-meta-cid") != shown.cid(key.rpartition("/")[2]):
                raise WrongError(f"{key} has another CID than its bytes")
        if listed:
            raise WrongError(f"listed, but never written: {sorted(listed)[:5]}")
        self.world.touched.clear()

    def finish_some(self, wire: Wire) -> None:
        """An upload that a crash has interrupted can be completed."""
        for upload in list(self.world.uploads.values()):
            if self.rng.random() > 0.25:
                continue
            number = int(upload.key[1 : upload.key.index("/")])
            name = f"{self.round} finishing {upload.upload_id}"
            writer = Writer(
                self.world, self.server.port, self.key_only, name, number, threading.Event()
            )
            for missing in range(1, len(upload.sizes) + 1):
                if missing not in upload.stored():
                    writer.part(upload, missing)
            writer.complete(upload)
            writer.wire.close()
            read_one(self.world, wire, upload.key)
            self.world.count("completed after a crash")

    def verify(self) -> None:
        """`dsn-gateway verify` finds no damage."""
        done = self.command("verify")
        if done.returncode:
            raise WrongError(f"verify ends with {done.returncode}: {done.stdout}{done.stderr}")

    def rebuild(self) -> None:
        """The whole state comes back from the segments alone."""
        self.server.kill_everything()
        for path in (*self.data_dir.glob("catalog.db*"), *self.data_dir.glob("index*")):
            path.unlink()
        done = self.command("rebuild")
        if done.returncode:
            raise WrongError(f"rebuild ends with {done.returncode}: {done.stdout}{done.stderr}")
        self.start()
        self.check(everything=True)
        self.verify()

    def command(self, name: str) -> subprocess.CompletedProcess[str]:
        """Runs one command of the gateway on the data directory."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", name, "--data-dir", str(self.data_dir)],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=Path(__file__).parents[2],
        )
