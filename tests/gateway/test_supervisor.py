"""The gateway starts, keeps its workers running and stops as it is told."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.keys import KeyStore

FAKE = Path(__file__).parents[1] / "support" / "fake_gateway.py"


class Gateway:
    """A running `dsn-gateway serve` with a toy behind it."""

    def __init__(self, data_dir: Path, *arguments: str, **environment: str) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DSN_GATEWAY_")}
        self.process = subprocess.Popen(
            [sys.executable, FAKE, "serve", "--data-dir", data_dir, *arguments],
            env={**clean, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.output = ""
        self.port = 0

    def ready(self) -> Gateway:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line
            if line.startswith("dsn-gateway ready "):
                found = re.search(r":(\d+)/", line)
                self.port = int(found[1]) if found else 0
                return self
        raise AssertionError(f"not ready: {self.output} {self.finish()}")

    def get(self, path: str = "/") -> list[int]:
        """Worker, process id and hang-ups seen, as the toy tells."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return [int(word) for word in connection.getresponse().read().split()]
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(15)

    def finish(self) -> tuple[int, str]:
        """The exit code and what was written to standard error."""
        out, err = self.process.communicate(timeout=20)
        self.output += out
        return self.process.returncode, err


Start = Callable[..., Gateway]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Gateway] = []

    def start_one(*arguments: str, data: str = "data", **environment: str) -> Gateway:
        addr = () if "--addr" in arguments else ("--addr", "127.0.0.1:0")
        started.append(Gateway(tmp_path / data, *addr, *arguments, **environment))
        return started[-1]

    yield start_one
    for gateway in started:
        if gateway.process.poll() is None:
            gateway.process.kill()
        gateway.process.communicate()


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def answers(gateway: Gateway) -> set[int]:
    """Process ids that answer, of a few requests."""
    pids = set()
    for _ in range(40):
        try:
            pids.add(gateway.get()[1])
        except OSError:
            time.sleep(0.02)
    return pids


@pytest.mark.parametrize("workers", [1, 3])
def test_serves_until_sigterm(start: Start, workers: int) -> None:
    gateway = start("--workers", str(workers)).ready()
    assert gateway.port
    assert gateway.get()[0] in range(workers)
    assert gateway.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_request_in_flight_is_finished(start: Start, workers: int) -> None:
    gateway = start("--workers", str(workers)).ready()
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("GET", "/slow")
    time.sleep(0.3)
    gateway.process.send_signal(signal.SIGTERM)
    assert connection.getresponse().status == 200
    assert gateway.finish()[0] == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_leaves_at_once(start: Start, workers: int, number: signal.Signals) -> None:
    gateway = start("--workers", str(workers), HANG="1").ready()
    gateway.get()
    gateway.process.send_signal(number)
    time.sleep(0.3)
    started = time.monotonic()
    assert gateway.stop(number) == 128 + number
    assert time.monotonic() - started < 3


def test_interrupt_from_a_terminal_drains_once(start: Start) -> None:
    # A terminal sends SIGINT to the whole group, workers included.
    gateway = start("--workers", "2").ready()
    for pid in answers(gateway):
        os.kill(pid, signal.SIGINT)
    time.sleep(0.3)
    assert gateway.stop(signal.SIGINT) == 0


def test_worker_that_hangs_is_killed(start: Start) -> None:
    gateway = start("--workers", "2", "--set", "drain_seconds_max=0", HANG="1").ready()
    # Whoever answers has its handler for the signal.
    gateway.get()
    started = time.monotonic()
    assert gateway.stop() == 1
    assert time.monotonic() - started < 10


def test_crashed_worker_is_started_again(start: Start) -> None:
    gateway = start("--workers", "2").ready()
    before = answers(gateway)
    assert len(before) == 2
    with pytest.raises((OSError, http.client.HTTPException)):
        gateway.get("/crash")
    eventually(lambda: len(answers(gateway) - before) == 1)
    assert gateway.stop() == 0


def test_connections_are_spread_over_workers(start: Start) -> None:
    gateway = start("--workers", "3").ready()
    eventually(lambda: len(answers(gateway)) == 3)


def test_workers_that_cannot_start_end_it(start: Start) -> None:
    gateway = start("--workers", "2", FAIL_AT_START="1")
    code, err = gateway.finish()
    assert code == 1
    assert "giving up" in err


def test_hangup_goes_to_every_worker(start: Start) -> None:
    gateway = start("--workers", "2").ready()
    answers(gateway)
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: all(gateway.get()[2] == 1 for _ in range(20)))
    assert gateway.stop() == 0


def test_workers_leave_with_a_killed_supervisor(start: Start) -> None:
    gateway = start("--workers", "2").ready()
    assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL

    def refused() -> bool:
        try:
            gateway.get()
        except OSError:
            return True
        return False

    eventually(refused)
    # The lock and the port are free again.
    assert start("--workers", "2", "--addr", f"127.0.0.1:{gateway.port}").ready().stop() == 0


def test_first_start_makes_a_key_and_says_how_to_use_it(start: Start, tmp_path: Path) -> None:
    gateway = start("--base-path", "/here").ready()
    (key,) = KeyStore(tmp_path / "data").listed()
    assert key.secret is not None
    endpoint = f"http://127.0.0.1:{gateway.port}/here"
    assert endpoint in gateway.output
    assert (
        f"rclone config create dsn s3 provider=Other access_key_id={key.access_key} "
        f"secret_access_key={key.secret} endpoint={endpoint} no_check_bucket=true list_version=2"
    ) in gateway.output
    assert f"AWS_ACCESS_KEY_ID={key.access_key} AWS_SECRET_ACCESS_KEY={key.secret}" in (
        gateway.output
    )
    assert f'endpoint_url="{endpoint}"' in gateway.output
    assert f"dsn-gateway keys create --data-dir {tmp_path / 'data'}" in gateway.output


def test_secret_is_shown_once_and_never_logged(start: Start, tmp_path: Path) -> None:
    gateway = start().ready()
    gateway.stop()
    (key,) = KeyStore(tmp_path / "data").listed()
    assert key.secret is not None
    assert key.secret not in gateway.finish()[1]
    again = start().ready()
    again.stop()
    _, err = again.finish()
    assert key.access_key in again.output
    assert key.secret not in again.output + err


def test_existing_key_is_used(start: Start, tmp_path: Path) -> None:
    KeyStore(tmp_path / "data").create(access_key="mine", secret="SESAME")
    gateway = start().ready()
    assert "access key  mine" in gateway.output
    assert "SESAME" not in gateway.output
    assert len(KeyStore(tmp_path / "data").listed()) == 1


def test_no_key_is_made_when_all_were_revoked(start: Start, tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "data")
    keys.create(access_key="mine")
    keys.revoke("mine")
    assert "nobody gets in" in start().ready().output
    assert len(keys.listed()) == 1


@pytest.mark.parametrize("addr", ["0.0.0.0:0", ":0", "[::]:0"])
def test_world_is_refused_without_a_key(start: Start, addr: str) -> None:
    code, err = start("--addr", "127.0.0.1:0", "--addr", addr).finish()
    assert code == 2
    assert "dsn-gateway keys create --data-dir" in err


def test_world_is_served_with_a_key(start: Start, tmp_path: Path) -> None:
    KeyStore(tmp_path / "data").create()
    gateway = start("--addr", "0.0.0.0:0").ready()
    assert gateway.get()[0] == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_port_in_use_is_an_error(start: Start, workers: str) -> None:
    first = start("--workers", workers).ready()
    second = start("--workers", "2", "--addr", f"127.0.0.1:{first.port}", data="other")
    code, err = second.finish()
    assert code == 1
    assert "in use" in err


def test_data_dir_in_use_is_an_error(start: Start) -> None:
    start().ready()
    code, err = start().finish()
    assert code == 75
    assert "in use" in err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_unix_socket_is_served_and_removed(start: Start, tmp_path: Path, workers: str) -> None:
    path = tmp_path / "socket"
    gateway = start("--addr", f"unix:{path}", "--workers", workers).ready()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert gateway.stop() == 0
    assert not path.exists()


def test_socket_of_a_killed_gateway_is_replaced(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    start("--addr", f"unix:{path}").ready().stop(signal.SIGKILL)
    assert path.exists()
    gateway = start("--addr", f"unix:{path}").ready()
    second = start("--addr", f"unix:{path}", data="other")
    assert second.finish()[0] == 1
    assert gateway.stop() == 0


def test_file_in_place_of_the_socket_is_kept(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("x")
    assert start("--addr", f"unix:{path}").finish()[0] == 1
    assert path.read_text() == "x"


def test_several_addresses_are_served(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    gateway = start("--addr", "127.0.0.1:0", "--addr", f"unix:{path}").ready()
    assert gateway.get()[0] == 0
    assert path.is_socket()


@pytest.mark.parametrize("content", ["x", None])
def test_unusable_certificate_is_a_config_error(
    start: Start, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "not.pem"
    if content is not None:
        path.write_text(content)
    code, err = start("--tls-cert", str(path), "--tls-key", str(path)).finish()
    assert code == 78
    assert f"tls_cert {path}" in err


def test_unknown_host_is_named(start: Start) -> None:
    code, err = start("--addr", "no.such.host.invalid:0").finish()
    assert code == 1
    assert "no.such.host.invalid" in err
