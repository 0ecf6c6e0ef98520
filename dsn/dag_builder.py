"""Builds the DAG of one file or folder: digests go in, link nodes come out, nothing is stored here.

`FileDagBuilder` is for streams: it keeps at most one unfinished group of links a level.
The `build_*` generators are for what is small or in memory and yield blocks in Auto Drive's own
order of writes: leaves in file order, link nodes level by level from the left, then the root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from dsn.cid import digest_of
from dsn.codec import encode_node
from dsn.errors import NodeTooLargeError
from dsn.node import (
    DEFAULT_LIMITS,
    NO_OPTIONS,
    NODE_BYTES_MAX,
    DagLimits,
    Node,
    NodeType,
    UploadOptions,
    check_name,
)
from dsn.shape import FileShape

Block = tuple[bytes, bytes]
"""(digest, encoded node)"""


@dataclass(frozen=True, slots=True)
class LinkNode:
    """A finished node that holds links.

    Level 1 is the first above the leaves, the root has the highest; `index` counts from the left.
    """

    level: int
    index: int
    block: bytes
    digest: bytes


class FileDagBuilder:
    """Folds the leaves of one file into link nodes while they arrive; memory is O(depth).

    Leaves are handed over in file order, as digests. A file of exactly one leaf has no DAG but a
    single node: see `single_file_node`.
    """

    def __init__(self, limits: DagLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._leaf_count = 0
        self._fold = _Fold(limits, _file_inlink)

    @property
    def leaf_count(self) -> int:
        """Leaves handed over so far."""
        return self._leaf_count

    def add_leaves(self, digests: Iterable[bytes]) -> list[LinkNode]:
        """Take the next leaves; returns the link nodes that became complete, children first.

        A full group is held back until one more item of its level shows that it must be folded:
        without that item its links would stand in the root itself.
        """
        added, complete = self._fold.add(digests)
        self._leaf_count += added
        return complete

    def finish(
        self, size: int, name: str | None, options: UploadOptions = NO_OPTIONS
    ) -> tuple[list[LinkNode], LinkNode]:
        """The link nodes that remain, level by level, and the root; ends the builder.

        `size` is the file's in bytes. Raises NameTooLongError, NodeTooLargeError, and ValueError
        when the leaves do not make a file of this size or are exactly one.
        """
        check_name(name)
        if self._leaf_count == 1:
            raise ValueError("a file of one chunk is a single node and has no links")
        if self._leaf_count != FileShape.of(size, self._limits).leaf_count:
            raise ValueError(f"{self._leaf_count} leaves do not make a file of {size} bytes")
        return _finish_data(self._fold, NodeType.File, size, name, options, self._limits)


def single_file_node(
    payload: bytes | memoryview, name: str | None, options: UploadOptions = NO_OPTIONS
) -> bytes:
    """The block of a file that is exactly one chunk: root and leaf in one.

    NameTooLongError; NodeTooLargeError when a long name does not fit beside a nearly full chunk.
    """
    check_name(name)
    block = _single_node(NodeType.File, bytes(payload), name, options)
    # The package checks a single node against the default limit, whatever limits it was given.
    return _fitting(block, NODE_BYTES_MAX)


def checked_upload_options(
    options: UploadOptions, first_two_bytes: bytes | memoryview
) -> UploadOptions:
    """The options that go into the root of a file whose bytes begin with `first_two_bytes`.

    A claim of compression is dropped when the bytes do not begin with a zlib header; behind
    encryption it cannot be checked and stays. auto-dag-data has this rule since 1.6.14.
    """
    if options.compression is None or options.encryption is not None:
        return options
    return options if _is_zlib(bytes(first_two_bytes)) else replace(options, compression=None)


def build_file(
    content: bytes | memoryview | Iterable[bytes | memoryview],
    name: str | None,
    options: UploadOptions = NO_OPTIONS,
    limits: DagLimits = DEFAULT_LIMITS,
) -> Iterator[Block]:
    """All blocks of a file, given whole or in pieces of any size; the root comes last.

    `options` are written as they are: see `checked_upload_options`.
    NameTooLongError, NodeTooLargeError.
    """
    return _build_data(content, name, options, limits, NodeType.FileChunk, NodeType.File)


def build_metadata(
    json_bytes: bytes, name: str | None, limits: DagLimits = DEFAULT_LIMITS
) -> Iterator[Block]:
    """All blocks of a metadata object, given as its exact JSON; the root comes last.

    Cut and folded like a file; its roots have no options. NameTooLongError, NodeTooLargeError.
    """
    return _build_data(json_bytes, name, None, limits, NodeType.MetadataChunk, NodeType.Metadata)


def build_folder(
    children: Iterable[bytes],
    name: str,
    size: int,
    options: UploadOptions = NO_OPTIONS,
    limits: DagLimits = DEFAULT_LIMITS,
) -> Iterator[Block]:
    """All blocks of a folder; the root comes last.

    `children` are the digests of the children's roots in the order to be kept, `size` the sum of
    their sizes in bytes. NameTooLongError, NodeTooLargeError.
    """
    check_name(name)
    fold = _Fold(limits, _folder_inlink)
    _, complete = fold.add(children)
    remaining, links = fold.finish()
    yield from _in_write_order(complete + remaining)
    root = Node(
        NodeType.Folder,
        link_depth=fold.depth - 1,
        size=size,
        name=name,
        upload_options=options,
        links=tuple(links),
    )
    block = _fitting(encode_node(root), limits.node_bytes_max)
    yield digest_of(block), block


def _build_data(
    content: bytes | memoryview | Iterable[bytes | memoryview],
    name: str | None,
    options: UploadOptions | None,
    limits: DagLimits,
    leaf_type: NodeType,
    root_type: NodeType,
) -> Iterator[Block]:
    check_name(name)
    pieces = (content,) if isinstance(content, bytes | memoryview) else content
    chunks = _cut(pieces, limits.chunk_bytes)
    head = list(islice(chunks, 2))
    if len(head) == 1:
        block = _single_node(root_type, head[0], name, options)
        if root_type is NodeType.File:  # the package does not check a single metadata node
            block = _fitting(block, NODE_BYTES_MAX)
        yield digest_of(block), block
        return
    fold = _Fold(limits, _file_inlink)
    link_nodes: list[LinkNode] = []
    size = 0
    for chunk in (*head, *chunks):
        size += len(chunk)
        block = encode_node(Node(leaf_type, size=len(chunk), data=chunk))
        digest = digest_of(block)
        yield digest, block
        link_nodes += fold.add((digest,))[1]
    remaining, root = _finish_data(fold, root_type, size, name, options, limits)
    yield from _in_write_order(link_nodes + remaining)
    yield root.digest, root.block


def _cut(pieces: Iterable[bytes | memoryview], chunk_bytes: int) -> Iterator[bytes]:
    rest = bytearray()
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % chunk_bytes
        for start in range(0, whole, chunk_bytes):
            yield bytes(rest[start : start + chunk_bytes])
        del rest[:whole]
    if rest:
        yield bytes(rest)


class _Fold:
    """A left-packed tree over items that arrive in pieces; each level holds back its last group."""

    def __init__(
        self, limits: DagLimits, encode: Callable[[int, Sequence[bytes], DagLimits], bytes]
    ) -> None:
        self._limits = limits
        self._encode = encode
        self._pending: list[list[bytes]] = [[]]
        self._emitted: list[int] = [0]

    @property
    def depth(self) -> int:
        """The level at which the root stands, as far as is known."""
        return len(self._pending)

    def add(self, digests: Iterable[bytes]) -> tuple[int, list[LinkNode]]:
        """How many items were added, and the nodes that this completed."""
        complete: list[LinkNode] = []
        added = self._add(0, digests, complete)
        return added, complete

    def finish(self) -> tuple[list[LinkNode], list[bytes]]:
        """The nodes that remain below the root, level by level, and the links of the root."""
        remaining: list[LinkNode] = []
        level = 0
        while level + 1 < len(self._pending):
            self._emit(level, self._pending[level], remaining)
            level += 1
        return _sorted(remaining), self._pending[-1]

    def _add(self, level: int, digests: Iterable[bytes], complete: list[LinkNode]) -> int:
        pending = self._pending[level]
        items = iter(digests)
        added = 0
        while batch := list(islice(items, self._limits.links_max + 1 - len(pending))):
            pending += batch
            added += len(batch)
            if len(pending) > self._limits.links_max:
                last = pending.pop()
                self._emit(level, pending, complete)
                pending[:] = [last]
        return added

    def _emit(self, level: int, links: Sequence[bytes], complete: list[LinkNode]) -> None:
        block = self._encode(level + 1, links, self._limits)
        node = LinkNode(level + 1, self._emitted[level], block, digest_of(block))
        self._emitted[level] += 1
        complete.append(node)
        if level + 1 == len(self._pending):
            self._pending.append([])
            self._emitted.append(0)
        self._add(level + 1, (node.digest,), complete)


def _finish_data(
    fold: _Fold,
    root_type: NodeType,
    size: int,
    name: str | None,
    options: UploadOptions | None,
    limits: DagLimits,
) -> tuple[list[LinkNode], LinkNode]:
    remaining, links = fold.finish()
    root = Node(
        root_type,
        link_depth=fold.depth,
        size=size,
        name=name,
        upload_options=options,
        links=tuple(links),
    )
    block = _fitting(encode_node(root), limits.node_bytes_max)
    return remaining, LinkNode(fold.depth, 0, block, digest_of(block))


def _single_node(
    node_type: NodeType, payload: bytes, name: str | None, options: UploadOptions | None
) -> bytes:
    return encode_node(
        Node(node_type, size=len(payload), name=name, data=payload, upload_options=options)
    )


def _file_inlink(level: int, links: Sequence[bytes], limits: DagLimits) -> bytes:
    # The size of an inlink counts its links, not bytes; metadata objects use this type as well.
    node = Node(NodeType.FileInlink, link_depth=level, size=len(links), links=tuple(links))
    return _fitting(encode_node(node), limits.node_bytes_max)


def _folder_inlink(level: int, links: Sequence[bytes], limits: DagLimits) -> bytes:
    # Folders count their depth from 0, files from 1, and a folder's inlinks have no size.
    node = Node(NodeType.FolderInlink, link_depth=level - 1, links=tuple(links))
    return _fitting(encode_node(node), limits.node_bytes_max)


def _fitting(block: bytes, node_bytes_max: int) -> bytes:
    if len(block) > node_bytes_max:
        raise NodeTooLargeError(len(block), node_bytes_max)
    return block


def _in_write_order(nodes: list[LinkNode]) -> Iterator[Block]:
    return ((node.digest, node.block) for node in _sorted(nodes))


def _sorted(nodes: list[LinkNode]) -> list[LinkNode]:
    return sorted(nodes, key=lambda node: (node.level, node.index))


def _is_zlib(head: bytes) -> bool:
    # https://www.rfc-editor.org/rfc/rfc1950#section-2.2
    return (
        len(head) >= 2
        and head[0] & 0x0F == 8
        and head[0] >> 4 <= 7
        and int.from_bytes(head[:2], "big") % 31 == 0
    )
