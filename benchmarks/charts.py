"""Plots as SVG text, to stand inside an HTML page: lines over an axis, and grouped bars.

Colours come from classes of the page (`s0`, `s1`, ...), so that one endpoint has one colour
everywhere and the page may be light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH = 640
HEIGHT = 300
LEFT, RIGHT, TOP, BOTTOM = 62, 28, 12, 42
COLOURS = 8

Text = Callable[[float], str]


@dataclass
class Series:
    """Points of one line; `low` and `high` span its spread where there is one."""

    name: str
    colour: int
    points: list[tuple[float, float]]
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    dashed: bool = False


@dataclass
class Axis:
    """A scale between two values. `ticks` are chosen unless given."""

    low: float
    high: float
    log: bool = False
    ticks: Sequence[float] = ()
    text: Text = lambda value: f"{value:g}"

    def share(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return (value - low) / (high - low) if high > low else 0.5

    def marks(self) -> Sequence[float]:
        if self.ticks:
            return self.ticks
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            decades = [10.0**power for power in range(first, last + 1)]
            if len(decades) > 1:
                return decades
        return _round_steps(self.low, self.high)


def line_chart(
    series: Sequence[Series], x: Axis, y: Axis, *, x_label: str, y_label: str, dots: bool = True
) -> str:
    """Lines in one frame, with a legend below by the page."""

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return (
            LEFT + x.share(point[0]) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y.share(point[1]) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [_open(HEIGHT, f"{y_label} over {x_label}")]
    right, foot = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value in y.marks():
        _, at = place((x.low, value))
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
        parts.append(_label(LEFT - 6, at + 4, y.text(value), "end"))
    for value in x.marks():
        at, _ = place((value, y.low))
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{foot}"/>')
        parts.append(_label(at, foot + 16, x.text(value), "middle"))
    for one in series:
        if one.low and len(one.points) > 1:
            xs = [point[0] for point in one.points]
            there = list(zip(xs, one.high, strict=True))
            back = list(zip(xs, one.low, strict=True))[::-1]
            outline = there + back
            text = " ".join(f"{px:.1f},{py:.1f}" for px, py in map(place, outline))
            parts.append(f'<polygon class="s{one.colour} band" points="{text}"/>')
        text = " ".join(f"{px:.1f},{py:.1f}" for px, py in map(place, one.points))
        dashed = " dashed" if one.dashed else ""
        parts.append(
            f'<polyline class="s{one.colour}{dashed}" points="{text}"><title>{escape(one.name)}'
            "</title></polyline>"
        )
        if dots:
            for point in one.points:
                px, py = place(point)
                parts.append(
                    f'<circle class="s{one.colour}" cx="{px:.1f}" cy="{py:.1f}" r="3"><title>'
                    f"{escape(one.name)}: {escape(x.text(point[0]))}, {escape(y.text(point[1]))}"
                    "</title></circle>"
                )
    parts.append(_label(LEFT + (right - LEFT) / 2, HEIGHT - 6, x_label, "middle"))
    parts.append(
        f'<text transform="translate(13 {HEIGHT / 2:.0f}) rotate(-90)" class="middle">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts) + "</svg>"


@dataclass
class Bar:
    """One bar; the whisker spans the spread."""

    name: str
    colour: int
    value: float
    low: float
    high: float
    text: str
    faint: bool = False


def bar_chart(bars: Sequence[Bar]) -> str:
    """Horizontal bars from zero, the longest as wide as the frame."""
    row, left, right = 22, 150, 120
    height = row * len(bars) + 8
    most = max((bar.high for bar in bars), default=0) or 1
    wide = WIDTH - left - right
    parts = [_open(height, ", ".join(f"{bar.name} {bar.text}" for bar in bars))]
    for number, bar in enumerate(bars):
        top = 4 + number * row
        length = bar.value / most * wide
        kind = "faint" if bar.faint else f"s{bar.colour}"
        parts.append(_label(left - 8, top + 14, bar.name, "end"))
        parts.append(
            f'<rect class="{kind}" x="{left}" y="{top + 2}" width="{max(length, 1):.1f}" '
            f'height="{row - 7}" rx="2"/>'
        )
        if bar.high > bar.low:
            low, high = left + bar.low / most * wide, left + bar.high / most * wide
            middle = top + 2 + (row - 7) / 2
            parts.append(
                f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" '
                f'y1="{middle}" y2="{middle}"/>'
            )
        at = left + bar.high / most * wide + 8
        parts.append(_label(at, top + 14, bar.text, "start"))
    return "".join(parts) + "</svg>"


def _open(height: int, description: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(description)}">'


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{anchor}">{escape(text)}</text>'


def _round_steps(low: float, high: float) -> list[float]:
    """Four to eight round values between the ends."""
    if high <= low:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
