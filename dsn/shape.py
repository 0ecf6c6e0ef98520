"""The canonical shape of a file's DAG: everything about it that follows from the size alone.

All leaves but the last are full and stand at one depth; every node but the last of its level holds
`links_max` links. So seeking is arithmetic, and a tree of another shape is recognised.
"""

from __future__ import annotations

from dataclasses import dataclass

from dsn.codec import LINK_BYTES, leaf_bytes
from dsn.node import DEFAULT_LIMITS, DagLimits
from dsn.varint import uvarint_bytes


@dataclass(frozen=True, slots=True)
class FileShape:
    """How many leaves and link nodes a file of `size` bytes has, and which bytes each covers.

    Level 0 are the leaves, level 1 the link nodes above them, and so on up to the root.
    A file of 1 … `chunk_bytes` bytes is one single node: one leaf, no level above.
    An empty file has no leaf, and a root at level 1.
    """

    size: int
    limits: DagLimits
    leaf_count: int
    level_counts: tuple[int, ...]
    """Nodes at level 1, level 2, … up to the root, which is 1; empty for a single node."""

    @classmethod
    def of(cls, size: int, limits: DagLimits = DEFAULT_LIMITS) -> FileShape:
        """The shape of a file of `size` bytes; ValueError when negative."""
        if size < 0:
            raise ValueError(f"a file has no size of {size}")
        leaf_count = -(-size // limits.chunk_bytes)
        level_counts: list[int] = []
        if leaf_count != 1:
            count = leaf_count
            while count > limits.links_max:
                count = -(-count // limits.links_max)
                level_counts.append(count)
            level_counts.append(1)
        return cls(size, limits, leaf_count, tuple(level_counts))

    @property
    def depth(self) -> int:
        """The level of the root, which is also its link depth; 0 for a single node."""
        return len(self.level_counts)

    @property
    def node_count(self) -> int:
        """Nodes in all, the root included, repeats counted."""
        return self.leaf_count + sum(self.level_counts)

    def count_at(self, level: int) -> int:
        """Nodes at a level, 0 = leaves."""
        return self.level_counts[level - 1] if level else self.leaf_count

    def leaf_of(self, offset: int) -> int:
        """The index of the leaf that holds the byte at `offset`; IndexError outside the file."""
        if not 0 <= offset < self.size:
            raise IndexError(f"no byte {offset} in a file of {self.size}")
        return offset // self.limits.chunk_bytes

    def leaf_bytes(self, index: int) -> int:
        """Payload bytes of a leaf; IndexError when there is none of this index."""
        start, stop = self.bytes_below(0, index)
        return stop - start

    def leaves_covering(self, start: int, stop: int) -> range:
        """The leaves that hold bytes of [start, stop), which is cut to the file."""
        start, stop = max(start, 0), min(stop, self.size)
        if start >= stop:
            return range(0)
        return range(start // self.limits.chunk_bytes, -(-stop // self.limits.chunk_bytes))

    def parents_of(self, leaf: int) -> tuple[int, ...]:
        """The index of the node above a leaf at level 1, level 2, … up to the root (always 0)."""
        self._check(0, leaf)
        parents = []
        for _ in self.level_counts:
            leaf //= self.limits.links_max
            parents.append(leaf)
        return tuple(parents)

    def links_of(self, level: int, index: int) -> int:
        """How many links a node at level 1 or above holds."""
        self._check(level, index)
        first = index * self.limits.links_max
        return min(self.limits.links_max, self.count_at(level - 1) - first)

    def bytes_below(self, level: int, index: int) -> tuple[int, int]:
        """The bytes [start, stop) of the file that lie below a node (0 = leaves)."""
        self._check(level, index)
        stride = self.limits.chunk_bytes * self.limits.links_max**level
        return min(index * stride, self.size), min((index + 1) * stride, self.size)

    def node_bytes(self, level: int, index: int) -> int:
        """The encoded length of a leaf or link node.

        ValueError for a root or single node: its length depends on the name and the options too.
        """
        if level == self.depth:
            raise ValueError("the length of a root does not follow from the size of the file")
        if level == 0:
            return leaf_bytes(self.leaf_bytes(index))
        links = self.links_of(level, index)
        # type, link depth and size (= links), each a tag and a varint, inside the data field
        message_bytes = 2 + 1 + uvarint_bytes(level) + 1 + uvarint_bytes(links)
        return LINK_BYTES * links + 1 + uvarint_bytes(message_bytes) + message_bytes

    def _check(self, level: int, index: int) -> None:
        if not 0 <= level <= self.depth or not 0 <= index < self.count_at(level):
            raise IndexError(f"no node {index} at level {level} of a file of {self.size} bytes")
