"""Which operation of the S3 API a request asks for: the method decides first, then the query."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, NoReturn

from gateway.s3.address import Address
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.unsupported_headers import find_unsupported_header, refuse_unsupported_headers


class Operation(Enum):
    """The operations of the S3 API by their names, and three that one segment leaves open.

    `CreateBucketOrPutObject`, `ListObjectsOrGetObject` and `HeadBucketOrHeadObject` belong to
    `/s3/name`, which names a bucket on S3 and, on Auto Drive, key `name` of bucket `default`.
    The caller decides by what it knows (a body, a bucket of that name); `READINGS` has both.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
    """

    # By identity: that of Enum is written in Python, and operations are keys of every dispatch.
    __hash__ = object.__hash__

    ListBuckets = "ListBuckets"
    CreateBucket = "CreateBucket"
    HeadBucket = "HeadBucket"
    DeleteBucket = "DeleteBucket"
    GetBucketLocation = "GetBucketLocation"
    GetBucketVersioning = "GetBucketVersioning"
    PutBucketVersioning = "PutBucketVersioning"
    GetBucketAcl = "GetBucketAcl"
    PutBucketAcl = "PutBucketAcl"
    GetBucketTagging = "GetBucketTagging"
    PutBucketTagging = "PutBucketTagging"
    DeleteBucketTagging = "DeleteBucketTagging"
    GetBucketCors = "GetBucketCors"
    PutBucketCors = "PutBucketCors"
    DeleteBucketCors = "DeleteBucketCors"
    GetBucketLifecycleConfiguration = "GetBucketLifecycleConfiguration"
    PutBucketLifecycleConfiguration = "PutBucketLifecycleConfiguration"
    DeleteBucketLifecycle = "DeleteBucketLifecycle"
    GetObjectLockConfiguration = "GetObjectLockConfiguration"
    PutObjectLockConfiguration = "PutObjectLockConfiguration"
    GetPublicAccessBlock = "GetPublicAccessBlock"
    PutPublicAccessBlock = "PutPublicAccessBlock"
    DeletePublicAccessBlock = "DeletePublicAccessBlock"
    GetBucketOwnershipControls = "GetBucketOwnershipControls"
    PutBucketOwnershipControls = "PutBucketOwnershipControls"
    DeleteBucketOwnershipControls = "DeleteBucketOwnershipControls"
    GetBucketPolicy = "GetBucketPolicy"
    GetBucketPolicyStatus = "GetBucketPolicyStatus"
    PutBucketPolicy = "PutBucketPolicy"
    DeleteBucketPolicy = "DeleteBucketPolicy"
    GetBucketEncryption = "GetBucketEncryption"
    DeleteBucketEncryption = "DeleteBucketEncryption"
    GetBucketWebsite = "GetBucketWebsite"
    DeleteBucketWebsite = "DeleteBucketWebsite"
    GetBucketReplication = "GetBucketReplication"
    DeleteBucketReplication = "DeleteBucketReplication"
    GetBucketLogging = "GetBucketLogging"
    PutBucketLogging = "PutBucketLogging"
    GetBucketNotificationConfiguration = "GetBucketNotificationConfiguration"
    PutBucketNotificationConfiguration = "PutBucketNotificationConfiguration"
    GetBucketAccelerateConfiguration = "GetBucketAccelerateConfiguration"
    PutBucketAccelerateConfiguration = "PutBucketAccelerateConfiguration"
    GetBucketRequestPayment = "GetBucketRequestPayment"
    PutBucketRequestPayment = "PutBucketRequestPayment"
    GetBucketAnalyticsConfiguration = "GetBucketAnalyticsConfiguration"
    ListBucketAnalyticsConfigurations = "ListBucketAnalyticsConfigurations"
    GetBucketIntelligentTieringConfiguration = "GetBucketIntelligentTieringConfiguration"
    ListBucketIntelligentTieringConfigurations = "ListBucketIntelligentTieringConfigurations"
    GetBucketInventoryConfiguration = "GetBucketInventoryConfiguration"
    ListBucketInventoryConfigurations = "ListBucketInventoryConfigurations"
    GetBucketMetricsConfiguration = "GetBucketMetricsConfiguration"
    ListBucketMetricsConfigurations = "ListBucketMetricsConfigurations"
    ListObjects = "ListObjects"
    ListObjectsV2 = "ListObjectsV2"
    ListObjectVersions = "ListObjectVersions"
    ListMultipartUploads = "ListMultipartUploads"
    DeleteObjects = "DeleteObjects"
    PutObject = "PutObject"
    PostObject = "PostObject"
    CopyObject = "CopyObject"
    RenameObject = "RenameObject"
    GetObject = "GetObject"
    GetObjectAttributes = "GetObjectAttributes"
    HeadObject = "HeadObject"
    DeleteObject = "DeleteObject"
    GetObjectAcl = "GetObjectAcl"
    PutObjectAcl = "PutObjectAcl"
    GetObjectTagging = "GetObjectTagging"
    PutObjectTagging = "PutObjectTagging"
    DeleteObjectTagging = "DeleteObjectTagging"
    GetObjectRetention = "GetObjectRetention"
    PutObjectRetention = "PutObjectRetention"
    GetObjectLegalHold = "GetObjectLegalHold"
    PutObjectLegalHold = "PutObjectLegalHold"
    CreateMultipartUpload = "CreateMultipartUpload"
    UploadPart = "UploadPart"
    UploadPartCopy = "UploadPartCopy"
    CompleteMultipartUpload = "CompleteMultipartUpload"
    AbortMultipartUpload = "AbortMultipartUpload"
    ListParts = "ListParts"
    CreateBucketOrPutObject = "CreateBucketOrPutObject"
    ListObjectsOrGetObject = "ListObjectsOrGetObject"
    HeadBucketOrHeadObject = "HeadBucketOrHeadObject"


OBJECT_OPERATIONS = frozenset(
    {
        Operation.PutObject,
        Operation.CopyObject,
        Operation.RenameObject,
        Operation.GetObject,
        Operation.GetObjectAttributes,
        Operation.HeadObject,
        Operation.DeleteObject,
        Operation.GetObjectAcl,
        Operation.PutObjectAcl,
        Operation.GetObjectTagging,
        Operation.PutObjectTagging,
        Operation.DeleteObjectTagging,
        Operation.GetObjectRetention,
        Operation.PutObjectRetention,
        Operation.GetObjectLegalHold,
        Operation.PutObjectLegalHold,
        Operation.CreateMultipartUpload,
        Operation.UploadPart,
        Operation.UploadPartCopy,
        Operation.CompleteMultipartUpload,
        Operation.AbortMultipartUpload,
        Operation.ListParts,
    }
)
"""Operations on a key. At an address without one they mean its `flat_address`."""

VERSIONED = frozenset(
    {
        Operation.GetObject,
        Operation.GetObjectAttributes,
        Operation.HeadObject,
        Operation.DeleteObject,
        Operation.GetObjectAcl,
        Operation.PutObjectAcl,
        Operation.GetObjectTagging,
        Operation.PutObjectTagging,
        Operation.DeleteObjectTagging,
        Operation.GetObjectRetention,
        Operation.PutObjectRetention,
        Operation.GetObjectLegalHold,
        Operation.PutObjectLegalHold,
    }
)
"""Operations that a versionId may turn to one version of a key."""

READINGS = {
    Operation.CreateBucketOrPutObject: (Operation.CreateBucket, Operation.PutObject),
    Operation.ListObjectsOrGetObject: (Operation.ListObjects, Operation.GetObject),
    Operation.HeadBucketOrHeadObject: (Operation.HeadBucket, Operation.HeadObject),
}
"""What an open operation means for the bucket `name`, and for the key `name`."""


class Scope(Enum):
    """What an address names; NAME is one segment without a slash after it."""

    SERVICE = "SERVICE"
    NAME = "NAME"
    BUCKET = "BUCKET"
    OBJECT = "OBJECT"


class HeaderFacts(NamedTuple):
    """What the choice of an operation needs to know of the headers.

    `asks_for_object`: a header that only operations on objects have (Range, If-*).
    `unsupported`: the headers, if one of them must be refused on any operation, or None.
    """

    has_copy_source: bool = False
    asks_for_object: bool = False
    unsupported: Mapping[str, str] | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> HeaderFacts:
        """Gather the facts from the headers (lower-case names), those of the query included."""
        return cls(
            has_copy_source=_COPY_SOURCE in headers,
            asks_for_object=not headers.keys().isdisjoint(_OBJECT_HEADERS),
            unsupported=headers if find_unsupported_header(headers) is not None else None,
        )


def resolve_operation(
    method: str, address: Address, query: Mapping[str, str], facts: HeaderFacts
) -> Operation:
    """Decide what a request asks for; nothing unknown ever falls through to a plain read or write.

    `query` comes from `parse_query`. Raises S3Error: NotImplemented (Header or QueryParameter)
    for what S3 has and the gateway lacks, and for any unknown parameter on a write;
    MethodNotAllowed, InvalidArgument or InvalidRequest for combinations that S3 refuses.
    """
    scope = _scope_of(address)
    routes = ROUTES.get((method, scope))
    if routes is None:
        _refuse(ErrorCode.MethodNotAllowed, method, scope, ())
    if facts.has_copy_source and method != "PUT":
        raise S3Error(ErrorCode.InvalidArgument, ArgumentName=_COPY_SOURCE)
    needs, outcome = routes[-1]
    if query:
        needs, outcome = next(route for route in routes if _applies(route[0], query))
        _refuse_unknown(method, query, needs, outcome)
    if facts.unsupported is not None:
        refuse_unsupported_headers(facts.unsupported, reads=method in _READS)
    if isinstance(outcome, ErrorCode):
        _refuse(outcome, method, scope, needs)
    if facts.has_copy_source:
        outcome = _COPIES.get(outcome, outcome)
    if facts.asks_for_object and outcome in READINGS:
        return READINGS[outcome][1]
    return outcome


_Needs = tuple[tuple[str, str | None], ...]
_Route = tuple[_Needs, Operation | ErrorCode]


def _route(parameters: str, outcome: Operation | ErrorCode) -> _Route:
    """A route that applies if the query has all `parameters`: `name` or `name=value`."""
    needs = []
    for parameter in parameters.split():
        name, equals, value = parameter.partition("=")
        needs.append((name, value if equals else None))
    return tuple(needs), outcome


_WRITE_PART = (
    _route("partNumber uploadId", Operation.UploadPart),
    _route("partNumber", ErrorCode.InvalidArgument),
    _route("uploadId", ErrorCode.MethodNotAllowed),
)
_POST_UPLOAD = (
    _route("uploads", Operation.CreateMultipartUpload),
    _route("uploadId", Operation.CompleteMultipartUpload),
)
_READ_BUCKET = (
    _route("location", Operation.GetBucketLocation),
    _route("versioning", Operation.GetBucketVersioning),
    _route("versions", Operation.ListObjectVersions),
    _route("uploads", Operation.ListMultipartUploads),
    _route("list-type", Operation.ListObjectsV2),
    _route("acl", Operation.GetBucketAcl),
    _route("tagging", Operation.GetBucketTagging),
    _route("cors", Operation.GetBucketCors),
    _route("lifecycle", Operation.GetBucketLifecycleConfiguration),
    _route("object-lock", Operation.GetObjectLockConfiguration),
    _route("publicAccessBlock", Operation.GetPublicAccessBlock),
    _route("ownershipControls", Operation.GetBucketOwnershipControls),
    _route("policy", Operation.GetBucketPolicy),
    _route("policyStatus", Operation.GetBucketPolicyStatus),
    _route("encryption", Operation.GetBucketEncryption),
    _route("website", Operation.GetBucketWebsite),
    _route("replication", Operation.GetBucketReplication),
    _route("logging", Operation.GetBucketLogging),
    _route("notification", Operation.GetBucketNotificationConfiguration),
    _route("accelerate", Operation.GetBucketAccelerateConfiguration),
    _route("requestPayment", Operation.GetBucketRequestPayment),
    _route("analytics id", Operation.GetBucketAnalyticsConfiguration),
    _route("analytics", Operation.ListBucketAnalyticsConfigurations),
    _route("intelligent-tiering id", Operation.GetBucketIntelligentTieringConfiguration),
    _route("intelligent-tiering", Operation.ListBucketIntelligentTieringConfigurations),
    _route("inventory id", Operation.GetBucketInventoryConfiguration),
    _route("inventory", Operation.ListBucketInventoryConfigurations),
    _route("metrics id", Operation.GetBucketMetricsConfiguration),
    _route("metrics", Operation.ListBucketMetricsConfigurations),
)
_CONFIGURE_BUCKET = (
    _route("versioning", Operation.PutBucketVersioning),
    _route("acl", Operation.PutBucketAcl),
    _route("tagging", Operation.PutBucketTagging),
    _route("cors", Operation.PutBucketCors),
    _route("lifecycle", Operation.PutBucketLifecycleConfiguration),
    _route("object-lock", Operation.PutObjectLockConfiguration),
    _route("publicAccessBlock", Operation.PutPublicAccessBlock),
    _route("ownershipControls", Operation.PutBucketOwnershipControls),
    _route("policy", Operation.PutBucketPolicy),
    _route("logging", Operation.PutBucketLogging),
    _route("notification", Operation.PutBucketNotificationConfiguration),
    _route("accelerate", Operation.PutBucketAccelerateConfiguration),
    _route("requestPayment", Operation.PutBucketRequestPayment),
)
_RESET_BUCKET = (
    _route("tagging", Operation.DeleteBucketTagging),
    _route("cors", Operation.DeleteBucketCors),
    _route("lifecycle", Operation.DeleteBucketLifecycle),
    _route("publicAccessBlock", Operation.DeletePublicAccessBlock),
    _route("ownershipControls", Operation.DeleteBucketOwnershipControls),
    _route("policy", Operation.DeleteBucketPolicy),
    _route("encryption", Operation.DeleteBucketEncryption),
    _route("website", Operation.DeleteBucketWebsite),
    _route("replication", Operation.DeleteBucketReplication),
)

# The first route that applies wins. One that ends in an error code answers with that error.
ROUTES: dict[tuple[str, Scope], tuple[_Route, ...]] = {
    ("GET", Scope.SERVICE): (_route("", Operation.ListBuckets),),
    ("GET", Scope.BUCKET): (
        *_READ_BUCKET,
        _route("x-id=GetObject", Operation.GetObject),
        _route("", Operation.ListObjects),
    ),
    ("HEAD", Scope.BUCKET): (
        _route("x-id=HeadObject", Operation.HeadObject),
        _route("", Operation.HeadBucket),
    ),
    ("PUT", Scope.BUCKET): (
        *_CONFIGURE_BUCKET,
        _route("x-id=PutObject", Operation.PutObject),
        _route("", Operation.CreateBucket),
    ),
    ("POST", Scope.BUCKET): (
        _route("delete", Operation.DeleteObjects),
        _route("", Operation.PostObject),
    ),
    ("DELETE", Scope.BUCKET): (
        *_RESET_BUCKET,
        _route("x-id=DeleteObject", Operation.DeleteObject),
        _route("", Operation.DeleteBucket),
    ),
    ("GET", Scope.OBJECT): (
        # The method decides first: ?uploadId on a GET must never finish an upload.
        _route("uploadId", Operation.ListParts),
        _route("attributes", Operation.GetObjectAttributes),
        _route("uploads", ErrorCode.InvalidRequest),
        _route("versions", ErrorCode.InvalidRequest),
        _route("acl", Operation.GetObjectAcl),
        _route("tagging", Operation.GetObjectTagging),
        _route("retention", Operation.GetObjectRetention),
        _route("legal-hold", Operation.GetObjectLegalHold),
        _route("", Operation.GetObject),
    ),
    ("HEAD", Scope.OBJECT): (_route("", Operation.HeadObject),),
    ("PUT", Scope.OBJECT): (
        *_WRITE_PART,
        _route("acl", Operation.PutObjectAcl),
        _route("tagging", Operation.PutObjectTagging),
        _route("retention", Operation.PutObjectRetention),
        _route("legal-hold", Operation.PutObjectLegalHold),
        _route("renameObject", Operation.RenameObject),
        _route("", Operation.PutObject),
    ),
    ("POST", Scope.OBJECT): (*_POST_UPLOAD, _route("", ErrorCode.MethodNotAllowed)),
    ("DELETE", Scope.OBJECT): (
        _route("uploadId", Operation.AbortMultipartUpload),
        _route("tagging", Operation.DeleteObjectTagging),
        _route("", Operation.DeleteObject),
    ),
    ("GET", Scope.NAME): (
        _route("uploadId", Operation.ListParts),
        _route("attributes", Operation.GetObjectAttributes),
        *_READ_BUCKET,
        _route("x-id=GetObject", Operation.GetObject),
        _route("x-id=ListObjects", Operation.ListObjects),
        _route("prefix", Operation.ListObjects),
        _route("delimiter", Operation.ListObjects),
        _route("marker", Operation.ListObjects),
        _route("max-keys", Operation.ListObjects),
        _route("encoding-type", Operation.ListObjects),
        _route("partNumber", Operation.GetObject),
        _route("versionId", Operation.GetObject),
        _route("response-cache-control", Operation.GetObject),
        _route("response-content-disposition", Operation.GetObject),
        _route("response-content-encoding", Operation.GetObject),
        _route("response-content-language", Operation.GetObject),
        _route("response-content-type", Operation.GetObject),
        _route("response-expires", Operation.GetObject),
        _route("", Operation.ListObjectsOrGetObject),
    ),
    ("HEAD", Scope.NAME): (
        _route("x-id=HeadObject", Operation.HeadObject),
        _route("x-id=HeadBucket", Operation.HeadBucket),
        _route("partNumber", Operation.HeadObject),
        _route("versionId", Operation.HeadObject),
        _route("", Operation.HeadBucketOrHeadObject),
    ),
    ("PUT", Scope.NAME): (
        *_WRITE_PART,
        *_CONFIGURE_BUCKET,
        _route("x-id=PutObject", Operation.PutObject),
        _route("x-id=CreateBucket", Operation.CreateBucket),
        _route("", Operation.CreateBucketOrPutObject),
    ),
    ("POST", Scope.NAME): (
        *_POST_UPLOAD,
        _route("delete", Operation.DeleteObjects),
        _route("", Operation.PostObject),
    ),
    ("DELETE", Scope.NAME): (
        _route("uploadId", Operation.AbortMultipartUpload),
        *_RESET_BUCKET,
        _route("x-id=DeleteObject", Operation.DeleteObject),
        _route("versionId", Operation.DeleteObject),
        _route("", Operation.DeleteBucket),
    ),
}

SUBRESOURCES = frozenset(
    {
        *("abac", "accelerate", "acl", "analytics", "annotation", "annotations", "append"),
        *("attributes", "cors", "delete", "encryption", "events", "intelligent-tiering"),
        *("inventory", "legal-hold", "lifecycle", "location", "logging", "metadataConfiguration"),
        *("metadataInventoryTable", "metadataJournalTable", "metadataTable", "metrics"),
        *("notification", "object-lock", "ownershipControls", "policy", "policyStatus"),
        *("publicAccessBlock", "renameObject", "replication", "replication-metrics"),
        *("requestPayment", "restore", "retention", "select", "select-type", "session"),
        *("tagging", "torrent", "uploadId", "uploads", "versioning", "versions", "website"),
    }
)
"""Parameters that turn a request into another operation: refused wherever no route needs them."""

_COPY_SOURCE = "x-amz-copy-source"
_COPIES = {
    Operation.PutObject: Operation.CopyObject,
    Operation.CreateBucketOrPutObject: Operation.CopyObject,
    Operation.UploadPart: Operation.UploadPartCopy,
}
_OBJECT_HEADERS = frozenset(
    {
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
        "x-amz-checksum-mode",
    }
)
_READS = frozenset({"GET", "HEAD"})
# Besides x-amz-*: x-id is the SDKs' own note, the rest signs presigned URLs of version 2.
_IGNORED_ON_WRITES = frozenset({"x-id", "AWSAccessKeyId", "Expires", "Signature"})


def _scope_of(address: Address) -> Scope:
    if address.key is not None:
        return Scope.OBJECT
    if address.bucket is None:
        return Scope.SERVICE
    return Scope.BUCKET if address.bucket_slash else Scope.NAME


def _applies(needs: _Needs, query: Mapping[str, str]) -> bool:
    for name, value in needs:
        if name not in query or (value is not None and query[name] != value):
            return False
    return True


def _refuse_unknown(
    method: str, query: Mapping[str, str], needs: _Needs, outcome: Operation | ErrorCode
) -> None:
    needed = {name for name, _ in needs}
    for name, value in query.items():
        if name == "versionId":
            # Some clients name the version `null` on whatever they write.
            if value in ("", "null") or outcome in VERSIONED:
                continue
        elif name in needed or _is_ignored(method, name):
            continue
        raise S3Error(ErrorCode.NotImplemented, QueryParameter=name)


def _is_ignored(method: str, name: str) -> bool:
    if name in SUBRESOURCES:
        return False
    return method in _READS or name in _IGNORED_ON_WRITES or name.lower().startswith("x-amz-")


def _refuse(code: ErrorCode, method: str, scope: Scope, needs: _Needs) -> NoReturn:
    if code is ErrorCode.MethodNotAllowed:
        kind = "BUCKET" if scope is Scope.NAME else scope.value
        raise S3Error(code, Method=method, ResourceType=kind)
    if code is ErrorCode.InvalidArgument:
        message = "This operation does not accept a partNumber without an uploadId."
        raise S3Error(code, message, ArgumentName=needs[0][0])
    if code is ErrorCode.InvalidRequest:
        raise S3Error(code, f"There is no such thing as the ?{needs[0][0]} sub-resource for a key.")
    raise S3Error(code)
