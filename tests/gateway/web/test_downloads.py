from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from dsn.blockstore.segments.files import SegmentKind, kind_of
from dsn.blockstore.segments.reader import FileReader
from dsn.framing import FULL_SECTION_BYTES
from dsn.node import CHUNK_BYTES
from gateway.budget import ByteBudget
from gateway.s3.errors import ErrorCode, S3Error
from gateway.web.direct_sending import DirectSender
from gateway.web.downloads import PIECE_BYTES, Downloads
from tests.support.bodies import noise
from tests.support.web_gateway import WebGateway, statuses, web_gateway

CONTENT = noise(6_000_000)


@pytest.fixture(autouse=True)
def read_ahead_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second thread for bodies of this size, too."""
    monkeypatch.setattr("gateway.web.downloads.READ_AHEAD_BYTES_MIN", 0)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[WebGateway]:
    with web_gateway(tmp_path / "data") as started:
        assert started.wire.call("PUT", "bucket/key", CONTENT).status == 200
        yield started


def body_of(gateway: WebGateway, path: str = "bucket/key") -> tuple[int, bytes]:
    """Status and body as far as it came, however the connection ended."""
    answer = gateway.raw(gateway.head("GET", path, "Connection: close"))
    head, _, body = answer.partition(b"\r\n\r\n")
    return statuses(head)[0], body


def flip(gateway: WebGateway, offset: int) -> None:
    """Flips a bit of the object's bytes on disk."""
    wanted = CONTENT[offset : offset + 64]
    (path,) = (
        p
        for p in (gateway.data_dir / "segments").rglob("*.car")
        if kind_of(int(p.stem, 16)) is SegmentKind.BODY and wanted in p.read_bytes()
    )
    data = bytearray(path.read_bytes())
    at = data.index(wanted)
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 1),
        (0, 65066),
        (65065, 65067),
        (1, 5_999_999),
        (5_999_999, 6_000_000),
        (300_000, 2_000_000),
    ],
)
def test_a_span_is_those_bytes(gateway: WebGateway, start: int, stop: int) -> None:
    answer = gateway.wire.call("GET", "bucket/key", headers={"Range": f"bytes={start}-{stop - 1}"})
    assert (answer.status, answer.body) == (206, CONTENT[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"


def test_damage_in_the_first_piece_is_a_clean_error(gateway: WebGateway) -> None:
    flip(gateway, 100)
    status, body = body_of(gateway)
    assert status == 500
    assert b"<Code>InternalError</Code>" in body


@pytest.mark.parametrize("offset", [5 * CHUNK_BYTES, 3_000_000, 5_999_900])
def test_damage_further_on_cuts_the_connection(gateway: WebGateway, offset: int) -> None:
    flip(gateway, offset)
    status, body = body_of(gateway)
    assert status == 200
    assert len(body) < len(CONTENT)
    assert CONTENT.startswith(body)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        gateway.wire.call("GET", "bucket/key")
    assert gateway.wire.call("GET", "bucket/key", headers={"Range": "bytes=0-99"}).status == 206


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("unexpected")])
def test_whatever_fails_after_the_first_byte_never_answers_twice(
    gateway: WebGateway, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error document would be written into the object's bytes."""
    read = FileReader.read

    def fail(self, start, *arguments):
        if start > 2_000_000:
            raise error
        return read(self, start, *arguments)

    monkeypatch.setattr(FileReader, "read", fail)
    status, body = body_of(gateway)
    assert status == 200
    assert len(body) < len(CONTENT)
    assert CONTENT.startswith(body)


def test_an_error_before_the_first_byte_is_an_answer(
    gateway: WebGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(FileReader, "read", fail)
    status, body = body_of(gateway)
    assert status == 503
    assert b"<Code>ServiceUnavailable</Code>" in body


@pytest.mark.parametrize("tail", [1000, 30_000, 64_000])
def test_what_a_slow_reader_has_not_got_yet_is_not_overwritten(
    gateway: WebGateway, tail: int
) -> None:
    """The last piece may still wait in the socket when its buffer goes to the next download."""
    size = (4 + 16 * 8) * CHUNK_BYTES + tail
    slow_content = noise(size, 5)
    assert gateway.wire.call("PUT", "bucket/slow", slow_content).status == 200
    got = []
    stop = threading.Event()

    def others() -> None:
        while not stop.is_set():
            gateway.wire.call("GET", "bucket/key")

    for _ in range(3):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", gateway.port))
            connection.sendall(gateway.head("GET", "bucket/slow", "Connection: close"))
            stop.clear()
            noise_maker = threading.Thread(target=others)
            noise_maker.start()
            try:
                answer = b"".join(iter(lambda: connection.recv(16_384), b""))
            finally:
                stop.set()
                noise_maker.join()
        got.append(answer.partition(b"\r\n\r\n")[2])
    assert all(body == slow_content for body in got)


async def test_room_for_downloads_is_shared_and_given_back() -> None:
    """The first gets its usual buffer; who comes when little is left gets a small one, or waits."""
    budget = ByteBudget(PIECE_BYTES + FULL_SECTION_BYTES, wait_seconds_max=0.05)
    with ThreadPoolExecutor(1) as threads:
        downloads = Downloads(budget, threads, threads)
        first = await downloads.take(100)
        second = await downloads.take(100)
        assert len(first) == PIECE_BYTES
        assert len(second) == FULL_SECTION_BYTES
        assert downloads.try_take(1) is None
        with pytest.raises(S3Error) as refused:
            await downloads.take(1)
        assert refused.value.code is ErrorCode.SlowDown
        downloads.give(first)
        downloads.give(second)
    assert budget.bytes_in_use == 0


def test_downloads_without_memory_to_read_ahead_are_whole(tmp_path: Path) -> None:
    settings = {"download_buffer_bytes_max": 4 << 20}
    with web_gateway(tmp_path / "data", **settings) as gateway:
        assert gateway.wire.call("PUT", "bucket/key", CONTENT).status == 200
        with ThreadPoolExecutor(16) as clients:
            answers = list(clients.map(lambda _: body_of(gateway), range(48)))
    assert all(answer == (200, CONTENT) for answer in answers)


@contextmanager
def reading_slowly(gateway: WebGateway, path: str) -> Iterator[socket.socket]:
    """A client that has asked for an object and takes next to nothing of it."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", gateway.port))
        connection.sendall(gateway.head("GET", path, "Connection: close"))
        assert connection.recv(12) == b"HTTP/1.1 200"
        yield connection


@pytest.fixture
def large(gateway: WebGateway) -> bytes:
    """More than the sockets of a connection take."""
    content = noise(20_000_000, 3)
    assert gateway.wire.call("PUT", "bucket/large", content).status == 200
    return content


def in_use(gateway: WebGateway) -> int:
    return gateway.worker._services.downloads._budget.bytes_in_use


def settles(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_slow_readers_hold_no_thread(gateway: WebGateway, large: bytes) -> None:
    """Far more of them than threads; one that is fast is served, and they all are in the end."""
    with ExitStack() as stack:
        slow = [stack.enter_context(reading_slowly(gateway, "bucket/large")) for _ in range(24)]
        for _ in range(3):
            assert gateway.wire.call("GET", "bucket/large").body == large
        with ThreadPoolExecutor(16) as readers:
            bodies = readers.map(lambda c: b"".join(iter(lambda: c.recv(1 << 18), b"")), slow)
            assert all(body.endswith(large[-19_000_000:]) for body in bodies)
    assert settles(lambda: in_use(gateway) == 0)


def test_a_stalled_reader_is_cut_and_its_memory_comes_back(
    gateway: WebGateway, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.downloads.SEND_SECONDS_MAX", 0.2)
    with reading_slowly(gateway, "bucket/large") as connection:
        assert in_use(gateway) > 0
        assert settles(lambda: in_use(gateway) == 0)
        with suppress(ConnectionError):
            got = b"".join(iter(lambda: connection.recv(1 << 18), b""))
            assert len(got) < len(large)


def test_a_reader_that_goes_away_is_noticed(gateway: WebGateway, large: bytes) -> None:
    with reading_slowly(gateway, "bucket/large"):
        assert in_use(gateway) > 0
    assert settles(lambda: in_use(gateway) == 0)


def test_a_client_that_goes_while_the_disk_reads_is_no_damage(
    gateway: WebGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[object] = []
    asked, gone = threading.Event(), threading.Event()
    read = FileReader.read

    def wait(self, *arguments):
        asked.set()
        assert gone.wait(20)
        return read(self, *arguments)

    monkeypatch.setattr("gateway.web.handlers.objects._report", lambda *each: reports.append(each))
    monkeypatch.setattr(FileReader, "read_cached", lambda *_: None)
    monkeypatch.setattr(FileReader, "read", wait)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(gateway.head("GET", "bucket/key"))
        assert asked.wait(20)
    # The loop hears of the end of one connection before it answers on another.
    for _ in range(3):
        assert gateway.wire.call("HEAD", "bucket/key").status == 200
    gone.set()
    assert settles(lambda: in_use(gateway) == 0)
    assert reports == []


def test_a_gateway_stops_although_a_client_reads_slowly(tmp_path: Path) -> None:
    with ExitStack() as stack, web_gateway(tmp_path / "data") as gateway:
        content = noise(20_000_000, 3)
        assert gateway.wire.call("PUT", "bucket/large", content).status == 200
        stack.enter_context(reading_slowly(gateway, "bucket/large"))


def test_answers_follow_each_other_on_one_connection(gateway: WebGateway) -> None:
    """Sent past the transport, through it, and past it again: in order, nothing in between."""
    paths = ["bucket/key", "bucket/none", "bucket/key", "bucket/key"]
    heads = [gateway.head("GET", path) for path in paths]
    heads[-1] = gateway.head("GET", paths[-1], "Connection: close")
    answer = gateway.raw(b"".join(heads))
    assert statuses(answer) == [200, 404, 200, 200]
    assert answer.count(CONTENT) == 3
    assert answer.endswith(b"\r\n\r\n" + CONTENT)


needs_two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")


@needs_two_cores
def test_a_lone_reader_is_read_ahead_for(
    gateway: WebGateway, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers, senders = set(), set()
    read, send = FileReader.read_cached, DirectSender.send

    def send_slowly(sender: DirectSender, pieces: list[memoryview]) -> list[memoryview]:
        senders.add(threading.current_thread().name)
        time.sleep(0.01)  # Long enough for the other thread to begin, on a busy machine, too.
        return send(sender, pieces)

    def note(reader: FileReader, *span: Any) -> list[memoryview] | None:
        readers.add(threading.current_thread().name)
        return read(reader, *span)

    monkeypatch.setattr(FileReader, "read_cached", note)
    monkeypatch.setattr(DirectSender, "send", send_slowly)
    assert body_of(gateway, "bucket/large") == (200, large)
    assert any(name.startswith("send") for name in readers - senders)


@needs_two_cores
def test_a_reader_whose_second_thread_is_busy_goes_on_alone(
    gateway: WebGateway, large: bytes
) -> None:
    released = threading.Event()
    downloads = gateway.worker._services.downloads
    for _ in range((os.cpu_count() or 1) - 1):
        downloads.sending_threads.submit(released.wait)
    try:
        assert body_of(gateway, "bucket/large") == (200, large)
    finally:
        released.set()


@pytest.mark.parametrize("path", ["key", "large"])
def test_what_left_the_page_cache_is_read_from_disk(
    gateway: WebGateway, large: bytes, path: str
) -> None:
    for segment in (gateway.data_dir / "segments").rglob("*.car"):
        with segment.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    content = {"key": CONTENT, "large": large}[path]
    assert body_of(gateway, f"bucket/{path}") == (200, content)


def test_where_nobody_tells_what_is_cached_all_is_read_in_threads(
    gateway: WebGateway, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsn.blockstore.segments.reader._RWF_NOWAIT", 0)
    assert body_of(gateway, "bucket/large") == (200, large)
    assert body_of(gateway, "bucket/key") == (200, CONTENT)


@pytest.mark.parametrize("has_memory", [True, False])
def test_what_cannot_go_past_the_transport_goes_through_it(
    gateway: WebGateway, large: bytes, has_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.downloads.can_send_directly", lambda _: False)
    if not has_memory:
        monkeypatch.setattr(Downloads, "try_take", lambda *_: None)
    assert body_of(gateway, "bucket/large") == (200, large)
    flip(gateway, 3_000_000)
    status, body = body_of(gateway)
    assert status == 200
    assert len(body) < len(CONTENT)
    assert CONTENT.startswith(body)
    assert settles(lambda: in_use(gateway) == 0)
