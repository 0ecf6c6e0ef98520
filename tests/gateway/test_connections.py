"""Connections before their first request: a burst of them waits in the kernel, none is refused."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.server import GatewayServer

# More than the usual queue of 128, and with both ends well below the usual limit of open files.
BURST = 400


@pytest.mark.parametrize("workers", ["1", "2"])
def test_burst_of_connections_waits_for_a_busy_worker(tmp_path: Path, workers: str) -> None:
    server = GatewayServer(tmp_path / "data", ("--workers", workers)).start()
    processes = server.processes()
    while server.log().count('"event":"serving"') < int(workers):
        time.sleep(0.01)
    try:
        # Nobody accepts now. Past the queue the kernel drops: the client tries again a second on.
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        with ExitStack() as stack:
            opened = [
                stack.enter_context(
                    socket.create_connection(("127.0.0.1", server.port), timeout=0.5)
                )
                for _ in range(BURST * int(workers))
            ]
            for process in processes:
                process.send_signal(signal.SIGCONT)
            for connection in opened:
                connection.settimeout(20)
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
            assert all(connection.recv(12) == b"HTTP/1.1 200" for connection in opened)
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
        server.close()
