"""A run as a table in Markdown: what a README shows of it."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.results import Results
from benchmarks.units import number_text

_LIMIT_UNITS = {"sync-appends": "/s"}


def markdown_table(results: Results) -> str:
    """One row a case, one column an endpoint: the median rate, and the server's CPU in brackets.

    Rates are MiB/s where a case is about bytes and requests a second elsewhere, the CPU seconds a
    GiB or microseconds a request. The fastest endpoint is bold.
    """
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    endpoints = results.endpoints
    yield f"| | {' | '.join(endpoints)} | limits |"
    yield "|---" * (len(endpoints) + 2) + "|"
    for case in results.cases:
        lines = [results.line(case, endpoint) for endpoint in endpoints]
        by_bytes = next(line.is_about_bytes for line in lines if line is not None)
        rates = [line.rate(by_bytes) if line else None for line in lines]
        best = max((rate.median for rate in rates if rate), default=0.0)
        cells = []
        for line, rate in zip(lines, rates, strict=True):
            if line is None or rate is None:
                cells.append("")
                continue
            text = number_text(rate.median)
            path = "cpu_seconds_per_gib" if by_bytes else "cpu_microseconds_per_request"
            cpu = line.figure("server", path)
            cells.append(
                (f"**{text}**" if rate.median == best else text)
                + (f" ({number_text(cpu.median)})" if cpu else "")
            )
        limits = ", ".join(
            f"{name} {number_text(figure.median)}{_LIMIT_UNITS.get(name, '')}"
            for name, figure in results.limits.get(case, {}).items()
            if (name in _LIMIT_UNITS) != by_bytes
        )
        unit = "MiB/s" if by_bytes else "/s"
        yield f"| {case}, {unit} | {' | '.join(cells)} | {limits} |"
