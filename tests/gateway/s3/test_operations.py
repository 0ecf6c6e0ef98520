from __future__ import annotations

import pytest

from gateway.s3.address import Address, order_base_paths, parse_address
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.operations import (
    OBJECT_OPERATIONS,
    READINGS,
    ROUTES,
    SUBRESOURCES,
    HeaderFacts,
    Operation,
    Scope,
    resolve_operation,
)
from gateway.s3.query import hoisted_headers, parse_query

BASE_PATHS = order_base_paths(["/s3"])


def resolve(method: str, target: str, **headers: str) -> Operation:
    path, _, raw_query = target.partition("?")
    address = parse_address("/s3" + path, BASE_PATHS)
    assert isinstance(address, Address)
    query = parse_query(raw_query)
    sent = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    facts = HeaderFacts.of({**hoisted_headers(query), **sent})
    return resolve_operation(method, address, query, facts)


def refusal(method: str, target: str, **headers: str) -> S3Error:
    with pytest.raises(S3Error) as caught:
        resolve(method, target, **headers)
    return caught.value


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("GET", "", "ListBuckets"),
        ("GET", "/", "ListBuckets"),
        ("GET", "/?x-id=ListBuckets", "ListBuckets"),
        # a bucket, by its slash
        ("GET", "/b/", "ListObjects"),
        ("GET", "/b/?prefix=", "ListObjects"),
        ("GET", "/b/?list-type=2&prefix=a", "ListObjectsV2"),
        ("GET", "/b/?metadata=true&list-type=2", "ListObjectsV2"),
        ("GET", "/b/?location", "GetBucketLocation"),
        ("GET", "/b/?versioning=", "GetBucketVersioning"),
        ("PUT", "/b/?versioning", "PutBucketVersioning"),
        ("GET", "/b/?versions&prefix=a", "ListObjectVersions"),
        ("GET", "/b/?uploads=&prefix=x", "ListMultipartUploads"),
        ("HEAD", "/b/", "HeadBucket"),
        ("PUT", "/b/", "CreateBucket"),
        ("DELETE", "/b/", "DeleteBucket"),
        ("POST", "/b/?delete", "DeleteObjects"),
        ("POST", "/b/", "PostObject"),
        ("POST", "/b", "PostObject"),
        ("POST", "/b/?delete=", "DeleteObjects"),
        # an object
        ("GET", "/b/k", "GetObject"),
        ("GET", "/b/k?x-id=GetObject", "GetObject"),
        ("GET", "/b/k?partNumber=1", "GetObject"),
        ("GET", "/b/k?attributes", "GetObjectAttributes"),
        ("GET", "/b/k?attributes&versionId=1", "GetObjectAttributes"),
        ("GET", "/name?attributes=", "GetObjectAttributes"),
        ("GET", "/b/k?versionId=null", "GetObject"),
        ("GET", "/b/k?versionId=000653e2c4d38401", "GetObject"),
        ("GET", "/b/k?versionId=", "GetObject"),
        ("GET", "/b/k?response-content-type=text/plain", "GetObject"),
        ("GET", "/b/k?list-type=2", "GetObject"),
        ("GET", "/b/k?nonsense=1", "GetObject"),
        ("GET", "/b/k?uploadId=u", "ListParts"),
        ("HEAD", "/b/k", "HeadObject"),
        ("HEAD", "/b/k?versionId=null", "HeadObject"),
        ("PUT", "/b/k", "PutObject"),
        ("PUT", "/b/k/", "PutObject"),
        ("PUT", "/b/k?x-id=PutObject", "PutObject"),
        ("PUT", "/b/k?X-Amz-Signature=00&X-Amz-Date=d", "PutObject"),
        ("PUT", "/b/k?AWSAccessKeyId=a&Signature=s&Expires=1", "PutObject"),
        ("PUT", "/b/k?x-amz-acl=private", "PutObject"),
        ("PUT", "/b/k?versionId=null", "PutObject"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"),
        ("PUT", "/b/k?uploadId=u&partNumber=1&x-id=UploadPart", "UploadPart"),
        ("POST", "/b/k?uploads", "CreateMultipartUpload"),
        ("POST", "/b/k?uploads=", "CreateMultipartUpload"),
        ("POST", "/b/k?uploadId=u", "CompleteMultipartUpload"),
        ("DELETE", "/b/k", "DeleteObject"),
        ("DELETE", "/b/k?versionId=null", "DeleteObject"),
        ("DELETE", "/b/k?versionId=000653e2c4d38401", "DeleteObject"),
        ("DELETE", "/b/k?uploadId=u", "AbortMultipartUpload"),
        # one segment: a bucket, or key `name` of bucket `default`
        ("PUT", "/name", "CreateBucketOrPutObject"),
        ("PUT", "/name?x-id=PutObject", "PutObject"),
        ("PUT", "/name/?x-id=PutObject", "PutObject"),
        ("PUT", "/name?x-id=CreateBucket", "CreateBucket"),
        ("PUT", "/name?partNumber=1&uploadId=u", "UploadPart"),
        ("POST", "/name?uploads", "CreateMultipartUpload"),
        ("POST", "/name?uploadId=u", "CompleteMultipartUpload"),
        ("POST", "/name?delete", "DeleteObjects"),
        ("GET", "/name", "ListObjectsOrGetObject"),
        ("GET", "/name?nonsense", "ListObjectsOrGetObject"),
        ("GET", "/name?x-id=GetObject", "GetObject"),
        ("GET", "/name/?x-id=GetObject", "GetObject"),
        ("GET", "/name?response-expires=x", "GetObject"),
        ("GET", "/name?partNumber=1", "GetObject"),
        ("GET", "/name?list-type=2", "ListObjectsV2"),
        ("GET", "/name?prefix=", "ListObjects"),
        ("GET", "/name?delimiter=/", "ListObjects"),
        ("GET", "/name?marker=m", "ListObjects"),
        ("GET", "/name?max-keys=1", "ListObjects"),
        ("GET", "/name?encoding-type=url", "ListObjects"),
        ("GET", "/name?location", "GetBucketLocation"),
        ("GET", "/name?uploads", "ListMultipartUploads"),
        ("GET", "/name?uploadId=u", "ListParts"),
        ("HEAD", "/name", "HeadBucketOrHeadObject"),
        ("HEAD", "/name?x-id=HeadObject", "HeadObject"),
        ("HEAD", "/name?x-id=HeadBucket", "HeadBucket"),
        ("DELETE", "/name", "DeleteBucket"),
        ("DELETE", "/name?x-id=DeleteObject", "DeleteObject"),
        ("DELETE", "/name?uploadId=u", "AbortMultipartUpload"),
    ],
)
def test_request_asks_for_operation(method: str, target: str, name: str) -> None:
    assert resolve(method, target) is Operation[name]


@pytest.mark.parametrize(
    "header",
    ["Range", "If_Match", "If_None_Match", "If_Modified_Since", "If_Unmodified_Since"],
)
def test_headers_of_objects_decide_for_the_flat_key(header: str) -> None:
    assert resolve("GET", "/name", **{header: "x"}) is Operation.GetObject
    assert resolve("HEAD", "/name", **{header: "x"}) is Operation.HeadObject
    assert resolve("PUT", "/name", **{header: "x"}) is Operation.PutObject
    assert resolve("GET", "/name/", **{header: "x"}) is Operation.ListObjects
    assert resolve("GET", "/name?prefix=", **{header: "x"}) is Operation.ListObjects


def test_open_operations_have_a_bucket_and_an_object_reading() -> None:
    for bucket_reading, object_reading in READINGS.values():
        assert bucket_reading not in OBJECT_OPERATIONS
        assert object_reading in OBJECT_OPERATIONS


@pytest.mark.parametrize("key", [scope for scope in ROUTES if scope[0] in ("GET", "HEAD")])
def test_reading_never_writes(key: tuple[str, object]) -> None:
    writing = {"PutObject", "CompleteMultipartUpload", "UploadPart", "CreateMultipartUpload"}
    for _, outcome in ROUTES[key]:  # type: ignore[index]
        assert outcome.name not in writing


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/b", "/b/", "/b/k"])
def test_upload_id_completes_only_by_post(method: str, path: str) -> None:
    try:
        found = resolve(method, f"{path}?uploadId=u")
    except S3Error as error:
        assert error.status in (400, 405, 501)
    else:
        assert found in (Operation.ListParts, Operation.AbortMultipartUpload)


PATHS = {"/b": Scope.NAME, "/b/": Scope.BUCKET, "/b/k": Scope.OBJECT}


def without_route(method: str, path: str) -> list[str]:
    """The subresources that no route of this method and scope needs."""
    routed = {name for needs, _ in ROUTES[method, PATHS[path]] for name, _ in needs}
    return sorted(SUBRESOURCES - routed)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        (method, path, name)
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE")
        for path in PATHS
        for name in without_route(method, path)
    ],
)
def test_subresource_is_not_implemented(method: str, path: str, name: str) -> None:
    for query in (name, f"{name}=", f"x-id=PutObject&{name}=1"):
        error = refusal(method, f"{path}?{query}")
        assert error.code is ErrorCode.NotImplemented
        assert error.fields == {"QueryParameter": name}


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("PUT", "/b", "encryption"),
        ("PUT", "/b", "website"),
        ("PUT", "/b", "replication"),
        ("PUT", "/b", "analytics"),
        ("DELETE", "/b", "logging"),
        ("GET", "/b/k", "torrent"),
        ("POST", "/b/k", "restore"),
        ("POST", "/b/k", "select"),
    ],
)
def test_what_would_promise_too_much_has_no_route(method: str, path: str, name: str) -> None:
    assert name in without_route(method, path)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("method", "parameters", "name"),
    [
        ("GET", "acl", "GetBucketAcl"),
        ("PUT", "acl", "PutBucketAcl"),
        ("GET", "tagging=", "GetBucketTagging"),
        ("DELETE", "tagging", "DeleteBucketTagging"),
        ("PUT", "cors", "PutBucketCors"),
        ("DELETE", "lifecycle", "DeleteBucketLifecycle"),
        ("GET", "object-lock", "GetObjectLockConfiguration"),
        ("GET", "policyStatus", "GetBucketPolicyStatus"),
        ("GET", "analytics&id=x", "GetBucketAnalyticsConfiguration"),
        ("GET", "analytics", "ListBucketAnalyticsConfigurations"),
    ],
)
def test_subresource_of_a_bucket(slash: str, method: str, parameters: str, name: str) -> None:
    assert resolve(method, f"/b{slash}?{parameters}") is Operation[name]


@pytest.mark.parametrize(
    ("method", "parameters", "name"),
    [
        ("GET", "acl", "GetObjectAcl"),
        ("PUT", "acl&versionId=3", "PutObjectAcl"),
        ("GET", "tagging&versionId=3", "GetObjectTagging"),
        ("PUT", "tagging", "PutObjectTagging"),
        ("DELETE", "tagging", "DeleteObjectTagging"),
        ("PUT", "retention", "PutObjectRetention"),
        ("GET", "legal-hold", "GetObjectLegalHold"),
    ],
)
def test_subresource_of_an_object(method: str, parameters: str, name: str) -> None:
    assert resolve(method, f"/b/k?{parameters}") is Operation[name]


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("POST", "", "MethodNotAllowed"),
        ("PUT", "/", "MethodNotAllowed"),
        ("DELETE", "/", "MethodNotAllowed"),
        ("HEAD", "/", "MethodNotAllowed"),
        ("PATCH", "/b/k", "MethodNotAllowed"),
        ("TRACE", "/b", "MethodNotAllowed"),
        ("get", "/b/k", "MethodNotAllowed"),
        ("POST", "/b/k", "MethodNotAllowed"),
        ("POST", "/b/k?x-id=x", "MethodNotAllowed"),
        ("PUT", "/b/k?partNumber=1", "InvalidArgument"),
        ("PUT", "/b/k?uploadId=u", "MethodNotAllowed"),
        ("PUT", "/name?uploadId=u", "MethodNotAllowed"),
        ("PUT", "/b/?uploadId=u&partNumber=1", "NotImplemented"),
        ("GET", "/b/k?uploads", "InvalidRequest"),
        ("GET", "/b/k?versions", "InvalidRequest"),
        ("GET", "/b/?delete", "NotImplemented"),
        ("GET", "/b/k?location", "NotImplemented"),
        ("HEAD", "/b/k?uploadId=u", "NotImplemented"),
        ("PUT", "/b/k?uploads", "NotImplemented"),
        ("PUT", "/b/k?partNumber=1&uploadId=u&acl", "NotImplemented"),
        ("POST", "/b/k?delete", "NotImplemented"),
        ("POST", "/b/k?select&select-type=2", "NotImplemented"),
        ("PUT", "/b/k?nonsense", "NotImplemented"),
        ("POST", "/b/k?uploads&nonsense=1", "NotImplemented"),
        ("DELETE", "/b/k?nonsense", "NotImplemented"),
        ("PUT", "/b/k?list-type=2", "NotImplemented"),
        ("PUT", "/b/k?versionId=3", "NotImplemented"),
    ],
)
def test_request_is_refused(method: str, target: str, code: str) -> None:
    assert refusal(method, target).code is ErrorCode[code]


@pytest.mark.parametrize(
    ("target", "operation"),
    [
        ("/b/k", Operation.CopyObject),
        ("/name", Operation.CopyObject),
        ("/b/k?x-id=CopyObject", Operation.CopyObject),
        ("/b/k?partNumber=1&uploadId=u", Operation.UploadPartCopy),
    ],
)
def test_a_copy_source_makes_it_a_copy(target: str, operation: Operation) -> None:
    assert resolve("PUT", target, X_Amz_Copy_Source="/a/b") is operation


def test_copying_by_a_presigned_parameter_is_the_same() -> None:
    assert resolve("PUT", "/b/k?X-Amz-Copy-Source=/a/b") is Operation.CopyObject


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_copy_source_belongs_to_put(method: str) -> None:
    error = refusal(method, "/b/k", x_amz_copy_source="/a/b")
    assert error.code is ErrorCode.InvalidArgument


@pytest.mark.parametrize(
    "header",
    [
        "X-Amz-Write-Offset-Bytes",
        "x-amz-copy-source-server-side-encryption-customer-key",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_cannot_be_kept_is_not_promised(method: str, header: str) -> None:
    for error in (
        refusal(method, "/b/k", **{header.replace("-", "_"): "x"}),
        refusal(method, f"/b/k?{header}=x"),
    ):
        assert error.code is ErrorCode.NotImplemented
        assert error.fields == {"Header": header.lower()}


@pytest.mark.parametrize(
    ("method", "code"),
    [("PUT", "NotImplemented"), ("POST", "NotImplemented"), ("GET", "InvalidArgument")],
)
def test_encryption_is_refused_on_every_operation(method: str, code: str) -> None:
    target = "/b/k?uploads" if method == "POST" else "/b/k"
    error = refusal(method, target, x_amz_server_side_encryption="AES256")
    assert error.code is ErrorCode[code]
