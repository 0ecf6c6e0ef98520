"""Decides who may do what with a bucket that accounts share: by ownership, policy and lists.

It comes after `authorization`: a policy never gives a key more than its own rights. Without
`global_buckets` nothing is shared, and nobody asks here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from gateway.catalog.queries import VersionRow
from gateway.s3.access import BucketAccess
from gateway.s3.acl import CANNED_HEADER, Acl, acl_of, check_acl_headers, wished_acl
from gateway.s3.actions import (
    BY_OPERATION,
    BYPASS_GOVERNANCE,
    DELETE_OBJECT,
    GET_OBJECT,
    GET_OBJECT_LEGAL_HOLD,
    GET_OBJECT_RETENTION,
    GET_OBJECT_TAGGING,
    LIST_BUCKET,
    OWNERS_ALONE,
    PUT_NEW_OBJECT_ACL,
    PUT_OBJECT,
    PUT_OBJECT_ACL,
    PUT_OBJECT_LEGAL_HOLD,
    PUT_OBJECT_RETENTION,
    PUT_OBJECT_TAGGING,
    Action,
)
from gateway.s3.bucket_policy import Requester
from gateway.s3.copy_source import CopySource, CopyWish
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.notes import ACL, LEGAL_HOLD, RETENTION, TAGGING, TAGGING_HEADER
from gateway.s3.object_lock import HOLD_HEADER, MODE_HEADER, UNTIL_HEADER, bypasses_governance
from gateway.s3.operations import Operation
from gateway.s3.policy_conditions import EXISTING_TAG, REQUEST_TAG, is_known_of
from gateway.s3.tagging import Tags, decode_tags, parse_tagging_header
from gateway.s3.version_ids import parse_version_id, version_id
from gateway.web.authorization import check_overrides
from gateway.web.policy_context import CARRIED_KEYS, request_context
from gateway.web.requests import NOBODY, S3Request
from gateway.web.services import Services

_ABSENT = frozenset({ErrorCode.NoSuchKey, ErrorCode.NoSuchVersion})
_COPIES = frozenset({Operation.CopyObject, Operation.UploadPartCopy})
# The handler decides: for a new bucket, for each key, and once it knows the source.
_BY_HANDLER = frozenset(
    {
        Operation.CreateBucket,
        Operation.DeleteObjects,
        Operation.CopyObject,
        Operation.RenameObject,
    }
)
_PUTS = frozenset({Operation.PutObject, Operation.PostObject, Operation.CreateMultipartUpload})
# What was asked of the upload when it was opened is not said again.
_CONTINUED = frozenset(
    {Operation.UploadPart, Operation.UploadPartCopy, Operation.CompleteMultipartUpload}
)


async def find_access(services: Services, request: S3Request) -> None:
    """Find out whose bucket a request means: sets `request.access`, None for no shared one."""
    identity = request.identity
    if services.sharing is None or request.address.bucket is None:
        return
    access = await services.sharing.find(identity.account, request.bucket)
    if access is None:
        return
    request.access = access
    if identity.is_anonymous and access.account != identity.account:
        # What an operator has opened was a bucket of another account.
        request.identity = NOBODY._replace(payload_hash=identity.payload_hash)


async def admit(services: Services, request: S3Request, operation: Operation) -> None:
    """Whether a request may do this with the bucket that `find_access` has found.

    Raises S3Error: AccessDenied; NoSuchBucket for a request without a key; NoSuchKey and
    NoSuchVersion for who may list the bucket; MethodNotAllowed for other accounts' policies.
    """
    access, identity = request.access, request.identity
    if access is None:
        if identity.is_anonymous and identity.limits is None:
            if request.address.bucket is None or operation is Operation.CreateBucket:
                raise S3Error(ErrorCode.AccessDenied)
            raise S3Error(ErrorCode.NoSuchBucket, BucketName=request.bucket)
        return
    if identity.is_anonymous:
        check_overrides(request)
        if operation in (Operation.CreateBucket, Operation.CreateMultipartUpload):
            # As on AWS: nobody could say whose it is.
            raise S3Error(ErrorCode.AccessDenied)
    if operation in OWNERS_ALONE:
        if not owns_bucket(request):
            raise S3Error(
                ErrorCode.MethodNotAllowed, Method=request.method, ResourceType="BUCKETPOLICY"
            )
        return
    if operation in _BY_HANDLER:
        return
    waived = CARRIED_KEYS if operation in _CONTINUED else ()
    version = request.query.get("versionId") or None
    for action in _actions(request, operation):
        key = request.key if action.on_object else None
        decision = _Decision(
            request,
            access,
            action,
            key,
            version,
            waived=waived,
            is_copy=operation is Operation.UploadPartCopy,
        )
        request.version = await _check(services, decision) or request.version
    if operation in _PUTS:
        _check_new_acl(request, access)


class Origin(NamedTuple):
    """What is copied: its account, what names it, and the version that was admitted, if any was."""

    account: str
    source: CopySource
    version: VersionRow | None = None


async def admit_copy(
    services: Services, request: S3Request, source: CopySource, wish: CopyWish
) -> Origin:
    """Whether a request may copy.

    The tags that come along count as given with the copy, and as read from the source. Raises as
    `admit`.
    """
    takes_tags = not wish.replaces_tags
    origin = await _admit_source(services, request, source, takes_tags=takes_tags)
    access = request.access
    if access is None:
        return origin
    tags = _tags_of(origin.version) if takes_tags else _given_tags(request)
    for action in (*_puts(request, tags), *_bypass(request)):
        decision = _Decision(request, access, action, request.key, None, tags=tags, is_copy=True)
        await _check(services, decision)
    _check_new_acl(request, access)
    return origin


async def admit_rename(services: Services, request: S3Request, key: bytes) -> VersionRow | None:
    """Whether a request may move a key of its bucket to its own, with all that is noted of it.

    The version that was admitted, if any was; raises as `admit`.
    """
    access = request.access
    if access is None:
        return None
    check_deletion(request, key, None)
    source = CopySource(request.bucket, key)
    origin = await _admit_source(services, request, source, takes_tags=True)
    notes = origin.version.notes if origin.version is not None else {}
    tags = _tags_of(origin.version)
    actions = [PUT_OBJECT, *_bypass(request)]
    actions += [action for note, action in _ACTIONS_OF_NOTES.items() if note in notes]
    for action in actions:
        decision = _Decision(
            request, access, action, request.key, None, tags=tags, has_headers=False
        )
        await _check(services, decision)
    if ACL in notes:
        check_public(access, acl_of(notes[ACL]))
    return origin.version


async def admit_source(services: Services, request: S3Request, source: CopySource) -> Origin:
    """As `admit_copy`, where tags stay behind and the destination is admitted."""
    return await _admit_source(services, request, source, takes_tags=False)


def check_deletion(
    request: S3Request, key: bytes, version: str | None, etag: str | None = None
) -> None:
    """Whether the request may delete a key that it names elsewhere than in its path.

    `etag` is what it is expected to have.
    """
    access = request.access
    if access is None:
        return
    for action in (_at_version(DELETE_OBJECT, version), *_bypass(request)):
        decision = _Decision(request, access, action, key, version, has_headers=False)
        if etag is not None and access.policy is not None:
            decision.context["s3:if-match"] = [etag]
        if not decision.permits():
            raise S3Error(ErrorCode.AccessDenied)


def owns_bucket(request: S3Request) -> bool:
    """Whether the request comes from the account of the bucket that it means."""
    return not request.identity.is_anonymous and request.identity.account == request.account


def veil(request: S3Request, error: S3Error, operation: Operation) -> S3Error:
    """The error as who asked may see it: what is not there is told to those who may list.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html#API_GetObject_Permissions
    """
    access = request.access
    if access is None or error.code not in _ABSENT or owns_bucket(request):
        return error
    # Of copies it is about the source: see `admit_source`.
    may_know = operation in _COPIES or _is_open_key(request)
    if may_know or _may_list(request, access, request.key):
        return _bare(error) if request.identity.is_anonymous else error
    return S3Error(ErrorCode.AccessDenied)


def _bare(error: S3Error) -> S3Error:
    """The error without its headers: whether a key was hidden, and when, is of the past."""
    bare = S3Error(error.code, error.message)
    bare.fields = error.fields
    return bare


def hidden_headers(request: S3Request, version: VersionRow) -> Iterator[str]:
    """What a GET or HEAD does not say of the notes of an object to who may not read them."""
    access = request.access
    if not request.identity.is_anonymous and (access is None or owns_bucket(request)):
        return

    def may_read(action: Action) -> bool:
        if access is None or _is_open_key(request):
            return False
        named = request.query.get("versionId") or None
        decision = _Decision(
            request, access, _at_version(action, named), request.key, named, tags=()
        )
        decision.add_tags(_tags_of(version))
        return decision.permits()

    for action, names in _NOTE_HEADERS.items():
        if not may_read(action):
            yield from names


def acl_note(services: Services, request: S3Request) -> dict[str, str]:
    """The note of whose a new object is, and who else may do what; none for the usual case.

    Raises S3Error: AccessControlListNotSupported where buckets have no lists, AccessDenied for a
    public list where those are blocked, and as `wished_acl`.
    """
    sharing = services.sharing
    if sharing is None:
        check_acl_headers(request.headers)
        return {}
    access = request.access or sharing.of_new(request.account, request.bucket)
    if not access.has_acls:
        check_acl_headers(request.headers)
        return {}
    owner = _owner_of_new(request, access)
    acl = wished_acl(request.headers, owner, access.account, sharing.is_account)
    if acl is None:
        acl = Acl.private(owner)
    check_public(access, acl)
    return {} if acl == Acl.private(access.account) else {ACL: acl.to_document()}


def check_public(access: BucketAccess, acl: Acl) -> None:
    """Refuse a public list where the bucket blocks them, by S3Error AccessDenied."""
    if acl.is_public and access.block.block_acls:
        raise S3Error(ErrorCode.AccessDenied, "Public access control lists are blocked.")


def acl_of_version(request: S3Request, version: VersionRow) -> Acl:
    """The list of a version."""
    note = version.notes.get(ACL)
    if note is None or request.access is None or not request.access.has_acls:
        return Acl.private(request.account)
    return acl_of(note)


def still_admitted(
    services: Services, request: S3Request, action: Action, new: Acl
) -> Callable[[sqlite3.Connection, Mapping[str, str]], None]:
    """What checks within its commit that a list may be set, given the notes of the object.

    Its body may have been long on its way: access may have been taken back meanwhile.
    """

    def check(connection: sqlite3.Connection, notes: Mapping[str, str]) -> None:
        assert services.sharing is not None
        access = services.sharing.look(connection, request.identity.account, request.bucket)
        if access is None or access.account != request.account:
            raise S3Error(ErrorCode.NoSuchBucket, BucketName=request.bucket)
        if not access.has_acls:
            raise S3Error(ErrorCode.AccessControlListNotSupported)
        current = acl_of(notes[ACL]) if ACL in notes else None
        owner = current.owner if current is not None and action.by_object else access.account
        version = request.query.get("versionId") or None
        key = request.address.key
        decision = _Decision(request, access, action, key, version, acl=current)
        decision.add_tags(decode_tags(notes.get(TAGGING)))
        if owner != new.owner or not decision.permits():
            raise S3Error(ErrorCode.AccessDenied)
        check_public(access, new)

    return check


class _Decision:
    """One question: whether a request may do an action on a key, or with None on the bucket.

    `tags` are those that it gives to a new object, unless its header says; `acl` is the list of
    the object that is there. For `waived` see `Statement.applies`, for the flags `request_context`.
    """

    def __init__(
        self,
        request: S3Request,
        access: BucketAccess,
        action: Action,
        key: bytes | None,
        version: str | None,
        *,
        tags: Tags | None = None,
        acl: Acl | None = None,
        waived: frozenset[str] | tuple[()] = (),
        is_copy: bool = False,
        has_headers: bool = True,
    ) -> None:
        self.request = request
        self.access = access
        self.action = action
        self.key = key
        self.version = version
        self.acl = acl
        self.context: dict[str, list[str]] = {}
        self._waived = waived
        if access.policy is not None:
            name = action.name.lower()
            if tags is None:
                tags = _given_tags(request) if is_known_of(REQUEST_TAG, name) else ()
            context = request_context(
                request,
                access.account,
                version,
                tags,
                is_copy=is_copy,
                has_headers=has_headers,
            )
            self.context = {k: values for k, values in context.items() if is_known_of(k, name)}

    def add_tags(self, tags: Tags) -> None:
        """Take note of the tags of the object that is there."""
        if is_known_of(EXISTING_TAG, self.action.name.lower()):
            for name, value in tags:
                self.context.setdefault(EXISTING_TAG + name, []).append(value)

    def permits(self) -> bool:
        """The answer."""
        identity = self.request.identity
        account = None if identity.is_anonymous else identity.account
        requester = Requester(account, identity.key_name)
        if _is_open_key(self.request):
            return not self.access.denies(requester, self.action, self.key, self.context)
        return self.access.permits(
            requester, self.action, self.key, self.context, self.acl, self._waived
        )


async def _check(
    services: Services, decision: _Decision, *, finds: bool = False
) -> VersionRow | None:
    """Refuse what is not permitted, by S3Error.

    Where the object itself has a say, or with `finds`, the version that was found: what is read
    must be that one.
    """
    access, key = decision.access, decision.key
    found: VersionRow | None = None
    absence: S3Error | None = None
    if key is not None and (finds or access.needs_object(decision.action)):
        try:
            found = await services.objects.get(access.account, access.bucket, key, decision.version)
        except S3Error as error:
            absence = error
        else:
            decision.acl = acl_of(found.notes[ACL]) if ACL in found.notes else None
            decision.add_tags(_tags_of(found))
    if decision.permits() and not (finds and absence is not None and absence.code in _ABSENT):
        return found
    if absence is not None and key is not None and _may_list(decision.request, access, key):
        # A copy tells nobody of markers, a read tells the account of the bucket.
        is_own = decision.request.identity.account == access.account and not finds
        raise absence if is_own else _bare(absence)
    raise S3Error(ErrorCode.AccessDenied)


async def _admit_source(
    services: Services, request: S3Request, source: CopySource, *, takes_tags: bool
) -> Origin:
    """What is to be copied; the version that was found is named."""
    access = None
    account = request.identity.account
    if services.sharing is not None:
        access = await services.sharing.find(account, source.bucket)
        account = account if access is None else access.account
    if request.headers.get(_SOURCE_OWNER, account) != account:
        raise S3Error(ErrorCode.AccessDenied)
    if source.version_id is not None:
        parse_version_id(source.version_id)
    if access is None:
        return Origin(account, source)
    action = _at_version(GET_OBJECT, source.version_id)
    decision = _Decision(
        request, access, action, source.key, source.version_id, tags=(), has_headers=False
    )
    # What is not there must be found out here: the copy would tell anybody.
    found = await _check(services, decision, finds=True)
    if found is None:
        return Origin(account, source)
    tags = _tags_of(found)
    if tags and takes_tags:
        action = _at_version(GET_OBJECT_TAGGING, source.version_id)
        reading = _Decision(request, access, action, source.key, source.version_id, tags=())
        reading.add_tags(tags)
        if not reading.permits():
            raise S3Error(ErrorCode.AccessDenied)
    named = source._replace(version_id=version_id(found.sequence))
    return Origin(account, named, found)


def _actions(request: S3Request, operation: Operation) -> Iterator[Action]:
    """What a request needs on the bucket or key in its path."""
    actions = BY_OPERATION.get(operation)
    if actions is None:
        raise S3Error(ErrorCode.AccessDenied)
    if operation in _PUTS:
        yield from _puts(request, _given_tags(request))
    else:
        version = request.query.get("versionId")
        yield from (_at_version(action, version) for action in actions)
    yield from _bypass(request)


def _puts(request: S3Request, tags: Tags) -> Iterator[Action]:
    """What it takes to put an object with all that a request says of it.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
    """
    headers = request.headers
    yield PUT_OBJECT
    if tags:
        # They may decide who reads it.
        yield PUT_OBJECT_TAGGING
    if headers.get(MODE_HEADER) or headers.get(UNTIL_HEADER):
        yield PUT_OBJECT_RETENTION
    if headers.get(HOLD_HEADER):
        yield PUT_OBJECT_LEGAL_HOLD


def _check_new_acl(request: S3Request, access: BucketAccess) -> None:
    """Refuse a list that a request asks for with a new object, by S3Error AccessDenied.

    Of what will be its own it needs no permission, but it may be denied.
    """
    owner = _owner_of_new(request, access)
    if not access.has_acls:
        return
    acl = wished_acl(request.headers, owner, access.account, lambda _: True)
    if acl is None or acl == Acl.private(owner):
        return
    is_own = owner == request.identity.account
    action = PUT_OBJECT_ACL if is_own else PUT_NEW_OBJECT_ACL
    if not _Decision(request, access, action, request.key, None, acl=Acl.private(owner)).permits():
        raise S3Error(ErrorCode.AccessDenied)


def _owner_of_new(request: S3Request, access: BucketAccess) -> str:
    account = None if request.identity.is_anonymous else request.identity.account
    return access.owner_of_new(account, request.headers.get(CANNED_HEADER, ""))


def _tags_of(version: VersionRow | None) -> Tags:
    return () if version is None else decode_tags(version.notes.get(TAGGING))


def _given_tags(request: S3Request) -> Tags:
    return parse_tagging_header(request.headers.get(TAGGING_HEADER, ""))


def _at_version(action: Action, version: str | None) -> Action:
    return action.for_version() if version else action


def _bypass(request: S3Request) -> tuple[Action, ...]:
    return (BYPASS_GOVERNANCE,) if bypasses_governance(request.headers) else ()


def _may_list(request: S3Request, access: BucketAccess, key: bytes) -> bool:
    """Whether a listing would show the key."""
    decision = _Decision(request, access, LIST_BUCKET, None, None, tags=())
    decision.context["s3:prefix"] = [key.decode()]
    return decision.permits()


def _is_open_key(request: S3Request) -> bool:
    """Whether the operator has opened the bucket to all, which `authorization` has looked into."""
    return request.identity.is_anonymous and request.identity.limits is not None


_SOURCE_OWNER = "x-amz-source-expected-bucket-owner"
_ACTIONS_OF_NOTES = {
    TAGGING: PUT_OBJECT_TAGGING,
    RETENTION: PUT_OBJECT_RETENTION,
    LEGAL_HOLD: PUT_OBJECT_LEGAL_HOLD,
}
_NOTE_HEADERS: dict[Action, tuple[str, ...]] = {
    GET_OBJECT_TAGGING: ("x-amz-tagging-count",),
    GET_OBJECT_RETENTION: (MODE_HEADER, UNTIL_HEADER),
    GET_OBJECT_LEGAL_HOLD: (HOLD_HEADER,),
}
