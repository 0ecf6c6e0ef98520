"""Shows a run on a terminal: what is being measured now, and tables when it is over."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from benchmarks.compare import Change
from benchmarks.plan import Case
from benchmarks.results import Figure, Line, Record, Results
from benchmarks.units import KIB, MIB, number_text

BUSY_SHARE = 0.85
LIMIT_UNITS = {"sync-appends": "/s"}


class Progress:
    """A live line with the rate of this moment; on no terminal, one plain line for each result."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0
        self._what = "starting"
        self._last = (time.monotonic(), 0, 0)
        self._rate = ""
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def stage(self, case: Case, endpoint: str, what: str) -> None:
        self._what = f"{case.id}  {endpoint}  {what}"
        self._rate = ""
        self._last = (time.monotonic(), 0, 0)
        self._show()

    def tick(self, bytes_moved: int, requests: int) -> None:
        now = time.monotonic()
        then, bytes_then, requests_then = self._last
        if now - then > 0.2:
            moved = max(0, bytes_moved - bytes_then) / MIB / (now - then)
            answered = max(0, requests - requests_then) / (now - then)
            self._rate = f"{number_text(moved)} MiB/s  {number_text(answered)} /s"
            self._last = (now, bytes_moved, requests)
            self._show()

    def record(self, record: Record) -> None:
        if record["kind"] == "skipped":
            reason = record["reason"].strip().splitlines()[-1]
            self._console.print(
                f"skipped: {record['case']} on {record['endpoint']}: {reason}",
                style="bold red",
                markup=False,
            )
        if record["kind"] != "result":
            return
        self._done += 1
        total = record["total"]
        operation = max(record["operations"].values(), key=lambda o: o["count"], default=None)
        latency = (operation or {}).get("latency_ms") or {}
        self._console.print(
            f"{record['case']:<48} {record['endpoint']:<12} #{record['round'] + 1} "
            f"{number_text(total['mib_per_second']):>7} MiB/s "
            f"{number_text(total['requests_per_second']):>7} /s  "
            f"p50 {number_text(latency.get('p50')):>6} ms  "
            f"p99 {number_text(latency.get('p99')):>6} ms"
            + (f"  {total['errors']} errors" if total["errors"] else ""),
            style="red" if total["errors"] else None,
            markup=False,
            highlight=False,
        )

    def _show(self) -> None:
        share = f"{self._done}/{self._total}" if self._total else str(self._done)
        self._live.update(Text(f"[{share}] {self._what}  {self._rate}", style="cyan"))


def print_results(console: Console, results: Results) -> None:
    """A table for each scenario, then what to keep in mind."""
    for scenario in dict.fromkeys(line.scenario for line in results.lines):
        console.print(scenario_table(results, scenario))
    for skipped in results.skipped:
        console.print(
            f"skipped: {skipped['case']} on {skipped['endpoint']}: {skipped['reason'].strip()}",
            style="bold red",
            markup=False,
        )
    share = results.worst_generator_share
    text = f"generator: busiest process {share:.0%} of a core at most"
    if share > BUSY_SHARE:
        text += "; where it was that busy, figures are lower bounds: use --processes"
    console.print(text, style="yellow" if share > BUSY_SHARE else None)


def scenario_table(results: Results, scenario: str) -> Table:
    """Medians over the rounds; the spread is that of the throughput."""
    table = Table(title=scenario, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("endpoint", no_wrap=True)
    for name in (
        *("MiB/s", "spread", "req/s", "p50 ms", "p90", "p99", "p99.9", "max"),
        *("srv s/GiB", "us/req", "peak MiB", "gen"),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for case in dict.fromkeys(line.case for line in results.lines if line.scenario == scenario):
        table.add_row(Text(case, style="bold"))
        _limit_row(table, results, case)
        for line in results.lines:
            if line.case == case:
                _rows(table, line)
        table.add_section()
    return table


def comparison_table(changes: list[Change], worse: float) -> Table:
    """What changed between two runs; noise is dim."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("case", "endpoint", "figure"):
        table.add_column(name, no_wrap=True)
    for name in ("before", "spread", "after", "spread", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for change in changes:
        by = change.worse_by()
        verdict, style = "", "dim"
        if change.clear and abs(by) > worse:
            verdict, style = ("worse", "red") if by > 0 else ("better", "green")
        name = f"{change.operation} {change.figure}".strip()
        scale = MIB if change.figure == "peak bytes" else 1
        figures = []
        for figure in (change.before, change.after):
            scaled = Figure(figure.median / scale, figure.least / scale, figure.most / scale)
            figures += [number_text(scaled.median), _spread(scaled)]
        name = name.replace("peak bytes", "peak MiB")
        table.add_row(
            change.case,
            change.endpoint,
            name,
            *figures,
            f"{change.ratio:.2f}",
            verdict,
            style=style,
        )
    return table


def scale_table(labels: tuple[str, str], rows: Iterable[tuple[str, float, float]]) -> Table:
    """Two servers side by side, and how many times the first one's figure the second one's is."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("median of the rounds", no_wrap=True)
    for name in (*labels, "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, first, second in rows:
        ratio = f"{second / first:.2f}" if first else "-"
        table.add_row(name, number_text(first), number_text(second), ratio)
    return table


def _limit_row(table: Table, results: Results, case: str) -> None:
    for name, figure in results.limits.get(case, {}).items():
        unit = LIMIT_UNITS.get(name, "")
        rate, spread = number_text(figure.median), _spread(figure)
        cells = ["", "", rate] if unit else [rate, spread]
        table.add_row(f"  limit: {name}", *cells, style="dim")


def _rows(table: Table, line: Line) -> None:
    operations = line.operations
    for number, operation in enumerate(operations):
        path = ("operations", operation)
        rate = line.figure(*path, "mib_per_second")
        name = f"  {line.endpoint}" if not number else ""
        if len(operations) > 1:
            name += f"{'':4}{operation}" if number else f": {operation}"
        cells = [
            name,
            _median(rate) if rate and rate.median else "-",
            _spread(rate) if rate and rate.median else "",
            _median(line.figure(*path, "requests_per_second")),
            *(
                _median(line.latency(operation, name))
                for name in ("p50", "p90", "p99", "p99.9", "max")
            ),
        ]
        if number == 0:
            peak = line.figure("server", "peak_bytes")
            busiest = line.figure("generator", "busiest_share")
            cells += [
                _median(line.figure("server", "cpu_seconds_per_gib"), most=1000),
                _median(line.figure("server", "cpu_microseconds_per_request")),
                number_text(peak.median / MIB) if peak else "-",
                f"{busiest.median:.0%}" if busiest else "-",
            ]
        table.add_row(*cells)
    held = line.figure("server", "bytes_per_connection")
    if held and line.scenario == "idle":
        table.add_row(f"    {number_text(held.median / KIB)} KiB a connection")
    start = line.figure("server", "start_seconds")
    if start:
        table.add_row(f"    ready after {number_text(start.median * 1e3)} ms")
    stored = line.figure("server", "stored_per_byte")
    if stored and line.scenario in ("reupload", "multipart"):
        table.add_row(f"    stored {stored.median:.2f} of each byte", style="dim")
    for text, count in line.errors.items():
        table.add_row(f"    {count} x {text}", style="red")


def _median(figure: Figure | None, most: float = float("inf")) -> str:
    return "-" if figure is None or figure.median > most else number_text(figure.median)


def _spread(figure: Figure) -> str:
    return f"{number_text(figure.least)}..{number_text(figure.most)}"
