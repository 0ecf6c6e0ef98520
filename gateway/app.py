"""Wires a worker together and runs it."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
import uvloop
from aiohttp import web

from gateway import logs
from gateway.buckets import Buckets
from gateway.budget import ByteBudget
from gateway.catalog.database import Database
from gateway.catalog.queries import last_sequence
from gateway.catalog.sequence import WORKER_BITS, SequenceClock
from gateway.commits import Committer
from gateway.config import ConfigError, Settings, reloaded
from gateway.copies import Copies
from gateway.data_dir import (
    DataDirLockedError,
    DataPaths,
    lock_data_dir,
    open_store,
    recover_data_dir,
)
from gateway.delete_policy import parse_policy
from gateway.deletes import DeletePolicies, Deletes
from gateway.expired_objects import ExpiredObjects
from gateway.ingest import Ingest
from gateway.keys import KeyStore
from gateway.listeners import BACKLOG, Listener
from gateway.md5_lanes import new_md5_lanes
from gateway.objects import Objects
from gateway.quotas import Quotas, QuotaStore
from gateway.room import Room
from gateway.s3.timestamps import MICROSECONDS
from gateway.sharing import Sharing
from gateway.stale_uploads import StaleUploads
from gateway.uploads import Uploads
from gateway.web.authentication import Authenticator
from gateway.web.dispatch import Dispatcher
from gateway.web.downloads import Downloads
from gateway.web.server import S3Server, check_parser
from gateway.web.services import Limits, Services

__all__ = ["DataDirLockedError", "WorkerApp", "offline_objects", "prepare", "run_worker"]

log = structlog.get_logger()

WORKER_THREADS = 16
# The worker number of a command that runs beside a server, which has 256 workers at most.
_VISITOR = (1 << WORKER_BITS) - 1
_INDEX_FLUSH_SECONDS = 2.0
_CHECKPOINT_SECONDS = 5.0
# Rules are of days; the first look is soon, for a server that is started often.
_FIRST_SWEEP_SECONDS = 60.0
_SWEEPS_A_DAY = 24
# Objects made and not yet dropped.
_COLLECT_AFTER = 20_000


def prepare(settings: Settings) -> None:
    """Lock the data directory and recover it; once, before any worker runs.

    Raises DataDirLockedError.
    """
    check_parser()
    lock_data_dir(settings.data_dir)
    recover_data_dir(settings.data_dir)


def run_worker(
    settings: Settings, listeners: list[Listener], worker: int, load: Callable[[], Settings]
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second one leaves at once.

    SIGHUP has the settings loaded anew.
    """
    _spare_the_collector()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listeners, worker, load))


def _spare_the_collector() -> None:
    """Have the garbage collector look at few objects, and seldom.

    Requests make no cycles but where they fail; with the defaults it took a tenth of a worker's
    time. What start-up made lives as long as the process and is not looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 50, 50)


async def _serve(
    settings: Settings, listeners: list[Listener], worker: int, load: Callable[[], Settings]
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    # From the beginning, so that none is lost while we start.
    hung_up = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    worker_app = WorkerApp(settings, worker)
    await worker_app.start()
    server = S3Server(
        worker_app.dispatcher,
        header_seconds_max=settings.header_seconds_max,
        keepalive_seconds_max=settings.keepalive_seconds_max,
    )
    runner = web.ServerRunner(server, shutdown_timeout=settings.drain_seconds_max)
    await runner.setup()
    context = _tls_context(settings)
    for listener in listeners:
        # aiohttp listens again, with a queue of 128 unless told otherwise.
        site = web.SockSite(runner, listener.socket, ssl_context=context, backlog=BACKLOG)
        await site.start()

    async def reload() -> None:
        current = settings
        while True:
            await hung_up.wait()
            hung_up.clear()
            current = _reload(current, load, worker_app, context)

    reloading = asyncio.create_task(reload(), name="reload")
    worker_app.ready = True
    log.info("serving", worker=worker)
    await stopping.wait()
    log.info("draining", worker=worker)
    worker_app.ready = False
    reloading.cancel()
    await runner.cleanup()
    await worker_app.close()
    log.info("stopped", worker=worker)


def _reload(
    current: Settings,
    load: Callable[[], Settings],
    worker_app: WorkerApp,
    context: ssl.SSLContext | None,
) -> Settings:
    """Take over what can change while running; the settings from now on.

    What cannot be used changes nothing: a server does not end because of a typing error.
    """
    try:
        settings, left = reloaded(current, load())
        if context is not None and settings.tls_cert is not None:
            # First into a context of its own: half of a pair must not get into the one in use.
            _tls_context(settings)
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (ConfigError, OSError) as error:
        log.error("configuration not reloaded", error=str(error))
        return current
    logs.configure(settings.log_level, settings.log_format)
    worker_app.reconfigure(settings)
    log.info("configuration reloaded", needs_restart=left)
    return settings


@asynccontextmanager
async def offline_objects(data_dir: Path) -> AsyncIterator[Objects]:
    """The objects of a locked data directory, without a door."""
    async with _worker_without_a_door(data_dir, 0) as worker_app:
        yield worker_app.objects


@asynccontextmanager
async def visiting_buckets(data_dir: Path) -> AsyncIterator[Buckets]:
    """The buckets of a data directory, for a command that may run beside a server.

    To the server it is one more worker, with a log of its own.
    """
    async with _worker_without_a_door(data_dir, _VISITOR) as worker_app:
        yield worker_app.buckets


@asynccontextmanager
async def _worker_without_a_door(data_dir: Path, number: int) -> AsyncIterator[WorkerApp]:
    worker_app = WorkerApp(Settings(data_dir=data_dir), number)
    await worker_app.start()
    try:
        yield worker_app
    finally:
        await worker_app.close()


class WorkerApp:
    """Everything that one worker process consists of."""

    def __init__(self, settings: Settings, worker: int) -> None:
        paths = DataPaths(settings.data_dir)
        self.ready = False
        self._settings = settings
        self._worker = worker
        self._store = open_store(settings.data_dir)
        self._database = Database(paths.catalog)
        self._threads = ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="io")
        self._sending_threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="send")
        self._md5_lanes = new_md5_lanes(self._threads)
        self._ingest = Ingest(
            self._store,
            ByteBudget(settings.upload_buffer_bytes_max),
            self._threads,
            self._md5_lanes,
        )
        self._keys = KeyStore(settings.data_dir)
        self._tasks: list[asyncio.Task[None]] = []
        self._committer: Committer
        self._uploads: Uploads
        self._services: Services
        self.dispatcher: Dispatcher

    @property
    def objects(self) -> Objects:
        """The objects, for use without a door."""
        return self._services.objects

    @property
    def buckets(self) -> Buckets:
        """The buckets, for use without a door."""
        return self._services.buckets

    async def start(self) -> None:
        """Open the catalog and begin to commit."""
        settings = self._settings
        await self._database.open()
        clock = SequenceClock(
            self._worker,
            last=await self._database.read(last_sequence),
            wall_ns=time.time_ns,
            steady_ns=time.monotonic_ns,
        )
        self._committer = Committer(
            self._store,
            self._database,
            clock,
            segment_bytes_max=settings.segment_bytes_max,
            global_names=settings.global_buckets,
        )
        self._committer.start()
        buckets = Buckets(
            self._database,
            self._committer,
            Quotas(QuotaStore(settings.data_dir).applying),
            implicit=settings.implicit_buckets,
        )
        parts = (self._store, self._database, self._committer, self._ingest, buckets)
        self._uploads = Uploads(
            *parts, part_bytes_min=settings.part_bytes_min, new_id=_new_upload_id
        )
        day_us = settings.lifecycle_day_seconds * MICROSECONDS
        objects = Objects(*parts, day_us=day_us)
        reading = ByteBudget(settings.download_buffer_bytes_max)
        policies = _delete_policies(settings)
        services = self._services = Services(
            buckets,
            objects,
            Deletes(
                self._database,
                self._committer,
                policies,
                now_seconds=_now_seconds,
            ),
            self._uploads,
            Copies(
                self._database,
                self._committer,
                self._ingest,
                buckets,
                objects,
                self._uploads,
                policies,
                reading,
                now_seconds=_now_seconds,
            ),
            self._ingest,
            Downloads(reading, self._threads, self._sending_threads),
            _limits(settings),
            settings.region,
            settings.cid_header,
            now_seconds=_now_seconds,
            check_room=Room(
                settings.data_dir, settings.free_space_reserve_bytes, time.monotonic
            ).check,
            sharing=Sharing(
                self._database,
                ownership=settings.object_ownership,
                is_account=self._keys.has_account,
            )
            if settings.global_buckets
            else None,
            day_us=day_us,
        )
        self.dispatcher = Dispatcher(
            services,
            Authenticator(
                self._keys.lookup,
                self._keys.lookup_anonymous,
                lambda: datetime.now(UTC),
                timedelta(seconds=settings.clock_skew_seconds_max),
                admits_anonymous=settings.global_buckets,
            ),
            base_paths=settings.base_path,
            domains=settings.domains,
            is_ready=lambda: self.ready,
            access_log=settings.access_log,
        )
        self._tasks = [
            asyncio.create_task(self._flush_index(), name="index"),
            asyncio.create_task(self._checkpoint(), name="checkpoint"),
        ]
        if self._worker == 0:
            self._tasks.append(asyncio.create_task(self._carry_out_lifecycles(), name="lifecycle"))

    def reconfigure(self, settings: Settings) -> None:
        """Take over the options that can change while running."""
        self._services = replace(self._services, limits=_limits(settings))
        self.dispatcher.reconfigure(self._services, access_log=settings.access_log)

    async def close(self) -> None:
        """Finish what was begun and close everything."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self._uploads.close()
        await self._committer.close()
        await self._database.close()
        self._md5_lanes.close()
        self._sending_threads.shutdown(wait=True)
        self._threads.shutdown(wait=True)
        self._store.close()

    async def _flush_index(self) -> None:
        """Write what is new to the index, beside the requests."""
        while True:
            await asyncio.sleep(_INDEX_FLUSH_SECONDS)
            try:
                await self._ingest.run(self._store.pending.flush)
            except Exception:
                # Nothing is lost: it stays in memory, and in the segments.
                log.exception("index not written")

    async def _checkpoint(self) -> None:
        while True:
            await asyncio.sleep(_CHECKPOINT_SECONDS)
            try:
                await self._database.checkpoint()
            except Exception:
                log.exception("checkpoint failed")

    async def _carry_out_lifecycles(self) -> None:
        """Do what lifecycle rules ask for; one worker of a store does."""
        day_us = self._services.day_us
        stale = StaleUploads(self._database, self._uploads, day_us)
        expired = ExpiredObjects(self._database, self._services.deletes, day_us)
        pause = self._settings.lifecycle_day_seconds / _SWEEPS_A_DAY
        await asyncio.sleep(min(_FIRST_SWEEP_SECONDS, pause))
        while True:
            try:
                await stale.abort_due(time.time_ns() // 1000)
            except Exception:
                log.exception("stale uploads not aborted")
            try:
                await expired.hide_due(time.time_ns() // 1000)
                await expired.remove_lone_markers()
            except Exception:
                log.exception("expired objects not hidden")
            await asyncio.sleep(pause)


def _now_seconds() -> int:
    return int(time.time())


def _delete_policies(settings: Settings) -> DeletePolicies:
    by_bucket = (item.partition("=") for item in settings.bucket_delete_policies)
    return DeletePolicies(
        parse_policy(settings.delete_policy),
        {bucket: parse_policy(policy) for bucket, _, policy in by_bucket},
    )


def _limits(settings: Settings) -> Limits:
    return Limits(settings.object_bytes_max, settings.put_bytes_max, settings.body_idle_seconds_max)


def _new_upload_id() -> str:
    """An id that grows with time and cannot be guessed."""
    return f"{time.time_ns() // 1000:014x}{secrets.token_hex(16)}"


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context
