from __future__ import annotations

from dsn.layout import Layout, encode_layout
from dsn.node import CHUNK_BYTES
from gateway.assembly import _IN_MEMORY_BYTES_MAX, _bytes_to_write, fits
from gateway.catalog.records import PartRecord

NO_RUNS = encode_layout(Layout((), ()))


def part(number: int, size: int, start: int) -> PartRecord:
    head = min(-start % CHUNK_BYTES, size)
    tail = (size - head) % CHUNK_BYTES
    return PartRecord(
        number, "u", number, size, bytes(16), start, 1, NO_RUNS, (0, 0), (0, head), (0, tail)
    )


def parts(size: int, count: int) -> list[PartRecord]:
    return [part(n + 1, size, n * size) for n in range(count)]


def test_a_part_fits_where_its_leaves_are_those_of_the_object() -> None:
    assert fits(part(2, 100, 500), 500)
    assert fits(part(2, 100, 500), 500 + 7 * CHUNK_BYTES)
    assert not fits(part(2, 100, 500), 501)


def test_the_borders_of_a_small_object_are_made_in_memory() -> None:
    assert _bytes_to_write(parts(5 << 20, 20)) < _IN_MEMORY_BYTES_MAX


def test_what_an_assembly_writes_is_bounded_in_memory() -> None:
    """Many borders, parts to be cut again, and the link nodes of a large object count."""
    assert _bytes_to_write(parts(5 << 20, 200)) > _IN_MEMORY_BYTES_MAX
    assert _bytes_to_write([part(1, 9 << 20, 1)]) > _IN_MEMORY_BYTES_MAX
    assert _bytes_to_write(parts(CHUNK_BYTES * 80_000, 60)) > _IN_MEMORY_BYTES_MAX
