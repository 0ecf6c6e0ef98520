"""Keeps what was learned of nodes that were read and verified lately, but never their data.

Of link nodes the links, so that many small ranges read them once; of files of one node where in the
block their payload lies, so that it is parsed once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from dsn.node import Node

# About 80 bytes a link: some 5 MiB, the link nodes of 4 GB of files.
LINKS_KEPT_MAX = 1 << 16
# About 200 bytes each.
SPANS_KEPT_MAX = 1 << 14


class KnownNodes:
    """Nodes by digest, verified by whoever adds them; the least recently used goes first.

    A node is what its digest says for ever, so an entry never becomes wrong. Thread-safe.
    """

    def __init__(self, links_max: int = LINKS_KEPT_MAX, spans_max: int = SPANS_KEPT_MAX) -> None:
        self._links_max = links_max
        self._spans_max = spans_max
        self._spans: OrderedDict[bytes, slice] = OrderedDict()
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

    def payload_span(self, digest: bytes) -> slice | None:
        """Where the payload lies in the block with this digest, None where it has to be parsed."""
        with self._lock:
            span = self._spans.get(digest)
            if span is not None:
                self._spans.move_to_end(digest)
            return span

    def add_payload_span(self, digest: bytes, span: slice) -> None:
        """Keep where the payload lies in a verified block of a file of one node."""
        with self._lock:
            self._spans[digest] = span
            if len(self._spans) > self._spans_max:
                self._spans.popitem(last=False)
