"""Sizes and numbers as people write and read them."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# Objects up to this size are bound by requests, not by bytes.
SMALL_BYTES_MAX = 64 * KIB

_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": KIB, "mi": MIB, "gi": GIB}


def parse_size(text: str) -> int:
    """`4KiB`, `5 MiB`, `1GiB`, `10k` (decimal) or a bare number."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?|)b?\s*", text, re.I)
    if not found:
        raise ValueError(f"{text!r} is not a size: write 4KiB, 5MiB, 1GiB or a number")
    return int(float(found[1]) * _FACTORS[found[2].lower()])


def size_text(size: int) -> str:
    """The shortest exact form in binary units, or the number."""
    for factor, unit in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= factor and size * 10 % factor == 0:
            return f"{size / factor:g}{unit}"
    return str(size)


def number_text(value: float | None) -> str:
    """Three significant digits are what a benchmark knows."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.3f}"
