"""Buckets that accounts share: one name for all accounts, as on AWS, and who may do what there.

Only where the gateway is set to it (`global_buckets`). Else a name means the caller's own bucket.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from gateway.catalog.database import Database
from gateway.catalog.queries import find_bucket_of_any, find_settings_named
from gateway.s3.access import BucketAccess
from gateway.s3.acl import Acl, acl_of
from gateway.s3.address import DEFAULT_BUCKET
from gateway.s3.bucket_policy import parse_policy
from gateway.s3.bucket_settings import ENFORCED, NOTHING_BLOCKED, public_access_block

# The names under which settings of buckets are kept.
POLICY = "policy"
ACL = "acl"
OWNERSHIP = "ownership"
PUBLIC_ACCESS_BLOCK = "public-access-block"

_SETTINGS = (POLICY, ACL, OWNERSHIP, PUBLIC_ACCESS_BLOCK)


class Sharing:
    """What decides about access to buckets, whatever their accounts.

    `ownership` is that of buckets without ownership controls of their own; `is_account` says
    whether an account is there, so that it can be named in a list.
    """

    def __init__(
        self, database: Database, *, ownership: str, is_account: Callable[[str], bool]
    ) -> None:
        self.ownership = ownership
        self.is_account = is_account
        self._database = database

    async def find(self, account: str, name: str) -> BucketAccess | None:
        """What decides about access to the bucket of this name; None where there is none.

        An account's own bucket comes before those that others have made of the same name, before
        names were global. Read each time, so that no worker works by an old policy.
        """
        return await self._database.read(lambda connection: self.look(connection, account, name))

    def look(self, connection: sqlite3.Connection, account: str, name: str) -> BucketAccess | None:
        """As `find`, within a commit."""
        found = find_bucket_of_any(connection, name, account)
        if found is None:
            return None
        bucket, owner = found
        if name == DEFAULT_BUCKET and owner != account:
            # Paths without a bucket mean it, so that everybody has one; nobody shares it.
            return None
        return self._access(owner, name, find_settings_named(connection, bucket, _SETTINGS))

    def of_new(self, account: str, name: str) -> BucketAccess:
        """What decides about access to a bucket that the account is about to make."""
        return self._access(account, name, {})

    def _access(self, account: str, name: str, settings: dict[str, str]) -> BucketAccess:
        policy, acl = settings.get(POLICY), settings.get(ACL)
        block = settings.get(PUBLIC_ACCESS_BLOCK)
        return BucketAccess(
            account,
            name,
            ENFORCED if name == DEFAULT_BUCKET else settings.get(OWNERSHIP, self.ownership),
            Acl.private(account) if acl is None else acl_of(acl),
            None if policy is None else parse_policy(policy),
            NOTHING_BLOCKED if block is None else public_access_block(block),
        )
