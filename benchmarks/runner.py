"""Runs cases in rounds: the limits, then every endpoint in turn, then the next round.

Endpoints take turns within a case, so that what disturbs the machine disturbs all of them.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.generator import GeneratorError, Generators
from benchmarks.limits import LIMITS
from benchmarks.peers import PeerError, Server
from benchmarks.plan import Case, ObjectSet, Stage
from benchmarks.process_tree import ProcessTree, drop_cached, stored_bytes
from benchmarks.results import Record
from benchmarks.s3_requests import Target
from benchmarks.statistics import summarize
from benchmarks.units import GIB, MIB

# Counters of one object set; so many sets fit that none ever meets another.
STAMPS_EACH = 1 << 40
FILL_CONNECTIONS = 32
FREE_BYTES_MIN = 4 * GIB
# Above this in flight a warm-up costs more than it brings.
WARM_BYTES_MAX = 256 * MIB


@dataclass(frozen=True)
class Settings:
    """How to measure, whatever is measured."""

    seconds: float = 4.0
    count: int | None = None
    rounds: int = 3
    warmup_seconds: float = 0.5
    verify: bool = False
    limits: bool = True
    bucket: str = "benchmark"
    payload: str = "unsigned"
    timeout_seconds: float = 120.0
    tls_insecure: bool = False
    stored_bytes_max: int = 12 * GIB
    cleanup: bool = False


@dataclass
class Endpoint:
    """Something to measure: a server that the harness started, or an address."""

    label: str
    server: Server | None = None
    remote: Target | None = None
    remote_tree: ProcessTree | None = None
    has_bucket: bool = False
    sets: dict[Any, ObjectSet] = field(default_factory=dict)
    written: list[tuple[ObjectSet, int]] = field(default_factory=list)

    @property
    def tree(self) -> ProcessTree | None:
        return self.server.tree if self.server else self.remote_tree

    def target(self, settings: Settings) -> Target:
        if self.server:
            return self.server.target(settings.bucket, settings.payload)
        assert self.remote
        return self.remote

    def understands(self, case: Case) -> bool:
        sources = self.server.kind.sources if self.server else None
        return sources is None or case.source in sources


class Watcher(Protocol):
    """Is told what happens, to show it."""

    def stage(self, case: Case, endpoint: str, what: str) -> None: ...
    def tick(self, bytes_moved: int, requests: int) -> None: ...
    def record(self, record: Record) -> None: ...


class Runner:
    """One run over some endpoints."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        settings: Settings,
        generators: Generators,
        directory: Path,
        watcher: Watcher,
        emit: Callable[[Record], None],
    ) -> None:
        self._endpoints = list(endpoints)
        self._settings = settings
        self._generators = generators
        self._directory = directory
        self._watcher = watcher
        self._emit_record = emit
        self._run = f"{int(time.time()):x}"
        self._seed = random.SystemRandom().getrandbits(48)
        self._stamps = 1
        self._sets = 0

    def run(self, cases: Sequence[Case], local_only: frozenset[str]) -> None:
        """Measures every case on every endpoint that understands it."""
        for case in cases:
            able = []
            for endpoint in self._endpoints:
                if not endpoint.understands(case):
                    continue
                if case.scenario in local_only and endpoint.server is None:
                    self._skip(case, endpoint, "needs a server that the harness starts (--peer)")
                    continue
                server = endpoint.server
                if case.before == "restart" and server and not server.kind.persistent:
                    self._skip(case, endpoint, "forgets everything when it is restarted")
                    continue
                able.append(endpoint)
            self._case(case, able)

    def clean_up(self) -> None:
        """Deletes what was written to addresses that were given, where they allow it."""
        for endpoint in self._endpoints:
            if endpoint.server or not self._settings.cleanup:
                continue
            for objects, count in endpoint.written:
                stage = self.stage(endpoint, "delete", {}, 16, writes=objects, count=count)
                self._generators.run(stage)

    def _case(self, case: Case, endpoints: list[Endpoint]) -> None:
        ready = []
        for endpoint in endpoints:
            try:
                self._prepare(case, endpoint)
                ready.append(endpoint)
            except (GeneratorError, PeerError) as error:
                self._skip(case, endpoint, str(error))
        for number in range(self._settings.rounds):
            if self._settings.limits and case.limits and ready:
                self._limits(case, number)
            for endpoint in list(ready):
                try:
                    self._round(case, endpoint, number)
                except (GeneratorError, PeerError) as error:
                    self._skip(case, endpoint, str(error))
                    ready.remove(endpoint)

    def _prepare(self, case: Case, endpoint: Endpoint) -> None:
        if not endpoint.has_bucket:
            if endpoint.server is None or endpoint.server.kind.buckets:
                made = self._generators.run(self.stage(endpoint, "create-bucket", {}, 1, count=1))
                if made[0].errors:
                    reasons = ", ".join(reason for _, reason in made[0].errors)
                    raise GeneratorError(f"cannot create bucket: {reasons}")
            endpoint.has_bucket = True
        if not case.reads:
            return
        identity = (case.reads, case.reads_count, case.fanout)
        if identity in endpoint.sets:
            return
        objects = self.object_set("set", case.reads, case.reads_count, case.fanout)
        self._watcher.stage(case, endpoint.label, "fill")
        largest = max(size for size, _ in case.reads)
        connections = FILL_CONNECTIONS if largest <= MIB else 4
        stage = self.stage(
            endpoint, "fill", {}, connections, writes=objects, count=case.reads_count
        )
        observed = self._generators.run(stage, tick=self._watcher.tick)
        stored = sum(len(s.latency) for one in observed for s in one.samples.values())
        endpoint.written.append((objects, case.reads_count))
        if stored < case.reads_count:
            reasons = ", ".join(sorted({reason for one in observed for _, reason in one.errors}))
            raise GeneratorError(f"stored {stored} of {case.reads_count} objects: {reasons}")
        endpoint.sets[identity] = objects

    def _limits(self, case: Case, number: int) -> None:
        self._watcher.stage(case, "limits", f"round {number + 1}")
        values = {name: LIMITS[name][1](self._directory) for name in case.limits}
        self._emit({"kind": "limit", "case": case.id, "round": number, "values": values})

    def _round(self, case: Case, endpoint: Endpoint, number: int) -> None:
        settings = self._settings
        self._make_room(case, endpoint)
        reads = endpoint.sets.get((case.reads, case.reads_count, case.fanout))
        extra: Record = {}
        server = endpoint.server
        if case.before == "drop-cache" and server and server.data:
            drop_cached(server.data)
        elif case.before == "restart" and server:
            self._watcher.stage(case, endpoint.label, "restart")
            server.stop()
            if server.data:
                drop_cached(server.data)
            start = time.monotonic()
            server.start()
            extra["start_seconds"] = time.monotonic() - start
        if not case.before and not case.count and self._worth_warming(case):
            self._watcher.stage(case, endpoint.label, f"warm-up {number + 1}")
            self._generators.run(
                self._case_stage(case, endpoint, reads, settings.warmup_seconds, None),
                tick=self._watcher.tick,
            )
        self._watcher.stage(case, endpoint.label, f"round {number + 1}")
        stage = self._case_stage(
            case,
            endpoint,
            reads,
            case.seconds or settings.seconds,
            case.count or settings.count,
        )
        tree = endpoint.tree
        cpu_before = 0.0
        stored_before = self._stored(case, endpoint)
        resident_before = tree.resident_bytes() if tree else 0

        def before_start() -> None:
            nonlocal cpu_before
            if tree:
                tree.reset_peak()
                cpu_before = tree.cpu_seconds()

        observed = self._generators.run(stage, before_start=before_start, tick=self._watcher.tick)
        summary = summarize(observed)
        if tree:
            extra |= _server_figures(tree, cpu_before, summary["total"])
            extra["resident_before_bytes"] = resident_before
            # What it holds more than before, shared by those who caused it.
            more = max(0, extra["peak_bytes"] - resident_before)
            extra["bytes_per_connection"] = more / case.connections
        if stored_before is not None and summary["total"]["bytes"]:
            stored_after = self._stored(case, endpoint) or 0
            extra["stored_per_byte"] = (stored_after - stored_before) / summary["total"]["bytes"]
        if stage.writes:
            # Processes number their objects in turn, and one may have come further.
            furthest = max(sum(len(s.latency) for s in o.samples.values()) for o in observed)
            numbers = (furthest + case.connections) * len(observed)
            endpoint.written.append((stage.writes, numbers))
        self._emit(
            {
                "kind": "result",
                "case": case.id,
                "scenario": case.scenario,
                "parameters": case.parameters,
                "endpoint": endpoint.label,
                "round": number,
                "rate": case.rate,
                "server": extra or None,
                **summary,
            }
        )

    def _worth_warming(self, case: Case) -> bool:
        if not self._settings.warmup_seconds:
            return False
        sizes = [size for size, _ in (*case.reads, *case.writes)]
        one = int(case.parameters.get("range", max(sizes, default=0)))
        return one * case.connections <= WARM_BYTES_MAX

    def _case_stage(
        self,
        case: Case,
        endpoint: Endpoint,
        reads: ObjectSet | None,
        seconds: float,
        count: int | None,
    ) -> Stage:
        writes = None
        if case.writes:
            writes = self.object_set("new", case.writes, 0, 0, case.duplicates)
        return self.stage(
            endpoint,
            case.source,
            case.parameters,
            case.connections,
            reads=reads,
            writes=writes,
            seconds=seconds,
            count=count,
            rate=case.rate,
        )

    def stage(
        self,
        endpoint: Endpoint,
        source: str,
        parameters: dict[str, Any],
        connections: int,
        *,
        reads: ObjectSet | None = None,
        writes: ObjectSet | None = None,
        seconds: float | None = None,
        count: int | None = None,
        rate: float | None = None,
    ) -> Stage:
        """What the generators do to an endpoint, with the settings of this run."""
        settings = self._settings
        return Stage(
            endpoint.target(settings),
            source,
            parameters,
            connections,
            process=0,
            processes=1,
            seed=self._seed,
            reads=reads,
            writes=writes,
            seconds=seconds,
            count=count,
            rate=rate,
            verify=settings.verify,
            timeout_seconds=settings.timeout_seconds,
            tls_insecure=settings.tls_insecure,
        )

    def object_set(
        self,
        name: str,
        sizes: tuple[tuple[int, int], ...],
        count: int,
        fanout: int,
        duplicates: float = 0.0,
    ) -> ObjectSet:
        """A set of objects that no other one meets, by key or by content."""
        self._sets += 1
        stamp, self._stamps = self._stamps, self._stamps + STAMPS_EACH
        prefix = f"{self._run}/{name}{self._sets:05d}"
        return ObjectSet(prefix, sizes, stamp, count, duplicates, fanout)

    def _make_room(self, case: Case, endpoint: Endpoint) -> None:
        """Starts a server anew on an empty directory once it holds too much."""
        server = endpoint.server
        if server is None or server.data is None:
            return
        free = shutil.disk_usage(self._directory).free
        if stored_bytes(server.data) < self._settings.stored_bytes_max and free > FREE_BYTES_MIN:
            return
        self._watcher.stage(case, endpoint.label, "wipe")
        server.wipe()
        server.start()
        endpoint.has_bucket = False
        endpoint.sets.clear()
        endpoint.written.clear()
        self._prepare(case, endpoint)

    def _stored(self, case: Case, endpoint: Endpoint) -> int | None:
        server = endpoint.server
        if not case.writes or server is None or server.data is None:
            return None
        return stored_bytes(server.data)

    def _skip(self, case: Case, endpoint: Endpoint, reason: str) -> None:
        self._emit(
            {"kind": "skipped", "case": case.id, "endpoint": endpoint.label, "reason": reason}
        )

    def _emit(self, record: Record) -> None:
        self._emit_record(record)
        self._watcher.record(record)


def _server_figures(tree: ProcessTree, cpu_before: float, total: Record) -> Record:
    cpu = tree.cpu_seconds() - cpu_before
    return {
        "cpu_seconds": cpu,
        "cpu_share": cpu / total["seconds"],
        "cpu_seconds_per_gib": cpu / (total["bytes"] / GIB) if total["bytes"] else None,
        "cpu_microseconds_per_request": (
            cpu / total["requests"] * 1e6 if total["requests"] else None
        ),
        "peak_bytes": tree.peak_bytes(),
    }


def default_processes() -> int:
    """Half of the cores: the other half is for the server beside."""
    return max(1, (os.cpu_count() or 2) // 2)
