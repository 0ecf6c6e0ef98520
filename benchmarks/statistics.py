"""From samples to figures: quantiles of one round, medians and spread of several."""

from __future__ import annotations

import math
import statistics
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.engine import TIMELINE_SECONDS, Observed
from benchmarks.units import GIB, MIB

# Enough of a distribution to draw it, and to read p50, p90, p99 and p99.9 from it.
QUANTILES = (
    0.0, 0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95,
    0.96, 0.97, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1.0,
)  # fmt: skip
TIMELINE_POINTS_MAX = 100


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of all samples does not exceed."""
    if not ordered:
        raise ValueError("no samples")
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def summarize(observed: Sequence[Observed]) -> dict[str, Any]:
    """One stage of all processes as the operations, the total, the timeline and the generator."""
    labels = sorted({label for one in observed for label in one.samples})
    labels += sorted({label for one in observed for label, _ in one.errors} - set(labels))
    begin = min(
        (min(samples.started) for one in observed for samples in one.samples.values()), default=0.0
    )
    end = max(
        (samples.last_end for one in observed for samples in one.samples.values()), default=0.0
    )
    seconds = max(end - begin, 1e-9)
    operations = {label: _operation(observed, label, seconds) for label in labels}
    payload = sum(operation["bytes"] for operation in operations.values())
    count = sum(operation["count"] for operation in operations.values())
    errors = sum(sum(operation["errors"].values()) for operation in operations.values())
    wall = max((one.wall_seconds for one in observed), default=0.0) or 1e-9
    cpu = sum(one.cpu_seconds for one in observed)
    return {
        "operations": operations,
        "total": {
            "requests": count,
            "errors": errors,
            "bytes": payload,
            "waited": sum(one.waited for one in observed),
            "seconds": seconds,
            "mib_per_second": payload / MIB / seconds,
            "requests_per_second": count / seconds,
        },
        "timeline": _timeline(observed),
        "generator": {
            "processes": len(observed),
            "cpu_seconds": cpu,
            "cpu_share": cpu / wall,
            "busiest_share": max((one.cpu_seconds / wall for one in observed), default=0.0),
            "cpu_seconds_per_gib": cpu / (payload / GIB) if payload else None,
        },
    }


def _operation(observed: Sequence[Observed], label: str, seconds: float) -> dict[str, Any]:
    latency: array[float] = array("d")
    first: array[float] = array("d")
    payload = 0
    errors: Counter[str] = Counter()
    for one in observed:
        if samples := one.samples.get(label):
            latency.extend(samples.latency)
            first.extend(samples.first_byte)
            payload += samples.payload_bytes
        for (of, reason), count in one.errors.items():
            if of == label:
                errors[reason] += count
    figures: dict[str, Any] = {
        "count": len(latency),
        "errors": dict(errors),
        "bytes": payload,
        "requests_per_second": len(latency) / seconds,
        "mib_per_second": payload / MIB / seconds,
    }
    if latency:
        ordered = sorted(latency)
        ordered_first = sorted(first)
        figures["latency_ms"] = {
            "mean": sum(ordered) / len(ordered) * 1e3,
            **{
                name: quantile(ordered, share) * 1e3
                for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
            },
            "max": ordered[-1] * 1e3,
        }
        figures["first_byte_ms"] = {
            "p50": quantile(ordered_first, 0.5) * 1e3,
            "p99": quantile(ordered_first, 0.99) * 1e3,
        }
        figures["quantiles_ms"] = [round(quantile(ordered, q) * 1e3, 4) for q in QUANTILES]
    return figures


def _timeline(observed: Sequence[Observed]) -> dict[str, Any]:
    length = max((max(len(one.timeline), len(one.requests)) for one in observed), default=0)
    step = max(1, -(-length // TIMELINE_POINTS_MAX))
    moved = [0] * (-(-length // step))
    requests = [0] * len(moved)
    for one in observed:
        for slot, size in enumerate(one.timeline):
            moved[slot // step] += size
        for slot, count in enumerate(one.requests):
            requests[slot // step] += count
    return {"seconds": step * TIMELINE_SECONDS, "bytes": moved, "requests": requests}


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and greatest of several rounds."""
    return statistics.median(values), min(values), max(values)
