"""What an access key may do: which rights, in which buckets, below which prefixes, until when.

Which operation needs which right is for `gateway.web.authorization` to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any


class Right(Enum):
    """What a key may be allowed to do.

    `write` is to put, to copy to, to delete and to change what is noted of objects; `create` is to
    put objects under keys that show none, never to supersede one, and to delete in scratch areas
    only: a backup that may not touch the past still has to remove its lock. `admin` is to change
    the settings of a bucket and to pass over retentions that allow it.
    """

    READ = "read"
    WRITE = "write"
    CREATE = "create"
    LIST = "list"
    ADMIN = "admin"


ALL_RIGHTS = frozenset(Right)
ANONYMOUS_RIGHTS = frozenset({Right.READ, Right.LIST})
"""What requests without a key may be allowed at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one key. No `buckets` means all of the account, no `prefixes` all keys.

    `expires_us` is microseconds since 1970, from which on the key is refused.
    """

    rights: frozenset[Right] = ALL_RIGHTS
    buckets: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    expires_us: int | None = None

    @property
    def creates_only(self) -> bool:
        """Whether what the key puts must not supersede an object."""
        return Right.WRITE not in self.rights

    def has(self, right: Right) -> bool:
        """Whether the key has the right; who may write may create."""
        return right in self.rights or (right is Right.CREATE and Right.WRITE in self.rights)

    def covers_bucket(self, bucket: str) -> bool:
        """Whether the key may know of the bucket."""
        return not self.buckets or bucket in self.buckets

    def covers_key(self, key: bytes) -> bool:
        """Whether a key, or everything that begins with it, lies below one of the prefixes."""
        return not self.prefixes or any(key.startswith(p.encode()) for p in self.prefixes)

    def has_expired(self, now: datetime) -> bool:
        """Whether the key is at its end; `now` is aware."""
        return self.expires_us is not None and now.timestamp() * 1_000_000 >= self.expires_us

    def to_plain(self) -> dict[str, Any]:
        """The limits as the key file has them; what is unlimited is left out."""
        plain: dict[str, Any] = {}
        if self.rights != ALL_RIGHTS:
            plain["rights"] = sorted(right.value for right in self.rights)
        if self.buckets:
            plain["buckets"] = list(self.buckets)
        if self.prefixes:
            plain["prefixes"] = list(self.prefixes)
        if self.expires_us is not None:
            plain["expires_us"] = self.expires_us
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Limits | None:
        """The limits in an entry of the key file; None for none. ValueError for nonsense."""
        limits = cls(
            parse_rights(plain["rights"]) if "rights" in plain else ALL_RIGHTS,
            tuple(plain.get("buckets", ())),
            tuple(plain.get("prefixes", ())),
            plain.get("expires_us"),
        )
        return None if limits == cls() else limits


def parse_rights(names: Iterable[str]) -> frozenset[Right]:
    """Reads the names of rights; ValueError names what is none, and what there is."""
    try:
        rights = frozenset(Right(name.strip().lower()) for name in names)
    except ValueError as error:
        known = ", ".join(right.value for right in Right)
        raise ValueError(f"{error.args[0]}; there are {known}") from None
    if not rights:
        raise ValueError("a key without any right is of no use")
    return rights
