from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dsn.blockstore.segments.files import SegmentKind, kind_of
from dsn.blockstore.segments.reader import FileReader
from dsn.node import CHUNK_BYTES
from gateway.budget import ByteBudget
from gateway.s3.errors import ErrorCode, S3Error
from gateway.web.downloads import Downloads
from tests.support.bodies import noise
from tests.support.web_gateway import WebGateway, statuses, web_gateway

CONTENT = noise(6_000_000)


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
    (path,) = (
        p
        for p in (gateway.data_dir / "segments").rglob("*.car")
        if kind_of(int(p.stem, 16)) is SegmentKind.BODY
    )
    data = bytearray(path.read_bytes())
    at = data.index(CONTENT[offset : offset + 64])
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
    """The first gets its usual pieces; who comes when little is left gets small ones, or waits."""
    budget = ByteBudget(5 * CHUNK_BYTES, wait_seconds_max=0.05)
    with ThreadPoolExecutor(1) as threads:
        downloads = Downloads(budget, threads)
        first = await downloads.admit(10 * CHUNK_BYTES)
        second = await downloads.admit(10 * CHUNK_BYTES)
        assert (first, second) == ((4 * CHUNK_BYTES, 4), (CHUNK_BYTES, 1))
        with pytest.raises(S3Error) as refused:
            await downloads.admit(1)
        assert refused.value.code is ErrorCode.SlowDown
        downloads.leave(first[0])
        downloads.leave(second[0])
    assert budget.bytes_in_use == 0


def test_downloads_without_memory_to_read_ahead_are_whole(tmp_path: Path) -> None:
    settings = {"download_buffer_bytes_max": 4 << 20}
    with web_gateway(tmp_path / "data", **settings) as gateway:
        assert gateway.wire.call("PUT", "bucket/key", CONTENT).status == 200
        with ThreadPoolExecutor(16) as clients:
            answers = list(clients.map(lambda _: body_of(gateway), range(48)))
    assert all(answer == (200, CONTENT) for answer in answers)
