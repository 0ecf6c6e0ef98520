"""Settings of buckets that have one value here: what they answer, and that nothing else is set.

A request to set what is so anyway succeeds; one that would change something is refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.xml_tree import (
    boolean_of,
    children_of,
    fields_of,
    parse_document,
    refuse_malformed,
    texts_of,
)
from gateway.s3.xml_writer import configuration

ENFORCED = "BucketOwnerEnforced"
PREFERRED = "BucketOwnerPreferred"
OBJECT_WRITER = "ObjectWriter"
OWNERSHIPS = frozenset({ENFORCED, PREFERRED, OBJECT_WRITER})

LOGGING_DOCUMENT = configuration("BucketLoggingStatus", "")
NOTIFICATION_DOCUMENT = configuration("NotificationConfiguration", "")
ACCELERATE_DOCUMENT = configuration("AccelerateConfiguration", "")
REQUEST_PAYMENT_DOCUMENT = configuration(
    "RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>"
)

LISTS = {
    "analytics": "ListBucketAnalyticsConfigurationResult",
    "intelligent-tiering": "ListBucketIntelligentTieringConfigurationsOutput",
    "inventory": "ListInventoryConfigurationsResult",
    "metrics": "ListMetricsConfigurationsResult",
}
"""Settings of which a bucket may have many, each with an id: the root of their empty list."""

_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


class PublicAccessBlock(NamedTuple):
    """What of a bucket's lists and policy must not be public, or has no effect where it is.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
    """

    block_acls: bool = False
    ignore_acls: bool = False
    block_policy: bool = False
    restrict_buckets: bool = False


NOTHING_BLOCKED = PublicAccessBlock()


def empty_list(name: str) -> str:
    """The list of all settings of a kind in LISTS: there are none."""
    return configuration(LISTS[name], "<IsTruncated>false</IsTruncated>")


def read_logging(body: bytes) -> None:
    """Read the body of PutBucketLogging, which may say that nothing is logged."""
    _refuse_content(body, "BucketLoggingStatus")


def read_notification(body: bytes) -> None:
    """Read the body of PutBucketNotificationConfiguration, which may say that nobody is told."""
    _refuse_content(body, "NotificationConfiguration")


def read_accelerate(body: bytes) -> None:
    """Read the body of PutBucketAccelerateConfiguration, which may suspend what is not there."""
    _check_value(body, "AccelerateConfiguration", "Status", "Suspended", {"Enabled"})


def read_request_payment(body: bytes) -> None:
    """Read the body of PutBucketRequestPayment, which may name the owner of the bucket."""
    _check_value(body, "RequestPaymentConfiguration", "Payer", "BucketOwner", {"Requester"})


def read_ownership(value: str, *, has_lists: bool) -> str:
    """The object ownership that a header names.

    Raises S3Error: InvalidArgument; NotImplemented for one with access control lists where
    `has_lists` says that buckets cannot have any.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
    """
    if value not in OWNERSHIPS:
        raise S3Error(
            ErrorCode.InvalidArgument,
            "Invalid x-amz-object-ownership header: " + value,
            ArgumentName="x-amz-object-ownership",
        )
    if value != ENFORCED and not has_lists:
        raise S3Error(
            ErrorCode.NotImplemented, f"There are no access control lists here: use {ENFORCED}."
        )
    return value


def read_ownership_controls(body: bytes, *, has_lists: bool) -> str:
    """Read the body of PutBucketOwnershipControls; S3Error MalformedXML, or as `read_ownership`."""
    root = parse_document(body, "OwnershipControls")
    rules = [texts_of(rule, {"ObjectOwnership"}) for rule in children_of(root, {"Rule"})]
    if len(rules) != 1 or rules[0].get("ObjectOwnership") not in OWNERSHIPS:
        refuse_malformed()
    return read_ownership(rules[0]["ObjectOwnership"], has_lists=has_lists)


def ownership_controls(ownership: str) -> str:
    """The OwnershipControls document."""
    rule = f"<Rule><ObjectOwnership>{ownership}</ObjectOwnership></Rule>"
    return configuration("OwnershipControls", rule)


def policy_status(*, is_public: bool) -> str:
    """The PolicyStatus document."""
    return configuration("PolicyStatus", f"<IsPublic>{str(is_public).lower()}</IsPublic>")


def read_public_access_block(body: bytes) -> str:
    """Read the body of PutPublicAccessBlock; the document to keep and to give back.

    S3Error MalformedXML.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutPublicAccessBlock.html
    """
    given = texts_of(parse_document(body, "PublicAccessBlockConfiguration"), _BLOCKS)
    values = {name: boolean_of(given.get(name, "false")) for name in _BLOCKS}
    return configuration(
        "PublicAccessBlockConfiguration",
        "".join(f"<{name}>{str(value).lower()}</{name}>" for name, value in values.items()),
    )


@lru_cache(16)
def public_access_block(document: str) -> PublicAccessBlock:
    """What a document that `read_public_access_block` made says."""
    given = texts_of(parse_document(document.encode(), "PublicAccessBlockConfiguration"), _BLOCKS)
    return PublicAccessBlock(*(boolean_of(given[name]) for name in _BLOCKS))


def _refuse_content(body: bytes, root: str) -> None:
    if any(True for _ in fields_of(parse_document(body, root))):
        raise S3Error(ErrorCode.NotImplemented)


def _check_value(body: bytes, root: str, name: str, kept: str, refused: set[str]) -> None:
    value = texts_of(parse_document(body, root), {name}).get(name)
    if value in refused:
        raise S3Error(ErrorCode.NotImplemented)
    if value != kept:
        refuse_malformed()
