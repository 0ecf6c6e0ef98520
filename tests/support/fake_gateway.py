"""`dsn-gateway` with a toy in place of the store and the web, to test what surrounds them.

The toy answers with the worker and its process id. `/slow` takes a second, `/crash` ends the
worker. FAIL_AT_START makes every worker fail, HANG ignores SIGTERM.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]


class DataDirLockedError(Exception):
    pass


DataDirLockedError.__module__ = "gateway.app"


def prepare(settings) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    lock = os.open(settings.data_dir / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise DataDirLockedError(f"{settings.data_dir} is in use") from None


def run_worker(settings, listeners, worker: int, load) -> None:
    if os.environ.get("FAIL_AT_START"):
        raise RuntimeError("cannot start")
    asyncio.run(_run(listeners, worker))


async def _run(listeners, worker: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    busy: set[asyncio.Task] = set()

    def on_stop(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop, number)
    hangups = 0

    def on_hangup() -> None:
        nonlocal hangups
        hangups += 1

    loop.add_signal_handler(signal.SIGHUP, on_hangup)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        busy.add(asyncio.current_task())
        request = await reader.readuntil(b"\r\n\r\n")
        if request.startswith(b"GET /crash"):
            os._exit(9)
        if request.startswith(b"GET /slow"):
            await asyncio.sleep(1)
        body = f"{worker} {os.getpid()} {hangups}".encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        busy.discard(asyncio.current_task())

    servers = [await asyncio.start_server(answer, sock=item.socket) for item in listeners]
    await stop.wait()
    for server in servers:
        server.close()
    if busy:
        await asyncio.wait(busy)
    if os.environ.get("HANG"):
        await asyncio.sleep(60)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    fake = types.ModuleType("gateway.app")
    fake.prepare, fake.run_worker = prepare, run_worker
    fake.DataDirLockedError = DataDirLockedError
    sys.modules["gateway.app"] = fake

    from gateway.cli import main

    main()
