"""Compares two runs case by case: what became faster, what slower, and what is only noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.results import Figure, Line, Results

# Figure -> its path, and whether more of it is better.
COMPARED: dict[str, tuple[tuple[str, ...], bool]] = {
    "MiB/s": (("total", "mib_per_second"), True),
    "req/s": (("total", "requests_per_second"), True),
    "p50 ms": (("latency_ms", "p50"), False),
    "p99 ms": (("latency_ms", "p99"), False),
    "server s/GiB": (("server", "cpu_seconds_per_gib"), False),
    "us/req": (("server", "cpu_microseconds_per_request"), False),
    "peak bytes": (("server", "peak_bytes"), False),
}


@dataclass(frozen=True)
class Change:
    """One figure of one case in both runs."""

    case: str
    endpoint: str
    operation: str
    figure: str
    before: Figure
    after: Figure
    more_is_better: bool

    @property
    def ratio(self) -> float:
        """After to before."""
        return self.after.median / self.before.median if self.before.median else float("inf")

    @property
    def clear(self) -> bool:
        """Whether the rounds of the two runs do not overlap; of a single round nobody knows."""
        if min(self.before.rounds, self.after.rounds) < 2:
            return False
        return self.after.least > self.before.most or self.after.most < self.before.least

    def worse_by(self) -> float:
        """By which share it is worse, negative where it is better."""
        if self.more_is_better:
            return 1 - self.ratio
        return self.ratio - 1


def compare(before: Results, after: Results, pairs: dict[str, str]) -> Iterator[Change]:
    """Every figure that both runs have. `pairs` maps endpoints of the first run to the second's."""
    for line in before.lines:
        other = after.line(line.case, pairs.get(line.endpoint, line.endpoint))
        if other is not None:
            yield from _changes(line, other)


def pair_endpoints(before: Results, after: Results) -> dict[str, str]:
    """Endpoints of the same name; where each run has only one, these two."""
    if len(before.endpoints) == len(after.endpoints) == 1:
        return {before.endpoints[0]: after.endpoints[0]}
    return {name: name for name in before.endpoints if name in after.endpoints}


def regressions(changes: list[Change], share: float) -> list[Change]:
    """What became worse by more than a share, and clearly so."""
    return [change for change in changes if change.clear and change.worse_by() > share]


def _changes(before: Line, after: Line) -> Iterator[Change]:
    for name, (path, more_is_better) in COMPARED.items():
        # Of bytes and requests one is enough: they go together.
        payload = before.figure("total", "bytes")
        if name in ("req/s", "us/req") and payload and payload.median:
            continue
        # Latency belongs to an operation, the rest to the case.
        operations = before.operations if path[0] == "latency_ms" else [""]
        for operation in operations:
            full = ("operations", operation, *path) if operation else path
            first, second = before.figure(*full), after.figure(*full)
            if first is None or second is None or not first.median:
                continue
            yield Change(
                before.case, before.endpoint, operation, name, first, second, more_is_better
            )
