"""What conditions of bucket policies may ask of a request.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

from __future__ import annotations

import time
from urllib.parse import unquote

from gateway.s3.copy_source import COPY_SOURCE
from gateway.s3.policy_conditions import REQUEST_TAG
from gateway.s3.tagging import Tags
from gateway.s3.timestamps import MICROSECONDS, iso_timestamp
from gateway.web.requests import S3Request

# What a request says of an object that it puts.
_OBJECT_HEADERS = (
    *("x-amz-acl", "x-amz-storage-class", "x-amz-server-side-encryption"),
    *("x-amz-grant-read", "x-amz-grant-write", "x-amz-grant-read-acp", "x-amz-grant-write-acp"),
    *("x-amz-grant-full-control", "x-amz-server-side-encryption-aws-kms-key-id"),
    "x-amz-server-side-encryption-customer-algorithm",
)
_HEADERS = (*_OBJECT_HEADERS, "if-match", "if-none-match")
_DIRECTIVE = "x-amz-metadata-directive"
_QUERY = {"prefix": "s3:prefix", "delimiter": "s3:delimiter", "max-keys": "s3:max-keys"}

CARRIED_KEYS = frozenset(
    {*(f"s3:{name}" for name in _OBJECT_HEADERS), REQUEST_TAG, "s3:requestobjecttagkeys"}
)
"""Keys of what is said once for an upload in parts, when it is opened."""


def request_context(
    request: S3Request,
    account: str,
    version: str | None,
    tags: Tags,
    *,
    is_copy: bool = False,
    has_headers: bool = True,
) -> dict[str, list[str]]:
    """The context of a request for a bucket of `account` and, perhaps, a version.

    `tags` are those that it gives to a new object. Only a copy heeds a source and directives;
    without `has_headers` the operation heeds none of what is said of objects and conditions.
    """
    headers, query, identity = request.headers, request.query, request.identity
    now = time.time_ns() // 1000
    context = {
        "aws:currenttime": [iso_timestamp(now)],
        "aws:epochtime": [str(now // MICROSECONDS)],
        "aws:principaltype": ["Anonymous" if identity.is_anonymous else "User"],
        "aws:securetransport": [str(request.http.secure).lower()],
        "s3:resourceaccount": [account],
    }
    if not identity.is_anonymous:
        name = identity.key_name
        context["aws:principalaccount"] = [identity.account]
        context["aws:principalarn"] = [f"arn:aws:iam::{identity.account}:user/{name}"]
        context["aws:userid"] = context["aws:username"] = [name]
    if identity.how is not None:
        context["s3:signatureversion"] = [identity.how[0]]
        context["s3:authtype"] = [identity.how[1]]
    if request.http.remote:
        context["aws:sourceip"] = [request.http.remote]
    if version:
        context["s3:versionid"] = [version]
    # A form has fields in place of headers, but it is still a browser that sends it.
    for header, key in (("user-agent", "aws:useragent"), ("referer", "aws:referer")):
        if header in request.head.headers:
            context[key] = [request.head.headers[header]]
    for header in ("x-amz-content-sha256", *(_HEADERS if has_headers else ())):
        if header in headers:
            context[f"s3:{header}"] = [headers[header]]
    for parameter, key in _QUERY.items():
        if parameter in query:
            context[key] = [query[parameter]]
    if is_copy:
        if _DIRECTIVE in headers:
            context[f"s3:{_DIRECTIVE}"] = [headers[_DIRECTIVE]]
        # As documented: bucket/key, as the client means it.
        context["s3:x-amz-copy-source"] = [unquote(headers[COPY_SOURCE]).removeprefix("/")]
    for name, value in tags:
        context.setdefault(REQUEST_TAG + name, []).append(value)
        context.setdefault("s3:requestobjecttagkeys", []).append(name)
    return context
