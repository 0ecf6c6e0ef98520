"""The scenarios: which cases each is made of, by default and for the sizes that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from benchmarks.plan import Case
from benchmarks.units import GIB, KIB, MIB, SMALL_BYTES_MAX

PUT_LIMITS = ("md5", "blake3", "disk-write", "disk-write-direct")
SMALL_PUT_LIMITS = ("md5", "sync-appends")
GET_LIMITS = ("blake3", "loopback")


@dataclass(frozen=True)
class Wishes:
    """What the caller asked for; empty means the default of each scenario."""

    sizes: Sequence[int] = ()
    concurrency: Sequence[int] = ()
    parts: Sequence[int] = ()
    orders: Sequence[str] = ()
    ranges: Sequence[int] = ()
    keys: Sequence[int] = ()
    uploads: int = 1
    duplicates: float = 0.0
    rate: float | None = None
    dataset_bytes: int = GIB
    dataset_objects_max: int = 2000


@dataclass(frozen=True)
class Scenario:
    """A family of cases. `about` is one line for the list of scenarios."""

    name: str
    about: str
    cases: Callable[[Wishes], Iterator[Case]]
    # Only a server that the harness started can be restarted or lose its page cache.
    local_only: bool = False


def _pairs(wishes: Wishes, default: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Size and concurrency: the default pairs, or the product of what was asked for."""
    if not wishes.sizes and not wishes.concurrency:
        yield from default
        return
    sizes = wishes.sizes or sorted({size for size, _ in default})
    for size in sizes:
        for connections in wishes.concurrency or sorted(
            {c for s, c in default if s == size} or {1, 8}
        ):
            yield size, connections


def _read_count(wishes: Wishes, size: int) -> int:
    return max(1, min(wishes.dataset_objects_max, wishes.dataset_bytes // max(size, 1)))


def _put(wishes: Wishes) -> Iterator[Case]:
    default = [
        *((4 * KIB, c) for c in (1, 8, 64)),
        (64 * KIB, 8),
        *((MIB, c) for c in (1, 8)),
        (64 * MIB, 8),
        (GIB, 1),
    ]
    for size, connections in _pairs(wishes, default):
        small = size <= SMALL_BYTES_MAX
        yield Case(
            "put",
            "put",
            connections,
            {"size": size, "c": connections}
            | ({"duplicates": wishes.duplicates} if wishes.duplicates else {}),
            writes=((size, 1),),
            duplicates=wishes.duplicates,
            rate=wishes.rate,
            limits=SMALL_PUT_LIMITS if small else PUT_LIMITS,
        )


def _reupload(wishes: Wishes) -> Iterator[Case]:
    for size, connections in _pairs(wishes, [(64 * KIB, 8), (64 * MIB, 4)]):
        yield Case(
            "reupload",
            "reupload",
            connections,
            {"size": size, "c": connections},
            reads=((size, 1),),
            reads_count=_read_count(wishes, size),
            writes=((size, 1),),
            rate=wishes.rate,
            limits=("md5", "blake3"),
        )


PART_ORDERS = ("ascending", "shuffled")
RANGE_ORDERS = ("random", "sequential")


def _multipart(wishes: Wishes) -> Iterator[Case]:
    orders = [order for order in wishes.orders if order in PART_ORDERS]
    sweep: Iterable[tuple[int, int, str]]
    if wishes.parts or wishes.concurrency or orders:
        sweep = product(
            wishes.parts or (8 * MIB,), wishes.concurrency or (8,), orders or ("ascending",)
        )
    else:
        sweep = [
            *((part, 8, "ascending") for part in (5 * MIB, 8 * MIB, 16 * MIB, 64 * MIB)),
            (8 * MIB, 8, "shuffled"),
            *((8 * MIB, connections, "ascending") for connections in (1, 4, 16)),
        ]
    for size, (part, connections, order) in product(wishes.sizes or (GIB,), sweep):
        yield Case(
            "multipart",
            "multipart",
            connections,
            {
                "size": size,
                "part": part,
                "c": connections,
                "order": order,
                "uploads": wishes.uploads,
            },
            writes=((size, 1),),
            limits=PUT_LIMITS,
        )


def _get(wishes: Wishes) -> Iterator[Case]:
    default = [
        *((4 * KIB, c) for c in (1, 8, 64)),
        *((MIB, c) for c in (1, 8)),
        (64 * MIB, 8),
        (GIB, 1),
    ]
    for size, connections in _pairs(wishes, default):
        yield Case(
            "get",
            "get",
            connections,
            {"size": size, "c": connections},
            reads=((size, 1),),
            reads_count=_read_count(wishes, size),
            rate=wishes.rate,
            limits=GET_LIMITS,
        )


def _get_cold(wishes: Wishes) -> Iterator[Case]:
    for size, connections in _pairs(wishes, [(64 * MIB, 1), (GIB, 1)]):
        count = _read_count(wishes, size)
        yield Case(
            "get-cold",
            "get-once",
            connections,
            {"size": size, "c": connections},
            reads=((size, 1),),
            reads_count=count,
            before="drop-cache",
            count=count,
            limits=("disk-read",),
        )


def _range(wishes: Wishes) -> Iterator[Case]:
    orders = [order for order in wishes.orders if order in RANGE_ORDERS]
    sweep: Iterable[tuple[int, int, str]]
    if wishes.ranges or wishes.concurrency or orders:
        sweep = product(wishes.ranges or (MIB,), wishes.concurrency or (8,), orders or ("random",))
    else:
        sweep = [
            *((length, 8, "random") for length in (4 * KIB, 64 * KIB, MIB, 8 * MIB)),
            (MIB, 1, "random"),
            *((length, 1, "sequential") for length in (MIB, 8 * MIB)),
        ]
    for size, (length, connections, order) in product(wishes.sizes or (GIB,), sweep):
        if length > size:
            continue
        yield Case(
            "range",
            "range",
            connections,
            {"size": size, "range": length, "order": order, "c": connections},
            reads=((size, 1),),
            reads_count=_read_count(wishes, size) if size < GIB else 1,
            rate=wishes.rate,
            limits=GET_LIMITS,
        )


def _head(wishes: Wishes) -> Iterator[Case]:
    for connections in wishes.concurrency or (1, 8, 64):
        yield Case(
            "head",
            "head",
            connections,
            {"c": connections},
            reads=((4 * KIB, 1),),
            reads_count=_read_count(wishes, 4 * KIB),
            rate=wishes.rate,
        )


def _list(wishes: Wishes) -> Iterator[Case]:
    for keys in wishes.keys or (1_000, 10_000):
        for shape in ("flat", "delimited", "deep"):
            for connections in wishes.concurrency or (1, 8):
                yield Case(
                    "list",
                    "list",
                    connections,
                    {"keys": keys, "shape": shape, "c": connections},
                    reads=((16, 1),),
                    reads_count=keys,
                    fanout=max(2, round(keys ** (1 / 3) + 0.49)),
                    rate=wishes.rate,
                )


# Of a hundred files of a home or a server: most are small, most bytes are in the few large ones.
NIGHT = ((4 * KIB, 50), (32 * KIB, 30), (256 * KIB, 14), (4 * MIB, 5), (64 * MIB, 1))


def _backup(wishes: Wishes) -> Iterator[Case]:
    for connections in wishes.concurrency or (16,):
        yield Case(
            "backup",
            "backup",
            connections,
            {"c": connections},
            writes=NIGHT,
            limits=("md5", "disk-write"),
        )


def _restore(wishes: Wishes) -> Iterator[Case]:
    for connections in wishes.concurrency or (16,):
        yield Case(
            "restore",
            "get-once",
            connections,
            {"c": connections},
            reads=NIGHT,
            reads_count=max(100, min(1000, wishes.dataset_bytes // MIB)),
            limits=GET_LIMITS,
        )


def _scan(wishes: Wishes) -> Iterator[Case]:
    for keys in wishes.keys or (10_000,):
        for connections in wishes.concurrency or (8,):
            yield Case(
                "scan",
                "scan",
                connections,
                {"keys": keys, "c": connections},
                reads=((16, 1),),
                reads_count=keys,
                fanout=max(2, round(keys ** (1 / 3) + 0.49)),
            )


def _readback(wishes: Wishes) -> Iterator[Case]:
    for size, connections in _pairs(wishes, [(4 * KIB, 8), (64 * MIB, 4), (GIB, 1)]):
        yield Case(
            "readback",
            "readback",
            connections,
            {"size": size, "c": connections},
            writes=((size, 1),),
            limits=("md5",),
        )


def _idle(wishes: Wishes) -> Iterator[Case]:
    for connections in wishes.concurrency or (1000,):
        # One small request on each, all open at the same time.
        yield Case(
            "idle",
            "head",
            connections,
            {"c": connections},
            reads=((4 * KIB, 1),),
            reads_count=_read_count(wishes, 4 * KIB),
            count=connections,
        )


def _cold_start(wishes: Wishes) -> Iterator[Case]:
    size = wishes.sizes[0] if wishes.sizes else 4 * KIB
    yield Case(
        "cold-start",
        "get-once",
        1,
        {"size": size, "c": 1},
        reads=((size, 1),),
        reads_count=_read_count(wishes, size),
        before="restart",
        count=20,
    )


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("put", "PutObject of new bodies", _put),
        Scenario("multipart", "uploads in parts: sizes, parallelism, order", _multipart),
        Scenario("get", "GetObject, page cache warm", _get),
        Scenario("range", "GetObject with a Range, random and sequential", _range),
        Scenario("head", "HeadObject", _head),
        Scenario("list", "ListObjectsV2: flat, delimited, deep", _list),
        Scenario("backup", "a backup night: HEAD then PUT, many small, some large", _backup),
        Scenario("restore", "GET of what a backup night stored", _restore),
        Scenario("scan", "a sync with nothing to do: all pages, some HEADs", _scan),
        Scenario("reupload", "PutObject of bodies that are stored already", _reupload),
        Scenario("readback", "GetObject of what was just written", _readback),
        Scenario("idle", "many open connections: what they cost in memory", _idle),
        Scenario("get-cold", "GetObject, page cache emptied", _get_cold, local_only=True),
        Scenario("cold-start", "restart, then the first answers", _cold_start, local_only=True),
    )
}


QUICK_BYTES_MAX = 16 * MIB


def quick(case: Case) -> Case:
    """The same case so small that it proves that it works and measures nothing."""
    parameters = dict(case.parameters)
    for name, most in (("size", QUICK_BYTES_MAX), ("keys", 1000)):
        if name in parameters:
            parameters[name] = min(parameters[name], most)
    return replace(
        case,
        parameters=parameters,
        reads=_shrunk(case.reads),
        writes=_shrunk(case.writes),
        reads_count=min(case.reads_count, parameters.get("keys", 50)),
    )


def _shrunk(sizes: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    return tuple((min(size, QUICK_BYTES_MAX), weight) for size, weight in sizes)
