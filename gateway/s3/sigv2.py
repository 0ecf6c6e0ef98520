"""Verifies AWS Signature Version 2, which boto3 presigns with unless told otherwise.

It signs neither the body nor the whole query, so more than the parameters named by AWS is taken
into what is signed here: whatever would make another operation of the request.

https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from urllib.parse import unquote

from gateway.s3.credentials import CredentialsV2, RequestHead
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.operations import SUBRESOURCES
from gateway.s3.sigv4 import SKEW_MAX, check_skew, has_expired, path_forms, refuse_session_token


def verify_v2(
    credentials: CredentialsV2,
    secret: str,
    request: RequestHead,
    headers: Mapping[str, str],
    now: datetime,
    *,
    base_path: str = "",
    host_bucket: str | None = None,
    skew_max: timedelta = SKEW_MAX,
) -> None:
    """Returns if `request` was signed with `secret` and is valid at `now` (aware).

    `headers` are the request's with those that its query carries, `base_path` is as for SigV4.
    The host is not signed, but the bucket that it names is: `host_bucket`.

    Raises S3Error: SignatureDoesNotMatch; RequestTimeTooSkewed; AccessDenied for a presigned
    request after its time; InvalidToken for a session token.
    """
    refuse_session_token(request)
    if "x-amz-security-token" in headers:
        raise S3Error(ErrorCode.InvalidToken, "Session tokens are not supported.")
    if not credentials.presigned:
        check_skew(credentials.at, credentials.date, now, skew_max)
    elif now >= credentials.at:
        raise has_expired(credentials.at, now)
    if any(":" in name or "\n" in name + value for name, value in headers.items()):
        # A query can carry these for a header, and what is signed would read as other headers.
        raise S3Error(ErrorCode.SignatureDoesNotMatch)
    claimed = credentials.signature.encode("utf-8", "surrogateescape")
    for text in _strings_to_sign(credentials, request, headers, base_path, host_bucket):
        if hmac.compare_digest(signature_v2(secret, text).encode(), claimed):
            return
    raise S3Error(ErrorCode.SignatureDoesNotMatch)


def signature_v2(secret: str, text: str) -> str:
    """The signature of a string to sign, or of an encoded POST policy."""
    digest = hmac.digest(
        secret.encode("utf-8", "surrogateescape"), text.encode("utf-8", "surrogateescape"), "sha1"
    )
    return base64.b64encode(digest).decode()


def _strings_to_sign(
    credentials: CredentialsV2,
    request: RequestHead,
    headers: Mapping[str, str],
    base_path: str,
    host_bucket: str | None,
) -> Iterator[str]:
    standard = (
        f"{request.method}\n{headers.get('content-md5', '')}\n{headers.get('content-type', '')}\n"
        f"{credentials.date}\n"
    )
    amz = "".join(
        f"{name}:{value}\n" for name, value in sorted(headers.items()) if name.startswith("x-amz-")
    )
    query = _signed_query(request.raw_query)
    bucket = f"/{host_bucket}" if host_bucket is not None else ""
    for path in (bucket + form for form in dict(path_forms(request.raw_path, base_path))):
        yield f"{standard}{amz}{path}{query}"
        if path.count("/") == 1:
            # A bucket ends in a slash in what is signed, whether it does in the request or not.
            yield f"{standard}{amz}{path}/{query}"


def _signed_query(raw_query: str) -> str:
    signed: list[tuple[str, str]] = []
    for pair in raw_query.split("&"):
        name, equals, value = pair.partition("=")
        name = unquote(name.replace("+", " "), errors="surrogateescape")
        if name in _SIGNED_PARAMETERS:
            value = unquote(value, errors="surrogateescape")
            if any(part.partition("=")[0] in _SIGNED_PARAMETERS for part in value.split("&")[1:]):
                # What is signed would read as two parameters.
                raise S3Error(ErrorCode.SignatureDoesNotMatch)
            signed.append((name, equals + value))
    return "?" + "&".join(name + value for name, value in sorted(signed)) if signed else ""


_SIGNED_PARAMETERS = SUBRESOURCES | {
    *("partNumber", "versionId", "defaultObjectAcl", "storageClass"),
    *("response-cache-control", "response-content-disposition", "response-content-encoding"),
    *("response-content-language", "response-content-type", "response-expires"),
}
