"""Keeps link nodes that were read and verified lately, so that many small ranges read them once."""

from __future__ import annotations

import threading
from collections import OrderedDict

from dsn.node import Node

# About 80 bytes a link: some 5 MiB, the link nodes of 4 GB of files.
LINKS_KEPT_MAX = 1 << 16


class KnownNodes:
    """Link nodes by digest, verified by whoever adds them; the least recently used goes first.

    A node is what its digest says for ever, so an entry never becomes wrong. Thread-safe.
    """

    def __init__(self, links_max: int = LINKS_KEPT_MAX) -> None:
        self._links_max = links_max
        self._links = 0
        self._nodes: OrderedDict[bytes, Node] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: bytes) -> Node | None:
        """The node with this digest, None where it has to be read."""
        with self._lock:
            node = self._nodes.get(digest)
            if node is not None:
                self._nodes.move_to_end(digest)
            return node

    def add(self, digest: bytes, node: Node) -> None:
        """Keep a verified node; one that carries data instead of links is not kept."""
        if not node.links or node.data:
            return
        with self._lock:
            if digest in self._nodes:
                return
            self._nodes[digest] = node
            self._links += len(node.links)
            while self._links > self._links_max:
                self._links -= len(self._nodes.popitem(last=False)[1].links)
