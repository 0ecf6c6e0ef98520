"""Runs the real rclone against a gateway, configured by its environment alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.clients import require_client
from tests.support.server import GatewayServer, clean_environment

DENIED = "Auto Drive storage is immutable. Objects cannot be deleted from the Autonomys DSN."


class Rclone:
    """rclone with a remote `dsn:`; as the guide configures it, or with rclone's own defaults."""

    def __init__(self, server: GatewayServer, home: Path, *, defaults: bool = False) -> None:
        self.path = require_client("rclone")
        home.mkdir(exist_ok=True)
        self.home = home
        remote = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ACCESS_KEY_ID": server.access_key,
            "SECRET_ACCESS_KEY": server.secret,
            "ENDPOINT": server.endpoint,
        }
        if not defaults:
            remote |= {"NO_CHECK_BUCKET": "true", "LIST_VERSION": "2"}
        self.environment = clean_environment(
            HOME=str(home),
            RCLONE_CONFIG=os.devnull,
            RCLONE_CACHE_DIR=str(home / "cache"),
            RCLONE_RETRIES="1",
            **{f"RCLONE_CONFIG_DSN_{name}": value for name, value in remote.items()},
        )
        if server.tls_cert:
            self.environment["RCLONE_CA_CERT"] = str(server.tls_cert)

    def call(
        self, *arguments: str | Path, data: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a command to its end, whatever that is."""
        return subprocess.run(
            [self.path, *map(str, arguments)],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env=self.environment,
            timeout=600,
        )

    def run(self, *arguments: str | Path, data: bytes | None = None) -> bytes:
        """The output of a command that succeeds."""
        done = self.call(*arguments, data=data)
        assert done.returncode == 0, f"{arguments}: {done.stderr.decode(errors='replace')}"
        return done.stdout

    def lines(self, *arguments: str | Path) -> list[str]:
        """The lines of a command that succeeds, sorted."""
        return sorted(self.run(*arguments).decode().splitlines())

    def fail(self, *arguments: str | Path) -> str:
        """The messages of a command that fails."""
        done = self.call(*arguments)
        assert done.returncode != 0, f"{arguments}: {done.stdout!r} {done.stderr!r}"
        return done.stderr.decode(errors="replace")

    @contextmanager
    def background(self, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
        """A command that serves until the block ends."""
        with (self.home / "background.log").open("ab") as log:
            process = subprocess.Popen(
                [self.path, *map(str, arguments)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
