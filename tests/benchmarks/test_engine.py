"""The generator against a real small server: what it sends arrives, what is wrong it notices."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.connection import ChunkedReader
from benchmarks.data import Window
from benchmarks.engine import Engine, Observed
from benchmarks.plan import ObjectSet, Stage
from benchmarks.s3_requests import Answer, Target
from benchmarks.sendfile_server import FileServer
from benchmarks.sources import make_source

SIZES = ((4096, 3), (700_000, 1))


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    with FileServer(0, tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Target("files", "127.0.0.1", server.server_address[1], "bucket")
        server.shutdown()
        thread.join()


def run(target: Target, source: str, **more: object) -> Observed:
    stage = Stage(
        target,
        source,
        dict(more.pop("parameters", {})),  # type: ignore[call-overload]
        connections=4,
        process=0,
        processes=1,
        seed=1,
        verify=True,
        timeout_seconds=float(str(more.pop("timeout", 20))),
        **more,  # type: ignore[arg-type]
    )
    engine = Engine(
        target,
        connections=stage.connections,
        seed=stage.seed,
        verify=stage.verify,
        timeout_seconds=stage.timeout_seconds,
    )
    try:
        engine.connect()
        return engine.run(make_source(stage), seconds=stage.seconds, rate=stage.rate)
    finally:
        engine.close()


def test_what_was_put_is_got_and_verified(target: Target, tmp_path: Path) -> None:
    objects = ObjectSet("set", SIZES, stamp=1, count=20)
    put = run(target, "fill", writes=objects, count=20)
    assert not put.errors
    assert len(put.samples["PutObject"].latency) == 20
    assert sum(put.timeline) == sum(
        b for b in (objects.body(n).size for n in range(20)) if b > 65536
    )
    for number in range(20):
        stored = (tmp_path / "bucket" / objects.key(number)).read_bytes()
        assert stored == Window(1).bytes_of(objects.body(number))
    got = run(target, "get-once", reads=objects, count=40)
    assert not got.errors
    assert got.samples["GetObject"].payload_bytes == 2 * objects.bytes


@pytest.mark.parametrize("order", ["random", "sequential"])
def test_ranges_are_verified(target: Target, order: str) -> None:
    objects = ObjectSet("set", ((700_000, 1),), stamp=1, count=2)
    run(target, "fill", writes=objects, count=2)
    parameters = {"range": 100_001, "order": order}
    got = run(target, "range", reads=objects, count=30, parameters=parameters)
    assert not got.errors
    assert got.samples["GetObject range"].payload_bytes == 30 * 100_001


def test_wrong_byte_is_an_error(target: Target, tmp_path: Path) -> None:
    objects = ObjectSet("set", SIZES, stamp=1, count=4)
    run(target, "fill", writes=objects, count=4)
    path = tmp_path / "bucket" / objects.key(2)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert run(target, "get-once", reads=objects, count=4).errors == {
        ("GetObject", "wrong bytes"): 1
    }


def test_missing_object_is_an_error(target: Target) -> None:
    objects = ObjectSet("nothing", SIZES, stamp=1, count=4)
    seen = run(target, "head", reads=objects, count=4)
    assert seen.errors == {("HeadObject", "404"): 4}
    assert "HeadObject" not in seen.samples


def test_closed_loop_ends_when_time_is_up(target: Target) -> None:
    objects = ObjectSet("new", ((4096, 1),), stamp=1)
    seen = run(target, "put", writes=objects, seconds=0.2)
    assert 0.2 <= seen.wall_seconds < 2
    assert seen.samples["PutObject"].latency


@contextmanager
def stalling_server(stall_seconds: float) -> Iterator[int]:
    """Answers one connection's requests at once, but the first after a while."""
    listener = socket.create_server(("127.0.0.1", 0))
    held = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                held.wait()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    timer = threading.Timer(stall_seconds, held.set)
    timer.start()
    yield listener.getsockname()[1]
    timer.cancel()
    listener.close()


def test_open_loop_shows_a_stall_to_all_who_would_have_come() -> None:
    with stalling_server(0.3) as port:
        objects = ObjectSet("set", ((0, 1),), stamp=1, count=4)
        target = Target("stalling", "127.0.0.1", port, "bucket")
        seen = run(target, "head", reads=objects, seconds=0.5, rate=200.0)
    latency = sorted(seen.samples["HeadObject"].latency)
    assert len(latency) == pytest.approx(100, abs=10)
    # Sixty were due during the stall. A closed loop of four connections would have seen four.
    assert 40 <= sum(value > 0.02 for value in latency) <= 80
    assert seen.waited >= 40


def test_upload_whose_parts_fail_is_given_up() -> None:
    """A source by itself: every UploadPart fails, and still it ends."""
    stage = Stage(
        Target("none", "127.0.0.1", 1, "bucket"),
        "multipart",
        {"part": 5 << 20, "uploads": 1},
        connections=1,
        process=0,
        processes=1,
        seed=1,
        writes=ObjectSet("new", ((20 << 20, 1),), stamp=1),
        count=1,
    )
    source = make_source(stage)
    created = Answer(200, b"", b"<UploadId>u</UploadId>")
    sent = []
    while (request := source.next()) is not None:
        sent.append(request.label)
        assert len(sent) < 100
        failed = request.label == "UploadPart"
        source.done(request, None if failed else created, "500 InternalError" if failed else "")
    assert sent[0] == "CreateMultipartUpload"
    assert sent[-1] == "AbortMultipartUpload"
    assert sent.count("AbortMultipartUpload") == 1
    assert "CompleteMultipartUpload" not in sent


def test_silent_server_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = Target("silent", "127.0.0.1", listener.getsockname()[1], "bucket")
        objects = ObjectSet("set", ((0, 1),), stamp=1, count=1)
        start = time.monotonic()
        seen = run(target, "head", reads=objects, count=1, timeout=0.5)
    assert seen.errors == {("HeadObject", "timeout"): 1}
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_chunked_answer_is_taken_apart_wherever_it_is_cut(piece: int) -> None:
    wire = b"5\r\nhello\r\n10;x=y\r\n0123456789abcdef\r\n0\r\nTrailer: 1\r\n\r\n"
    reader = ChunkedReader()
    found = b""
    for at in range(0, len(wire), piece):
        assert not reader.done
        found += b"".join(map(bytes, reader.feed(memoryview(wire[at : at + piece]))))
    assert reader.done
    assert found == b"hello0123456789abcdef"
