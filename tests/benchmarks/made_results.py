"""Results as a run would write them, without running anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.results import FORMAT, Record, Results, gather
from benchmarks.statistics import QUANTILES


def record(endpoint: str, number: int, rate: float, **parameters: Any) -> Record:
    parameters = parameters or {"size": 1 << 20, "c": 8}
    case = "put " + " ".join(f"{name}={value}" for name, value in parameters.items())
    latency = dict.fromkeys(("mean", "p50", "p90", "p99", "p99.9", "max"), 1000 / rate)
    return {
        "kind": "result",
        "case": case,
        "scenario": "put",
        "parameters": parameters,
        "endpoint": endpoint,
        "round": number,
        "operations": {
            "PutObject": {
                "count": 100,
                "errors": {"503 SlowDown": 1} if number == 2 else {},
                "bytes": 100 << 20,
                "requests_per_second": rate,
                "mib_per_second": rate,
                "latency_ms": latency,
                "first_byte_ms": {"p50": 1.0, "p99": 2.0},
                "quantiles_ms": [1 + share for share in QUANTILES],
            }
        },
        "total": {
            "requests": 100,
            "errors": 0,
            "bytes": 100 << 20,
            "waited": 0,
            "seconds": 1.0,
            "mib_per_second": rate,
            "requests_per_second": rate,
        },
        "timeline": {"seconds": 0.1, "bytes": [1 << 20, 2 << 20, 1 << 20], "requests": [1, 2, 1]},
        "server": {
            "cpu_seconds": 1.0,
            "cpu_seconds_per_gib": 2.0,
            "cpu_microseconds_per_request": 30.0,
            "peak_bytes": 100 << 20,
        },
        "generator": {"processes": 1, "cpu_seconds": 0.2, "cpu_share": 0.2, "busiest_share": 0.2},
    }


def records(**rates: Sequence[float]) -> list[Record]:
    """A run of one case; for each endpoint the rate in each round."""
    run: Record = {
        "kind": "run",
        "format": FORMAT,
        "started": "2026-01-02T03:04:05Z",
        "machine": {"cpu": "a <fast> one", "cpu_features": ["avx2"], "cores": 2},
        "settings": {"rounds": 3},
    }
    endpoint = {"server": "dsn", "version": "1", "promise": "synced", "arguments": []}
    made = [run, *({"kind": "endpoint", "label": label, **endpoint} for label in rates)]
    for number in range(max(map(len, rates.values()), default=0)):
        made.append(
            {
                "kind": "limit",
                "case": record("", 0, 1)["case"],
                "round": number,
                "values": {"md5": 700.0 + number},
            }
        )
        for label, values in rates.items():
            made.append(record(label, number, values[number]))
    return made


def results(**rates: Sequence[float]) -> Results:
    return gather(records(**rates))
