"""The file of results: JSON lines, written as they come, read back as medians over rounds.

The first line describes the run (`kind: run`), then come `kind: endpoint` for each server, `limit`
and `result` for each round, and `skipped` for what could not be measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from benchmarks.statistics import spread
from benchmarks.units import SMALL_BYTES_MAX

FORMAT = 1
Record = dict[str, Any]


class ResultsError(Exception):
    """A file that is not one of ours; the text says what is wrong."""


class Recording:
    """The records of a run, each in its file as soon as it is there; without a file just kept."""

    def __init__(self, file: TextIO | None) -> None:
        self.records: list[Record] = []
        self._file = file

    def add(self, record: Record) -> None:
        """Take the next record."""
        self.records.append(record)
        if self._file:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()


@dataclass
class Figure:
    """Median, least and greatest over the rounds."""

    median: float
    least: float
    most: float
    rounds: int = 1

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Figure | None:
        known = [value for value in values if value is not None]
        return cls(*spread(known), len(known)) if known else None


@dataclass
class Line:
    """One case on one endpoint, all rounds."""

    case: str
    scenario: str
    parameters: Record
    endpoint: str
    rounds: list[Record]

    def figure(self, *path: str) -> Figure | None:
        """A figure by its path, such as `total`, `mib_per_second`."""
        return Figure.of(_at(record, path) for record in self.rounds)

    @property
    def is_about_bytes(self) -> bool:
        """Whether bytes rather than requests are what this case is about."""
        moved = self.figure("total", "bytes")
        requests = self.figure("total", "requests")
        if not moved or not requests or not requests.median:
            return False
        return moved.median / requests.median > SMALL_BYTES_MAX

    def rate(self, by_bytes: bool) -> Figure | None:
        """MiB a second, or requests a second."""
        return self.figure("total", "mib_per_second" if by_bytes else "requests_per_second")

    @property
    def operations(self) -> list[str]:
        """The operations that were measured, most frequent first."""
        counts: dict[str, int] = {}
        for record in self.rounds:
            for label, operation in record["operations"].items():
                counts[label] = counts.get(label, 0) + operation["count"]
        return sorted(counts, key=lambda label: -counts[label])

    @property
    def errors(self) -> dict[str, int]:
        """Errors of all rounds by operation and reason."""
        found: dict[str, int] = {}
        for record in self.rounds:
            for label, operation in record["operations"].items():
                for reason, count in operation["errors"].items():
                    text = f"{label}: {reason}"
                    found[text] = found.get(text, 0) + count
        return found

    def latency(self, operation: str, name: str) -> Figure | None:
        """p50, p90, p99, p99.9, max or mean of an operation, in milliseconds."""
        return self.figure("operations", operation, "latency_ms", name)


@dataclass
class Results:
    """A whole run."""

    run: Record
    lines: list[Line] = field(default_factory=list)
    limits: dict[str, dict[str, Figure]] = field(default_factory=dict)
    skipped: list[Record] = field(default_factory=list)

    @property
    def endpoints(self) -> list[str]:
        return list(dict.fromkeys(line.endpoint for line in self.lines))

    @property
    def cases(self) -> list[str]:
        return list(dict.fromkeys(line.case for line in self.lines))

    def line(self, case: str, endpoint: str) -> Line | None:
        for line in self.lines:
            if line.case == case and line.endpoint == endpoint:
                return line
        return None

    @property
    def worst_generator_share(self) -> float:
        """Of the busiest generator process in any stage."""
        return max(
            (r["generator"]["busiest_share"] for line in self.lines for r in line.rounds),
            default=0.0,
        )


def gather(records: Iterable[Record]) -> Results:
    """Records of one run, grouped."""
    run: Record = {}
    lines: dict[tuple[str, str], Line] = {}
    limits: dict[str, dict[str, list[float]]] = {}
    skipped: list[Record] = []
    endpoints: list[Record] = []
    for record in records:
        kind = record.get("kind")
        if kind == "run":
            run = record
        elif kind == "limit":
            for name, value in record["values"].items():
                limits.setdefault(record["case"], {}).setdefault(name, []).append(value)
        elif kind == "result":
            identity = (record["case"], record["endpoint"])
            if identity not in lines:
                lines[identity] = Line(
                    record["case"],
                    record["scenario"],
                    record["parameters"],
                    record["endpoint"],
                    [],
                )
            lines[identity].rounds.append(record)
        elif kind == "endpoint":
            endpoints.append(record)
        elif kind == "skipped":
            skipped.append(record)
    figures = {
        case: {name: figure for name, values in named.items() if (figure := Figure.of(values))}
        for case, named in limits.items()
    }
    return Results(run | {"endpoints": endpoints}, list(lines.values()), figures, skipped)


def read(path: Path) -> Results:
    """A file that a run wrote."""
    records: list[Record] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except ValueError:
            raise ResultsError(f"{path}:{number}: not JSON; expected JSON lines of a run") from None
    if not records or records[0].get("kind") != "run":
        raise ResultsError(f"{path}: not the results of a run")
    if records[0].get("format") != FORMAT:
        raise ResultsError(f"{path}: format {records[0].get('format')}, expected {FORMAT}")
    return gather(records)


def _at(record: Record, path: tuple[str, ...]) -> float | None:
    value: Any = record
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return None if value is None else float(value)
