"""What grows with the store: the same requests on an empty and on a filled one, starts, memory.

The two take turns within a case, as all endpoints do, so that their ratio holds on a busy machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fill import SMALL_BYTES, TREE_FANOUT, WIDE_FANOUT, Filling
from benchmarks.generator import Generators
from benchmarks.peers import Server
from benchmarks.plan import Case, ObjectSet
from benchmarks.process_tree import drop_cached
from benchmarks.results import Results
from benchmarks.runner import Endpoint, Runner
from benchmarks.units import KIB, MIB

# Of the empty store, which is not that empty: enough for full pages of both shapes.
TREE_KEYS = 2_000
WIDE_KEYS = 1_001 * WIDE_FANOUT**2
KILLED_AFTER_SECONDS = 3.0
LOAD_CONNECTIONS = 16
SETTLE_SECONDS = 1.0
# Seconds each, and steadier than answers are.
STARTS_MAX = 3

_FEW = (((4 * KIB, 1),), 2_000, 0)
_SMALL = ((SMALL_BYTES, 1),)
_TREE = (_SMALL, TREE_KEYS, TREE_FANOUT)
_WIDE = (_SMALL, WIDE_KEYS, WIDE_FANOUT)


def cases(connections: int = 8) -> list[Case]:
    """Small requests of every kind; where they read a set, the filled store reads its own."""

    def listing(shape: str, reads: tuple[tuple[tuple[int, int], ...], int, int], at: int) -> Case:
        sizes, count, fanout = reads
        return Case(
            "scale-list",
            "list",
            at,
            {"shape": shape, "c": at},
            reads=sizes,
            reads_count=count,
            fanout=fanout,
        )

    size, c = 4 * KIB, connections
    return [
        Case("scale-put", "put", c, {"size": size, "c": c}, writes=((size, 1),)),
        Case("scale-get", "get", c, {"size": size, "c": c}, reads=_FEW[0], reads_count=_FEW[1]),
        Case(
            "scale-get",
            "get",
            c,
            {"of": "all", "c": c},
            reads=_SMALL,
            reads_count=TREE_KEYS,
            fanout=TREE_FANOUT,
        ),
        listing("flat", _TREE, 1),
        listing("flat", _TREE, c),
        listing("deep", _TREE, c),
        # Delimited at the root of very many folders: a page of nothing but common prefixes.
        listing("delimited", _WIDE, 1),
        listing("delimited", _WIDE, c),
    ]


def stored_sets(filling: Filling) -> dict[object, ObjectSet]:
    """What a filled store need not be given before it can be read."""
    return {_TREE: filling.tree, _WIDE: filling.wide}


def make_filled(server: Server, filling: Filling, made: Path | None) -> None:
    """Give a server that was not started yet its store; `made` is one to copy."""
    data = server.directory / "data"
    data.parent.mkdir(parents=True)
    if made is None:
        # Whoever fills a data directory holds its lock until he ends.
        counts = ("--objects", str(filling.objects), "--chunks", str(filling.chunks))
        subprocess.run([sys.executable, "-m", "benchmarks", "fill", str(data), *counts], check=True)
    else:
        # The large segments are holes, and must stay so.
        subprocess.run(["cp", "-a", "--sparse=always", str(made), str(data)], check=True)
    # Or the first rounds would share the disk with what is still being written.
    os.sync()
    server.prepare()


@dataclass
class Figures:
    """What one server showed besides its answers, by name and unit, each as often as measured."""

    label: str
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)


class ScaleRun:
    """Measures what `cases` cannot: starts, and memory."""

    def __init__(
        self, runner: Runner, generators: Generators, connections: int, tell: Callable[[str], None]
    ) -> None:
        self._runner = runner
        self._generators = generators
        self._connections = connections
        self._tell = tell

    def measure(self, endpoints: Sequence[Endpoint], rounds: int) -> list[Figures]:
        """Starts after a clean stop and after a kill under load; memory at rest and connected."""
        found = [Figures(endpoint.label) for endpoint in endpoints]
        for number in range(min(rounds, STARTS_MAX)):
            for endpoint, figures in zip(endpoints, found, strict=True):
                self._tell(f"{endpoint.label}: starts and memory, round {number + 1}")
                self._round(endpoint, figures)
        return found

    def _round(self, endpoint: Endpoint, figures: Figures) -> None:
        server = endpoint.server
        assert server is not None
        server.stop()
        _start(server, figures, "start after a stop, ms")
        self._idle(endpoint, figures)
        server.stop()
        assert server.data is not None
        drop_cached(server.data)
        _start(server, figures, "start after a stop, nothing cached, ms")
        self._kill_under_load(endpoint, server)
        _start(server, figures, "start after kill -9 under load, ms")

    def _idle(self, endpoint: Endpoint, figures: Figures) -> None:
        tree = endpoint.tree
        assert tree is not None
        time.sleep(SETTLE_SECONDS)
        resident = tree.resident_bytes()
        figures.add("resident, just started, MiB", resident / MIB)
        connections = self._connections
        stage = self._runner.stage(
            endpoint, "head", {}, connections, reads=endpoint.sets[_FEW], count=connections
        )
        begin = time.monotonic()

        def before_start() -> None:
            # Everybody is connected, and has not sent anything.
            figures.add(f"{connections:,} connections, ms", (time.monotonic() - begin) * 1e3)
            tree.reset_peak()

        self._generators.run(stage, before_start=before_start)
        more = tree.peak_bytes() - resident
        figures.add(f"{connections:,} connections, MiB more", more / MIB)

    def _kill_under_load(self, endpoint: Endpoint, server: Server) -> None:
        stage = self._runner.stage(
            endpoint,
            "put",
            {},
            LOAD_CONNECTIONS,
            writes=self._runner.object_set("new", ((4 * KIB, 1),), 0, 0),
            seconds=KILLED_AFTER_SECONDS + 1,
        )
        killing = threading.Timer(KILLED_AFTER_SECONDS, server.kill)
        killing.start()
        try:
            self._generators.run(stage)
        finally:
            killing.join()


def _start(server: Server, figures: Figures, name: str) -> None:
    begin = time.monotonic()
    server.start()
    figures.add(name, (time.monotonic() - begin) * 1e3)


def comparison(results: Results, found: Sequence[Figures]) -> Iterator[tuple[str, float, float]]:
    """Each figure by its name: its median of the first server and of the second one."""
    one, other = found
    for case in results.cases:
        first, second = results.line(case, one.label), results.line(case, other.label)
        if first is None or second is None:
            continue
        operation = first.operations[0]
        for name, path in (
            ("p50 ms", ("operations", operation, "latency_ms", "p50")),
            ("server us", ("server", "cpu_microseconds_per_request")),
        ):
            figures = first.figure(*path), second.figure(*path)
            if figures[0] is not None and figures[1] is not None:
                yield f"{case}, {name}", figures[0].median, figures[1].median
    for name in one.values:
        yield name, statistics.median(one.values[name]), statistics.median(other.values[name])
