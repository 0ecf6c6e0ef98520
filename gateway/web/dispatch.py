"""From a request to its handler: address, credentials, operation, rights, in this order.

The one place that turns exceptions into answers, and that writes the access log.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import structlog
from aiohttp import web

from dsn.errors import BlockMismatchError, BlockNotFoundError, NonCanonicalDagError
from gateway.logs import write_request
from gateway.s3.address import (
    flat_address,
    host_bucket,
    order_base_paths,
    order_domains,
    parse_address,
    parse_host_address,
)
from gateway.s3.bucket_settings import (
    ACCELERATE_DOCUMENT,
    LOGGING_DOCUMENT,
    NOTIFICATION_DOCUMENT,
    REQUEST_PAYMENT_DOCUMENT,
    empty_list,
    read_accelerate,
    read_logging,
    read_notification,
    read_public_access_block,
    read_request_payment,
)
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.lifecycle import SETTING as LIFECYCLE_SETTING
from gateway.s3.operations import (
    OBJECT_OPERATIONS,
    READINGS,
    HeaderFacts,
    Operation,
    resolve_operation,
)
from gateway.s3.query import parse_query
from gateway.sharing import POLICY, PUBLIC_ACCESS_BLOCK
from gateway.web import cross_origin
from gateway.web.admission import admit, find_access, owns_bucket, veil
from gateway.web.authentication import Authenticator
from gateway.web.authorization import authorize
from gateway.web.bodies import is_empty
from gateway.web.handlers import (
    attributes,
    bucket_settings,
    bucket_sharing,
    buckets,
    copies,
    forms,
    notes,
    objects,
    uploads,
)
from gateway.web.requests import S3Request, effective_headers, read_head, split_target
from gateway.web.responses import (
    add_common_headers,
    empty_response,
    error_response,
    new_request_id,
)
from gateway.web.server import S3Protocol
from gateway.web.services import Services

log = structlog.get_logger()

Handler = Callable[[Services, S3Request], Awaitable[web.StreamResponse]]

HANDLERS: dict[Operation, Handler] = {
    Operation.ListBuckets: buckets.list_buckets,
    Operation.CreateBucket: buckets.create_bucket,
    Operation.HeadBucket: buckets.head_bucket,
    Operation.DeleteBucket: buckets.delete_bucket,
    Operation.GetBucketLocation: buckets.get_bucket_location,
    Operation.GetBucketVersioning: buckets.get_bucket_versioning,
    Operation.PutBucketVersioning: buckets.put_bucket_versioning,
    Operation.GetBucketAcl: bucket_sharing.get_bucket_acl,
    Operation.PutBucketAcl: bucket_sharing.put_bucket_acl,
    Operation.GetBucketTagging: bucket_settings.get_bucket_tagging,
    Operation.PutBucketTagging: bucket_settings.put_bucket_tagging,
    Operation.DeleteBucketTagging: bucket_settings.removes(bucket_settings.TAGGING),
    Operation.GetBucketCors: bucket_settings.get_bucket_cors,
    Operation.PutBucketCors: bucket_settings.put_bucket_cors,
    Operation.DeleteBucketCors: bucket_settings.removes(cross_origin.SETTING),
    Operation.GetBucketLifecycleConfiguration: bucket_settings.get_bucket_lifecycle,
    Operation.PutBucketLifecycleConfiguration: bucket_settings.put_bucket_lifecycle,
    Operation.DeleteBucketLifecycle: bucket_settings.removes(LIFECYCLE_SETTING),
    Operation.GetObjectLockConfiguration: bucket_settings.get_object_lock_configuration,
    Operation.PutObjectLockConfiguration: bucket_settings.put_object_lock_configuration,
    Operation.GetPublicAccessBlock: bucket_settings.shows(
        PUBLIC_ACCESS_BLOCK, ErrorCode.NoSuchPublicAccessBlockConfiguration
    ),
    Operation.PutPublicAccessBlock: bucket_settings.keeps(
        PUBLIC_ACCESS_BLOCK, read_public_access_block
    ),
    Operation.DeletePublicAccessBlock: bucket_settings.removes(PUBLIC_ACCESS_BLOCK),
    Operation.GetBucketOwnershipControls: bucket_sharing.get_bucket_ownership_controls,
    Operation.PutBucketOwnershipControls: bucket_sharing.put_bucket_ownership_controls,
    Operation.DeleteBucketOwnershipControls: bucket_sharing.delete_bucket_ownership_controls,
    Operation.GetBucketPolicy: bucket_sharing.get_bucket_policy,
    Operation.PutBucketPolicy: bucket_sharing.put_bucket_policy,
    Operation.DeleteBucketPolicy: bucket_settings.removes(POLICY),
    Operation.GetBucketPolicyStatus: bucket_sharing.get_bucket_policy_status,
    Operation.GetBucketEncryption: bucket_settings.lacks(
        ErrorCode.ServerSideEncryptionConfigurationNotFoundError
    ),
    Operation.DeleteBucketEncryption: bucket_settings.removes_nothing,
    Operation.GetBucketWebsite: bucket_settings.lacks(ErrorCode.NoSuchWebsiteConfiguration),
    Operation.DeleteBucketWebsite: bucket_settings.removes_nothing,
    Operation.GetBucketReplication: bucket_settings.lacks(
        ErrorCode.ReplicationConfigurationNotFoundError
    ),
    Operation.DeleteBucketReplication: bucket_settings.removes_nothing,
    Operation.GetBucketLogging: bucket_settings.answers(LOGGING_DOCUMENT),
    Operation.PutBucketLogging: bucket_settings.accepts(read_logging),
    Operation.GetBucketNotificationConfiguration: bucket_settings.answers(NOTIFICATION_DOCUMENT),
    Operation.PutBucketNotificationConfiguration: bucket_settings.accepts(read_notification),
    Operation.GetBucketAccelerateConfiguration: bucket_settings.answers(ACCELERATE_DOCUMENT),
    Operation.PutBucketAccelerateConfiguration: bucket_settings.accepts(read_accelerate),
    Operation.GetBucketRequestPayment: bucket_settings.answers(REQUEST_PAYMENT_DOCUMENT),
    Operation.PutBucketRequestPayment: bucket_settings.accepts(read_request_payment),
    Operation.GetBucketAnalyticsConfiguration: bucket_settings.lacks(ErrorCode.NoSuchConfiguration),
    Operation.ListBucketAnalyticsConfigurations: bucket_settings.answers(empty_list("analytics")),
    Operation.GetBucketIntelligentTieringConfiguration: bucket_settings.lacks(
        ErrorCode.NoSuchConfiguration
    ),
    Operation.ListBucketIntelligentTieringConfigurations: bucket_settings.answers(
        empty_list("intelligent-tiering")
    ),
    Operation.GetBucketInventoryConfiguration: bucket_settings.lacks(ErrorCode.NoSuchConfiguration),
    Operation.ListBucketInventoryConfigurations: bucket_settings.answers(empty_list("inventory")),
    Operation.GetBucketMetricsConfiguration: bucket_settings.lacks(ErrorCode.NoSuchConfiguration),
    Operation.ListBucketMetricsConfigurations: bucket_settings.answers(empty_list("metrics")),
    Operation.ListObjects: buckets.list_objects,
    Operation.ListObjectsV2: buckets.list_objects_v2,
    Operation.ListObjectVersions: buckets.list_object_versions,
    Operation.ListMultipartUploads: buckets.list_multipart_uploads,
    Operation.DeleteObjects: buckets.delete_objects,
    Operation.PutObject: objects.put_object,
    Operation.CopyObject: copies.copy_object,
    Operation.RenameObject: copies.rename_object,
    Operation.PostObject: forms.refuse_other_type,
    Operation.GetObject: objects.get_object,
    Operation.GetObjectAttributes: attributes.get_object_attributes,
    Operation.HeadObject: objects.head_object,
    Operation.DeleteObject: objects.delete_object,
    Operation.GetObjectAcl: notes.get_object_acl,
    Operation.PutObjectAcl: notes.put_object_acl,
    Operation.GetObjectTagging: notes.get_object_tagging,
    Operation.PutObjectTagging: notes.put_object_tagging,
    Operation.DeleteObjectTagging: notes.delete_object_tagging,
    Operation.GetObjectRetention: notes.get_object_retention,
    Operation.PutObjectRetention: notes.put_object_retention,
    Operation.GetObjectLegalHold: notes.get_object_legal_hold,
    Operation.PutObjectLegalHold: notes.put_object_legal_hold,
    Operation.CreateMultipartUpload: uploads.create_multipart_upload,
    Operation.UploadPart: uploads.upload_part,
    Operation.UploadPartCopy: copies.upload_part_copy,
    Operation.CompleteMultipartUpload: uploads.complete_multipart_upload,
    Operation.AbortMultipartUpload: uploads.abort_multipart_upload,
    Operation.ListParts: uploads.list_parts,
}

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DAMAGE = (BlockMismatchError, BlockNotFoundError, NonCanonicalDagError)
_EXPECTED_OWNER = "x-amz-expected-bucket-owner"
CREATE_BUCKET_BYTES_MAX = 64 * 1024


class Dispatcher:
    """Answers every request of a worker."""

    def __init__(
        self,
        services: Services,
        authenticator: Authenticator,
        *,
        base_paths: tuple[str, ...],
        domains: tuple[str, ...],
        is_ready: Callable[[], bool],
        access_log: bool,
    ) -> None:
        self._services = services
        self._authenticator = authenticator
        self._base_paths = order_base_paths(base_paths)
        self._domains = order_domains(domains)
        self._is_ready = is_ready
        self._access_log = access_log

    def reconfigure(self, services: Services, *, access_log: bool) -> None:
        """What requests from now on are answered with."""
        self._services = services
        self._access_log = access_log

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises but when the connection is to be dropped."""
        started = time.perf_counter()
        request_id = new_request_id()
        outcome = _Outcome()
        path, query = split_target(request.raw_path)
        try:
            response = await self._answer(request, path, query, request_id, outcome)
        except S3Error as error:
            outcome.code = error.code.name
            response = self._refuse(request, error, request_id)
        except _DAMAGE as error:
            log.error("damaged block", request_id=request_id, error=str(error))
            response = self._refuse(request, S3Error(ErrorCode.InternalError), request_id)
        except (OSError, sqlite3.OperationalError) as error:
            response = self._refuse(request, _storage_error(error, request_id), request_id)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("request failed", request_id=request_id)
            response = self._refuse(request, S3Error(ErrorCode.InternalError), request_id)
        if isinstance(request.protocol, S3Protocol):
            request.protocol.discard_body()
        if not response.prepared:
            add_common_headers(response, request_id)
            if outcome.request is not None and "origin" in outcome.request.headers:
                response.headers.update(await self._cors(outcome.request, outcome.owner))
            if not request.content.is_eof() and request.headers.get("Expect"):
                # What the client does with a body that nobody asked for cannot be known.
                response.force_close()
        if self._access_log:
            write_request(
                request_id=request_id,
                remote=request.remote,
                method=request.method,
                path=path,
                operation=outcome.operation,
                account=outcome.account,
                status=response.status,
                error=outcome.code,
                # Of an answer that was written bit by bit the length is not known.
                sent=response.content_length if response.prepared else response.content_length or 0,
                ms=round((time.perf_counter() - started) * 1000, 3),
            )
        return response

    async def _answer(
        self,
        request: web.BaseRequest,
        path: str,
        raw_query: str,
        request_id: str,
        outcome: _Outcome,
    ) -> web.StreamResponse:
        bucket = self._host_bucket(request) if self._domains else None
        if bucket is not None:
            address = parse_host_address(path, bucket, self._base_paths)
        elif path in ("/livez", "/readyz"):
            return self._health(path)
        else:
            address = parse_address(path, self._base_paths)
        if address is None:
            where = ", ".join(base or "/" for base in self._base_paths)
            raise S3Error(ErrorCode.NoSuchBucket, f"There is no S3 here. It is at {where}.")
        head = read_head(request, path, raw_query)
        query = parse_query(raw_query)
        s3 = S3Request(request, request_id, head, query, effective_headers(head, query), address)
        outcome.request = s3
        if not head.headers.get("host", "").isascii():
            # https://www.rfc-editor.org/rfc/rfc9112.html#section-3.2
            raise S3Error(ErrorCode.BadRequest, "The Host header is no host.")
        if request.method == "OPTIONS":
            outcome.operation = "Preflight"
            s3.cors = {}
            return await cross_origin.preflight(self._services, s3)
        if request.method == "POST" and forms.is_form(s3):
            operation = resolve_operation("POST", address, query, HeaderFacts.of(s3.headers))
            if operation is Operation.PostObject:
                return await self._post_form(s3, outcome)
        s3.identity = self._authenticator.authenticate(head, address)
        outcome.account = s3.identity.account
        operation = resolve_operation(request.method, address, query, HeaderFacts.of(s3.headers))
        if operation in READINGS:
            operation = await self._settle(operation, s3)
        outcome.operation = operation.name
        if operation in OBJECT_OPERATIONS and address.key is None:
            if address.by_host:
                raise S3Error(ErrorCode.InvalidURI, "The host names a bucket, the path no key.")
            # Auto Drive reads a path of one segment as a key of the bucket `default`.
            s3.address = flat_address(address)
        await self._authorize(operation, s3)
        return await self._handle(operation, HANDLERS[operation](self._services, s3), s3)

    async def _authorize(self, operation: Operation, request: S3Request) -> None:
        """Whether who sent a request may have this done, and to whose bucket."""
        await find_access(self._services, request)
        if request.identity.limits is not None:
            authorize(request.identity.limits, operation, request)
        await admit(self._services, request, operation)
        owner = request.account
        if operation is Operation.CreateBucket and not owns_bucket(request):
            owner = request.identity.account
        if request.headers.get(_EXPECTED_OWNER, owner) != owner:
            # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
            raise S3Error(ErrorCode.AccessDenied)
        if "origin" in request.headers:
            await self._cors(request, request.account)

    async def _handle(
        self, operation: Operation, answer: Awaitable[web.StreamResponse], request: S3Request
    ) -> web.StreamResponse:
        try:
            return await answer
        except S3Error as error:
            raise veil(request, error, operation) from None

    async def _cors(self, request: S3Request, account: str | None) -> Mapping[str, str]:
        """What the page of another origin is told; found out once, before an answer begins."""
        if request.cors is None:
            try:
                found = await cross_origin.answer_headers(self._services, request, account)
            except sqlite3.OperationalError as error:
                log.error("rules not read", request_id=request.request_id, error=repr(error))
                found = {}
            request.cors = found
        return request.cors

    async def _post_form(self, form_as_sent: S3Request, outcome: _Outcome) -> web.StreamResponse:
        """A form says who signed it, and what it is for, at the start of its body."""
        outcome.operation = Operation.PostObject.name
        form = await forms.read_form(self._services, form_as_sent)
        identity = self._authenticator.authenticate_form(form.fields, form_as_sent.address)
        outcome.account = identity.account
        now = datetime.fromtimestamp(self._services.now_seconds(), UTC)
        posted = forms.read_posted(form_as_sent, form, identity, now)
        await self._authorize(Operation.PostObject, posted.request)
        # Who asks for the rules of the bucket is the form as it was sent.
        form_as_sent.access = posted.request.access
        answer = forms.post_object(self._services, posted)
        return await self._handle(Operation.PostObject, answer, posted.request)

    async def _settle(self, operation: Operation, request: S3Request) -> Operation:
        """Decide what a path of one segment means where the request alone does not tell."""
        known = self._services.buckets.find
        if operation is Operation.CreateBucketOrPutObject:
            if is_empty(request) or _looks_like_configuration(request):
                return Operation.CreateBucket
            return Operation.PutObject
        if operation is Operation.ListObjectsOrGetObject:
            if await known(request.account, request.bucket) or not await self._has_flat(request):
                return Operation.ListObjects
            return Operation.GetObject
        if await known(request.account, request.bucket) or not await self._has_flat(request):
            return Operation.HeadBucket
        return Operation.HeadObject

    async def _has_flat(self, request: S3Request) -> bool:
        flat = flat_address(request.address)
        assert flat.bucket is not None
        assert flat.key is not None
        limits = request.identity.limits
        if limits is not None and not limits.covers_bucket(flat.bucket):
            return False
        if await self._services.buckets.find(request.account, flat.bucket) is None:
            return False
        found = await self._services.objects.find(request.account, flat.bucket, flat.key)
        return found is not None

    def _host_bucket(self, request: web.BaseRequest) -> str | None:
        return host_bucket(request.headers.get("Host", ""), self._domains)

    def _health(self, path: str) -> web.StreamResponse:
        ready = path == "/livez" or self._is_ready()
        return empty_response(200 if ready else 503)

    def _refuse(
        self, request: web.BaseRequest, error: S3Error, request_id: str
    ) -> web.StreamResponse:
        return error_response(
            error,
            method=request.method,
            resource=split_target(request.raw_path)[0],
            request_id=request_id,
        )


class _Outcome:
    """What the access log says of a request, as far as it got."""

    __slots__ = ("account", "code", "operation", "request")

    def __init__(self) -> None:
        self.operation: str | None = None
        self.account: str | None = None
        self.code: str | None = None
        self.request: S3Request | None = None

    @property
    def owner(self) -> str | None:
        """The account whose bucket was meant, as far as that is known."""
        access = self.request.access if self.request is not None else None
        return access.account if access is not None else self.account or None


def _looks_like_configuration(request: S3Request) -> bool:
    """Whether a body on a one-segment PUT is that of CreateBucket rather than an object's.

    A CreateBucketConfiguration is small and XML; SDKs send it without any metadata of an object.
    """
    headers = request.headers
    length = headers.get("content-length", "")
    if not length.isdigit() or int(length) > CREATE_BUCKET_BYTES_MAX:
        return False
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in ("application/xml", "text/xml")


def _storage_error(error: OSError | sqlite3.OperationalError, request_id: str) -> S3Error:
    log.error("storage failed", request_id=request_id, error=repr(error))
    full = (
        error.errno in _NO_ROOM
        if isinstance(error, OSError)
        else error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
    )
    if full:
        return S3Error(ErrorCode.InsufficientStorage)
    return S3Error(ErrorCode.ServiceUnavailable, headers={"Retry-After": "5"})
