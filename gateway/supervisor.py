"""Starts the gateway: keys, data directory, sockets, workers; and keeps the workers running.

With one worker it serves in this process. With more it forks them, starts a crashed one again,
and passes signals on: SIGTERM and SIGINT drain, a second one leaves at once, SIGHUP has the
settings loaded anew.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from gateway import app, listeners, logs
from gateway.config import ConfigError, Settings, reloaded
from gateway.keys import AccessKey, KeyStore
from gateway.listeners import Listener

# Workers of a killed supervisor notice within milliseconds, but may sit in an fsync.
LOCK_SECONDS_MAX = 2.0

# What workers have beyond the time to drain, to seal their segments.
GRACE_SECONDS = 5.0

BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX = 0.1, 10.0

# A worker that ran this long was fine; its next crash counts as its first.
PROVEN_SECONDS = 10.0
START_FAILURES_MAX = 5

log = structlog.get_logger()


class RefusedError(Exception):
    """The gateway would be open to the world, or useless; the message says what to do."""


def serve(settings: Settings, load: Callable[[], Settings]) -> int:
    """Runs the gateway until it is told to stop; returns the exit code.

    `load` gives the settings anew when SIGHUP asks for it.

    0 after a drain, 1 when workers cannot be kept running, 130 or 143 after a second SIGINT or
    SIGTERM. Raises ConfigError, RefusedError, ListenError, and DataDirLockedError of `app`.
    """
    logs.configure(settings.log_level, settings.log_format)
    os.umask(0o077)
    _raise_file_limit()
    _check_tls(settings)
    addresses = listeners.resolve(settings.addr)
    keys = KeyStore(settings.data_dir)
    known = keys.listed()
    active = [key for key in known if key.revoked_us is None]
    if not active and not all(listeners.is_local(address) for address in addresses):
        raise RefusedError(
            "there is no access key, so an address beyond loopback is refused; "
            f"first run: dsn-gateway keys create --data-dir {settings.data_dir}"
        )
    _prepare(settings)
    held = listeners.bind(addresses, shared=settings.workers > 1)
    try:
        # Only ever once: who revoked every key does not want a new one.
        first = None if known else keys.create()
        _greet(settings, held, first, active)
        if settings.workers > 1:
            return _Workers(settings, held, load).run()
        # A terminal that closes must not end a server that does not handle the signal.
        signal.signal(signal.SIGHUP, lambda *_: None)
        _announce(settings, held)
        app.run_worker(settings, held, 0, load)
        return 0
    finally:
        listeners.close(held)


def _prepare(settings: Settings) -> None:
    deadline = time.monotonic() + LOCK_SECONDS_MAX
    while True:
        try:
            app.prepare(settings)
            return
        except app.DataDirLockedError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _check_tls(settings: Settings) -> None:
    # Workers load it again; here a fault still has somebody who reads it.
    if settings.tls_cert and settings.tls_key:
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
        except OSError as error:
            raise ConfigError(
                [
                    f"tls_cert {settings.tls_cert}, tls_key {settings.tls_key}: {error}; "
                    "both have to be there, in PEM, and belong together"
                ]
            ) from None


@dataclass
class _Worker:
    """One place among the workers: the process that fills it now, and how it fared before."""

    number: int
    pid: int = 0
    started: float = 0.0
    start_at: float = 0.0
    failures: int = 0


@dataclass
class _Workers:
    """The parent of several workers: waits for signals and deaths, and acts on them."""

    settings: Settings
    held: list[Listener]
    load: Callable[[], Settings]
    workers: list[_Worker] = field(default_factory=list)
    listening: int = 0
    announced: bool = False

    def run(self) -> int:
        self.workers = [_Worker(number) for number in range(self.settings.workers)]
        # Signals become bytes in a pipe: no handler ever interrupts what is going on.
        self.woken, wake = os.pipe()
        os.set_blocking(self.woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in _HANDLED:
            signal.signal(number, lambda *_: None)
        # A worker writes one byte when it listens; it sees the end of `alive` when we die.
        self.ready_reader, self.ready_writer = os.pipe()
        self.alive_reader, self.alive_writer = os.pipe()
        try:
            return self._loop()
        finally:
            self._kill_all()

    def _loop(self) -> int:
        while True:
            now = time.monotonic()
            for worker in self.workers:
                if not worker.pid and now >= worker.start_at:
                    self._fork(worker)
            for number in self._wait(self._next_start(now)):
                if number in (signal.SIGTERM, signal.SIGINT):
                    return self._drain()
                if number == signal.SIGHUP:
                    self._reload()
            for worker, status in self._dead():
                self._note_crash(worker, status)
                if worker.failures >= START_FAILURES_MAX and not self._proven():
                    log.error("giving up", reason="workers fail when they start")
                    return 1

    def _wait(self, seconds: float | None) -> list[int]:
        """The signals that arrived within the time; counts workers that listen meanwhile."""
        readable, _, _ = select.select([self.woken, self.ready_reader], [], [], seconds)
        if self.ready_reader in readable:
            self.listening += len(os.read(self.ready_reader, 1024))
            if not self.announced and self.listening >= len(self.workers):
                self.announced = True
                _announce(self.settings, self.held)
        return list(os.read(self.woken, 1024)) if self.woken in readable else []

    def _next_start(self, now: float) -> float | None:
        waiting = [worker.start_at for worker in self.workers if not worker.pid]
        return max(0.0, min(waiting) - now) if waiting else None

    def _dead(self) -> list[tuple[_Worker, int]]:
        dead = []
        for worker in self.workers:
            if worker.pid:
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
                if pid:
                    worker.pid = 0
                    dead.append((worker, os.waitstatus_to_exitcode(status)))
        return dead

    def _note_crash(self, worker: _Worker, status: int) -> None:
        now = time.monotonic()
        lived = now - worker.started
        worker.failures = 1 if lived >= PROVEN_SECONDS else worker.failures + 1
        pause = min(BACKOFF_SECONDS_MIN * 2 ** (worker.failures - 1), BACKOFF_SECONDS_MAX)
        worker.start_at = now + pause
        log.error(
            "worker ended",
            worker=worker.number,
            exit_code=status,
            lived_seconds=round(lived, 3),
            restart_in_seconds=pause,
        )

    def _proven(self) -> bool:
        now = time.monotonic()
        return any(w.pid and now - w.started >= PROVEN_SECONDS for w in self.workers)

    def _drain(self) -> int:
        log.info("draining", seconds_max=self.settings.drain_seconds_max)
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self.settings.drain_seconds_max + GRACE_SECONDS
        clean = True
        while any(worker.pid for worker in self.workers):
            left = deadline - time.monotonic()
            if left <= 0:
                log.error("killing workers that did not drain in time")
                self._kill_all()
                return 1
            for number in self._wait(left):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._kill_all()
                    return 128 + number
            # One that dies of the signal itself was not serving yet.
            clean = all(status in (0, -signal.SIGTERM) for _, status in self._dead()) and clean
        log.info("stopped")
        return 0 if clean else 1

    def _reload(self) -> None:
        """Have every worker load the settings anew, and start later ones with them."""
        try:
            settings, _ = reloaded(self.settings, self.load())
            _check_tls(settings)
        except ConfigError as error:
            log.error("configuration not reloaded", error=str(error))
            return
        self.settings = settings
        self._signal_all(signal.SIGHUP)

    def _signal_all(self, number: int) -> None:
        for worker in self.workers:
            if worker.pid:
                os.kill(worker.pid, number)

    def _kill_all(self) -> None:
        self._signal_all(signal.SIGKILL)
        for worker in self.workers:
            if worker.pid:
                os.waitpid(worker.pid, 0)
                worker.pid = 0

    def _fork(self, worker: _Worker) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # Until the child has its own handlers a signal to it would land in our pipe.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        pid = os.fork()
        if pid == 0:
            self._be_worker(worker.number, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        worker.pid, worker.started = pid, time.monotonic()

    def _be_worker(self, number: int, mask: set[int | signal.Signals]) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for handled in _HANDLED:
                signal.signal(handled, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, lambda *_: None)
            # Ctrl-C reaches the whole group, and the parent asks us to drain: once is enough.
            signal.pthread_sigmask(signal.SIG_SETMASK, mask | {signal.SIGINT})
            os.close(self.alive_writer)
            threading.Thread(
                target=_leave_with_parent, args=[self.alive_reader], daemon=True
            ).start()
            mine = listeners.for_worker(self.held)
            os.write(self.ready_writer, b".")
            app.run_worker(self.settings, mine, number, self.load)
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            log.exception("worker failed", worker=number)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # Nothing of the parent's may run here on the way out.
            os._exit(code)


_HANDLED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})


def _leave_with_parent(alive: int) -> None:
    # Whoever starts the gateway again needs the lock and the ports; stored is stored.
    os.read(alive, 1)
    os._exit(1)


def _announce(settings: Settings, held: list[Listener]) -> None:
    """Tells programs that wait for it, in one line that stays as it is."""
    endpoints = [
        listener.endpoint(settings.scheme, path) for listener in held for path in settings.base_path
    ]
    print(f"dsn-gateway ready endpoint={endpoints[0]} pid={os.getpid()}", flush=True)  # noqa: T201
    log.info("ready", endpoint=endpoints[0], endpoints=endpoints, workers=settings.workers)


def _greet(
    settings: Settings, held: list[Listener], first: AccessKey | None, active: list[AccessKey]
) -> None:
    """Tells people where it is and who may in; a secret is shown when it is made, never again."""
    endpoint = held[0].endpoint(settings.scheme, settings.base_path[0])
    lines = ["", f"  data        {settings.data_dir}", f"  endpoint    {endpoint}"]
    if first:
        lines += [
            f"  access key  {first.access_key}",
            f"  secret      {first.secret}",
            "              shown this once; for another one: "
            f"dsn-gateway keys create --data-dir {settings.data_dir}",
            "",
            *_snippets(endpoint, first, settings),
        ]
    elif active:
        more = f" and {len(active) - 1} more" if len(active) > 1 else ""
        lines += [
            f"  access key  {active[0].access_key}{more}",
            f"              for a new one: dsn-gateway keys create --data-dir {settings.data_dir}",
        ]
    else:
        lines += [
            "  access key  none is active, so nobody gets in; for one:",
            f"              dsn-gateway keys create --data-dir {settings.data_dir}",
        ]
    print("\n".join([*lines, ""]), flush=True)  # noqa: T201


def _snippets(endpoint: str, key: AccessKey, settings: Settings) -> list[str]:
    if not endpoint.startswith("http"):
        return []
    return [
        "  rclone",
        f"    rclone config create dsn s3 provider=Other access_key_id={key.access_key} "
        f"secret_access_key={key.secret} endpoint={endpoint} no_check_bucket=true list_version=2",
        "    rclone copy FOLDER dsn:bucket",
        "  rclone, without touching its configuration",
        f"    export RCLONE_CONFIG_DSN_TYPE=s3 RCLONE_CONFIG_DSN_PROVIDER=Other "
        f"RCLONE_CONFIG_DSN_ACCESS_KEY_ID={key.access_key} "
        f"RCLONE_CONFIG_DSN_SECRET_ACCESS_KEY={key.secret} RCLONE_CONFIG_DSN_ENDPOINT={endpoint} "
        "RCLONE_CONFIG_DSN_NO_CHECK_BUCKET=true RCLONE_CONFIG_DSN_LIST_VERSION=2",
        "  aws",
        f"    export AWS_ACCESS_KEY_ID={key.access_key} AWS_SECRET_ACCESS_KEY={key.secret} "
        f"AWS_ENDPOINT_URL={endpoint} AWS_DEFAULT_REGION={settings.region}",
        # Versions of the client before 2.13 and 1.29 would go to AWS without the flag.
        f"    aws --endpoint-url {endpoint} s3 cp FILE s3://bucket/",
        "  boto3",
        f'    s3 = boto3.client("s3", endpoint_url="{endpoint}", region_name="{settings.region}",',
        f'        aws_access_key_id="{key.access_key}", aws_secret_access_key="{key.secret}")',
        "",
    ]
