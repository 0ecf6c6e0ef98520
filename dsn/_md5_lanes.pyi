from collections.abc import Sequence
from typing import Literal, final

ENGINES: tuple[str, ...]
"""What this machine can do, the best one first."""

LANES: int
"""How many streams the best one takes side by side."""

@final
class State:
    """The MD5 of one stream in the making."""

    def update(self, pieces: Sequence[bytes | bytearray | memoryview], /) -> None:
        """Take the bytes of the buffers, in order."""

    def digest(self) -> bytes:
        """The MD5 of everything so far: 16 bytes."""

    def copy(self) -> State:
        """Another state that goes on from here."""

def update_many(
    states: Sequence[State],
    buffers: Sequence[Sequence[bytes | bytearray | memoryview]],
    engine: Literal["avx512", "avx2", "scalar"] | None = None,
) -> None:
    """Take the bytes of each stream's buffers, in order: all of them, or none if it raises.

    ValueError for a stream that is named twice or is being updated elsewhere.
    """
