"""The typed errors of the node layer: each carries its facts as fields and says them in `str()`."""

from __future__ import annotations

from dsn.cid import InvalidCidError, cid_text

__all__ = [
    "BlockMismatchError",
    "BlockNotFoundError",
    "InvalidCarError",
    "InvalidCidError",
    "InvalidNodeError",
    "NameTooLongError",
    "NodeTooLargeError",
    "NonCanonicalDagError",
    "TruncatedCarError",
]


class NameTooLongError(ValueError):
    """A name has more than 255 UTF-16 code units; the message is that of the official package."""

    def __init__(self, name_units: int, name_units_max: int) -> None:
        super().__init__(name_units, name_units_max)
        self.name_units = name_units
        self.name_units_max = name_units_max

    def __str__(self) -> str:
        return f"Filename is too long: {self.name_units} > {self.name_units_max}"


class NodeTooLargeError(ValueError):
    """An encoded node exceeds its limit; the message is that of the official package."""

    def __init__(self, node_bytes: int, node_bytes_max: int) -> None:
        super().__init__(node_bytes, node_bytes_max)
        self.node_bytes = node_bytes
        self.node_bytes_max = node_bytes_max

    def __str__(self) -> str:
        return (
            f"Node is too large to fit in a single chunk: {self.node_bytes} > {self.node_bytes_max}"
        )


class InvalidNodeError(ValueError):
    """Bytes that are no canonically encoded node; the message says where they differ."""


class BlockNotFoundError(LookupError):
    """A block store does not hold the block with this digest (32 bytes)."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(digest)
        self.digest = digest

    def __str__(self) -> str:
        return f"block not found: {cid_text(self.digest)}"


class BlockMismatchError(ValueError):
    """The bytes that a store returned do not hash to the digest (32 bytes) they were asked by."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(digest)
        self.digest = digest

    def __str__(self) -> str:
        return f"block does not match its CID: {cid_text(self.digest)}"


class NonCanonicalDagError(ValueError):
    """A node (32-byte digest) is not what the canonical shape of its file has at this place."""

    def __init__(self, digest: bytes, reason: str) -> None:
        super().__init__(digest, reason)
        self.digest = digest
        self.reason = reason

    def __str__(self) -> str:
        return f"not a canonical DAG at {cid_text(self.digest)}: {self.reason}"


class InvalidCarError(ValueError):
    """A CAR stream is malformed at `offset` (bytes from where reading began)."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        return f"invalid CAR at byte {self.offset}: {self.reason}"


class TruncatedCarError(InvalidCarError):
    """A CAR stream ends inside its header or inside the section that starts at `offset`."""


class InvalidLayoutError(ValueError):
    """Bytes that are no layout, or a layout that does not hold the leaf asked for."""


class InvalidRecordError(ValueError):
    """A DAG-CBOR block that is no record; the message says where it differs."""


class InvalidSegmentError(ValueError):
    """A segment's file is not what its name says."""

    def __init__(self, segment: int, reason: str) -> None:
        super().__init__(segment, reason)
        self.segment = segment
        self.reason = reason

    def __str__(self) -> str:
        return f"segment {self.segment:016x}: {self.reason}"


class PoisonedSegmentError(OSError):
    """A sync of this segment has failed before: nothing more is written to it."""

    def __init__(self, segment: int) -> None:
        super().__init__(f"segment {segment:016x} is poisoned by a failed sync")
        self.segment = segment
