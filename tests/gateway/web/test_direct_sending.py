from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterator

import pytest
import uvloop

from gateway.web.direct_sending import DirectSender
from tests.support.bodies import noise

CONTENT = noise(3_000_000)


class FakeTransport:
    """A transport that is nothing but its socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def get_extra_info(self, name: str) -> socket.socket:
        assert name == "socket"
        return self._connection


@pytest.fixture
def pair() -> Iterator[tuple[DirectSender, socket.socket, socket.socket]]:
    """A sender, the connection it sends over, the client's end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        connection, _ = listener.accept()
    with client, connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        connection.setblocking(False)
        sender = DirectSender(FakeTransport(connection))  # type: ignore[arg-type]
        yield sender, connection, client
        sender.close()


def reset(client: socket.socket) -> None:
    """Go away as a client that crashed does: with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def cut(content: bytes, size: int) -> list[memoryview]:
    view = memoryview(content)
    return [view[at : at + size] for at in range(0, len(view), size)]


def fill(sender: DirectSender) -> list[memoryview]:
    """Send until neither socket takes any more; what is left."""
    left = [memoryview(noise(20_000_000))]
    while True:
        before = len(left[0])
        left = sender.send(left)
        if len(left[0]) == before:
            return left
        time.sleep(0.05)


@pytest.mark.parametrize("size", [1000, 65_066, 700_001, len(CONTENT)])
def test_a_full_socket_takes_a_part_and_later_the_rest(pair, size: int) -> None:
    sender, _, client = pair
    left = sender.send(cut(CONTENT, size))
    assert left
    assert sum(map(len, left)) < len(CONTENT)
    received = bytearray()
    while left:
        received += client.recv(1 << 20)
        left = sender.send(left)
    sender.close()
    while len(received) < len(CONTENT):
        received += client.recv(1 << 20)
    assert received == CONTENT


def test_more_views_than_one_call_takes_are_all_sent(pair) -> None:
    sender, _, client = pair
    assert sender.send(cut(CONTENT[:3000], 1)) == []
    received = b""
    while len(received) < 3000:
        received += client.recv(3000)
    assert received == CONTENT[:3000]


def test_the_connection_outlives_its_sender(pair) -> None:
    sender, connection, client = pair
    sender.close()
    assert connection.send(b"next answer") == 11
    assert client.recv(100) == b"next answer"


def test_a_client_that_is_gone_is_an_error(pair) -> None:
    sender, _, client = pair
    reset(client)
    with pytest.raises(ConnectionError):
        for _ in range(10):
            sender.send([memoryview(b"x")])


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
class TestWaiting:
    def test_a_stalled_client_times_out(self, pair, loop) -> None:
        sender, _, _ = pair
        fill(sender)
        with asyncio.Runner(loop_factory=loop) as runner, pytest.raises(TimeoutError):
            runner.run(sender.wait(0.1))

    def test_a_client_that_reads_ends_the_wait(self, pair, loop) -> None:
        sender, _, client = pair

        async def read_while_waiting() -> None:
            waiting = asyncio.create_task(sender.wait(10))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            received = 0
            while not waiting.done():
                received += len(await asyncio.to_thread(client.recv, 1 << 16))
                await asyncio.sleep(0)
            await waiting

        left = fill(sender)
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(read_while_waiting())
        assert len(sender.send(left)[0]) < len(left[0])

    def test_a_client_that_goes_ends_the_wait(self, pair, loop) -> None:
        sender, _, client = pair
        left = fill(sender)

        async def go_while_waiting() -> None:
            waiting = asyncio.create_task(sender.wait(10))
            await asyncio.sleep(0.05)
            reset(client)
            await waiting

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(go_while_waiting())
        with pytest.raises(ConnectionError):
            sender.send(left)
