"""The processes that make load, and the coordinator's handle on them.

Each process waits on a pipe for a stage, connects, says so, starts at the common moment and sends
back what it saw. They live for the whole run.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from typing import Any

from benchmarks.engine import Engine, Observed
from benchmarks.plan import Stage
from benchmarks.sources import make_source

SPAWN = multiprocessing.get_context("spawn")
START_LEAD_SECONDS = 0.02


class GeneratorError(Exception):
    """A generator process could not run its stage; the text says why."""


class Generators:
    """A fixed number of generator processes."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._pipes: list[Pipe] = []
        self._counters: list[Any] = []
        self._workers: list[Any] = []
        for _ in range(processes):
            ours, theirs = SPAWN.Pipe()
            counters = SPAWN.RawArray("Q", 2)
            worker = SPAWN.Process(target=_serve, args=(theirs, counters), daemon=True)
            worker.start()
            theirs.close()
            self._pipes.append(ours)
            self._counters.append(counters)
            self._workers.append(worker)

    def run(
        self,
        stage: Stage,
        *,
        before_start: Callable[[], None] = lambda: None,
        tick: Callable[[int, int], None] = lambda bytes_moved, requests: None,
        tick_seconds: float = 0.25,
    ) -> list[Observed]:
        """Runs one stage, spread over as many processes as have a connection to drive."""
        used = max(1, min(self.processes, stage.connections))
        if stage.source == "multipart":
            # The parts of one upload stay in one process.
            used = min(used, int(stage.parameters.get("uploads", 1)))
        for number in range(used):
            connections = stage.connections // used + (number < stage.connections % used)
            share = replace(stage, process=number, processes=used, connections=connections)
            if stage.rate is not None:
                share = replace(share, rate=stage.rate / used)
            self._pipes[number].send(share)
        for number in range(used):
            self._receive(number)
        before_start()
        for counters in self._counters:
            counters[0] = counters[1] = 0
        start_at = time.monotonic() + START_LEAD_SECONDS
        for number in range(used):
            self._pipes[number].send(start_at)
        observed: list[Observed] = []
        for number in range(used):
            while not self._pipes[number].poll(tick_seconds):
                tick(
                    sum(counters[0] for counters in self._counters),
                    sum(counters[1] for counters in self._counters),
                )
            observed.append(self._receive(number))
        return observed

    def close(self) -> None:
        """Ends the processes."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
        for worker in self._workers:
            worker.join(5)
            if worker.is_alive():
                worker.kill()

    def _receive(self, number: int) -> Any:
        try:
            kind, value = self._pipes[number].recv()
        except EOFError:
            raise GeneratorError("a generator process ended") from None
        if kind == "failed":
            raise GeneratorError(value)
        return value


def _serve(pipe: Pipe, counters: Any) -> None:
    # Ctrl-C reaches the whole group; the coordinator decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress = memoryview(counters).cast("B").cast("Q")
    while True:
        try:
            stage = pipe.recv()
        except EOFError:
            return
        if stage is None:
            return
        engine = None
        try:
            engine = Engine(
                stage.target,
                connections=stage.connections,
                seed=stage.seed,
                verify=stage.verify,
                timeout_seconds=stage.timeout_seconds,
                tls_insecure=stage.tls_insecure,
                progress=progress,
            )
            source = make_source(stage)
            engine.connect()
            pipe.send(("ready", None))
            start_at = pipe.recv()
            observed = engine.run(source, start_at=start_at, seconds=stage.seconds, rate=stage.rate)
            pipe.send(("done", observed))
        except OSError as error:
            pipe.send(("failed", f"{stage.target.name}: {error}"))
        except Exception:
            pipe.send(("failed", traceback.format_exc()))
        finally:
            if engine is not None:
                engine.close()
