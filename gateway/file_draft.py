"""The DAG of a file in the making: leaves into a sink, link nodes above them, one draft at the end.

A file of one slab is drafted in memory, for its commit to write; that of a larger one or of an
assembled upload while its leaves are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dsn.blockstore.segments.writing import Buffer
from dsn.chunker import Slab
from dsn.cid import digest_of
from dsn.codec import leaf_prefix
from dsn.dag_builder import FileDagBuilder, LinkNode, checked_upload_options, single_file_node
from dsn.errors import NameTooLongError, NodeTooLargeError
from dsn.framing import FULL_SECTION_BYTES, node_section
from dsn.layout import Layout, Run, RunList
from dsn.node import CHUNK_BYTES, UploadOptions
from dsn.place import Place


@dataclass(slots=True)
class FileDraft:
    """The DAG of a file, complete but for the places of the blocks that its commit writes.

    `leaves` and `links` are in layout order; a digest among them is one of `blocks`.
    """

    root: bytes
    size: int
    leaves: list[Run | bytes]
    links: list[Place | bytes]
    blocks: dict[bytes, Buffer] = field(default_factory=dict)

    def layout(self, places: Mapping[bytes, Place]) -> Layout:
        """Where the file's nodes lie, now that its blocks have their places."""
        runs = RunList()
        for leaf in self.leaves:
            if isinstance(leaf, bytes):
                runs.append(*places[leaf])
            else:
                runs.extend((leaf,))
        links = (places[link] if isinstance(link, bytes) else link for link in self.links)
        return Layout(runs.runs(), tuple(links))


class LeafSink(Protocol):
    """Where the nodes of a file go while its DAG is built."""

    def write_leaves(self, sections: memoryview, digests: Sequence[bytes]) -> None: ...

    def write_leaf(self, digest: bytes, block: bytes) -> None: ...

    def write_block(self, digest: bytes, block: bytes) -> Place | bytes: ...

    def extend_runs(self, runs: Iterable[Run]) -> None: ...

    def leaves(self) -> list[Run | bytes]: ...

    def sync(self) -> None: ...


class MemoryLeaves:
    """Keeps the nodes of a small file for its commit, which writes them into the log."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, Buffer] = {}
        self._leaves: list[Run | bytes] = []

    def write_leaves(self, sections: memoryview, digests: Sequence[bytes]) -> None:
        for i, digest in enumerate(digests):
            self.blocks[digest] = sections[i * FULL_SECTION_BYTES : (i + 1) * FULL_SECTION_BYTES]
        self._leaves.extend(digests)

    def write_leaf(self, digest: bytes, block: bytes) -> None:
        self.write_block(digest, block)
        self._leaves.append(digest)

    def write_block(self, digest: bytes, block: bytes) -> bytes:
        self.blocks[digest] = node_section(digest, block)
        return digest

    def extend_runs(self, runs: Iterable[Run]) -> None:
        self._leaves.extend(runs)

    def leaves(self) -> list[Run | bytes]:
        return self._leaves

    def sync(self) -> None:
        """The commit makes them durable."""


class DagWriter:
    """Builds the DAG of a file of several chunks while its leaves go to a sink. Blocking."""

    def __init__(self, sink: LeafSink, name: str | None, options: UploadOptions) -> None:
        """`options` are checked against the file's first bytes already."""
        self._sink = sink
        self._name = fitting_name(name)
        self._options = options
        self._builder = FileDagBuilder()
        self._links: dict[tuple[int, int], Place | bytes] = {}
        self._size = 0

    def add_slab(self, slab: Slab) -> None:
        """Store a slab's full leaves."""
        digests = slab.hash_leaves()
        if digests:
            self._sink.write_leaves(slab.view[: len(digests) * FULL_SECTION_BYTES], digests)
            self._add(digests, len(digests) * CHUNK_BYTES)

    def add_stored(self, digests: Sequence[bytes], runs: Iterable[Run]) -> None:
        """Take full leaves that are stored already."""
        self._sink.extend_runs(runs)
        self._add(digests, len(digests) * CHUNK_BYTES)

    def add_leaf(self, payload: Buffer) -> None:
        """Store a leaf, full or the last one."""
        block = leaf_prefix(len(payload)) + payload
        digest = digest_of(block)
        self._sink.write_leaf(digest, block)
        self._add((digest,), len(payload))

    def finish(self) -> FileDraft:
        """Store what remains of the DAG and have all of it durable."""
        links, root = self._builder.finish(self._size, self._name, self._options)
        self._store_links((*links, root))
        self._sink.sync()
        places = [self._links[at] for at in sorted(self._links)]
        return FileDraft(root.digest, self._size, self._sink.leaves(), places)

    def _add(self, digests: Sequence[bytes], size: int) -> None:
        self._size += size
        self._store_links(self._builder.add_leaves(digests))

    def _store_links(self, links: Sequence[LinkNode]) -> None:
        for link in links:
            self._links[link.level, link.index] = self._sink.write_block(link.digest, link.block)


def fitting_name(name: str | None) -> str | None:
    """The name for the root, or None where Auto Drive's format has no room for it.

    The network refuses such names; S3 does not. https://github.com/autonomys/auto-sdk
    """
    if name is None:
        return None
    return name if len(name.encode("utf-16-le", "surrogatepass")) <= 2 * 255 else None


def single_draft(payload: memoryview, name: str | None, options: UploadOptions) -> FileDraft:
    """The draft of a file of at most one chunk."""
    checked = checked_upload_options(options, payload[:2])
    if not payload:
        sink = MemoryLeaves()
        draft = DagWriter(sink, name, checked).finish()
        draft.blocks = sink.blocks
        return draft
    try:
        block = single_file_node(payload, name, checked)
    except (NameTooLongError, NodeTooLargeError):
        block = single_file_node(payload, None, checked)
    digest = digest_of(block)
    return FileDraft(digest, len(payload), [], [digest], {digest: node_section(digest, block)})


def slab_draft(slab: Slab, name: str | None, options: UploadOptions) -> FileDraft:
    """The draft of a file that lies in one slab."""
    if slab.filled <= CHUNK_BYTES:
        return single_draft(slab.payloads[0][: slab.filled], name, options)
    sink = MemoryLeaves()
    dag = DagWriter(sink, name, checked_upload_options(options, slab.payloads[0][:2]))
    dag.add_slab(slab)
    if tail := slab.tail():
        dag.add_leaf(tail)
    draft = dag.finish()
    draft.blocks = sink.blocks
    return draft
