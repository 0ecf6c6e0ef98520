from typing import Literal

ENGINES: tuple[Literal["avx512", "avx2"], ...]
"""What this machine can do, the best one first; empty where it is nothing."""

def digests(
    buffer: bytes | bytearray | memoryview,
    start: int,
    length: int,
    stride: int,
    count: int,
    engine: Literal["avx512", "avx2"] | None = None,
) -> bytes:
    """The digests, 32 bytes each, of `count` leaves of `length` bytes, `stride` bytes apart.

    ValueError unless they have 64 chunks (64,513 to 65,536 bytes) and lie in the buffer, and for
    an engine that this machine has not.
    """
