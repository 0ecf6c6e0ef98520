"""Measures what each step costs that a chunk of 65,066 bytes goes through, up and down.

    python -m benchmarks.chunk_cost

Each step is the gateway's own code, or the system call that it makes, over more memory than the
caches hold. Figures are CPU microseconds of this process a chunk, the median of the rounds; they
add up to the least that a request of many chunks can cost. `docs/performance.md` explains them.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from blake3 import blake3

from dsn.blockstore.digest_index import DigestIndex
from dsn.chunker import LEAVES_PER_SLAB, SLAB_BYTES, SLAB_PAYLOAD_BYTES, Slab
from dsn.dag_builder import FileDagBuilder
from dsn.framing import FULL_NODE_START
from dsn.layout import RunList
from dsn.leaf_digests import full_leaf_digests
from dsn.md5 import new_md5
from dsn.node import CHUNK_BYTES

SLABS = 64
Step = Callable[[Slab], object]


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = arguments(words)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
        slabs = [filled_slab() for _ in range(SLABS)]
        print(
            f"CPU microseconds a chunk of {CHUNK_BYTES:,} bytes; median of {options.rounds} rounds"
        )
        for title, steps in (
            ("up", steps_up(folder, stack, options.indexed)),
            ("down", steps_down(folder, stack, slabs)),
        ):
            print(f"\n{title}")
            for name, step in steps:
                cost = statistics.median(
                    microseconds_a_chunk(step, slabs) for _ in range(options.rounds)
                )
                print(f"  {name:<58}{cost:8.2f}", flush=True)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", help="where files are written: on the disk to measure")
    parser.add_argument("--indexed", type=int, default=1 << 20, help="blocks in the index")
    return parser.parse_args(words)


def filled_slab() -> Slab:
    """A slab full of random bytes, its leaves hashed."""
    slab = Slab()
    for payload in slab.payloads:
        payload[:] = os.urandom(len(payload))
    slab.filled = SLAB_PAYLOAD_BYTES
    slab.hash_leaves()
    return slab


def microseconds_a_chunk(step: Step, slabs: list[Slab]) -> float:
    """The CPU time of a step, all threads of the process together."""
    started = time.process_time_ns()
    for slab in slabs:
        step(slab)
    return (time.process_time_ns() - started) / 1000 / (len(slabs) * LEAVES_PER_SLAB)


def steps_up(folder: Path, stack: ExitStack, indexed: int) -> Iterator[tuple[str, Step]]:
    """What a chunk of a PUT costs, in the order in which it happens."""
    sender, receiver = connected(stack)

    def receive(slab: Slab) -> None:
        for payload in slab.payloads:
            sender.sendall(payload)
            receiver.recv_into(payload, len(payload), socket.MSG_WAITALL)

    yield "loopback: sent by one socket and received by another", receive
    yield "MD5 by hashlib", lambda slab: [hashlib.md5(p).digest() for p in slab.payloads]
    ours = new_md5()
    yield "MD5 by our extension, one stream", lambda slab: ours.update(slab.payloads)
    yield (
        "BLAKE3 by its package, leaf by leaf",
        lambda slab: [blake3(section[FULL_NODE_START:]).digest() for section in slab.sections],
    )
    yield "BLAKE3 by our extension, where the leaf lies, CID framed", Slab.hash_leaves
    index = DigestIndex(folder / "index")
    stack.callback(index.close)
    for start in range(0, indexed, 1 << 16):
        index.add(((os.urandom(32), 1, start + i) for i in range(1 << 16)), {})

    def look_up(_: Slab) -> None:
        index.lookup([os.urandom(32) for _ in range(LEAVES_PER_SLAB)])

    yield f"look-up in an index of {indexed:,}, of what is not there", look_up
    runs = RunList()
    offsets = itertools.count(0, SLAB_BYTES // LEAVES_PER_SLAB)

    def note(_: Slab) -> None:
        for _leaf in range(LEAVES_PER_SLAB):
            runs.append(1, next(offsets))

    yield "its place in the layout", note
    builder = FileDagBuilder()
    digests = [os.urandom(32) for _ in range(LEAVES_PER_SLAB)]
    yield "its link in the DAG", lambda _: builder.add_leaves(digests)
    path = folder / "buffered"
    buffered = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    stack.callback(os.close, buffered)
    at = itertools.count(0, SLAB_BYTES)

    def write(slab: Slab) -> None:
        os.pwrite(buffered, slab.view, next(at) % (SLABS * SLAB_BYTES))

    yield "written into the page cache, pages in memory already", write
    yield from direct_write(folder, stack)


def direct_write(folder: Path, stack: ExitStack) -> Iterator[tuple[str, Step]]:
    """Writing past the page cache, where the file system does that."""
    try:
        direct = os.open(folder / "direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600)
    except OSError:
        return
    stack.callback(os.close, direct)
    staging = memoryview(Slab()._memory)[: SLAB_BYTES // 4096 * 4096]
    at = itertools.count(0, len(staging))

    def write(slab: Slab) -> None:
        staging[:] = slab.view[: len(staging)]
        os.pwrite(direct, staging, next(at) % (SLABS * len(staging)))

    yield "or: copied together and written past the page cache", write


def steps_down(folder: Path, stack: ExitStack, slabs: list[Slab]) -> Iterator[tuple[str, Step]]:
    """What a chunk of a GET costs, in the order in which it happens."""
    path = folder / "read"
    with path.open("wb") as file:
        for slab in slabs:
            file.write(slab.view)
    stored = os.open(path, os.O_RDONLY)
    stack.callback(os.close, stored)
    at = itertools.count(0, SLAB_BYTES)
    buffer = memoryview(bytearray(SLAB_BYTES))

    def read(_: Slab) -> None:
        os.preadv(stored, [buffer], next(at) % (SLABS * SLAB_BYTES))

    yield "read out of the page cache", read
    yield "BLAKE3 of the node", lambda slab: full_leaf_digests(slab.view, LEAVES_PER_SLAB)
    sender, receiver = connected(stack)
    waste = memoryview(bytearray(CHUNK_BYTES))

    def send(slab: Slab) -> None:
        for payload in slab.payloads:
            sender.sendall(payload)
            receiver.recv_into(waste, len(payload), socket.MSG_WAITALL | socket.MSG_TRUNC)

    yield "sent over loopback, dropped unread at the other end", send


def connected(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection that holds a chunk."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = stack.enter_context(socket.create_connection(listener.getsockname()))
        receiver = stack.enter_context(listener.accept()[0])
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * CHUNK_BYTES)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * CHUNK_BYTES)
    return sender, receiver


if __name__ == "__main__":
    main()
