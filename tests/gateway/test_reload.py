"""SIGHUP: what can change changes, in every worker, and what is wrong changes nothing."""

from __future__ import annotations

import shutil
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from gateway.config import RELOADABLE, Settings, reloaded
from tests.support.server import GatewayServer, make_certificate


def settings(tmp_path: Path, **options: object) -> Settings:
    return Settings(data_dir=tmp_path, **options)  # type: ignore[arg-type]


def test_only_what_can_change_is_taken_over(tmp_path: Path) -> None:
    current = settings(tmp_path, log_level="info", workers=1)
    fresh = settings(tmp_path, log_level="debug", workers=2, put_bytes_max=5)
    taken, left = reloaded(current, fresh)
    assert (taken.log_level, taken.put_bytes_max, taken.workers) == ("debug", 5, 1)
    assert left == ["workers"]
    assert Settings.model_fields.keys() >= RELOADABLE


def test_tls_does_not_begin_or_end_while_running(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    plain, secure = settings(tmp_path), settings(tmp_path, tls_cert=cert, tls_key=key)
    for current, fresh in ((plain, secure), (secure, plain)):
        taken, left = reloaded(current, fresh)
        assert taken == current
        assert left == ["tls_cert", "tls_key"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GatewayServer]:
    cert, key = make_certificate(tmp_path)
    config = tmp_path / "config.toml"
    config.write_text("put_bytes_max = 1000\n")
    flags = ("--config", str(config), "--workers", "2")
    tls = ("--tls-cert", str(cert), "--tls-key", str(key))
    started = GatewayServer(tmp_path / "data", (*flags, *tls), tls_cert=cert).start()
    yield started
    started.close()


def eventually(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def accepts(server: GatewayServer, size: int) -> bool:
    """Whether every worker takes a body of this size; each call may reach another one."""
    for _ in range(8):
        try:
            server.s3().put_object(Bucket="bucket", Key="k", Body=bytes(size))
        except ClientError as error:
            assert error.response["Error"]["Code"] == "EntityTooLarge"
            return False
    return True


def test_hangup_loads_the_configuration_anew(server: GatewayServer, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    assert accepts(server, 1000)
    assert not accepts(server, 2000)
    config.write_text("put_bytes_max = 2000\n")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: accepts(server, 2000))

    config.write_text("put_bytes_max = 'wings'\n")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "configuration not reloaded" in server.log())
    assert accepts(server, 2000)


def test_hangup_takes_a_new_certificate(server: GatewayServer, tmp_path: Path) -> None:
    def served() -> str:
        return ssl.get_server_certificate(("127.0.0.1", server.port))

    assert server.tls_cert is not None
    assert accepts(server, 10)
    old = served()
    (tmp_path / "new").mkdir()
    cert, key = make_certificate(tmp_path / "new")
    shutil.copy(cert, server.tls_cert)
    # Half of a pair is not taken.
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "configuration not reloaded" in server.log())
    assert served() == old
    shutil.copy(key, tmp_path / key.name)
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: all(served() != old for _ in range(8)))
    assert accepts(server, 10)
