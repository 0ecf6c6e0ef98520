"""POST forms: who signed one, and whether it keeps to the policy that was signed.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-authentication-HTTPPOST.html
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlencode

from gateway.s3.credentials import ALGORITHM, ALGORITHM_V2, parse_scope
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.form_data import FILE_FIELD
from gateway.s3.sigv2 import signature_v2
from gateway.s3.sigv4 import signing_key
from gateway.s3.tagging import OBJECT_TAGS_MAX, read_tagging

FILENAME = "${filename}"


class FormSigner(NamedTuple):
    """Whose key signed a form, and what raises S3Error unless the secret is that key's.

    `algorithm` is ALGORITHM or ALGORITHM_V2.
    """

    access_key: str
    verify: Callable[[str], None]
    algorithm: str = ALGORITHM


def find_signer(fields: Mapping[str, str]) -> FormSigner | None:
    """Who signed the policy of a form, in either version; None for an anonymous form.

    Raises S3Error: InvalidArgument for a field that is missing, another algorithm, a malformed
    credential or date; InvalidToken for a session token.
    """
    signed = fields.keys() & {*_V4_FIELDS, *_V2_FIELDS}
    if "policy" not in fields and not signed:
        return None
    if "x-amz-security-token" in fields:
        raise S3Error(ErrorCode.InvalidToken, "Session tokens are not supported.")
    version_4 = bool(signed & set(_V4_FIELDS))
    for name in ("policy", *(_V4_FIELDS if version_4 else _V2_FIELDS)):
        if not fields.get(name):
            raise missing_field(name)
    policy = fields["policy"]
    if not version_4:
        return FormSigner(
            fields["awsaccesskeyid"],
            lambda secret: _compare(signature_v2(secret, policy), fields["signature"]),
            ALGORITHM_V2,
        )
    if fields["x-amz-algorithm"] != ALGORITHM:
        raise S3Error(
            ErrorCode.InvalidArgument,
            f"X-Amz-Algorithm only supports {ALGORITHM}.",
            ArgumentName="x-amz-algorithm",
        )
    access_key, date, region, service = parse_scope(
        fields["x-amz-credential"], ErrorCode.InvalidArgument
    )
    if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", fields["x-amz-date"]):
        raise S3Error(ErrorCode.InvalidArgument, ArgumentName="x-amz-date")

    def verify(secret: str) -> None:
        key = signing_key(secret, date, region, service)
        digest = hmac.digest(key, policy.encode("utf-8", "surrogateescape"), "sha256")
        _compare(digest.hex(), fields["x-amz-signature"])

    return FormSigner(access_key, verify)


class LengthRange(NamedTuple):
    """How many bytes the file may have, inclusive; `last` None for any number."""

    first: int = 0
    last: int | None = None


def check_policy(fields: Mapping[str, str], bucket: str, now: datetime) -> LengthRange:
    """Returns the length that the policy allows the file, if the form keeps to the policy.

    `fields` are those of the form with the file name put in (see `with_filename`).

    Raises S3Error: InvalidPolicyDocument for a policy that means nothing; AccessDenied for one
    that is expired, a condition that does not hold and a field that no condition allows.
    """
    document = _parse(fields["policy"])
    if now >= _expiration(document):
        _denied("Policy expired.")
    conditions = document.get("conditions")
    if not isinstance(conditions, list):
        _invalid("Policy missing conditions.")
    values = {**fields, "bucket": bucket}
    allowed = LengthRange()
    named: set[str] = set()
    for condition in conditions:
        operator, name, value = _read_condition(condition)
        if operator == "content-length-range":
            allowed = _narrowed(allowed, condition)
            continue
        named.add(name)
        given = values.get(name, "")
        if not (given.startswith(value) if operator == "starts-with" else given == value):
            _denied(f"Policy Condition failed: {json.dumps(condition)}")
    extra = sorted(name for name in values if name not in named and not _needs_no_condition(name))
    if extra:
        _denied(f"Extra input fields: {', '.join(extra)}")
    return allowed


def with_filename(fields: Mapping[str, str], filename: str) -> dict[str, str]:
    """The fields with the name of the file in place of `${filename}`.

    Of a path that a browser sends only the last segment counts.
    """
    name = re.split(r"[/\\]", filename)[-1]
    kept = ("policy", *_V4_FIELDS, *_V2_FIELDS)
    return {
        field: value if field in kept else value.replace(FILENAME, name)
        for field, value in fields.items()
    }


def form_headers(fields: Mapping[str, str]) -> dict[str, str]:
    """The headers that a PutObject with the same meaning would have.

    Raises S3Error for tags that are none, see `read_tagging`.
    """
    headers = {
        name: value
        for name, value in fields.items()
        if name in _HEADERS or (name.startswith("x-amz-") and name not in _NO_HEADERS)
    }
    if "acl" in fields:
        headers["x-amz-acl"] = fields["acl"]
    if "tagging" in fields:
        tags = read_tagging(fields["tagging"].encode(), tags_max=OBJECT_TAGS_MAX)
        headers["x-amz-tagging"] = urlencode(tags)
    return headers


def missing_field(name: str) -> S3Error:
    """What a form without a field that it needs is answered."""
    shown = _SPELLINGS.get(name, name)
    return S3Error(
        ErrorCode.InvalidArgument,
        f"Bucket POST must contain a field named '{shown}'.  If it is specified, please check "
        "the order of the fields.",
        ArgumentName=shown,
        ArgumentValue="",
    )


_V4_FIELDS = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
_V2_FIELDS = ("awsaccesskeyid", "signature")
_SPELLINGS = {"awsaccesskeyid": "AWSAccessKeyId", "signature": "Signature"}
_HEADERS = frozenset(
    {
        *("cache-control", "content-disposition", "content-encoding", "content-language"),
        *("content-md5", "content-type", "expires"),
    }
)
# What says how a body is sent or signed has no meaning in a form.
_NO_HEADERS = frozenset(
    {
        *_V4_FIELDS,
        *("x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer"),
    }
)
# A digest of the file can only refuse it, so a form may always have one.
_FREE_FIELDS = frozenset({"policy", "x-amz-signature", *_V2_FIELDS, FILE_FIELD, "content-md5"})
_FREE_PREFIXES = ("x-ignore-", "x-amz-checksum-")
_EXPIRATION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")


def _needs_no_condition(name: str) -> bool:
    return name in _FREE_FIELDS or name.startswith(_FREE_PREFIXES)


def _parse(policy: str) -> dict[str, Any]:
    try:
        document = json.loads(base64.b64decode("".join(policy.split()), validate=True))
    except (ValueError, RecursionError):
        _invalid("Invalid JSON or base64.")
    if not isinstance(document, dict):
        _invalid("Invalid JSON: an object is expected.")
    return document


def _expiration(document: dict[str, Any]) -> datetime:
    text = document.get("expiration")
    if text is None:
        _invalid("Policy missing expiration.")
    if not isinstance(text, str) or not _EXPIRATION.fullmatch(text):
        _invalid(f"Invalid 'expiration' value: {text!r}")
    try:
        return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    except ValueError:
        _invalid(f"Invalid 'expiration' value: {text!r}")


def _read_condition(condition: Any) -> tuple[str, str, str]:
    """Operator, lower-case name of the field, and value."""
    if isinstance(condition, dict):
        if len(condition) != 1:
            _invalid("Simple-Conditions must have exactly one property specified.")
        ((name, value),) = condition.items()
        if not isinstance(value, str):
            _invalid("Simple-Conditions must have a string for a value.")
        return "eq", name.lower(), value
    if not isinstance(condition, list) or len(condition) != 3 or not isinstance(condition[0], str):
        _invalid("A condition is an object, or a list of three.")
    operator = condition[0].lower()
    if operator == "content-length-range":
        return operator, "", ""
    name, value = condition[1:]
    if operator not in ("eq", "starts-with"):
        _invalid(f"Unknown condition {condition[0]!r}.")
    if not isinstance(name, str) or not isinstance(value, str) or not name.startswith("$"):
        _invalid(f"{condition[0]} needs the name of a field with $ before it, and a string.")
    return operator, name[1:].lower(), value


def _narrowed(allowed: LengthRange, condition: list[Any]) -> LengthRange:
    bounds = []
    for bound in condition[1:]:
        # Some write the numbers as strings.
        text = str(bound) if isinstance(bound, (int, str)) else ""
        if isinstance(bound, bool) or not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
            _invalid("content-length-range needs two numbers of bytes.")
        bounds.append(int(text))
    first, last = bounds
    return LengthRange(
        max(first, allowed.first), last if allowed.last is None else min(last, allowed.last)
    )


def _compare(expected: str, claimed: str) -> None:
    if not hmac.compare_digest(expected.encode(), claimed.encode("utf-8", "surrogateescape")):
        raise S3Error(ErrorCode.SignatureDoesNotMatch)


def _invalid(reason: str) -> NoReturn:
    raise S3Error(ErrorCode.InvalidPolicyDocument, f"Invalid Policy: {reason}")


def _denied(reason: str) -> NoReturn:
    raise S3Error(ErrorCode.AccessDenied, f"Invalid according to Policy: {reason}")
