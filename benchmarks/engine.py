"""Drives many connections from one thread: closed loop, or open loop at a fixed arrival rate.

In the closed loop each connection sends its next request when the last one is answered. In the open
loop requests arrive by the clock whatever the server does, and latency counts from the moment a
request was due: a stall is seen by all that would have come meanwhile (no coordinated omission).
"""

from __future__ import annotations

import select
import ssl
import time
from array import array
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.connection import RECEIVE_BYTES, Connection
from benchmarks.s3_requests import Answer, Request, Target

TIMELINE_SECONDS = 0.1
CONNECTING_AT_ONCE = 32
FINE_WAIT_SECONDS = 0.005
# In the open loop: later than this a request has waited for a free connection.
WAITED_SECONDS = 0.001


class Source(Protocol):
    """Where requests come from."""

    def next(self) -> Request | None:
        """The next request, or None when there is none now or will be none at all."""

    def done(self, request: Request, answer: Answer | None, error: str) -> None:
        """What became of a request."""

    def stop(self) -> None:
        """Time is up: begin nothing new, end what is begun."""


@dataclass
class Samples:
    """Every finished request of one label; parallel columns, times in seconds since the start."""

    started: array[float] = field(default_factory=lambda: array("d"))
    latency: array[float] = field(default_factory=lambda: array("d"))
    first_byte: array[float] = field(default_factory=lambda: array("d"))
    payload_bytes: int = 0
    last_end: float = 0.0


@dataclass
class Observed:
    """What one process saw in one stage. `timeline` is bytes for each tenth of a second."""

    samples: dict[str, Samples] = field(default_factory=dict)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    timeline: list[int] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    waited: int = 0


class Engine:
    """One stage in one process."""

    def __init__(
        self,
        target: Target,
        *,
        connections: int,
        seed: int,
        verify: bool,
        timeout_seconds: float,
        tls_insecure: bool = False,
        progress: memoryview | None = None,
    ) -> None:
        self.target = target
        self.seed = seed
        self.verify = verify
        self.buffer = bytearray(RECEIVE_BYTES)
        self.view = memoryview(self.buffer)
        self.observed = Observed()
        self._timeout = timeout_seconds
        self._progress = progress
        self._epoll = select.epoll()
        self._by_fd: dict[int, Connection] = {}
        self._ready: deque[Connection] = deque()
        tls = ssl.create_default_context() if target.tls else None
        if tls and tls_insecure:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        self._connections = [Connection(self, tls) for _ in range(connections)]
        self._idle: list[Connection] = []
        self._queue: deque[Request] = deque()
        self._source: Source | None = None
        self._open_loop = False
        self._start = 0.0
        self._failures = 0

    def connect(self) -> None:
        """Opens every connection, before the clock runs."""
        # Side by side: where a listener's queue is short, each may wait a second to try again.
        with ThreadPoolExecutor(CONNECTING_AT_ONCE) as pool:
            for _ in pool.map(Connection.open, self._connections):
                pass

    def close(self) -> None:
        """Closes every connection."""
        for connection in self._connections:
            connection.close()
        self._epoll.close()

    def run(
        self,
        source: Source,
        *,
        start_at: float = 0.0,
        seconds: float | None = None,
        rate: float | None = None,
    ) -> Observed:
        """Runs until the source has no more, or until time is up and what was begun is over."""
        self._source = source
        self._open_loop = rate is not None
        self._idle = list(self._connections)
        while (wait := start_at - time.monotonic()) > 0:
            time.sleep(wait)
        cpu = time.process_time()
        self._start = time.monotonic()
        deadline = self._start + seconds if seconds is not None else float("inf")
        stopped = False
        arrived = 0
        next_check = self._start + 1
        while True:
            now = time.monotonic()
            if now >= deadline and not stopped:
                stopped = True
                source.stop()
            due = float("inf")
            if rate is not None and not stopped:
                while (due := self._start + arrived / rate) <= now:
                    request = source.next()
                    if request is None:
                        stopped = True
                        break
                    request.intended = due
                    self._queue.append(request)
                    arrived += 1
            self._dispatch()
            if not self._busy() and not self._queue and (rate is None or stopped):
                break
            if now >= next_check:
                next_check = now + 1
                self._cut_overdue(now)
            timeout = 0.0 if self._ready else max(0.0, min(0.25, due - now, deadline - now))
            if stopped and not self._ready:
                timeout = 0.25
            self._turn(timeout)
        observed = self.observed
        observed.wall_seconds = time.monotonic() - self._start
        observed.cpu_seconds = time.process_time() - cpu
        return observed

    def _turn(self, timeout: float) -> None:
        for _ in range(len(self._ready)):
            connection = self._ready.popleft()
            connection.push()
            connection.pull()
        if 0 < timeout < FINE_WAIT_SECONDS:
            # epoll rounds up to milliseconds, too coarse for arrivals by the clock.
            select.select([self._epoll], [], [], timeout)
            timeout = 0.0
        for descriptor, event in self._epoll.poll(timeout):
            connection = self._by_fd[descriptor]
            if event & select.EPOLLOUT:
                connection.push()
            if event & ~select.EPOLLOUT:
                connection.pull()

    def _busy(self) -> bool:
        return len(self._idle) < len(self._connections)

    def _dispatch(self) -> None:
        assert self._source is not None
        # Each at most once: where every connect fails, the clock must still be looked at.
        for _ in range(len(self._idle)):
            if self._open_loop:
                request = self._queue.popleft() if self._queue else None
                if request and time.monotonic() - request.intended > WAITED_SECONDS:
                    self.observed.waited += 1
            else:
                request = self._source.next()
            if request is None:
                return
            self._idle.pop().begin(request)

    def _cut_overdue(self, now: float) -> None:
        for connection in self._connections:
            if connection.request is not None and now - connection.started > self._timeout:
                connection.fail("timeout")

    # What connections tell

    def watch(self, connection: Connection) -> None:
        assert connection.sock is not None
        descriptor = connection.sock.fileno()
        self._by_fd[descriptor] = connection
        # Edge-triggered, and registered once: no call to change what is waited for.
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    def again(self, connection: Connection) -> None:
        self._ready.append(connection)

    def moved(self, size: int, now: float) -> None:
        slot = int((now - self._start) / TIMELINE_SECONDS)
        timeline = self.observed.timeline
        if slot >= len(timeline):
            timeline.extend([0] * (slot + 1 - len(timeline)))
        timeline[slot] += size
        if self._progress is not None:
            self._progress[0] += size

    def finished(self, connection: Connection, answer: Answer | None, error: str) -> None:
        now = time.monotonic()
        request = connection.request
        assert request is not None and self._source is not None
        connection.request = None
        observed = self.observed
        if error:
            observed.errors[(request.label, error)] += 1
            self._failures += 1
            if answer is None and self._failures > 3:
                time.sleep(0.01)  # a server that is gone must not be hammered
        else:
            self._failures = 0
            samples = observed.samples.get(request.label)
            if samples is None:
                samples = observed.samples[request.label] = Samples()
            begun = request.intended or connection.started
            samples.started.append(begun - self._start)
            samples.latency.append(now - begun)
            samples.first_byte.append(connection.first_byte - begun)
            samples.payload_bytes += request.payload_bytes
            samples.last_end = now - self._start
            slot = int((now - self._start) / TIMELINE_SECONDS)
            requests = observed.requests
            if slot >= len(requests):
                requests.extend([0] * (slot + 1 - len(requests)))
            requests[slot] += 1
            if self._progress is not None:
                self._progress[1] += 1
        self._source.done(request, answer, error)
        self._idle.append(connection)
