"""Servers that the harness starts itself, on a free port and an empty directory, and stops again.

`KINDS` is the table. A kind whose program is missing is skipped loudly by the caller.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.process_tree import ProcessTree
from benchmarks.s3_requests import Target

READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
FILE_SOURCES = frozenset({"fill", "put", "get", "get-once", "range", "head", "readback"})


class PeerError(Exception):
    """A server that cannot be started; the text says what to do."""


@dataclass
class Launch:
    """What a command line is made of."""

    binary: str
    directory: Path
    port: int
    access_key: str = "benchmarkkey"
    secret: str = "benchmarksecret"

    @property
    def data(self) -> Path:
        return self.directory / "data"


@dataclass(frozen=True)
class Kind:
    """How one kind of server is started. `promise` is what its 200 to a PUT means."""

    name: str
    programs: tuple[str, ...]
    command: Callable[[Launch], list[str]]
    promise: str
    how_to_get: str
    environment: Callable[[Launch], dict[str, str]] = lambda launch: {}
    prepare: Callable[[Launch], None] = lambda launch: None
    version: tuple[str, ...] = ("--version",)
    base_path: str = ""
    # None: every source of requests; else those that it understands.
    sources: frozenset[str] | None = None
    buckets: bool = True
    persistent: bool = True
    stop_signal: int = signal.SIGTERM


def _dsn_keys(launch: Launch) -> None:
    command = [launch.binary, "keys", "create", "--data-dir", str(launch.data), "--json"]
    created = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    launch.access_key, launch.secret = created["access_key"], created["secret"]


def _nginx_config(launch: Launch) -> None:
    launch.data.joinpath("objects").mkdir()
    launch.directory.chmod(0o755)
    launch.directory.joinpath("nginx.conf").write_text(
        f"""
daemon off; worker_processes 1; pid {launch.directory}/nginx.pid; error_log stderr;
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 20000; }}
http {{
    access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000;
    open_file_cache max=10000; client_max_body_size 0; client_body_buffer_size 1m;
    client_body_temp_path {launch.data}/incoming;
    server {{
        listen 127.0.0.1:{launch.port} reuseport;
        root {launch.data}/objects;
        location / {{ dav_methods PUT DELETE; create_full_put_path on; }}
    }}
}}
"""
    )


def _s3rver_data(launch: Launch) -> None:
    launch.access_key = launch.secret = "S3RVER"


def _weed_config(launch: Launch) -> None:
    key = {"accessKey": launch.access_key, "secretKey": launch.secret}
    identity = {"name": "benchmark", "credentials": [key], "actions": ["Admin", "Read", "Write"]}
    launch.directory.joinpath("s3.json").write_text(json.dumps({"identities": [identity]}))


def _garage_command(launch: Launch, *arguments: str) -> list[str]:
    return [launch.binary, "-c", f"{launch.directory}/garage.toml", *arguments]


def _garage_set_up(launch: Launch) -> None:
    """Write its configuration; a new node is run once to get its place and the key."""
    launch.access_key, launch.secret = "GK" + "0b" * 12, "0b" * 32
    launch.directory.joinpath("garage.toml").write_text(
        f"""
metadata_dir = "{launch.data}/meta"
data_dir = "{launch.data}/blocks"
db_engine = "lmdb"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{_free_port()}"
rpc_secret = "{"0b" * 32}"
[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:{launch.port}"
"""
    )
    if launch.data.joinpath("meta").exists():
        return

    def run(*arguments: str) -> str:
        command = _garage_command(launch, *arguments)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        except subprocess.TimeoutExpired:
            raise PeerError(f"garage {' '.join(arguments)}: no answer") from None
        if done.returncode:
            raise PeerError(f"garage {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    server = subprocess.Popen(
        _garage_command(launch, "server"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                run("status")
                break
            except PeerError:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise
                time.sleep(0.1)
        node = run("node", "id", "-q").partition("@")[0].strip()
        run("layout", "assign", "-z", "here", "-c", "1T", node)
        run("layout", "apply", "--version", "1")
        run("key", "import", "--yes", launch.access_key, launch.secret)
        run("key", "allow", "--create-bucket", launch.access_key)
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS_MAX)
        server.kill()
        server.wait()


_WEED_PORTS = (
    *("master.port", "volume.port", "filer.port"),
    *("master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc"),
)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "dsn",
            ("dsn-gateway",),
            lambda launch: [
                *(launch.binary, "serve", "--data-dir", str(launch.data)),
                *("--addr", f"127.0.0.1:{launch.port}"),
            ],
            promise="synced; every read verified; signatures checked",
            how_to_get="install this project",
            prepare=_dsn_keys,
            base_path="/s3",
        ),
        Kind(
            "nginx",
            ("nginx",),
            lambda launch: [launch.binary, "-c", f"{launch.directory}/nginx.conf", "-e", "stderr"],
            promise="a limit, no S3: files by sendfile, nothing signed, nothing synced",
            how_to_get="apt install nginx",
            prepare=_nginx_config,
            version=("-v",),
            sources=FILE_SOURCES,
            buckets=False,
            stop_signal=signal.SIGQUIT,
        ),
        Kind(
            "sendfile",
            (sys.executable,),
            lambda launch: [
                *(launch.binary, "-m", "benchmarks.sendfile_server"),
                *("--directory", str(launch.data), "--port", str(launch.port)),
            ],
            promise="a limit, no S3: files by os.sendfile, nothing signed, nothing synced",
            how_to_get="part of the harness",
            sources=FILE_SOURCES,
            buckets=False,
        ),
        Kind(
            "rclone",
            ("rclone",),
            lambda launch: [
                *(launch.binary, "serve", "s3", str(launch.data), "--addr"),
                *(f"127.0.0.1:{launch.port}", "--auth-key", f"{launch.access_key},{launch.secret}"),
            ],
            promise="not synced",
            how_to_get="rclone.org/downloads, 1.65 or later",
            environment=lambda launch: {"RCLONE_CONFIG": os.devnull},
            version=("version",),
        ),
        Kind(
            "minio",
            ("minio",),
            lambda launch: [
                *(launch.binary, "server", "--address", f"127.0.0.1:{launch.port}"),
                str(launch.data),
            ],
            promise="not synced on one disk unless configured",
            how_to_get="go install github.com/minio/minio@latest, then --binary",
            environment=lambda launch: {
                "MINIO_ROOT_USER": launch.access_key,
                "MINIO_ROOT_PASSWORD": launch.secret,
                "MINIO_ACCESS_KEY": launch.access_key,
                "MINIO_SECRET_KEY": launch.secret,
                "MINIO_CI_CD": "1",  # lets it start on the root disk
                "MINIO_BROWSER": "off",
            },
        ),
        Kind(
            "versitygw",
            ("versitygw",),
            lambda launch: [
                *(launch.binary, "--port", f"127.0.0.1:{launch.port}"),
                *("--access", launch.access_key, "--secret", launch.secret),
                *("posix", str(launch.data)),
            ],
            promise="not synced",
            how_to_get="go install github.com/versity/versitygw/cmd/versitygw@latest",
        ),
        Kind(
            "moto",
            ("moto_server",),
            lambda launch: [launch.binary, "-H", "127.0.0.1", "-p", str(launch.port)],
            promise="in memory, lost at exit; signatures not checked",
            how_to_get="pip install 'dsn-gateway[bench]'",
            version=(),
            persistent=False,
        ),
        Kind(
            "s3rver",
            ("s3rver",),
            lambda launch: [
                *(launch.binary, "-d", str(launch.data), "-a", "127.0.0.1"),
                *("-p", str(launch.port), "--silent"),
            ],
            promise="not synced",
            how_to_get="npm install -g s3rver",
            prepare=_s3rver_data,
        ),
        Kind(
            "seaweedfs",
            ("weed",),
            lambda launch: [
                *(launch.binary, "server", f"-dir={launch.data}", "-ip=127.0.0.1", "-s3"),
                *(f"-s3.port={launch.port}", f"-s3.config={launch.directory}/s3.json"),
                # Those of gRPC are 10000 more unless given, which may be none.
                *(f"-{part}={_free_port()}" for part in _WEED_PORTS),
            ],
            promise="not synced",
            how_to_get="go install github.com/seaweedfs/seaweedfs/weed@latest",
            prepare=_weed_config,
            version=("version",),
        ),
        Kind(
            "garage",
            ("garage",),
            lambda launch: _garage_command(launch, "server"),
            promise="not synced unless configured",
            how_to_get="garagehq.deuxfleurs.fr, or built with cargo",
            prepare=_garage_set_up,
        ),
    )
}


@dataclass
class Server:
    """A server of a kind while the harness runs it. `label` names it in reports."""

    label: str
    kind: Kind
    binary: str
    directory: Path
    arguments: tuple[str, ...] = ()
    launch: Launch = field(init=False, repr=False)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it on an empty directory, or on what is in it already after `stop`."""
        if not hasattr(self, "launch") or not self.directory.exists():
            self.prepare()
        ours = ("DSN_GATEWAY_", "AWS_", "RCLONE_", "MINIO_", "GARAGE_")
        environment = {name: v for name, v in os.environ.items() if not name.startswith(ours)}
        environment |= self.kind.environment(self.launch)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.kind.command(self.launch), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                # A group of its own: Ctrl-C is for the harness, which then stops its servers.
                start_new_session=True,
            )
        self._wait_until_ready()

    def prepare(self) -> None:
        """Makes its directory, or takes what is there, and its keys; `start` does if need be."""
        self.launch = Launch(self.binary, self.directory, _free_port())
        self.launch.data.mkdir(parents=True, exist_ok=True)
        self.kind.prepare(self.launch)

    def kill(self) -> None:
        """Ends it in the middle of whatever it does; `start` finds what that leaves."""
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        """Asks it to end, and makes it end."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(self.kind.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS_MAX)
        # Whatever it started is in its group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wipe(self) -> None:
        """Stops it and removes all that it stored."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def target(self, bucket: str, payload: str) -> Target:
        """Where its requests go."""
        signs = self.kind.buckets
        return Target(
            self.label,
            "127.0.0.1",
            self.launch.port,
            bucket,
            self.kind.base_path,
            access_key=self.launch.access_key if signs else "",
            secret=self.launch.secret if signs else "",
            payload=payload,
        )

    @property
    def tree(self) -> ProcessTree | None:
        return ProcessTree(self.process.pid) if self.process else None

    @property
    def data(self) -> Path | None:
        return self.launch.data

    @property
    def log_path(self) -> Path:
        return self.directory / "server.log"

    def version(self) -> str:
        """What it says about itself, in one line."""
        if not self.kind.version:
            return ""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [self.binary, *self.kind.version], capture_output=True, text=True, timeout=20
            )
            return (done.stdout.strip() or done.stderr.strip()).partition("\n")[0].strip()
        return ""

    def _wait_until_ready(self) -> None:
        assert self.process
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                tail = self.log_path.read_text(errors="replace")[-1500:]
                raise PeerError(f"{self.label} ended at once:\n{tail}")
            connection = http.client.HTTPConnection("127.0.0.1", self.launch.port, timeout=5)
            try:
                connection.request("GET", "/")
                connection.getresponse().read()
                return
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
            finally:
                connection.close()
        self.stop()
        raise PeerError(f"{self.label} did not answer within {READY_SECONDS_MAX} s")


def make_server(text: str, directory: Path, arguments: dict[str, str]) -> Server:
    """From `[LABEL=]KIND[:BINARY]`, as given on the command line."""
    label, equals, rest = text.rpartition("=")
    name, _, binary = rest.partition(":")
    kind = KINDS.get(name)
    if kind is None:
        raise PeerError(f"{name!r} is no peer: choose from {', '.join(KINDS)}")
    found = _find(kind, binary)
    label = label if equals else name
    extra = tuple(shlex.split(arguments.get(label, "")))
    return Server(label, kind, found, directory / label, extra)


def _find(kind: Kind, binary: str) -> str:
    if binary:
        if not os.access(binary, os.X_OK):
            raise PeerError(f"{kind.name}: {binary} is not a program")
        return str(Path(binary).absolute())
    beside = Path(sys.executable).parent
    for program in kind.programs:
        # Beside this Python first: what is measured is what is installed with the harness.
        found = shutil.which(str(beside / program)) or shutil.which(program)
        if found:
            return found
    raise PeerError(f"{kind.name} is not installed ({kind.how_to_get})")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
