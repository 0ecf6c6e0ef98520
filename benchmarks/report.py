"""The HTML report of a run: one file that needs nothing else, neither a network nor a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.charts import COLOURS, Axis, Bar, Series, bar_chart, line_chart
from benchmarks.results import Figure, Line, Results
from benchmarks.scenarios import SCENARIOS
from benchmarks.statistics import QUANTILES
from benchmarks.units import KIB, MIB, number_text, size_text

SWEPT = ("c", "size", "part", "range", "keys", "uploads")
SWEPT_NAMES = {"c": "connections", "part": "part size", "range": "range size"}
PLOTTED_QUANTILES = [q for q in QUANTILES if 0.01 <= q < 1.0]

HOW_TO_READ = (
    "Figures are medians over rounds in which the endpoints took turns; whiskers and bands span "
    "all rounds. Grey bars are what the machine itself did in the same rounds. Compare within this "
    "page: ratios hold on a noisy machine, absolute figures do not travel."
)

STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --paper: #fff; --soft: #667; --line: #ddd; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ee; --paper: #14171d; --soft: #99a; --line: #343945; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1360px; margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; } h2 { margin-top: 48px; border-bottom: 1px solid var(--line); }
h3 { margin: 24px 0 4px; font-size: 15px; } p, dl { max-width: 80ch; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; }
dt { color: var(--soft); } dd { margin: 0; } nav a { margin-right: 14px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: 2px 10px; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
tr.case td { font-weight: 600; padding-top: 10px; }
.soft { color: var(--soft); } .bad, tr.bad td { color: #c0392b; }
.plots { display: grid; gap: 8px 32px; }
@media (min-width: 900px) { .plots { grid-template-columns: 1fr 1fr; } }
.scroll { overflow-x: auto; } svg { width: 100%; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } .end { text-anchor: end; } .middle { text-anchor: middle; }
polyline { fill: none; stroke: var(--c); stroke-width: 2; }
polyline.dashed { stroke-dasharray: 5 4; }
circle, rect { fill: var(--c); } polygon.band { fill: var(--c); opacity: .15; }
.grid { stroke: var(--line); } .whisker { stroke: var(--ink); stroke-width: 1.5; opacity: .6; }
rect.faint { fill: var(--line); } .key { display: inline-block; margin-right: 16px; }
.key i { display: inline-block; width: 12px; height: 12px; background: var(--c); border-radius: 2px;
  margin-right: 5px; }
.s0 { --c: #2f6fde; } .s1 { --c: #e07b39; } .s2 { --c: #2f9e63; } .s3 { --c: #b84fc0; }
.s4 { --c: #c9a227; } .s5 { --c: #17a2b8; } .s6 { --c: #d6456b; } .s7 { --c: #7d8597; }
"""


def html_report(results: Results) -> str:
    """The whole page."""
    page = _Page(results)
    title = f"S3 benchmark, {results.run.get('started', '')[:10]}"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>"
        + "".join(page.parts())
        + "</body></html>\n"
    )


class _Page:
    def __init__(self, results: Results) -> None:
        self._results = results
        self._colours = {name: n % COLOURS for n, name in enumerate(results.endpoints)}

    def parts(self) -> Iterator[str]:
        results = self._results
        scenarios = list(dict.fromkeys(line.scenario for line in results.lines))
        yield self._about()
        yield "<nav>" + "".join(f'<a href="#{name}">{name}</a>' for name in scenarios) + "</nav>"
        for scenario in scenarios:
            lines = [line for line in results.lines if line.scenario == scenario]
            about = SCENARIOS[scenario].about if scenario in SCENARIOS else ""
            yield f'<h2 id="{scenario}">{scenario}</h2><p class="soft">{escape(about)}</p>'
            yield self._legend(lines)
            yield '<div class="plots">' + "".join(self._bars(lines)) + "</div>"
            sweeps = "".join(self._sweeps(lines))
            if sweeps:
                yield f'<h3>Sweeps</h3><div class="plots">{sweeps}</div>'
            yield f'<div class="scroll">{self._table(lines)}</div>'
            yield "<details><summary>Latency distributions and throughput over time</summary>"
            yield '<div class="plots">' + "".join(self._details(lines)) + "</div></details>"
        yield self._skipped()

    def _about(self) -> str:
        run = self._results.run
        machine, settings = run.get("machine", {}), run.get("settings", {})
        rows = [
            ("started", str(run.get("started"))),
            (
                "machine",
                f"{machine.get('cores')} x {machine.get('cpu')} "
                f"({', '.join(machine.get('cpu_features', []))}), {machine.get('memory_gib')} GiB, "
                f"Linux {machine.get('kernel')}, {machine.get('file_system')}, "
                f"load before {machine.get('load_before')}",
            ),
            ("settings", ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in settings.items())),
        ]
        for endpoint in run.get("endpoints", []):
            told = (endpoint["version"], " ".join(endpoint["arguments"]), endpoint["promise"])
            rows += [(endpoint["label"], "; ".join(text for text in told if text))]
        busiest = self._results.worst_generator_share
        generator = (
            f"Python {machine.get('python')}, {machine.get('signature_microseconds')} us a "
            f"signature, busiest process {busiest:.0%} of a core"
        )
        rows.append(("generator", generator))
        listed = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows)
        return f"<dl>{listed}</dl><p>{HOW_TO_READ}</p>"

    def _legend(self, lines: Sequence[Line]) -> str:
        names = dict.fromkeys(line.endpoint for line in lines)
        return "".join(
            f'<span class="key s{self._colours[name]}"><i></i>{escape(name)}</span>'
            for name in names
        )

    def _bars(self, lines: Sequence[Line]) -> Iterator[str]:
        for case in dict.fromkeys(line.case for line in lines):
            group = [line for line in lines if line.case == case]
            by_bytes = group[0].is_about_bytes
            unit = "MiB/s" if by_bytes else "req/s"
            bars = []
            for line in group:
                figure = line.rate(by_bytes)
                if figure:
                    bars.append(self._bar(line.endpoint, figure, unit, line))
            for name, figure in self._results.limits.get(case, {}).items():
                if (name == "sync-appends") != by_bytes:
                    text = f"{number_text(figure.median)} {unit}"
                    bars.append(
                        Bar(name, 0, figure.median, figure.least, figure.most, text, faint=True)
                    )
            yield f"<div><h3>{escape(case)}</h3>{bar_chart(bars)}</div>"

    def _bar(self, name: str, figure: Figure, unit: str, line: Line) -> Bar:
        errors = sum(line.errors.values())
        text = f"{number_text(figure.median)} {unit}" + (f", {errors} errors" if errors else "")
        return Bar(name, self._colours[name], figure.median, figure.least, figure.most, text)

    def _sweeps(self, lines: Sequence[Line]) -> Iterator[str]:
        """A chart for each parameter that varies while all the others stay."""
        for swept in SWEPT:
            groups: dict[tuple[tuple[str, object], ...], list[Line]] = {}
            for line in lines:
                if swept in line.parameters:
                    others = tuple((k, v) for k, v in line.parameters.items() if k != swept)
                    groups.setdefault(others, []).append(line)
            for others, group in groups.items():
                values = sorted({line.parameters[swept] for line in group})
                if len(values) < 2:
                    continue
                fixed = " ".join(
                    f"{name}={size_text(value) if isinstance(value, int) else value}"
                    for name, value in others
                )
                name = SWEPT_NAMES.get(swept, swept)
                chart = self._sweep(group, swept, values, name)
                yield f"<div><h3>{escape(name)}; {escape(fixed)}</h3>{chart}</div>"

    def _sweep(self, group: list[Line], swept: str, values: list[float], name: str) -> str:
        by_bytes = all(line.is_about_bytes for line in group)
        series = []
        for endpoint in dict.fromkeys(line.endpoint for line in group):
            found = [
                (float(line.parameters[swept]), figure)
                for line in group
                if line.endpoint == endpoint and (figure := line.rate(by_bytes))
            ]
            found.sort(key=lambda pair: pair[0])
            series.append(
                Series(
                    endpoint,
                    self._colours[endpoint],
                    [(value, figure.median) for value, figure in found],
                    [figure.least for _, figure in found],
                    [figure.most for _, figure in found],
                )
            )
        top = max((high for one in series for high in one.high), default=1.0) or 1.0
        return line_chart(
            series,
            Axis(values[0], values[-1], log=True, ticks=values, text=lambda v: size_text(int(v))),
            Axis(0, top * 1.05, text=number_text),
            x_label=name,
            y_label="MiB/s" if by_bytes else "req/s",
        )

    def _details(self, lines: Sequence[Line]) -> Iterator[str]:
        for case in dict.fromkeys(line.case for line in lines):
            group = [line for line in lines if line.case == case]
            for operation in dict.fromkeys(name for line in group for name in line.operations):
                chart = self._distribution(group, operation)
                if chart:
                    yield f"<div><h3>{escape(case)}: {escape(operation)}</h3>{chart}</div>"
            yield f"<div><h3>{escape(case)}: over time</h3>{self._timeline(group)}</div>"

    def _distribution(self, group: Sequence[Line], operation: str) -> str:
        """Latency over the share of requests, with nines on a scale that shows the tail."""
        series = []
        for line in group:
            columns = [
                record["operations"][operation]["quantiles_ms"]
                for record in line.rounds
                if "quantiles_ms" in record["operations"].get(operation, {})
            ]
            if not columns:
                continue
            figures = [Figure.of(column[n] for column in columns) for n in range(len(QUANTILES))]
            chosen = [
                (1 / (1 - q), figure)
                for q, figure in zip(QUANTILES, figures, strict=True)
                if q in PLOTTED_QUANTILES and figure
            ]
            series.append(
                Series(
                    line.endpoint,
                    self._colours[line.endpoint],
                    [(x, figure.median) for x, figure in chosen],
                    [figure.least for _, figure in chosen],
                    [figure.most for _, figure in chosen],
                )
            )
        if not series:
            return ""
        low = max(min(min(one.low) for one in series), 1e-3)
        high = max(max(max(one.high) for one in series), low * 1.01)
        return line_chart(
            series,
            Axis(
                1 / 0.99,
                10_000,
                log=True,
                ticks=(1 / 0.9, 2, 10, 100, 1000, 10_000),
                text=lambda x: f"{100 * (1 - 1 / x):.4g} %",
            ),
            Axis(low * 0.9, high * 1.1, log=True, text=number_text),
            x_label="of requests took at most",
            y_label="ms",
            dots=False,
        )

    def _timeline(self, group: Sequence[Line]) -> str:
        by_bytes = group[0].is_about_bytes
        series = []
        for line in group:
            for number, record in enumerate(line.rounds):
                timeline = record["timeline"]
                step = timeline["seconds"]
                values = timeline["bytes"] if by_bytes else timeline["requests"]
                scale = step * (MIB if by_bytes else 1)
                # The last step is hardly ever a whole one.
                points = [
                    ((slot + 0.5) * step, value / scale) for slot, value in enumerate(values[:-1])
                ]
                if points:
                    series.append(
                        Series(
                            line.endpoint, self._colours[line.endpoint], points, dashed=number > 0
                        )
                    )
        if not series:
            return '<p class="soft">too short to plot</p>'
        end = max(one.points[-1][0] for one in series)
        top = max(value for one in series for _, value in one.points) or 1
        return line_chart(
            series,
            Axis(0, end, text=lambda v: f"{v:g} s"),
            Axis(0, top * 1.05, text=number_text),
            x_label="time in the round",
            y_label="MiB/s" if by_bytes else "req/s",
            dots=False,
        )

    def _table(self, lines: Sequence[Line]) -> str:
        heads = (
            *(
                "",
                "MiB/s",
                "spread",
                "req/s",
                "p50 ms",
                "p90",
                "p99",
                "p99.9",
                "max",
                "first byte p50",
            ),
            *("server s/GiB", "us/req", "peak MiB", "generator"),
        )
        rows = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
        for case in dict.fromkeys(line.case for line in lines):
            rows.append(f'<tr class="case"><td colspan="{len(heads)}">{escape(case)}</td></tr>')
            for line in (line for line in lines if line.case == case):
                rows.extend(_table_rows(line))
        return "<table>" + "".join(rows) + "</table>"

    def _skipped(self) -> str:
        if not self._results.skipped:
            return ""
        items = "".join(
            f"<li>{escape(one['case'])} on {escape(one['endpoint'])}: {escape(one['reason'])}</li>"
            for one in self._results.skipped
        )
        return f'<h2>Skipped</h2><ul class="bad">{items}</ul>'


def _table_rows(line: Line) -> Iterator[str]:
    for number, operation in enumerate(line.operations):
        path = ("operations", operation)
        rate = line.figure(*path, "mib_per_second")
        several = len(line.operations) > 1
        cells = [
            f"{line.endpoint}: {operation}" if several else line.endpoint,
            _text(rate) if rate and rate.median else "",
            f"{number_text(rate.least)} to {number_text(rate.most)}"
            if rate and rate.median
            else "",
            _text(line.figure(*path, "requests_per_second")),
            *(
                _text(line.latency(operation, name))
                for name in ("p50", "p90", "p99", "p99.9", "max")
            ),
            _text(line.figure(*path, "first_byte_ms", "p50")),
        ]
        if number == 0:
            per_gib = line.figure("server", "cpu_seconds_per_gib")
            peak = line.figure("server", "peak_bytes")
            share = line.figure("generator", "busiest_share")
            cells += [
                _text(per_gib) if per_gib and per_gib.median < 1000 else "",
                _text(line.figure("server", "cpu_microseconds_per_request")),
                number_text(peak.median / MIB) if peak else "",
                f"{share.median:.0%}" if share else "",
            ]
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
    notes = []
    if start := line.figure("server", "start_seconds"):
        notes.append(f"ready after {number_text(start.median * 1e3)} ms")
    if line.scenario == "idle" and (held := line.figure("server", "bytes_per_connection")):
        notes.append(f"{number_text(held.median / KIB)} KiB a connection")
    if line.scenario == "reupload" and (stored := line.figure("server", "stored_per_byte")):
        notes.append(f"stored {stored.median:.2f} of each byte")
    for note in notes:
        yield f'<tr><td colspan="14" class="soft">{escape(line.endpoint)}: {escape(note)}</td></tr>'
    for text, count in line.errors.items():
        yield f'<tr class="bad"><td colspan="14">{count} x {escape(text)}</td></tr>'


def _text(figure: Figure | None) -> str:
    return number_text(figure.median) if figure else ""
