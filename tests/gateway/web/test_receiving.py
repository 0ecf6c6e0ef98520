from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from gateway.s3.errors import ErrorCode, S3Error
from gateway.web.receiving import WAKE_BYTES, DirectReceiver
from tests.support.bodies import noise

NEXT = b"PUT /next HTTP/1.1\r\n"
IDLE_SECONDS_MAX = 0.3


class Owner(asyncio.Protocol):
    """Whoever has the connection before and after a body."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.heard = asyncio.Event()
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.heard.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class Connection:
    """Both ends of a connection: `peer` is the client's socket, `receiver` takes its body."""

    def __init__(self, peer: socket.socket, transport: asyncio.Transport, owner: Owner) -> None:
        self.peer = peer
        self.transport = transport
        self.owner = owner
        self.given_back = 0

    def receiver(self, body_bytes: int) -> DirectReceiver:
        def give_back() -> None:
            self.given_back += 1

        return DirectReceiver(self.owner, self.transport, body_bytes, IDLE_SECONDS_MAX, give_back)

    def send(self, data: bytes) -> asyncio.Future[None]:
        return asyncio.get_running_loop().run_in_executor(None, self.peer.sendall, data)

    async def next_request(self) -> bytes:
        await asyncio.wait_for(self.owner.heard.wait(), 5)
        return bytes(self.owner.received)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[Connection], Any]], None]:
    """Runs a test with a connection, in each kind of loop; nothing may stay open behind it."""

    def run(test: Callable[[Connection], Any]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(_with_connection(test))

    return run


async def _with_connection(test: Callable[[Connection], Any]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    listener = socket.create_server(("127.0.0.1", 0))
    peer = socket.create_connection(listener.getsockname())
    peer.settimeout(20)
    accepted, _ = listener.accept()
    listener.close()
    accepted.setblocking(False)
    owner = Owner()
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: owner, accepted)
    try:
        await asyncio.wait_for(test(Connection(peer, transport, owner)), 20)
    finally:
        peer.close()
        transport.abort()
        await asyncio.wait_for(owner.lost.wait(), 5)
        await asyncio.sleep(0.01)
    # A loop may open descriptors of its own, an executor none.
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def views_of(buffer: bytearray, sizes: list[int]) -> list[memoryview]:
    whole, at, views = memoryview(buffer), 0, []
    for size in sizes:
        views.append(whole[at : at + size])
        at += size
    return views


@pytest.mark.parametrize(
    "sizes", [[1], [5, 0, 7], [65_066] * 16, [WAKE_BYTES, 1], [1, WAKE_BYTES - 1, 3], [0, 0, 9]]
)
@pytest.mark.parametrize("more", [0, 3])
def test_a_body_arrives_whole_and_the_next_request_is_the_owners(
    run, sizes: list[int], more: int
) -> None:
    """Also where the views have room for more than the body."""

    async def test(connection: Connection) -> None:
        body = noise(sum(sizes))
        receiver = connection.receiver(len(body))
        sending = connection.send(body + NEXT)
        buffer = bytearray(len(body) + more)
        assert await receiver.fill(views_of(buffer, [*sizes, more])) == len(body)
        await sending
        assert buffer == body + bytes(more)
        assert connection.given_back == 1
        assert await connection.next_request() == NEXT

    run(test)


@pytest.mark.parametrize("seed", range(4))
def test_a_body_may_be_taken_and_sent_in_pieces_of_any_size(run, seed: int) -> None:
    async def test(connection: Connection) -> None:
        rng = random.Random(seed)
        body = noise(1_500_000)
        receiver = connection.receiver(len(body))

        async def send() -> None:
            at = 0
            while at < len(body):
                size = rng.choice([1, 1000, 100_000, 400_000])
                await connection.send(body[at : at + size])
                await asyncio.sleep(rng.choice([0, 0, 0.01]))
                at += size
            await connection.send(NEXT)

        sending = asyncio.create_task(send())
        taken = bytearray()
        while len(taken) < len(body):
            sizes = [rng.choice([0, 1, 300, 65_066, 600_000]) for _ in range(rng.randint(1, 20))]
            buffer = bytearray(sum(sizes) + 1)
            count = await receiver.fill(views_of(buffer, [*sizes, 1]))
            assert count == min(len(buffer), len(body) - len(taken))
            taken += buffer[:count]
        await sending
        assert taken == body
        assert await connection.next_request() == NEXT

    run(test)


def test_a_slow_client_is_not_a_silent_one(run) -> None:
    """It sends less than wakes anybody, for longer than silence may last."""

    async def test(connection: Connection) -> None:
        receiver = connection.receiver(2 * WAKE_BYTES)
        buffer = bytearray(2 * WAKE_BYTES)
        filling = asyncio.create_task(receiver.fill([memoryview(buffer)]))
        for _ in range(8):
            await connection.send(bytes(100))
            await asyncio.sleep(IDLE_SECONDS_MAX / 3)
            assert not filling.done()
        await connection.send(bytes(2 * WAKE_BYTES - 800))
        assert await filling == len(buffer)

    run(test)


@pytest.mark.parametrize("sent", [0, 1, WAKE_BYTES - 1, WAKE_BYTES + 1])
def test_a_client_that_falls_silent_is_given_up(run, sent: int) -> None:
    async def test(connection: Connection) -> None:
        receiver = connection.receiver(4 * WAKE_BYTES)
        await connection.send(bytes(sent))
        with pytest.raises(S3Error) as raised:
            await receiver.fill([memoryview(bytearray(4 * WAKE_BYTES))])
        assert raised.value.code is ErrorCode.RequestTimeout
        with pytest.raises(S3Error):
            await receiver.fill([memoryview(bytearray(1))])

    run(test)


@pytest.mark.parametrize("sent", [0, 1, WAKE_BYTES - 1, WAKE_BYTES + 1])
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_goes_away_leaves_an_incomplete_body(run, sent: int, reset: bool) -> None:
    async def test(connection: Connection) -> None:
        receiver = connection.receiver(4 * WAKE_BYTES)
        filling = asyncio.create_task(receiver.fill([memoryview(bytearray(4 * WAKE_BYTES))]))
        await connection.send(bytes(sent))
        if reset:
            linger = b"\1\0\0\0\0\0\0\0"
            connection.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.peer.close()
        with pytest.raises(S3Error) as raised:
            await filling
        assert raised.value.code is ErrorCode.IncompleteBody
        assert connection.given_back == 0

    run(test)


def test_nothing_is_read_while_nobody_asks(run) -> None:
    async def test(connection: Connection) -> None:
        receiver = connection.receiver(100)
        assert await _fill_one(receiver, connection, b"a") == b"a"
        await connection.send(bytes(99) + NEXT)
        await asyncio.sleep(0.05)
        assert connection.given_back == 0
        assert not connection.owner.received

    run(test)


async def _fill_one(receiver: DirectReceiver, connection: Connection, byte: bytes) -> bytes:
    await connection.send(byte)
    buffer = bytearray(1)
    await receiver.fill([memoryview(buffer)])
    return bytes(buffer)


@pytest.mark.parametrize("body_bytes", [2, WAKE_BYTES, 3_000_000])
def test_the_rest_of_a_refused_body_is_dropped_and_the_next_request_is_the_owners(
    run, body_bytes: int
) -> None:
    async def test(connection: Connection) -> None:
        receiver = connection.receiver(body_bytes)
        await _fill_one(receiver, connection, b"a")
        receiver.discard()
        receiver.discard()
        await connection.send(bytes(body_bytes - 1) + NEXT)
        assert await connection.next_request() == NEXT
        assert connection.given_back == 1

    run(test)


def test_a_refused_body_that_ends_early_closes_the_connection(run) -> None:
    async def test(connection: Connection) -> None:
        receiver = connection.receiver(1000)
        await _fill_one(receiver, connection, b"a")
        receiver.discard()
        connection.peer.close()
        await asyncio.wait_for(connection.owner.lost.wait(), 5)
        assert connection.given_back == 0

    run(test)


def test_a_cancelled_fill_takes_nothing_more(run) -> None:
    async def test(connection: Connection) -> None:
        receiver = connection.receiver(WAKE_BYTES)
        buffer = bytearray(WAKE_BYTES)
        filling = asyncio.create_task(receiver.fill([memoryview(buffer)]))
        await asyncio.sleep(0.01)
        filling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await filling
        await connection.send(b"a" * WAKE_BYTES)
        await asyncio.sleep(0.05)
        assert buffer == bytes(WAKE_BYTES)

    run(test)


def test_a_connection_that_the_server_closes_ends_the_wait(run) -> None:
    async def test(connection: Connection) -> None:
        receiver = connection.receiver(WAKE_BYTES)
        filling = asyncio.create_task(receiver.fill([memoryview(bytearray(WAKE_BYTES))]))
        await asyncio.sleep(0.01)
        connection.transport.abort()
        with pytest.raises(S3Error) as raised:
            await filling
        assert raised.value.code is ErrorCode.IncompleteBody
        await asyncio.wait_for(connection.owner.lost.wait(), 5)
        # The last descriptor of the connection is closed with it.
        connection.peer.settimeout(5)
        with pytest.raises(ConnectionError):
            if connection.peer.recv(1) == b"":
                raise ConnectionResetError

    run(test)
