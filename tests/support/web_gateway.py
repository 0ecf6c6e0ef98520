"""A gateway in this process: a worker with its server, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from gateway.app import WorkerApp
from gateway.config import Settings
from gateway.data_dir import recover_data_dir
from gateway.keys import KeyStore
from gateway.web.server import S3Server
from tests.support.wire import Wire


@dataclass
class WebGateway:
    """A running gateway; `wire` is a client with a key that identifies by itself."""

    data_dir: Path
    port: int
    worker: WorkerApp
    loop: asyncio.AbstractEventLoop
    access_key: str
    wire: Wire

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something in the gateway's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def raw(self, request: bytes) -> bytes:
        """Everything that comes back for these bytes, until the gateway closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: _receive(connection), b""))

    def head(self, method: str, path: str, *lines: str) -> bytes:
        """The header section of a request with the key that identifies by itself."""
        credential = f"{self.access_key}/20260101/us-east-1/s3/aws4_request"
        given = "\r\n".join(lines)
        payload = (
            "" if "x-amz-content-sha256" in given else "x-amz-content-sha256: UNSIGNED-PAYLOAD"
        )
        wanted = [
            f"{method} /s3/{path} HTTP/1.1",
            "Host: localhost",
            f"Authorization: AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, "
            "Signature=00",
            *([payload] if payload else []),
            *lines,
        ]
        return "\r\n".join(wanted).encode() + b"\r\n\r\n"


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 20)
    except ConnectionResetError:
        return b""


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers in what came back."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d+) ", answer)]


@contextmanager
def web_gateway(data_dir: Path, **options: Any) -> Iterator[WebGateway]:
    """A gateway over a data directory, recovered first."""
    settings = Settings(data_dir=data_dir, access_log=False, part_bytes_min=0, **options)
    key = KeyStore(data_dir).create(key_only=True)
    recover_data_dir(data_dir)
    started: Any = threading.Event()
    gateway: list[WebGateway] = []
    failures: list[BaseException] = []
    stop: list[asyncio.Event] = []

    async def serve() -> None:
        worker = WorkerApp(settings, 0)
        await worker.start()
        server = S3Server(
            worker.dispatcher,
            header_seconds_max=settings.header_seconds_max,
            keepalive_seconds_max=settings.keepalive_seconds_max,
        )
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        worker.ready = True
        port = listener.getsockname()[1]
        loop = asyncio.get_running_loop()
        wire = Wire(port, key.access_key, timeout=20)
        gateway.append(WebGateway(data_dir, port, worker, loop, key.access_key, wire))
        stop.append(asyncio.Event())
        started.set()
        await stop[0].wait()
        wire.close()
        await runner.cleanup()
        await worker.close()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        except BaseException as error:
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(30)
    if failures:
        raise failures[0]
    try:
        yield gateway[0]
    finally:
        gateway[0].loop.call_soon_threadsafe(stop[0].set)
        thread.join(30)
        assert not thread.is_alive(), "the gateway did not stop"
    if failures:
        raise failures[0]
