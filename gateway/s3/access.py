"""Who may do what with a bucket: its owner, and others as its policy and its lists say.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-s3-evaluates-access-control.html
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gateway.s3.acl import OWNER_CONTROLS, Acl
from gateway.s3.actions import Action
from gateway.s3.bucket_policy import BucketPolicy, Effect, Requester, resource_arn
from gateway.s3.bucket_settings import (
    ENFORCED,
    NOTHING_BLOCKED,
    PREFERRED,
    PublicAccessBlock,
)
from gateway.s3.policy_conditions import Context


@dataclass(frozen=True, slots=True)
class BucketAccess:
    """What decides about access to a bucket. It belongs to `account`."""

    account: str
    bucket: str
    ownership: str
    acl: Acl
    policy: BucketPolicy | None = None
    block: PublicAccessBlock = NOTHING_BLOCKED

    @property
    def has_acls(self) -> bool:
        """Whether lists count here, and others may own objects."""
        return self.ownership != ENFORCED

    def needs_object(self, action: Action) -> bool:
        """Whether the decision depends on the object: on its list or its tags."""
        if self.has_acls and action.by_object:
            return True
        return self.policy is not None and self.policy.needs_tags(action)

    def denies(
        self, requester: Requester, action: Action, key: bytes | None, context: Context
    ) -> bool:
        """Whether the policy forbids it, whoever owns what."""
        return self._said(requester, action, key, context) is Effect.DENY

    def permits(
        self,
        requester: Requester,
        action: Action,
        key: bytes | None,
        context: Context,
        object_acl: Acl | None = None,
        waived: Collection[str] = (),
    ) -> bool:
        """Whether a request may do this; `key` is None for the bucket itself.

        `object_acl` is the list of the object that is there, if it has one of its own. Conditions
        on `waived` keys were looked at before.
        """
        said = self._said(requester, action, key, context, waived)
        if said is Effect.DENY:
            return False
        if not self.has_acls or object_acl is None:
            object_acl = Acl.private(self.account)
        # What another account has put belongs to that one; all else to the bucket's.
        owner = object_acl.owner if action.by_object else self.account
        if requester.account == owner:
            return True
        if said is Effect.ALLOW and owner == self.account and not self._restricts_policy:
            return True
        if not self.has_acls or action.permission is None:
            return False
        acl = object_acl if action.by_object else self.acl
        return acl.permits(
            requester.account, action.permission, ignores_public=self.block.ignore_acls
        )

    def owner_of_new(self, account: str | None, canned_acl: str) -> str:
        """The account that an object belongs to when `account` puts it.

        What nobody in particular puts belongs to the bucket's account.
        """
        if account is None or not self.has_acls:
            return self.account
        if self.ownership == PREFERRED and canned_acl == OWNER_CONTROLS:
            return self.account
        return account

    @property
    def _restricts_policy(self) -> bool:
        return self.policy is not None and self.block.restrict_buckets and self.policy.is_public

    def _said(
        self,
        requester: Requester,
        action: Action,
        key: bytes | None,
        context: Context,
        waived: Collection[str] = (),
    ) -> Effect | None:
        if self.policy is None:
            return None
        resource = resource_arn(self.bucket, key if action.on_object else None)
        return self.policy.decide(requester, action, resource, context, waived)
