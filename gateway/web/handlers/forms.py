"""PostObject: an object uploaded by an HTML form, whose fields are all that is known of it.

https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn
from urllib.parse import quote, urlsplit

from aiohttp import web

from gateway.objects import etag_text
from gateway.s3.address import check_key
from gateway.s3.credentials import UNSIGNED_PAYLOAD
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.etags import quote_etag
from gateway.s3.form_data import FIELD_BYTES_MAX, FormDecoder, form_boundary
from gateway.s3.post_policy import (
    LengthRange,
    check_policy,
    form_headers,
    missing_field,
    with_filename,
)
from gateway.s3.xml_writer import write_post_response
from gateway.web.bodies import RequestBody, VerifiedBody, announced_length
from gateway.web.handlers.objects import store
from gateway.web.requests import Identity, S3Request
from gateway.web.responses import empty_response, xml_response
from gateway.web.services import Services


@dataclass(frozen=True, slots=True)
class Form:
    """A form that was read up to its file."""

    decoder: FormDecoder
    body: RequestBody

    @property
    def fields(self) -> Mapping[str, str]:
        """Lower-case names to values, as sent."""
        return self.decoder.fields


@dataclass(frozen=True, slots=True)
class PostedObject:
    """What a signed form stands for: the request that a PUT would be, and how long its file is."""

    request: S3Request
    fields: Mapping[str, str]
    body: RequestBody
    allowed: LengthRange


def is_form(request: S3Request) -> bool:
    """Whether the body is a form, which carries its credentials in its fields."""
    return form_boundary(request.headers.get("content-type", "")) is not None


async def read_form(services: Services, request: S3Request) -> Form:
    """Read the fields of a form; nothing of them is verified.

    Raises S3Error: MalformedPOSTRequest, MaxPostPreDataLengthExceeded, InvalidArgument,
    MissingContentLength, EntityTooLarge, InsufficientStorage.
    """
    boundary = form_boundary(request.headers.get("content-type", ""))
    assert boundary is not None
    bytes_max = min(services.limits.put_bytes_max, services.limits.object_bytes_max)
    length = announced_length(request.headers, UNSIGNED_PAYLOAD) or 0
    # Around the file there are the fields, and after it what is ignored.
    if length > bytes_max + 2 * FIELD_BYTES_MAX:
        raise S3Error(ErrorCode.EntityTooLarge, ProposedSize=length, MaxSizeAllowed=bytes_max)
    services.check_room(length)
    decoder = FormDecoder(boundary)
    body = RequestBody(
        request.http,
        length=None,
        bytes_max=bytes_max,
        idle_seconds_max=services.limits.body_idle_seconds_max,
        decoder=decoder,
    )
    await body.receive_until(lambda: decoder.at_file)
    return Form(decoder, body)


def read_posted(request: S3Request, form: Form, identity: Identity, now: datetime) -> PostedObject:
    """Check a signed form against its policy.

    Raises S3Error: what `check_policy` raises, and InvalidArgument for a form without a key.
    """
    fields = with_filename(form.fields, form.decoder.filename)
    if not fields.get("key"):
        raise missing_field("key")
    # Who signs nothing has no policy to keep to.
    signed = not identity.is_anonymous
    allowed = check_policy(fields, request.bucket, now) if signed else LengthRange()
    key = fields["key"].encode()
    if b"\0" in key:
        raise S3Error(ErrorCode.InvalidArgument, ArgumentName="key")
    address = request.address._replace(key=check_key(key), bucket_slash=False)
    meant = S3Request(
        request.http, request.request_id, request.head, {}, form_headers(fields), address
    )
    meant.identity = identity
    return PostedObject(meant, fields, form.body, allowed)


async def post_object(services: Services, posted: PostedObject) -> web.StreamResponse:
    """Store the file of a form."""
    posted.body.limit(*posted.allowed)
    payload = VerifiedBody(
        posted.request,
        bytes_max=services.limits.put_bytes_max,
        idle_seconds_max=services.limits.body_idle_seconds_max,
        body=posted.body,
    )
    record, headers = await store(services, posted.request, payload)
    return _answer(posted, etag_text(record), headers)


async def refuse_other_type(services: Services, request: S3Request) -> NoReturn:
    """A POST to a bucket that is no form."""
    raise S3Error(
        ErrorCode.PreconditionFailed,
        Condition="Bucket POST must be of the enclosure-type multipart/form-data",
    )


def _answer(posted: PostedObject, etag: str, headers: dict[str, str]) -> web.StreamResponse:
    request, fields = posted.request, posted.fields
    redirect = fields.get("success_action_redirect") or fields.get("redirect", "")
    if _is_web_address(redirect):
        name, tag = quote(request.key, safe=""), quote(quote_etag(etag))
        query = f"bucket={request.bucket}&key={name}&etag={tag}"
        location = f"{redirect}{'&' if '?' in redirect else '?'}{query}"
        return empty_response(303, {**headers, "Location": location})
    bucket_path = request.head.raw_path.rstrip("/")
    path = quote(request.key, safe="/-_.~")
    location = f"{request.http.scheme}://{request.http.host}{bucket_path}/{path}"
    headers["Location"] = location
    status = fields.get("success_action_status")
    if status == "201":
        document = write_post_response(location, request.bucket, request.key, etag)
        return xml_response(document, status=201, headers=headers)
    return empty_response(200 if status == "200" else 204, headers)


def _is_web_address(text: str) -> bool:
    # What is no address is ignored, as S3 does; a line break would forge headers.
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and text.isprintable()
