"""Takes bodies in, in one pass: leaves stored, size and digests counted, the DAG drafted above.

A body that fits one slab stays in memory until its commit writes it into the log. A larger one
streams into a segment of its own: while one slab is received, those before it are hashed by MD5,
side by side with those of other bodies, and in another thread by BLAKE3, and written. Three slabs
are all the memory that it takes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from dsn.blockstore.segments.files import SegmentKind
from dsn.blockstore.segments.leaves import LeafWriter
from dsn.blockstore.segments.store import SegmentStore
from dsn.car import section_prefix
from dsn.chunker import Slab
from dsn.cid import RAW_CID_PREFIX, digest_of
from dsn.dag_builder import checked_upload_options
from dsn.framing import FULL_SECTION_BYTES
from dsn.layout import Layout, encode_layout
from dsn.node import CHUNK_BYTES, UploadOptions
from gateway.budget import ByteBudget, SlabPool
from gateway.digests import BodyDigests
from gateway.file_draft import DagWriter, FileDraft, single_draft, slab_draft
from gateway.md5_lanes import Md5Lanes
from gateway.strand import Strand

T = TypeVar("T")

log = structlog.get_logger()

# Below this, hashing on the event loop is cheaper than a hop to a thread and back.
INLINE_BYTES_MAX = 64 * 1024
# One is received into, one hashed and written, one waits so that the hashing goes on.
SLABS_MAX = 3


class Body(Protocol):
    """The bytes of a request, decoded. `length` is what the request announced, if it did."""

    length: int | None

    async def fill(self, views: Sequence[memoryview]) -> int:
        """Fill the views one after the other; how many bytes, fewer than fit only at the end."""
        ...


@dataclass(slots=True)
class IngestedFile:
    """A body taken in as a file: durable but for the draft's blocks, and not yet committed.

    Exactly one of `Ingest.keep` and `Ingest.discard` is called in the end.
    """

    draft: FileDraft
    leaves: LeafWriter | None
    release: Callable[[], None]


@dataclass(slots=True)
class IngestedPart:
    """A body taken in as a part: durable in a segment of its own, not yet committed."""

    size: int
    start: int
    runs: bytes
    digests: tuple[int, int]
    head: tuple[int, int]
    tail: tuple[int, int]
    leaves: LeafWriter

    @property
    def segment(self) -> int:
        """The part's own segment."""
        assert self.leaves.segment is not None
        return self.leaves.segment


class _PartWriter:
    """Stores the leaves that lie wholly within a part. Runs in worker threads."""

    def __init__(self, leaves: LeafWriter) -> None:
        self.leaves = leaves
        self._digests = bytearray()

    def add_slab(self, slab: Slab) -> None:
        digests = slab.hash_leaves()
        if digests:
            used = slab.view[: len(digests) * FULL_SECTION_BYTES]
            self.leaves.write_leaves(used, digests)
            self._digests += b"".join(digests)

    def finish(self, size: int, start: int, head: bytes, tail: bytes) -> IngestedPart:
        digests_at = self._append_raw(bytes(self._digests))
        head_at = self._append_raw(head)
        tail_at = self._append_raw(tail)
        self.leaves.sync()
        runs = encode_layout(Layout(self.leaves.runs.runs(), ()))
        return IngestedPart(size, start, runs, digests_at, head_at, tail_at, self.leaves)

    def _append_raw(self, block: bytes) -> tuple[int, int]:
        prefix = section_prefix(RAW_CID_PREFIX + digest_of(block), len(block))
        place = self.leaves.append_section(prefix + block)
        return (place.offset, len(block)) if block else (0, 0)


class Ingest:
    """Takes bodies in. One for each process."""

    def __init__(
        self,
        store: SegmentStore,
        budget: ByteBudget,
        threads: ThreadPoolExecutor,
        md5_lanes: Md5Lanes,
    ) -> None:
        self.store = store
        self.threads = threads
        self._md5_lanes = md5_lanes
        self._budget = budget
        self._slabs = SlabPool(budget)

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work in a worker thread; a cancelled caller, too, waits for its end."""
        job = asyncio.get_running_loop().run_in_executor(self.threads, work)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            # What the thread works on must not be let go under its hands.
            await asyncio.gather(job, return_exceptions=True)
            raise

    async def keep(self, taken: IngestedFile) -> None:
        """After the commit: the nodes are here to stay, others may point at them."""
        leaves = taken.leaves
        try:
            if leaves is not None:
                await self.run(partial(keep_leaves, leaves))
        finally:
            taken.release()

    def leave(self, taken: IngestedFile) -> None:
        """After a commit whose outcome the next start decides: the segment stays."""
        if taken.leaves is not None:
            taken.leaves.close()
        taken.release()

    async def discard(self, taken: IngestedFile) -> None:
        """After a refusal: nothing of the body stays."""
        try:
            if taken.leaves is not None:
                await self.run(taken.leaves.discard)
        finally:
            taken.release()

    async def file(
        self, body: Body, digests: BodyDigests, name: str | None, options: UploadOptions
    ) -> IngestedFile:
        """Take a body in as a file; raises what the body raises, having left nothing behind."""
        if body.length is not None and body.length <= CHUNK_BYTES:
            return await self._one_node(body, body.length, digests, name, options)
        slab = await self._slabs.take()
        try:
            ended = await _fill(body, slab)
            if ended:
                return await self._in_memory(slab, digests, name, options)
        except BaseException:
            self._slabs.give(slab)
            raise
        checked = checked_upload_options(options, bytes(slab.payloads[0][:2]))
        leaves = LeafWriter(self.store, SegmentKind.BODY)
        dag = DagWriter(leaves, name, checked)
        try:
            tail = await self._stream(body, slab, digests, dag.add_slab)

            def finish() -> FileDraft:
                if tail:
                    dag.add_leaf(tail)
                return dag.finish()

            draft = await self.run(finish)
        except BaseException:
            await self.run(leaves.discard)
            raise
        return IngestedFile(draft, leaves, _nothing)

    async def part(self, body: Body, digests: BodyDigests, start: int) -> IngestedPart:
        """Take a body in as the part of an object that starts at byte `start`."""
        head_bytes = -start % CHUNK_BYTES
        head = bytearray(min(head_bytes, body.length if body.length is not None else head_bytes))
        received = await body.fill((memoryview(head),)) if head else 0
        del head[received:]
        digests.update((memoryview(head),))
        leaves = LeafWriter(self.store, SegmentKind.PART)
        writer = _PartWriter(leaves)
        try:
            slab = await self._slabs.take()
            try:
                await _fill(body, slab)
            except BaseException:
                self._slabs.give(slab)
                raise
            counted = _Counted(writer.add_slab)
            tail = await self._stream(body, slab, digests, counted.add_slab)
            size = len(head) + counted.leaves * CHUNK_BYTES + len(tail)
            return await self.run(lambda: writer.finish(size, start, bytes(head), tail))
        except BaseException:
            await self.run(leaves.discard)
            raise

    async def _one_node(
        self,
        body: Body,
        length: int,
        digests: BodyDigests,
        name: str | None,
        options: UploadOptions,
    ) -> IngestedFile:
        if not self._budget.try_take(length):
            await self._budget.take(length)
        try:
            payload = memoryview(bytearray(length))
            # The byte too many lets the body say whether it ends here, as announced.
            await body.fill((payload, memoryview(bytearray(1))))
            digests.update((payload,))
            draft = single_draft(payload, name, options)
        except BaseException:
            self._budget.give(length)
            raise
        return IngestedFile(draft, None, lambda: self._budget.give(length))

    async def _in_memory(
        self,
        slab: Slab,
        digests: BodyDigests,
        name: str | None,
        options: UploadOptions,
    ) -> IngestedFile:
        if slab.filled <= INLINE_BYTES_MAX:
            digests.update(slab.received())
            draft = slab_draft(slab, name, options)
        else:
            drafting = asyncio.get_running_loop().run_in_executor(
                self.threads, partial(slab_draft, slab, name, options)
            )
            hashing = digests.submit(slab.received(), self._md5_lanes, self.threads)
            await _all((drafting, *hashing))
            draft = drafting.result()
        return IngestedFile(draft, None, lambda: self._slabs.give(slab))

    async def _stream(
        self, body: Body, slab: Slab, digests: BodyDigests, store: Callable[[Slab], None]
    ) -> bytes:
        """Pass slab after slab to the digests and to `store`; the bytes after the last full leaf.

        The first slab arrives filled. Each one is queued behind those before it as soon as it is
        full, so that nobody who hashes ever waits for the event loop. One that is done with is
        received into again; while none is, further ones, if there is memory for them. All go back
        to the pool.
        """
        strand = Strand(self.threads)
        slabs = [slab]
        busy: deque[tuple[Slab, list[asyncio.Future[None]]]] = deque()
        try:
            while True:
                tail = slab.tail()
                jobs = digests.submit(slab.received(), self._md5_lanes, self.threads)
                busy.append((slab, [*jobs, strand.submit(partial(store, slab))]))
                if not slab.is_full:
                    while busy:
                        await _all(busy[0][1])
                        busy.popleft()
                    return tail
                spare = None
                if not all(job.done() for job in busy[0][1]):
                    spare = self._try_take(len(slabs))
                if spare is not None:
                    slabs.append(spare)
                    slab = spare
                else:
                    await _all(busy[0][1])
                    slab, _ = busy.popleft()
                slab.filled = 0
                await _fill(body, slab)
        finally:
            # Whatever went wrong, nobody works on a slab that is handed back.
            left = [job for _, jobs in busy for job in jobs]
            if left:
                await asyncio.gather(*left, return_exceptions=True)
            for used in slabs:
                self._slabs.give(used)

    def _try_take(self, have: int) -> Slab | None:
        """One more slab for a stream that has some: a second one gladly, a third one in calm."""
        if have == 1:
            return self._slabs.try_take()
        return self._slabs.try_take_more() if have < SLABS_MAX else None


def keep_leaves(leaves: LeafWriter) -> None:
    """Tell the index about leaves that are committed, and let go of their segment. Blocking."""
    try:
        leaves.index()
    except Exception:
        # The commit stands; the index is completed at the next start.
        log.exception("index not written")
    finally:
        leaves.close()


class _Counted:
    """Counts the full leaves of the slabs that pass."""

    def __init__(self, store: Callable[[Slab], None]) -> None:
        self._store = store
        self.leaves = 0

    def add_slab(self, slab: Slab) -> None:
        self.leaves += slab.full_leaves
        self._store(slab)


async def _fill(body: Body, slab: Slab) -> bool:
    """Receive into a slab until it is full; whether the body ended before."""
    slab.filled += await body.fill(slab.room())
    return not slab.is_full


async def _all(jobs: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for every job, also when the request is cancelled; raise the first error."""
    waiting = [job for job in jobs if not job.done()]
    if waiting:
        try:
            await asyncio.wait(waiting)
        except asyncio.CancelledError:
            await asyncio.gather(*jobs, return_exceptions=True)
            raise
    for job in jobs:
        job.result()


def _nothing() -> None:
    """Nothing to release."""
