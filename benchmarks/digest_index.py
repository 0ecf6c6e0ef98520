"""Compares engines for the digest index: how fast it grows, answers, opens and survives a kill.

    python -m benchmarks.digest_index --rows 10000000 --engine lmdb,sqlite,rocksdb

Every engine lives in a process of its own and gets the same rows in the same batches. They take
turns stage by stage, so that a noisy machine is noisy for all of them. The RocksDB engine needs
`pip install rocksdict`, which is no dependency of the project.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import lmdb

from dsn.blockstore.digest_index import DigestIndex

BATCH_ROWS = 1 << 14
SECTION_BYTES = 65_105
SEGMENT_FIRST = 1 << 62  # real segment ids begin with the time, and so are as large as this
SPAWN = multiprocessing.get_context("spawn")

Entry = tuple[bytes, int, int]


def main() -> None:
    options = arguments()
    with workplace(options.dir) as directory:
        report = compare(
            options.engine.split(","),
            directory,
            rows=options.rows,
            stages=options.stages,
            lookup_seconds=options.lookup_seconds,
            cold_batches=options.cold_batches,
            kills=options.kills,
        )
    print_table(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--engine", default="lmdb,sqlite", help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--stages", type=int, default=5, help="turns in which the index grows")
    parser.add_argument("--lookup-seconds", type=float, default=2.0, help="per measurement")
    parser.add_argument("--cold-batches", type=int, default=4, help="with an empty page cache")
    parser.add_argument("--kills", type=int, default=5, help="kill -9 in the middle of a batch")
    parser.add_argument("--dir", type=Path, help="where to keep the data until the end")
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    return parser.parse_args()


def compare(
    engines: Sequence[str],
    directory: Path,
    *,
    rows: int,
    stages: int,
    lookup_seconds: float,
    cold_batches: int,
    kills: int,
) -> dict[str, dict[str, Any]]:
    batches = -(-rows // BATCH_ROWS)
    report: dict[str, dict[str, Any]] = {name: {"stages": []} for name in engines}
    writers = {name: Worker(name, directory / name) for name in engines}
    for stage in range(stages):
        first, last = batches * stage // stages, batches * (stage + 1) // stages
        for name, writer in writers.items():
            grown = writer.call(grow, first, last)
            for batch_lookups in (16, 64):
                for kind in ("hit", "miss"):
                    grown[f"{kind}_{batch_lookups}_per_second"] = writer.call(
                        look_up, kind, last, batch_lookups, lookup_seconds
                    )
            report[name]["stages"].append(grown)
            print(name, json.dumps(grown), flush=True)
    for name, writer in writers.items():
        result = report[name]
        for kind in ("hit", "miss"):
            result[f"{kind}_two_processes_per_second"] = two_processes(
                name, directory / name, writer, kind, batches, lookup_seconds
            )
        result["rss_mib"] = writer.call(memory_mib)
        result["close_seconds"] = writer.call(settle)
        result["written_bytes"] = writer.call(written_bytes)
        writer.stop()
        result["file_bytes"] = tree_bytes(directory / name)
        result["rows"] = batches * BATCH_ROWS
        result["bytes_per_row"] = result["file_bytes"] / result["rows"]
        result["written_bytes_per_row"] = result["written_bytes"] / result["rows"]
        result["open_cold_seconds"] = reopen_seconds(name, directory / name, cold=True)
        result["open_warm_seconds"] = reopen_seconds(name, directory / name, cold=False)
        print(name, json.dumps({k: v for k, v in result.items() if k != "stages"}), flush=True)
    for name in engines:
        result = report[name]
        for kind in ("hit", "miss"):
            result[f"{kind}_cold_per_second"] = cold_lookups(name, directory / name, kind, batches)
        result["miss_cold_8_threads_per_second"] = cold_lookups(
            name, directory / name, "miss", batches, threads=8
        )
        result["add_cold_per_second"] = cold_growth(name, directory / name, batches, cold_batches)
        result["kills"] = survive_kills(
            name, directory / name, batches + cold_batches, kills, result["rows"]
        )
        shutil.rmtree(directory / name)
        print(name, json.dumps({k: v for k, v in result.items() if k != "stages"}), flush=True)
    return report


# The engines


class Engine(Protocol):
    """What the gateway asks of a digest index, as far as it is measured."""

    def add(self, entries: Sequence[Entry], mark: int) -> None:
        """One durable transaction; the first place of a digest wins; the mark goes with it."""

    def lookup(self, digests: Sequence[bytes]) -> Sequence[object | None]: ...
    def mark(self) -> int: ...
    def close(self) -> None: ...


class LmdbEngine:
    """The project's own index, as it is."""

    def __init__(self, directory: Path, reader: bool) -> None:
        self.index = DigestIndex(directory / "digests.lmdb")
        self.lookup = self.index.lookup

    def add(self, entries: Sequence[Entry], mark: int) -> None:
        self.index.add(entries, {1: mark})

    def mark(self) -> int:
        return self.index.mark(1)

    def close(self) -> None:
        self.index.close()


class LmdbRawEngine:
    """LMDB with other settings: synced twice a commit, or with shortened keys."""

    def __init__(
        self, directory: Path, reader: bool, metasync: bool = False, key_bytes: int = 32
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.key_bytes = key_bytes
        self.environment = lmdb.open(
            str(directory / "lmdb"),
            subdir=False,
            map_size=1 << 40,
            metasync=metasync,
            readahead=False,
            max_readers=1024,
        )

    def add(self, entries: Sequence[Entry], mark: int) -> None:
        size = self.key_bytes
        items = sorted((key[:size], packed(segment, offset)) for key, segment, offset in entries)
        with self.environment.begin(write=True) as transaction:
            transaction.cursor().putmulti(items, overwrite=False)
            transaction.put(b"mark", mark.to_bytes(8, "big"))

    def lookup(self, digests: Sequence[bytes]) -> list[bytes | None]:
        size = self.key_bytes
        with self.environment.begin() as transaction:
            get = transaction.get
            return [get(digest[:size]) for digest in digests]

    def mark(self) -> int:
        with self.environment.begin() as transaction:
            return int.from_bytes(transaction.get(b"mark") or b"", "big")

    def close(self) -> None:
        self.environment.close()


class SqliteEngine:
    """SQLite: a WITHOUT ROWID table in WAL mode, synchronous NORMAL."""

    def __init__(self, directory: Path, reader: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(
            directory / "sqlite.db", isolation_level=None, timeout=60, check_same_thread=False
        )
        self.connection.executescript(
            """
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = NORMAL;
            PRAGMA wal_autocheckpoint = 16384;
            PRAGMA cache_size = -65536;
            PRAGMA mmap_size = 17179869184;
            CREATE TABLE IF NOT EXISTS places (
                digest BLOB PRIMARY KEY, segment INTEGER NOT NULL, start INTEGER NOT NULL
            ) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS marks (segment INTEGER PRIMARY KEY, stop INTEGER NOT NULL);
            """
        )

    def add(self, entries: Sequence[Entry], mark: int) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(
            "INSERT OR IGNORE INTO places VALUES (?, ?, ?)", sorted(entries)
        )
        self.connection.execute("INSERT OR REPLACE INTO marks VALUES (1, ?)", (mark,))
        self.connection.execute("COMMIT")

    def lookup(self, digests: Sequence[bytes]) -> list[tuple[int, int] | None]:
        marks = ",".join("?" * len(digests))
        rows = self.connection.execute(
            f"SELECT digest, segment, start FROM places WHERE digest IN ({marks})", digests
        )
        found = {digest: (segment, offset) for digest, segment, offset in rows}
        return [found.get(digest) for digest in digests]

    def mark(self) -> int:
        row = self.connection.execute("SELECT stop FROM marks WHERE segment = 1").fetchone()
        return row[0] if row else 0

    def close(self) -> None:
        self.connection.close()


class RocksdbEngine:
    """RocksDB with bloom filters. One process writes; the others open it as secondary instances."""

    def __init__(self, directory: Path, reader: bool) -> None:
        try:
            import rocksdict
        except ImportError as error:
            raise SystemExit("the RocksDB engine needs: pip install rocksdict") from error
        table = rocksdict.BlockBasedOptions()
        table.set_bloom_filter(10, False)
        table.set_block_cache(rocksdict.Cache(512 << 20))
        table.set_cache_index_and_filter_blocks(False)
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(table)
        options.set_compression_type(rocksdict.DBCompressionType.none())
        options.set_write_buffer_size(64 << 20)
        options.set_level_compaction_dynamic_level_bytes(True)
        options.set_max_background_jobs(2)
        options.set_max_open_files(-1)
        access = rocksdict.AccessType.read_write()
        if reader:
            access = rocksdict.AccessType.secondary(str(directory / f"secondary-{os.getpid()}"))
        directory.mkdir(parents=True, exist_ok=True)
        self.database = rocksdict.Rdict(str(directory / "rocksdb"), options, access_type=access)
        if reader:
            self.database.try_catch_up_with_primary()
        durable = rocksdict.WriteOptions()
        durable.sync = True
        self.durable = durable
        self.new_batch = lambda: rocksdict.WriteBatch(raw_mode=True)
        self.lookup = self.database.get

    def add(self, entries: Sequence[Entry], mark: int) -> None:
        known = self.database.get([entry[0] for entry in entries])
        batch = self.new_batch()
        for (digest, segment, offset), place in zip(entries, known, strict=True):
            if place is None:
                batch.put(digest, packed(segment, offset))
        batch.put(b"mark", mark.to_bytes(8, "big"))
        self.database.write(batch, self.durable)

    def mark(self) -> int:
        return int.from_bytes(self.database.get(b"mark") or b"", "big")

    def close(self) -> None:
        self.database.close()


ENGINES: dict[str, Callable[[Path, bool], Engine]] = {
    "lmdb": LmdbEngine,
    "lmdb-metasync": lambda path, reader: LmdbRawEngine(path, reader, metasync=True),
    "lmdb-20-byte-keys": lambda path, reader: LmdbRawEngine(path, reader, key_bytes=20),
    "sqlite": SqliteEngine,
    "rocksdb": RocksdbEngine,
}


def packed(segment: int, offset: int) -> bytes:
    place = segment << 48 | offset
    return place.to_bytes((place.bit_length() + 7) // 8 or 1, "big")


# The rows: batch n is always the same, so nothing has to be kept to ask for it later.


def digests(batch: int) -> list[bytes]:
    data = random.Random(batch).randbytes(32 * BATCH_ROWS)
    return [data[start : start + 32] for start in range(0, len(data), 32)]


def entries_of(batch: int) -> list[Entry]:
    segment = SEGMENT_FIRST + batch
    return [(key, segment, place * SECTION_BYTES) for place, key in enumerate(digests(batch))]


def questions(kind: str, batches: int, seed: int) -> list[bytes]:
    """Digests in random order, of rows spread over the whole index or of none."""
    numbers = random.Random(seed)
    if kind == "miss":
        return digests(1 << 40 | seed)
    return [
        key
        for _ in range(16)
        for key in numbers.sample(digests(numbers.randrange(batches)), BATCH_ROWS // 16)
    ]


# What a worker does when it is told to


def grow(engine: Engine, first: int, last: int) -> dict[str, float]:
    seconds, slowest = 0.0, 0.0
    written_before = written_bytes(engine)
    dirtied_before = dirtied_bytes(engine)
    for batch in range(first, last):
        entries = entries_of(batch)
        start = time.perf_counter()
        engine.add(entries, batch + 1)
        took = time.perf_counter() - start
        seconds += took
        slowest = max(slowest, took)
    rows = (last - first) * BATCH_ROWS
    return {
        "rows": last * BATCH_ROWS,
        "add_per_second": rows / seconds,
        "slowest_batch_seconds": slowest,
        "written_bytes_per_row": (written_bytes(engine) - written_before) / rows,
        "dirtied_bytes_per_row": (dirtied_bytes(engine) - dirtied_before) / rows,
    }


def look_up(engine: Engine, kind: str, batches: int, at_once: int, seconds: float) -> float:
    """Lookups per second; the first round only warms the cache."""
    asked, spent, seed = 0, 0.0, random.randrange(1 << 30)
    while spent < seconds:
        keys = questions(kind, batches, seed + asked)
        calls = [keys[start : start + at_once] for start in range(0, len(keys), at_once)]
        start = time.perf_counter()
        for call in calls:
            places = engine.lookup(call)
            assert (places[0] is None) == (kind == "miss")
        spent += time.perf_counter() - start
        asked += len(keys)
    return asked / spent


def look_up_threaded(
    engine: Engine, kind: str, batches: int, calls_max: int, threads: int
) -> float:
    keys = questions(kind, batches, random.randrange(1 << 30))
    calls = [keys[start : start + 16] for start in range(0, len(keys), 16)][:calls_max]
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(engine.lookup, calls))
        return len(calls) * 16 / (time.perf_counter() - start)


def memory_mib(engine: Engine) -> dict[str, float]:
    """Resident memory: `own` is the process's, `file` is page cache it has mapped."""
    status = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Rss")}
    return {"own": int(sizes["RssAnon"]) / 1024, "file": int(sizes["RssFile"]) / 1024}


def written_bytes(engine: Engine) -> int:
    """What the process handed to write calls."""
    return process_io("wchar")


def dirtied_bytes(engine: Engine) -> int:
    """Page cache made dirty: more than was written where the file system caches in large folios."""
    return process_io("write_bytes")


def process_io(name: str) -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def settle(engine: Engine) -> float:
    start = time.perf_counter()
    engine.close()
    return time.perf_counter() - start


def answer(engine: Engine) -> int:
    engine.lookup([bytes(32)])
    return engine.mark()


class Worker:
    """A process with an engine in it, that runs the functions it is sent."""

    def __init__(self, name: str, directory: Path, reader: bool = False) -> None:
        self.pipe, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=work, args=(theirs, name, directory, reader))
        self.process.start()
        theirs.close()
        self.open_seconds = self.pipe.recv()

    def send(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.pipe.send((function, arguments))

    def receive(self) -> Any:
        return self.pipe.recv()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.send(function, *arguments)
        return self.receive()

    def stop(self) -> None:
        self.pipe.close()
        self.process.join()


def work(pipe: Connection, name: str, directory: Path, reader: bool) -> None:
    start = time.perf_counter()
    engine = ENGINES[name](directory, reader)
    answer(engine)
    pipe.send(time.perf_counter() - start)
    while True:
        try:
            function, its_arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(function(engine, *its_arguments))


# Measurements that take more than one process


def two_processes(
    name: str, directory: Path, writer: Worker, kind: str, batches: int, seconds: float
) -> float:
    other = Worker(name, directory, reader=True)
    for worker in (writer, other):
        worker.send(look_up, kind, batches, 16, seconds)
    total = sum(worker.receive() for worker in (writer, other))
    other.stop()
    return float(total)


def reopen_seconds(name: str, directory: Path, *, cold: bool) -> float:
    if cold:
        drop_cache(directory)
    worker = Worker(name, directory)
    worker.stop()
    return float(worker.open_seconds)


def cold_lookups(name: str, directory: Path, kind: str, batches: int, threads: int = 1) -> float:
    """As on an index far larger than memory: nearly every lookup finds its page on disk only."""
    drop_cache(directory)
    worker = Worker(name, directory)
    rate = worker.call(look_up_threaded, kind, batches, 64 * threads, threads)
    worker.stop()
    return float(rate)


def cold_growth(name: str, directory: Path, first: int, batches: int) -> float:
    seconds = 0.0
    for batch in range(first, first + batches):
        drop_cache(directory)
        worker = Worker(name, directory)
        grown = worker.call(grow, batch, batch + 1)
        seconds += BATCH_ROWS / grown["add_per_second"]
        worker.stop()
    return batches * BATCH_ROWS / seconds if batches else 0.0


def survive_kills(
    name: str, directory: Path, first: int, kills: int, rows: int
) -> dict[str, float]:
    """Kill the writer inside a batch: those up to the mark are whole, of later ones nothing is."""
    lost, reopened = 0, 0.0
    batch = first
    for attempt in range(kills):
        writer = Worker(name, directory)
        writer.call(grow, batch, batch + 1)
        writer.send(grow, batch + 1, batch + 1000)
        time.sleep(0.3 + 0.13 * attempt)
        assert writer.process.pid
        os.kill(writer.process.pid, signal.SIGKILL)
        writer.process.join()
        reader = Worker(name, directory)
        reopened = max(reopened, reader.open_seconds)
        mark = reader.call(answer)
        lost += mark <= batch
        for known in (0, first // 2, batch, mark - 1):
            assert reader.call(count_found, known) == BATCH_ROWS, f"{name}: batch {known} has holes"
        assert reader.call(count_found, mark) == 0, f"{name}: batch {mark} is there in part"
        reader.stop()
        batch = mark
    return {"kills": kills, "acknowledged_batches_lost": lost, "reopen_seconds_max": reopened}


def count_found(engine: Engine, batch: int) -> int:
    keys = digests(batch)
    return sum(
        place is not None
        for start in range(0, len(keys), 64)
        for place in engine.lookup(keys[start : start + 64])
    )


# Files


@contextmanager
def workplace(parent: Path | None) -> Iterator[Path]:
    if parent:
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="digest-index-", dir=parent) as directory:
        yield Path(directory)


def tree_bytes(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def drop_cache(directory: Path) -> None:
    """Forget the files' pages; only works while no process has them mapped."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def print_table(report: dict[str, dict[str, Any]]) -> None:
    names = list(report)
    print("\n| | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
    for stage in range(len(report[names[0]]["stages"])):
        rows = report[names[0]]["stages"][stage]["rows"]
        for key in report[names[0]]["stages"][stage]:
            if key != "rows":
                cells = [shown(report[name]["stages"][stage][key]) for name in names]
                print(f"| {rows / 1e6:.1f}M: {key} | " + " | ".join(cells) + " |")
    for key in report[names[0]]:
        if key != "stages":
            print(f"| {key} | " + " | ".join(shown(report[name][key]) for name in names) + " |")


def shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
