"""Decides whether a key with limits may do what a request asks for, before its body is read.

The one place where rights meet operations. A key without limits never comes here.
"""

from __future__ import annotations

from enum import Enum
from typing import NoReturn

from gateway.rights import Limits, Right
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.object_lock import bypasses_governance
from gateway.s3.operations import Operation
from gateway.web.requests import S3Request


class Need(Enum):
    """What an operation needs of a key: a right, and whether over a bucket or within it.

    VISIBLE is the bucket being one of the key's. NOTHING leaves it to the handler to show only
    what the key may see.
    """

    NOTHING = "NOTHING"
    VISIBLE = "VISIBLE"
    READ = "READ"
    LIST = "LIST"
    CREATE = "CREATE"
    WRITE = "WRITE"
    CREATE_BUCKET = "CREATE_BUCKET"
    ADMIN = "ADMIN"


NEEDS: dict[Operation, Need] = {
    Operation.ListBuckets: Need.NOTHING,
    Operation.CreateBucket: Need.CREATE_BUCKET,
    Operation.HeadBucket: Need.VISIBLE,
    Operation.DeleteBucket: Need.ADMIN,
    Operation.GetBucketLocation: Need.VISIBLE,
    Operation.GetBucketVersioning: Need.VISIBLE,
    Operation.ListObjects: Need.LIST,
    Operation.ListObjectsV2: Need.LIST,
    Operation.PutBucketVersioning: Need.ADMIN,
    Operation.ListObjectVersions: Need.LIST,
    Operation.ListMultipartUploads: Need.LIST,
    # The handler asks for each key: `authorize_key`.
    Operation.DeleteObjects: Need.VISIBLE,
    Operation.PutObject: Need.CREATE,
    Operation.PostObject: Need.CREATE,
    Operation.CopyObject: Need.CREATE,
    Operation.RenameObject: Need.CREATE,
    Operation.GetObject: Need.READ,
    Operation.GetObjectAttributes: Need.READ,
    Operation.HeadObject: Need.READ,
    # Who may only create may still delete in scratch areas: the lock that it has put there.
    Operation.DeleteObject: Need.CREATE,
    Operation.GetBucketAcl: Need.VISIBLE,
    Operation.GetBucketTagging: Need.VISIBLE,
    Operation.GetBucketCors: Need.VISIBLE,
    Operation.GetBucketLifecycleConfiguration: Need.VISIBLE,
    Operation.GetObjectLockConfiguration: Need.VISIBLE,
    Operation.GetPublicAccessBlock: Need.VISIBLE,
    Operation.GetBucketOwnershipControls: Need.VISIBLE,
    Operation.GetBucketPolicy: Need.VISIBLE,
    Operation.GetBucketPolicyStatus: Need.VISIBLE,
    Operation.GetBucketEncryption: Need.VISIBLE,
    Operation.GetBucketWebsite: Need.VISIBLE,
    Operation.GetBucketReplication: Need.VISIBLE,
    Operation.GetBucketLogging: Need.VISIBLE,
    Operation.GetBucketNotificationConfiguration: Need.VISIBLE,
    Operation.GetBucketAccelerateConfiguration: Need.VISIBLE,
    Operation.GetBucketRequestPayment: Need.VISIBLE,
    Operation.PutBucketAcl: Need.ADMIN,
    Operation.PutBucketTagging: Need.ADMIN,
    Operation.DeleteBucketTagging: Need.ADMIN,
    Operation.PutBucketCors: Need.ADMIN,
    Operation.DeleteBucketCors: Need.ADMIN,
    Operation.PutBucketLifecycleConfiguration: Need.ADMIN,
    Operation.DeleteBucketLifecycle: Need.ADMIN,
    Operation.PutObjectLockConfiguration: Need.ADMIN,
    Operation.PutPublicAccessBlock: Need.ADMIN,
    Operation.DeletePublicAccessBlock: Need.ADMIN,
    Operation.PutBucketOwnershipControls: Need.ADMIN,
    Operation.DeleteBucketOwnershipControls: Need.ADMIN,
    Operation.PutBucketPolicy: Need.ADMIN,
    Operation.DeleteBucketPolicy: Need.ADMIN,
    Operation.DeleteBucketEncryption: Need.ADMIN,
    Operation.DeleteBucketWebsite: Need.ADMIN,
    Operation.DeleteBucketReplication: Need.ADMIN,
    Operation.PutBucketLogging: Need.ADMIN,
    Operation.PutBucketNotificationConfiguration: Need.ADMIN,
    Operation.PutBucketAccelerateConfiguration: Need.ADMIN,
    Operation.PutBucketRequestPayment: Need.ADMIN,
    Operation.GetBucketAnalyticsConfiguration: Need.VISIBLE,
    Operation.ListBucketAnalyticsConfigurations: Need.VISIBLE,
    Operation.GetBucketIntelligentTieringConfiguration: Need.VISIBLE,
    Operation.ListBucketIntelligentTieringConfigurations: Need.VISIBLE,
    Operation.GetBucketInventoryConfiguration: Need.VISIBLE,
    Operation.ListBucketInventoryConfigurations: Need.VISIBLE,
    Operation.GetBucketMetricsConfiguration: Need.VISIBLE,
    Operation.ListBucketMetricsConfigurations: Need.VISIBLE,
    Operation.GetObjectAcl: Need.READ,
    Operation.GetObjectTagging: Need.READ,
    Operation.GetObjectRetention: Need.READ,
    Operation.GetObjectLegalHold: Need.READ,
    Operation.PutObjectAcl: Need.WRITE,
    Operation.PutObjectTagging: Need.WRITE,
    Operation.DeleteObjectTagging: Need.WRITE,
    Operation.PutObjectRetention: Need.WRITE,
    Operation.PutObjectLegalHold: Need.WRITE,
    Operation.CreateMultipartUpload: Need.CREATE,
    Operation.UploadPart: Need.CREATE,
    Operation.UploadPartCopy: Need.CREATE,
    Operation.CompleteMultipartUpload: Need.CREATE,
    Operation.AbortMultipartUpload: Need.CREATE,
    Operation.ListParts: Need.CREATE,
}
"""What each operation needs; one that is missing here needs ADMIN."""

ANONYMOUS = frozenset(
    {
        Operation.GetObject,
        Operation.HeadObject,
        Operation.GetObjectAttributes,
        Operation.ListObjects,
        Operation.ListObjectsV2,
        Operation.HeadBucket,
        Operation.GetBucketLocation,
    }
)
"""What anybody may do with an open bucket: see what its keys show now, and nothing of the past."""

_RIGHTS = {
    Need.READ: Right.READ,
    Need.LIST: Right.LIST,
    Need.CREATE: Right.CREATE,
    Need.WRITE: Right.WRITE,
    Need.CREATE_BUCKET: Right.CREATE,
    Need.ADMIN: Right.ADMIN,
}


def authorize(limits: Limits, operation: Operation, request: S3Request) -> None:
    """Returns if a key with these limits may have this done; S3Error(AccessDenied) if not."""
    if request.identity.is_anonymous:
        _check_anonymous(operation, request)
    need = NEEDS.get(operation, Need.ADMIN)
    if need is Need.NOTHING:
        return
    if not limits.covers_bucket(request.bucket):
        _refuse("is not for this bucket")
    if bypasses_governance(request.headers):
        # On AWS, too, that is a permission of its own: s3:BypassGovernanceRetention.
        _check_right(limits, Right.ADMIN)
    if need is Need.VISIBLE:
        return
    _check_right(limits, _RIGHTS[need])
    if need is Need.LIST:
        if not limits.covers_key(request.query.get("prefix", "").encode()):
            _refuse("lists below its prefixes only")
    elif need is Need.ADMIN:
        if limits.prefixes:
            _refuse("is for some prefixes, not for the whole bucket")
    elif need is not Need.CREATE_BUCKET and not limits.covers_key(request.key):
        _refuse("is not for this key")


def authorize_key(request: S3Request, right: Right, bucket: str, key: bytes) -> None:
    """As `authorize`, for a key that a request names elsewhere than in its path."""
    limits = request.identity.limits
    if limits is None:
        return
    if not limits.covers_bucket(bucket):
        _refuse("is not for this bucket")
    _check_right(limits, right)
    if not limits.covers_key(key):
        _refuse("is not for this key")


def authorize_upload(request: S3Request, opener: str | None) -> None:
    """As `authorize`, for going on with an upload that the key named `opener` has opened.

    A key that may only create must not abort what others are about to store, nor add to it, and
    neither may another account that writes to a shared bucket. Of uploads opened by earlier
    versions of the program it is not known who did: those are open to the bucket's account.
    """
    if opener == request.identity.key_name:
        return
    is_guest = request.identity.account != request.account
    if is_guest or (request.creates_only and opener is not None):
        _refuse("is not the one that opened this upload")


def _check_anonymous(operation: Operation, request: S3Request) -> None:
    if operation not in ANONYMOUS or "versionId" in request.query:
        raise S3Error(ErrorCode.AccessDenied)
    check_overrides(request)


def check_overrides(request: S3Request) -> None:
    """Refuse `response-*` parameters of a request without a key, by S3Error InvalidRequest."""
    if any(name.startswith("response-") for name in request.query):
        # Else a link made by anybody would show an object as a page of this site.
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        raise S3Error(
            ErrorCode.InvalidRequest,
            "Request specific response headers cannot be used for anonymous GET requests.",
        )


def _check_right(limits: Limits, right: Right) -> None:
    if not limits.has(right):
        _refuse(f"has no right to {_VERBS[right]}")


_VERBS = {
    Right.READ: "read",
    Right.WRITE: "change or delete objects",
    Right.CREATE: "store objects",
    Right.LIST: "list",
    Right.ADMIN: "change the settings of a bucket",
}


def _refuse(reason: str) -> NoReturn:
    raise S3Error(ErrorCode.AccessDenied, f"The access key {reason}.")
