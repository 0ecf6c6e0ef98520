"""Who may call: the access keys, kept in one file of the data directory.

The file may be changed by `dsn-gateway keys` while servers run: they see a new key at once and
a revoked one within a second. A key with a secret is proved by a signature. A key without one
(key-only) is itself the secret, so only its SHA-256 is kept. An anonymous key is nobody's: it says
what may be done with its buckets without any.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import string
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from gateway.operator_file import OperatorFile
from gateway.rights import ANONYMOUS_RIGHTS, Limits

FILE_NAME = "keys.json"
ACCOUNT_DEFAULT = "main"
# How the names of anonymous keys begin; `~` is no character of access keys.
_ANONYMOUS = "anonymous~"

# A revoked key must be refused within a second.
CHECK_SECONDS = 0.5

_ACCESS_KEY = re.compile(r"[A-Za-z0-9_.-]{3,128}", re.ASCII)
_ACCOUNT = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
T = TypeVar("T")

_LETTERS = string.ascii_letters + string.digits


class KeyStoreError(Exception):
    """A key that cannot be created or revoked, or a key file that cannot be read."""


@dataclass(frozen=True)
class AccessKey:
    """A key and the account it acts for. Times are microseconds since 1970.

    `limits` is None for a key that may do everything its account can, for ever.
    `secret` is None for a key-only key; its `access_key` is then a label such as
    `3fa9~1f0c22ab`, which names the key and opens nothing. `create` alone returns the real one.
    That of an anonymous key, `anonymous~1f0c22ab`, is a name and never more.
    """

    access_key: str
    secret: str | None
    account: str
    created_us: int
    revoked_us: int | None = None
    limits: Limits | None = None

    @property
    def is_anonymous(self) -> bool:
        """Whether it stands for requests that name no key."""
        return self.access_key.startswith(_ANONYMOUS)

    def __repr__(self) -> str:
        # A key may end up in a log line or a traceback; its secret must not.
        kind = "key-only" if self.secret is None else "with secret"
        return f"<AccessKey {self.access_key} of {self.account}, {kind}>"


class KeyStore:
    """The keys of one data directory. Safe to share between threads and processes.

    `clock` gives seconds that only grow; `now_us` microseconds since 1970.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._file = OperatorFile(data_dir / FILE_NAME, "keys")
        self._clock = clock
        self._now_us = now_us
        self._seen: tuple[int, int, int] | None = None
        self._checked = float("-inf")
        # Active keys: those with a secret by access key, key-only ones by the hash of theirs.
        self._signing: dict[str, AccessKey] = {}
        self._bearing: dict[str, AccessKey] = {}
        self._anonymous: list[AccessKey] = []
        self._accounts: set[str] = set()

    def lookup(self, access_key: str) -> AccessKey | None:
        """The active key of this name; None when it is unknown or revoked.

        Raises KeyStoreError when the key file has become unreadable: nobody gets in then.
        """
        return self._fresh(lambda: self._find(access_key))

    def lookup_anonymous(self, bucket: str) -> AccessKey | None:
        """The key for requests to this bucket that name none, while it lasts; None for no such key.

        Raises KeyStoreError as `lookup` does.
        """
        return self._fresh(lambda: self._find_anonymous(bucket))

    def has_account(self, account: str) -> bool:
        """Whether there is an active key of this account, so that it can be named.

        Raises KeyStoreError as `lookup` does.
        """
        return self._fresh(lambda: account if account in self._accounts else None) is not None

    def listed(self) -> list[AccessKey]:
        """Every key ever created, revoked ones included, oldest first; secrets included."""
        return [_shown(entry) for entry in self._read()]

    def has_active(self) -> bool:
        """Whether anyone can get in."""
        return any(key.revoked_us is None for key in self.listed())

    def create(
        self,
        *,
        access_key: str | None = None,
        secret: str | None = None,
        key_only: bool = False,
        account: str = ACCOUNT_DEFAULT,
        limits: Limits | None = None,
    ) -> AccessKey:
        """Adds a key; what is not given is made up. The only call that returns a key-only key.

        Durable on return. Raises KeyStoreError for a name in use or with other characters than
        letters, digits, `_`, `.` and `-`, and for an unusable secret or account.
        """
        if key_only and secret is not None:
            raise KeyStoreError("a key-only key has no secret")
        if access_key is None:
            # 128 bits, in the shape of Auto Drive's API keys; a signing key need only be unique.
            access_key = secrets.token_hex(16) if key_only else _made_up(20)
        if not _ACCESS_KEY.fullmatch(access_key):
            raise KeyStoreError("an access key has 3 to 128 letters, digits, '_', '.' or '-'")
        if secret is None and not key_only:
            secret = _made_up(40)
        if secret is not None and not (0 < len(secret) <= 256 and _is_plain(secret)):
            raise KeyStoreError("a secret has 1 to 256 printable ASCII characters without spaces")

        kept = None if limits == Limits() else limits
        return self._add(AccessKey(access_key, secret, account, self._now_us(), limits=kept))

    def create_anonymous(self, limits: Limits, *, account: str = ACCOUNT_DEFAULT) -> AccessKey:
        """Lets anybody do what `limits` say with some buckets of an account.

        Durable on return. Raises KeyStoreError where they name no bucket, or more than reading, and
        for a bucket that is open already: one name leads to one bucket, in one way.
        """
        if not limits.buckets:
            raise KeyStoreError("an anonymous key is for buckets that are named")
        if not limits.rights <= ANONYMOUS_RIGHTS:
            raise KeyStoreError("an anonymous key may read and list, no more")
        name = f"{_ANONYMOUS}{secrets.token_hex(4)}"
        return self._add(AccessKey(name, None, account, self._now_us(), limits=limits))

    def _add(self, created: AccessKey) -> AccessKey:
        if not _ACCOUNT.fullmatch(created.account):
            raise KeyStoreError("an account has 1 to 64 letters, digits, '_', '.' or '-'")
        with self._changing() as entries:
            if created.is_anonymous:
                self._check_shut(created, map(_shown, entries))
            if any(_is_named(entry, created.access_key) for entry in entries):
                label = _label(created.access_key, created.secret)
                raise KeyStoreError(f"the access key {label} exists already")
            entries.append(_entry(created))
        return created

    def revoke(self, access_key: str) -> AccessKey:
        """Ends a key, named by its access key or by its label; it stays in the list.

        Revoking twice changes nothing. Raises KeyStoreError when there is no such key.
        """
        with self._changing() as entries:
            for entry in entries:
                if _is_named(entry, access_key):
                    entry["revoked_us"] = entry["revoked_us"] or self._now_us()
                    return _shown(entry)
        raise KeyStoreError("no such access key; see `dsn-gateway keys list`")

    def _fresh(self, find: Callable[[], T | None]) -> T | None:
        """What `find` finds among the keys as they are now."""
        now = self._clock()
        if now - self._checked >= CHECK_SECONDS:
            self._refresh(now)
        found = find()
        if found is None:
            # It may have been created a moment ago.
            self._refresh(now)
            found = find()
        return found

    def _find_anonymous(self, bucket: str) -> AccessKey | None:
        for key in self._anonymous:
            if self._opens(key, bucket):
                return key
        return None

    def _opens(self, key: AccessKey, bucket: str) -> bool:
        """Whether an anonymous key opens this bucket now."""
        limits = key.limits
        if limits is None or key.revoked_us is not None or not limits.covers_bucket(bucket):
            return False
        return not limits.has_expired(datetime.fromtimestamp(self._now_us() / 1_000_000, UTC))

    def _check_shut(self, created: AccessKey, keys: Iterable[AccessKey]) -> None:
        assert created.limits is not None
        for key in keys:
            for bucket in created.limits.buckets:
                if key.is_anonymous and self._opens(key, bucket):
                    raise KeyStoreError(
                        f"{bucket} is open already, by {key.access_key}; revoke that first"
                    )

    def _find(self, access_key: str) -> AccessKey | None:
        return self._signing.get(access_key) or self._bearing.get(_hash(access_key))

    def _refresh(self, now: float) -> None:
        seen = self._file.stamp()
        if seen != self._seen:
            signing, bearing, anonymous = {}, {}, []
            for entry in self._read():
                if entry["revoked_us"] is None:
                    key = _shown(entry)
                    if key.is_anonymous:
                        anonymous.append(key)
                    elif key.secret is None:
                        bearing[entry["access_key_sha256"]] = key
                    else:
                        signing[key.access_key] = key
            self._signing, self._bearing, self._anonymous = signing, bearing, anonymous
            self._accounts = {key.account for key in (*signing.values(), *bearing.values())}
            self._seen = seen
        self._checked = now

    def _read(self) -> list[dict[str, Any]]:
        try:
            entries = self._file.read()
            for entry in entries:
                if _shown(entry).secret is None and not entry["access_key_sha256"]:
                    raise ValueError("a key-only key without its hash")
        except (ValueError, KeyError, TypeError):
            raise KeyStoreError(
                f"{self._file.path} is damaged; restore it from a copy, or move it away and create "
                "new keys (objects are not affected)"
            ) from None
        return entries

    @contextmanager
    def _changing(self) -> Iterator[list[dict[str, Any]]]:
        """The entries for changing; written back unless the block raises."""
        with self._file.locked():
            entries = self._read()
            before = json.dumps(entries)
            yield entries
            if json.dumps(entries) != before:
                self._file.replace(entries)


def _entry(key: AccessKey) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "access_key": key.access_key,
        "secret": key.secret,
        "account": key.account,
        "created_us": key.created_us,
        "revoked_us": key.revoked_us,
        **(key.limits.to_plain() if key.limits else {}),
    }
    if key.is_anonymous:
        # To earlier versions of the program this is a key-only key, which nobody has.
        entry["access_key_sha256"] = secrets.token_hex(32)
    elif key.secret is None:
        entry["access_key"] = _label(key.access_key, None)
        entry["access_key_sha256"] = _hash(key.access_key)
    return entry


def _shown(entry: dict[str, Any]) -> AccessKey:
    return AccessKey(
        entry["access_key"],
        entry["secret"],
        entry["account"],
        entry["created_us"],
        entry["revoked_us"],
        Limits.from_plain(entry),
    )


def _label(access_key: str, secret: str | None) -> str:
    """What may be shown of a key."""
    # `~` is no character of access keys, so a label is never mistaken for a key. A short key
    # shows nothing of itself.
    if secret is not None:
        return access_key
    return f"{access_key[:4] if len(access_key) >= 16 else ''}~{_hash(access_key)[:8]}"


def _is_named(entry: dict[str, Any], access_key: str) -> bool:
    return entry["access_key"] == access_key or entry.get("access_key_sha256") == _hash(access_key)


def _hash(access_key: str) -> str:
    # A lookup may bring any text, lone surrogates included.
    return hashlib.sha256(access_key.encode("utf-8", "surrogatepass")).hexdigest()


def _made_up(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
