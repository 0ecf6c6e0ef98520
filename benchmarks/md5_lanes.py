"""Compares MD5 of several streams side by side with hashlib, taking turns in one run.

    python -m benchmarks.md5_lanes

Streams lie in slabs as uploads do, and pass through a good deal more memory than the caches hold.
Every figure is the median of the rounds; the ratio is that of figures of the same round.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from dsn._md5_lanes import ENGINES, State, update_many
from dsn.chunker import SLAB_PAYLOAD_BYTES, Slab

MIB = 1 << 20
Work = Callable[[Sequence[Sequence[memoryview]]], None]


def main() -> None:
    options = arguments()
    counts = [int(count) for count in options.streams.split(",")]
    slabs = [filled_slab() for _ in range(max(counts) * 2)]
    rivals: dict[str, Work] = {"hashlib": hashlib_one_by_one}
    if options.threads > 1:
        pool = ThreadPoolExecutor(options.threads)
        rivals[f"hashlib, {options.threads} threads"] = in_threads(pool)
    rivals |= {engine: side_by_side(engine) for engine in ENGINES}
    print("MiB/s, and times hashlib on one core")
    print("streams".ljust(8), *(name.rjust(20) for name in rivals))
    for count in counts:
        rates: dict[str, list[float]] = {name: [] for name in rivals}
        for turn in range(options.rounds):
            for name, work in rivals.items():
                rates[name].append(rate(work, slabs, count, options.slabs, turn))
        cells = []
        for own in rates.values():
            ratio = statistics.median(
                mine / other for mine, other in zip(own, rates["hashlib"], strict=True)
            )
            cells.append(f"{statistics.median(own):,.0f} ({ratio:.2f})".rjust(20))
        print(str(count).ljust(8), *cells, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", default="1,2,3,4,6,8,12,16,24")
    parser.add_argument("--slabs", type=int, default=8, help="per stream and measurement")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2, help="of hashlib's second rival")
    return parser.parse_args()


def filled_slab() -> Slab:
    slab = Slab()
    for payload in slab.payloads:
        payload[:] = os.urandom(len(payload))
    slab.filled = SLAB_PAYLOAD_BYTES
    return slab


def rate(work: Work, slabs: Sequence[Slab], count: int, each: int, turn: int) -> float:
    """MiB/s of `count` streams that bring `each` slabs, one after the other."""
    took = 0.0
    for i in range(each):
        first = (turn + i) * count
        pieces = [slabs[(first + n) % len(slabs)].received() for n in range(count)]
        start = time.perf_counter()
        work(pieces)
        took += time.perf_counter() - start
    return count * each * SLAB_PAYLOAD_BYTES / MIB / took


def hashlib_one_by_one(streams: Sequence[Sequence[memoryview]]) -> None:
    for pieces in streams:
        digest = hashlib.md5(usedforsecurity=False)
        for piece in pieces:
            digest.update(piece)


def in_threads(pool: ThreadPoolExecutor) -> Work:
    def work(streams: Sequence[Sequence[memoryview]]) -> None:
        list(pool.map(lambda pieces: hashlib_one_by_one([pieces]), streams))

    return work


def side_by_side(engine: str) -> Work:
    def work(streams: Sequence[Sequence[memoryview]]) -> None:
        update_many([State() for _ in streams], streams, engine)

    return work


if __name__ == "__main__":
    main()
