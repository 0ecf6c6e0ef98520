"""A real `dsn-gateway serve` in a process of its own: start, kill, restart, watch its memory."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from gateway.keys import KeyStore

READY_SECONDS_MAX = 60


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without anything that would configure the gateway or a client."""
    ours = ("DSN_GATEWAY_", "AWS_", "RCLONE_", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, **extra}


@dataclass
class GatewayServer:
    """One data directory and the process that serves it, with a key that may do everything.

    `arguments` are further flags of `serve`. After `start` the port stays the same over restarts.
    """

    data_dir: Path
    arguments: tuple[str, ...] = ()
    access_key: str = ""
    secret: str = ""
    tls_cert: Path | None = None
    port: int = 0
    endpoint: str = ""
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> GatewayServer:
        """Starts it and waits until it listens; the first time with a new key."""
        if not self.access_key:
            key = KeyStore(self.data_dir).create()
            self.access_key, self.secret = key.access_key, key.secret or ""
        command = [sys.executable, "-m", "gateway", "serve", "--data-dir", str(self.data_dir)]
        command += ["--addr", f"127.0.0.1:{self.port}", *self.arguments]
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean_environment(),
                cwd=Path(__file__).parents[2],
            )
        self._wait_until_ready()
        return self

    @property
    def log_path(self) -> Path:
        """The log lines of all its runs."""
        return self.data_dir.with_name(self.data_dir.name + ".log")

    def log(self) -> str:
        """What it logged so far."""
        return self.log_path.read_text(errors="replace")

    def stop(self, seconds_max: float = 60) -> int:
        """Drains it; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds_max)

    def kill(self) -> None:
        """Ends it in the middle of whatever it does."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> GatewayServer:
        """Starts it again after `stop` or `kill`, on the same port."""
        if self.process.poll() is None:
            self.stop()
        return self.start()

    def close(self) -> None:
        """Ends it in any case."""
        if self.process.poll() is None:
            self.kill()

    def processes(self) -> list[psutil.Process]:
        """The supervisor and its workers."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def peak_memory_bytes(self) -> int:
        """The most resident memory that its processes had so far, in sum."""
        peaks = [Path(f"/proc/{process.pid}/status").read_text() for process in self.processes()]
        return sum(int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) for text in peaks) * 1024

    def reset_peak_memory(self) -> None:
        """Lets `peak_memory_bytes` count from now on."""
        for process in self.processes():
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def s3(self, **config: Any) -> Any:
        """A boto3 client for it; `config` goes into botocore's Config."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            verify=str(self.tls_cert) if self.tls_cert else None,
            config=Config(**{"retries": {"total_max_attempts": 1}, **config}),
        )

    def _wait_until_ready(self) -> None:
        assert self.process.stdout
        # Unbuffered: select knows nothing of lines that Python has read ahead.
        pipe, output = self.process.stdout.fileno(), ""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if not select.select([pipe], [], [], 0.5)[0]:
                continue
            piece = os.read(pipe, 65536).decode()
            if not piece:
                raise AssertionError(f"the gateway ended: {self.process.wait()}\n{self.log()}")
            output += piece
            if found := re.search(r"^dsn-gateway ready endpoint=(\S+) .*\n", output, re.M):
                self.endpoint = found[1]
                self.port = int(re.findall(r":(\d+)", self.endpoint)[0])
                return
        self.kill()
        raise AssertionError(f"the gateway was not ready in time\n{self.log()}")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and localhost that signs itself, and its key, as PEM files."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    here = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(here), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_path, key_path
