"""What an operation asks for: its actions in bucket policies, its permission in access lists.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#permissions
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.s3.acl import Permission
from gateway.s3.operations import Operation


@dataclass(frozen=True, slots=True)
class Action:
    """An action of policies: on a bucket, or on an object of it.

    `versioned` is its name where the request names a version. `permission` is what a list of
    grants must give for it, that of the object where `by_object`; None where no list gives it.
    """

    name: str
    on_object: bool = True
    versioned: str | None = None
    permission: Permission | None = None
    by_object: bool = False

    def for_version(self) -> Action:
        """The action on a version that is named."""
        if self.versioned is None:
            return self
        # Deleting a version is for the owner: WRITE is to put, and to put a marker.
        permission = self.permission if self.by_object else None
        return Action(self.versioned, self.on_object, None, permission, self.by_object)


def _object(name: str, permission: Permission | None = None) -> Action:
    # s3:GetObject → s3:GetObjectVersion, s3:PutObjectTagging → s3:PutObjectVersionTagging
    versioned = name.replace("Object", "ObjectVersion", 1)
    return Action(name, True, versioned, permission, permission is not None)


def _bucket(name: str, permission: Permission | None = None) -> Action:
    return Action(name, False, None, permission)


GET_OBJECT = _object("s3:GetObject", Permission.READ)
PUT_OBJECT = Action("s3:PutObject", permission=Permission.WRITE)
DELETE_OBJECT = Action(
    "s3:DeleteObject", versioned="s3:DeleteObjectVersion", permission=Permission.WRITE
)
LIST_BUCKET = _bucket("s3:ListBucket", Permission.READ)
GET_OBJECT_TAGGING = _object("s3:GetObjectTagging")
GET_OBJECT_RETENTION = Action("s3:GetObjectRetention")
GET_OBJECT_LEGAL_HOLD = Action("s3:GetObjectLegalHold")
PUT_OBJECT_ACL = _object("s3:PutObjectAcl", Permission.WRITE_ACP)
# Of an object that is yet to come: who may write to the bucket by its list may share what it puts.
PUT_NEW_OBJECT_ACL = Action("s3:PutObjectAcl", permission=Permission.WRITE)
PUT_OBJECT_TAGGING = _object("s3:PutObjectTagging")
PUT_OBJECT_RETENTION = Action("s3:PutObjectRetention")
PUT_OBJECT_LEGAL_HOLD = Action("s3:PutObjectLegalHold")
PUT_BUCKET_ACL = _bucket("s3:PutBucketAcl", Permission.WRITE_ACP)
GET_LIFECYCLE = _bucket("s3:GetLifecycleConfiguration")
PUT_LIFECYCLE = _bucket("s3:PutLifecycleConfiguration")
PUT_TAGGING = _bucket("s3:PutBucketTagging")
PUT_CORS = _bucket("s3:PutBucketCORS")
PUT_BLOCK = _bucket("s3:PutBucketPublicAccessBlock")
PUT_OWNERSHIP = _bucket("s3:PutBucketOwnershipControls")
PUT_ENCRYPTION = _bucket("s3:PutEncryptionConfiguration")
PUT_REPLICATION = _bucket("s3:PutReplicationConfiguration")

BY_OPERATION: dict[Operation, tuple[Action, ...]] = {
    Operation.HeadBucket: (LIST_BUCKET,),
    Operation.ListObjects: (LIST_BUCKET,),
    Operation.ListObjectsV2: (LIST_BUCKET,),
    Operation.ListObjectVersions: (_bucket("s3:ListBucketVersions", Permission.READ),),
    Operation.ListMultipartUploads: (_bucket("s3:ListBucketMultipartUploads", Permission.READ),),
    Operation.DeleteBucket: (_bucket("s3:DeleteBucket"),),
    Operation.GetBucketLocation: (_bucket("s3:GetBucketLocation"),),
    Operation.GetBucketVersioning: (_bucket("s3:GetBucketVersioning"),),
    Operation.PutBucketVersioning: (_bucket("s3:PutBucketVersioning"),),
    Operation.GetBucketAcl: (_bucket("s3:GetBucketAcl", Permission.READ_ACP),),
    Operation.PutBucketAcl: (PUT_BUCKET_ACL,),
    Operation.GetBucketTagging: (_bucket("s3:GetBucketTagging"),),
    Operation.PutBucketTagging: (PUT_TAGGING,),
    Operation.DeleteBucketTagging: (PUT_TAGGING,),
    Operation.GetBucketCors: (_bucket("s3:GetBucketCORS"),),
    Operation.PutBucketCors: (PUT_CORS,),
    Operation.DeleteBucketCors: (PUT_CORS,),
    Operation.GetBucketLifecycleConfiguration: (GET_LIFECYCLE,),
    Operation.PutBucketLifecycleConfiguration: (PUT_LIFECYCLE,),
    Operation.DeleteBucketLifecycle: (PUT_LIFECYCLE,),
    Operation.GetObjectLockConfiguration: (_bucket("s3:GetBucketObjectLockConfiguration"),),
    Operation.PutObjectLockConfiguration: (_bucket("s3:PutBucketObjectLockConfiguration"),),
    Operation.GetPublicAccessBlock: (_bucket("s3:GetBucketPublicAccessBlock"),),
    Operation.PutPublicAccessBlock: (PUT_BLOCK,),
    Operation.DeletePublicAccessBlock: (PUT_BLOCK,),
    Operation.GetBucketOwnershipControls: (_bucket("s3:GetBucketOwnershipControls"),),
    Operation.PutBucketOwnershipControls: (PUT_OWNERSHIP,),
    Operation.DeleteBucketOwnershipControls: (PUT_OWNERSHIP,),
    Operation.GetBucketPolicy: (_bucket("s3:GetBucketPolicy"),),
    Operation.PutBucketPolicy: (_bucket("s3:PutBucketPolicy"),),
    Operation.DeleteBucketPolicy: (_bucket("s3:DeleteBucketPolicy"),),
    Operation.GetBucketPolicyStatus: (_bucket("s3:GetBucketPolicyStatus"),),
    Operation.GetBucketEncryption: (_bucket("s3:GetEncryptionConfiguration"),),
    Operation.DeleteBucketEncryption: (PUT_ENCRYPTION,),
    Operation.GetBucketWebsite: (_bucket("s3:GetBucketWebsite"),),
    Operation.DeleteBucketWebsite: (_bucket("s3:DeleteBucketWebsite"),),
    Operation.GetBucketReplication: (_bucket("s3:GetReplicationConfiguration"),),
    Operation.DeleteBucketReplication: (PUT_REPLICATION,),
    Operation.GetBucketLogging: (_bucket("s3:GetBucketLogging"),),
    Operation.PutBucketLogging: (_bucket("s3:PutBucketLogging"),),
    Operation.GetBucketNotificationConfiguration: (_bucket("s3:GetBucketNotification"),),
    Operation.PutBucketNotificationConfiguration: (_bucket("s3:PutBucketNotification"),),
    Operation.GetBucketAccelerateConfiguration: (_bucket("s3:GetAccelerateConfiguration"),),
    Operation.PutBucketAccelerateConfiguration: (_bucket("s3:PutAccelerateConfiguration"),),
    Operation.GetBucketRequestPayment: (_bucket("s3:GetBucketRequestPayment"),),
    Operation.PutBucketRequestPayment: (_bucket("s3:PutBucketRequestPayment"),),
    Operation.GetBucketAnalyticsConfiguration: (_bucket("s3:GetAnalyticsConfiguration"),),
    Operation.ListBucketAnalyticsConfigurations: (_bucket("s3:GetAnalyticsConfiguration"),),
    Operation.GetBucketIntelligentTieringConfiguration: (
        _bucket("s3:GetIntelligentTieringConfiguration"),
    ),
    Operation.ListBucketIntelligentTieringConfigurations: (
        _bucket("s3:GetIntelligentTieringConfiguration"),
    ),
    Operation.GetBucketInventoryConfiguration: (_bucket("s3:GetInventoryConfiguration"),),
    Operation.ListBucketInventoryConfigurations: (_bucket("s3:GetInventoryConfiguration"),),
    Operation.GetBucketMetricsConfiguration: (_bucket("s3:GetMetricsConfiguration"),),
    Operation.ListBucketMetricsConfigurations: (_bucket("s3:GetMetricsConfiguration"),),
    Operation.GetObject: (GET_OBJECT,),
    Operation.HeadObject: (GET_OBJECT,),
    Operation.GetObjectAttributes: (GET_OBJECT, _object("s3:GetObjectAttributes", Permission.READ)),
    Operation.GetObjectAcl: (_object("s3:GetObjectAcl", Permission.READ_ACP),),
    Operation.PutObjectAcl: (PUT_OBJECT_ACL,),
    Operation.GetObjectTagging: (GET_OBJECT_TAGGING,),
    Operation.PutObjectTagging: (PUT_OBJECT_TAGGING,),
    Operation.DeleteObjectTagging: (_object("s3:DeleteObjectTagging"),),
    Operation.GetObjectRetention: (GET_OBJECT_RETENTION,),
    Operation.PutObjectRetention: (PUT_OBJECT_RETENTION,),
    Operation.GetObjectLegalHold: (GET_OBJECT_LEGAL_HOLD,),
    Operation.PutObjectLegalHold: (PUT_OBJECT_LEGAL_HOLD,),
    Operation.PutObject: (PUT_OBJECT,),
    Operation.PostObject: (PUT_OBJECT,),
    Operation.CopyObject: (PUT_OBJECT,),
    Operation.RenameObject: (PUT_OBJECT,),
    Operation.CreateMultipartUpload: (PUT_OBJECT,),
    Operation.UploadPart: (PUT_OBJECT,),
    Operation.UploadPartCopy: (PUT_OBJECT,),
    Operation.CompleteMultipartUpload: (PUT_OBJECT,),
    Operation.AbortMultipartUpload: (
        Action("s3:AbortMultipartUpload", permission=Permission.WRITE),
    ),
    Operation.ListParts: (Action("s3:ListMultipartUploadParts", permission=Permission.WRITE),),
    Operation.DeleteObject: (DELETE_OBJECT,),
}
"""The actions that an operation needs, all of them. A sub-resource that is 501 has none, and so
have ListBuckets and CreateBucket, which are about one's own, and DeleteObjects, which is decided
key by key."""

BYPASS_GOVERNANCE = Action("s3:BypassGovernanceRetention")

OWNERS_ALONE = frozenset(
    {Operation.GetBucketPolicy, Operation.PutBucketPolicy, Operation.DeleteBucketPolicy}
)
"""What is for the account of the bucket alone, and what no policy denies it: else a broad grant
would give a bucket away, and a slip would shut its account out, both for good.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html
"""

ACTIONS: dict[str, bool] = {
    name.lower(): action.on_object
    for action in (
        *(action for actions in BY_OPERATION.values() for action in actions),
        BYPASS_GOVERNANCE,
    )
    for name in (action.name, action.versioned)
    if name is not None
}
"""Every action that a policy may name, in lower case, and whether it is on objects."""
