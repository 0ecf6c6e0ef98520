"""Walks a DAG and reports its damage: which nodes are missing, rotten or out of shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from dsn.codec import decode_node
from dsn.dag_reader import FileDag, Get, fetch
from dsn.errors import (
    BlockMismatchError,
    BlockNotFoundError,
    InvalidNodeError,
    NonCanonicalDagError,
)
from dsn.node import DEFAULT_LIMITS, DagLimits, Node, NodeType


class DamageKind(Enum):
    """What is wrong with a node."""

    MISSING = "missing"
    ROTTEN = "rotten"
    MISSHAPEN = "misshapen"


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged node (digest), the root of the file or folder it belongs to, and what it costs.

    [start, stop) are the bytes of the file that cannot be read because of it. None means to the
    end of a file whose size is not known, since its root is what is damaged; likewise in a folder.
    """

    kind: DamageKind
    root: bytes
    digest: bytes
    start: int
    stop: int | None
    reason: str


_KINDS: dict[type[Exception], DamageKind] = {
    BlockNotFoundError: DamageKind.MISSING,
    BlockMismatchError: DamageKind.ROTTEN,
    NonCanonicalDagError: DamageKind.MISSHAPEN,
    InvalidNodeError: DamageKind.MISSHAPEN,
}
_DAMAGES = tuple(_KINDS)


def walk(get: Get, root: bytes, *, limits: DagLimits = DEFAULT_LIMITS) -> Iterator[Damage]:
    """Every damaged node at or below the root of a file, folder or metadata object (digest).

    A damaged node is reported with all bytes below it and the walk goes on beside it: what hangs
    on it cannot be reached. A node that stands in several places is reported at each. Memory is
    O(depth) link nodes. Other errors of `get` (a failing disk) are not damage and are raised.
    """
    try:
        node = decode_node(fetch(get, root))
        if node.type is NodeType.Folder:
            yield from _walk_folder(get, root, node, limits)
            return
        dag = FileDag.open(get, root, limits)
    except _DAMAGES as error:
        yield _damage(error, root, root)
        return
    if dag.shape.depth:
        yield from _walk_file(dag, dag.shape.depth - 1, 0, dag.root_links)


def _walk_file(dag: FileDag, level: int, first: int, links: tuple[bytes, ...]) -> Iterator[Damage]:
    for index, digest in enumerate(links, first):
        try:
            if level == 0:
                dag.leaf(index, digest)
                continue
            _, below = dag.link_node(level, index, digest)
        except _DAMAGES as error:
            yield _damage(error, dag.root.digest, digest, *dag.shape.bytes_below(level, index))
            continue
        yield from _walk_file(dag, level - 1, index * dag.shape.limits.links_max, below)


def _walk_folder(get: Get, root: bytes, node: Node, limits: DagLimits) -> Iterator[Damage]:
    if node.link_depth == 0:
        for child in node.links:
            yield from walk(get, child, limits=limits)
        return
    for digest in node.links:
        try:
            below = decode_node(fetch(get, digest))
            depth = node.link_depth - 1
            if below != Node(NodeType.FolderInlink, link_depth=depth, links=below.links):
                raise NonCanonicalDagError(digest, f"not a link node of a folder at depth {depth}")
        except _DAMAGES as error:
            yield _damage(error, root, digest)
            continue
        yield from _walk_folder(get, root, below, limits)


def _damage(
    error: Exception, root: bytes, digest: bytes, start: int = 0, stop: int | None = None
) -> Damage:
    kind = next(kind for types, kind in _KINDS.items() if isinstance(error, types))
    return Damage(kind, root, digest, start, stop, str(error))
