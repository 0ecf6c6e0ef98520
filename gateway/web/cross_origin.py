"""Answers browsers that ask on behalf of a page of another origin, by the CORS rules of buckets.

A preflight comes without credentials, and the same name may be a bucket of several accounts: it is
allowed what the rules of any of them allow. What is answered to the request itself is decided by
the bucket that it means, once its account is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from gateway.s3.cors import (
    CorsRule,
    check_preflight,
    cors_headers,
    cors_rules,
    preflight_headers,
)
from gateway.web.requests import S3Request
from gateway.web.responses import empty_response
from gateway.web.services import Services

SETTING = "cors"
"""The name of the setting that holds the rules of a bucket."""


async def preflight(services: Services, request: S3Request) -> web.StreamResponse:
    """Say what a page may do; S3Error BadRequest or AccessForbidden.

    https://docs.aws.amazon.com/AmazonS3/latest/API/RESTOPTIONSobject.html
    """
    check_preflight(request.headers)
    rules = await _rules_of_any(services, request)
    return empty_response(200, preflight_headers(rules, request.headers))


async def answer_headers(
    services: Services, request: S3Request, account: str | None
) -> Mapping[str, str]:
    """What the answer to a request with an Origin says to the page.

    Without an account the request was refused before it was known.
    """
    origin, name = request.headers["origin"], request.address.bucket
    if name is None:
        return {}
    if account is None:
        configurations = await _rules_of_any(services, request)
    elif await services.buckets.find(account, name) is None:
        return {}
    else:
        document = await services.buckets.setting(account, name, SETTING)
        configurations = [cors_rules(document)] if document is not None else []
    rules = (rule for rules in configurations for rule in rules)
    return cors_headers(rules, origin, request.method)


async def _rules_of_any(services: Services, request: S3Request) -> list[Sequence[CorsRule]]:
    name = request.address.bucket
    if name is None:
        return []
    documents = await services.buckets.settings_of_any(name, SETTING)
    return [cors_rules(document) for document in documents]
