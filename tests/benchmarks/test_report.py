"""The report is one page that needs nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

from benchmarks.charts import Axis, Bar, Series, bar_chart, line_chart
from benchmarks.report import html_report
from benchmarks.results import gather
from tests.benchmarks.made_results import record, records, results

VOID = {"meta"}


class Balanced(HTMLParser):
    """Notes tags that are closed in the wrong order, and everything that would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("script", "link", "img", "iframe"):
            self.loads.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data") or (
                name == "href" and not str(value).startswith("#")
            ):
                self.loads.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass


def check(page: str) -> None:
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert not parser.open
    assert not parser.loads
    assert not re.search(r"https?://|url\(|@import", page)


def test_page_is_whole_and_loads_nothing() -> None:
    page = html_report(results(dsn=[100, 110, 120], rclone=[50, 55, 60]))
    check(page)
    assert "503 SlowDown" in page
    assert "rclone" in page
    assert page.count("<svg") == 3  # bars, one distribution, one timeline


def test_text_from_outside_is_escaped() -> None:
    page = html_report(results(dsn=[1]))
    assert "a &lt;fast&gt; one" in page


def test_sweep_is_plotted_for_what_varies_alone() -> None:
    made = records(dsn=[1])[:2]
    made += [record("dsn", 0, 100.0 * c, size=1 << 20, c=c) for c in (1, 8, 64)]
    page = html_report(gather(made))
    check(page)
    assert "connections; size=1MiB" in page


def test_page_of_an_empty_run_is_still_a_page() -> None:
    check(html_report(gather(records(dsn=[])[:1])))


def test_charts_are_well_formed() -> None:
    ElementTree.fromstring(bar_chart([Bar("a <b>", 0, 0, 0, 0, "0 & nothing")]))
    ElementTree.fromstring(bar_chart([]))
    series = [Series("a", 0, [(1, 2), (10, 3)], [1, 2], [3, 4])]
    chart = line_chart(series, Axis(1, 10, log=True), Axis(0, 4), x_label="x", y_label="y")
    ElementTree.fromstring(chart)


def test_axis_survives_a_single_value() -> None:
    assert Axis(5, 5).share(5) == 0.5
    assert list(Axis(5, 5).marks()) == [5]
