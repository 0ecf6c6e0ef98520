"""Reads a file's DAG: root and byte span in, only the nodes that cover it out, every one checked.

Blocks come from a `get(digest) -> bytes` that need not be trusted: each is hashed before it is
used, and its place in the tree is compared with the canonical shape of a file of its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dsn.cid import digest_of
from dsn.codec import decode_links, decode_node, leaf_prefix
from dsn.errors import BlockMismatchError, InvalidNodeError, NonCanonicalDagError
from dsn.node import DEFAULT_LIMITS, NO_OPTIONS, DagLimits, Node, NodeType, UploadOptions
from dsn.shape import FileShape

Get = Callable[[bytes], bytes]
"""Returns the block with a digest, or raises BlockNotFoundError."""

LEAF_TYPES = {NodeType.File: NodeType.FileChunk, NodeType.Metadata: NodeType.MetadataChunk}
"""What may be the root of a file, and the type of the leaves below it."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What the root of a file says: its size in bytes, its name, how its bytes were made."""

    size: int
    name: str | None
    options: UploadOptions


@dataclass(frozen=True, slots=True)
class FileNode:
    """A node with its place in the tree: level 0 are the leaves, `index` counts from the left."""

    level: int
    index: int
    digest: bytes
    block: bytes


def file_info(root_block: bytes) -> FileInfo:
    """What the root of a file says; InvalidNodeError when the block is no such root."""
    return _file_info(decode_node(root_block))


def read_file(
    get: Get,
    root: bytes,
    start: int = 0,
    stop: int | None = None,
    *,
    limits: DagLimits = DEFAULT_LIMITS,
) -> Iterator[memoryview]:
    """The bytes [start, stop) of a file, one piece for each leaf; `root` is a digest.

    The span is cut to the file. Raises BlockNotFoundError and BlockMismatchError, each with its
    digest, and NonCanonicalDagError for a tree of another shape, whose bytes cannot be located.
    """
    return FileDag.open(get, root, limits).read(start, stop)


def blocks_below(
    get: Get, root: bytes, *, duplicates: bool = False
) -> Iterator[tuple[bytes, bytes]]:
    """(digest, block) of a root and everything below it, depth first, a node before its children.

    Of a block that occurs again only the first is given, unless `duplicates`: then a tree that
    names the same links again and again has no bound but its own. Works for files, folders and
    trees of any shape. BlockNotFoundError, BlockMismatchError, InvalidNodeError.
    """
    seen: set[bytes] = set()
    pending = [root]
    while pending:
        digest = pending.pop()
        if not duplicates:
            if digest in seen:
                continue
            seen.add(digest)
        block = fetch(get, digest)
        yield digest, block
        pending.extend(reversed(decode_links(block)))


def fetch(get: Get, digest: bytes) -> bytes:
    """The block with this digest, checked; BlockNotFoundError, BlockMismatchError."""
    block = get(digest)
    if digest_of(block) != digest:
        raise BlockMismatchError(digest)
    return block


class FileDag:
    """An opened file: its root is read and checked, the nodes below are read when asked for."""

    def __init__(
        self, get: Get, root: FileNode, root_node: Node, info: FileInfo, shape: FileShape
    ) -> None:
        self.info = info
        self.shape = shape
        self.root = root
        self.root_links = root_node.links
        self._get = get
        self._leaf_type = LEAF_TYPES[root_node.type]
        full = shape.limits.chunk_bytes
        self._full_leaf_prefix = leaf_prefix(full, self._leaf_type)
        self._payload = root_node.data

    @classmethod
    def open(cls, get: Get, root: bytes, limits: DagLimits = DEFAULT_LIMITS) -> FileDag:
        """Read the root of a file by its digest.

        BlockNotFoundError, BlockMismatchError; NonCanonicalDagError when it is no file's root, or
        one that the builder would not make for a file of its size.
        """
        block = fetch(get, root)
        node = _decode(root, block)
        try:
            info = _file_info(node)
        except InvalidNodeError as error:
            raise NonCanonicalDagError(root, str(error)) from None
        shape = FileShape.of(info.size, limits)
        links = shape.links_of(shape.depth, 0) if shape.depth else 0
        payload_bytes = None if shape.depth else info.size
        if (
            node.link_depth != shape.depth
            or len(node.links) != links
            or (None if node.data is None else len(node.data)) != payload_bytes
        ):
            raise NonCanonicalDagError(root, f"not the root of a file of {info.size} bytes")
        return cls(get, FileNode(shape.depth, 0, root, block), node, info, shape)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[memoryview]:
        """See `read_file`."""
        stop = self.info.size if stop is None else min(stop, self.info.size)
        start = max(start, 0)
        if self._payload is not None:
            if start < stop:
                yield memoryview(self._payload)[start:stop]
            return
        for node in self.nodes_covering(start, stop):
            if node.level == 0:
                first, last = self.shape.bytes_below(0, node.index)
                payload = memoryview(node.block)[len(node.block) - (last - first) :]
                yield payload[max(start - first, 0) : stop - first]

    def nodes_covering(self, start: int = 0, stop: int | None = None) -> Iterator[FileNode]:
        """The root and every node below it that holds or leads to bytes of [start, stop).

        Depth first, a node before its children; repeated blocks are given each time.
        """
        yield self.root
        leaves = self.shape.leaves_covering(start, self.info.size if stop is None else stop)
        if leaves and self.shape.depth:
            yield from self._below(self.shape.depth - 1, 0, self.root_links, leaves)

    def node_lengths(self) -> Iterator[tuple[bytes, int]]:
        """(digest, encoded bytes) of every node, repeats included; leaves are not read for it."""
        yield self.root.digest, len(self.root.block)
        pending = [(self.shape.depth - 1, 0, self.root_links)]
        while pending:
            level, first, links = pending.pop()
            for index, digest in enumerate(links, first):
                yield digest, self.shape.node_bytes(level, index)
                if level:
                    below = self.link_node(level, index, digest)[1]
                    pending.append((level - 1, index * self.shape.limits.links_max, below))

    def link_node(self, level: int, index: int, digest: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        """The block of a node that is neither root nor leaf, checked, and its links."""
        block = fetch(self._get, digest)
        node = _decode(digest, block)
        links = self.shape.links_of(level, index)
        # The size of an inlink counts its links; below metadata the type is FileInlink too.
        canonical = Node(NodeType.FileInlink, link_depth=level, size=links, links=node.links)
        if len(node.links) != links or node != canonical:
            raise NonCanonicalDagError(digest, f"not link node {index} of level {level}")
        return block, node.links

    def leaf(self, index: int, digest: bytes) -> bytes:
        """The block of a leaf, checked; its payload stands at its end."""
        block = fetch(self._get, digest)
        payload_bytes = self.shape.leaf_bytes(index)
        prefix = self._full_leaf_prefix
        if payload_bytes != self.shape.limits.chunk_bytes:
            prefix = leaf_prefix(payload_bytes, self._leaf_type)
        if len(block) != len(prefix) + payload_bytes or not block.startswith(prefix):
            raise NonCanonicalDagError(digest, f"not leaf {index}, of {payload_bytes} bytes")
        return block

    def _below(
        self, level: int, first: int, links: tuple[bytes, ...], leaves: range
    ) -> Iterator[FileNode]:
        """The nodes at `level` and below it that cover `leaves`; links[0] is node `first`."""
        leaves_each = self.shape.limits.links_max**level
        start = max(leaves.start // leaves_each, first)
        stop = min(-(-leaves.stop // leaves_each), first + len(links))
        for index in range(start, stop):
            digest = links[index - first]
            if level == 0:
                yield FileNode(0, index, digest, self.leaf(index, digest))
                continue
            block, below = self.link_node(level, index, digest)
            yield FileNode(level, index, digest, block)
            first_below = index * self.shape.limits.links_max
            yield from self._below(level - 1, first_below, below, leaves)


def _file_info(node: Node) -> FileInfo:
    if node.type not in LEAF_TYPES or node.size is None:
        raise InvalidNodeError("not the root of a file")
    return FileInfo(node.size, node.name, node.upload_options or NO_OPTIONS)


def _decode(digest: bytes, block: bytes) -> Node:
    try:
        return decode_node(block)
    except InvalidNodeError as error:
        raise NonCanonicalDagError(digest, str(error)) from None
