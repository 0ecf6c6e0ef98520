"""CORS: the rules of a bucket, and the headers by which browsers learn what a page may do.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lxml import etree

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.xml_tree import children_of, name_of, parse_document, refuse_malformed, text_of
from gateway.s3.xml_writer import configuration, escape

RULES_MAX = 100
DOCUMENT_BYTES_MAX = 64 * 1024
METHODS = frozenset({"GET", "PUT", "HEAD", "POST", "DELETE"})
ID_CHARACTERS_MAX = 255
ASKED_HEADERS_MAX = 128

_METHOD_HEADER = "access-control-request-method"
_HEADERS_HEADER = "access-control-request-headers"
_VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"


@dataclass(frozen=True, slots=True)
class CorsRule:
    """One rule; `origins` and `headers` may hold one `*` each, `headers` are in lower case."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    exposed: tuple[str, ...]
    seconds_max: str | None

    def match_origin(self, origin: str) -> str | None:
        """The pattern that allows this origin."""
        return next((pattern for pattern in self.origins if _matches(pattern, origin)), None)


def read_cors(body: bytes) -> str:
    """Read the body of PutBucketCors; the document to keep and to give back.

    Raises S3Error: MalformedXML, or InvalidRequest for a method or wildcard that is not allowed.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketCors.html
    """
    rules = list(children_of(parse_document(body, "CORSConfiguration"), {"CORSRule"}))
    if not 1 <= len(rules) <= RULES_MAX:
        refuse_malformed()
    document = configuration("CORSConfiguration", "".join(map(_canonical_rule, rules)))
    # Anybody's preflight is matched with it, and what was read is remembered.
    if len(document.encode()) > DOCUMENT_BYTES_MAX:
        refuse_malformed()
    return document


@lru_cache(maxsize=256)
def cors_rules(document: str) -> tuple[CorsRule, ...]:
    """The rules in what `read_cors` made."""
    return tuple(
        CorsRule(
            tuple(fields["AllowedOrigin"]),
            tuple(fields["AllowedMethod"]),
            tuple(name.lower() for name in fields["AllowedHeader"]),
            tuple(fields["ExposeHeader"]),
            next(iter(fields["MaxAgeSeconds"]), None),
        )
        for fields in map(_fields, parse_document(document.encode(), "CORSConfiguration"))
    )


def cors_headers(rules: Iterable[CorsRule], origin: str, method: str) -> dict[str, str]:
    """What the answer to an actual request says to the page of this origin; {} if nothing."""
    for rule in rules:
        pattern = rule.match_origin(origin)
        if pattern is not None and method in rule.methods:
            return _headers(rule, pattern, origin)
    return {}


def check_preflight(headers: Mapping[str, str]) -> None:
    """Refuse a preflight that does not say what it asks for, by S3Error BadRequest."""
    if not headers.get("origin"):
        raise S3Error(
            ErrorCode.BadRequest, "Insufficient information. Origin request header needed."
        )
    method = headers.get(_METHOD_HEADER)
    if method not in METHODS:
        raise S3Error(
            ErrorCode.BadRequest, f"Invalid Access-Control-Request-Method: {method or 'null'}"
        )
    # Each is matched with every pattern of every rule, for anybody.
    if headers.get(_HEADERS_HEADER, "").count(",") >= ASKED_HEADERS_MAX:
        raise S3Error(ErrorCode.BadRequest, "Too many names in Access-Control-Request-Headers.")


def preflight_headers(
    configurations: Sequence[Sequence[CorsRule]], headers: Mapping[str, str]
) -> dict[str, str]:
    """What a checked preflight is answered; the first rule wins that allows all of it.

    `configurations` are those of every bucket that may be meant. Raises S3Error AccessForbidden.
    """
    method = headers[_METHOD_HEADER]
    asked = [
        name.strip().lower() for name in headers.get(_HEADERS_HEADER, "").split(",") if name.strip()
    ]
    for rule in (rule for rules in configurations for rule in rules):
        pattern = rule.match_origin(headers["origin"])
        if pattern is None or method not in rule.methods:
            continue
        if all(any(_matches(allowed, name) for allowed in rule.headers) for name in asked):
            answer = _headers(rule, pattern, headers["origin"])
            if asked:
                answer["Access-Control-Allow-Headers"] = ", ".join(asked)
            return answer
    message = None
    if configurations:
        message = (
            "CORSResponse: This CORS request is not allowed. This is usually because the "
            "evalution of Origin, request method / Access-Control-Request-Method or "
            "Access-Control-Request-Headers are not whitelisted by the resource's CORS spec."
        )
    raise S3Error(ErrorCode.AccessForbidden, message, Method=method, ResourceType="OBJECT")


_FIELDS = ("ID", "AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader", "MaxAgeSeconds")


def _headers(rule: CorsRule, pattern: str, origin: str) -> dict[str, str]:
    # A page whose origin was named may send cookies and credentials, any page may not.
    anybody = pattern == "*"
    headers = {
        "Access-Control-Allow-Origin": "*" if anybody else origin,
        "Access-Control-Allow-Methods": ", ".join(rule.methods),
        "Vary": _VARY,
    }
    if not anybody:
        headers["Access-Control-Allow-Credentials"] = "true"
    if rule.exposed:
        headers["Access-Control-Expose-Headers"] = ", ".join(rule.exposed)
    if rule.seconds_max is not None:
        headers["Access-Control-Max-Age"] = rule.seconds_max
    return headers


def _matches(pattern: str, text: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(head) + len(tail) and text.startswith(head) and text.endswith(tail)


def _canonical_rule(element: etree._Element) -> str:
    fields = _fields(element)
    _check(fields)
    content = "".join(
        f"<{name}>{escape(value)}</{name}>" for name in _FIELDS for value in fields[name]
    )
    return f"<CORSRule>{content}</CORSRule>"


def _fields(element: etree._Element) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {name: [] for name in _FIELDS}
    for child in children_of(element, fields.keys()):
        fields[name_of(child)].append(text_of(child).strip())
    return fields


def _check(fields: Mapping[str, Sequence[str]]) -> None:
    if not fields["AllowedOrigin"] or not fields["AllowedMethod"]:
        refuse_malformed()
    if len(fields["ID"]) > 1 or any(len(text) > ID_CHARACTERS_MAX for text in fields["ID"]):
        refuse_malformed()
    ages = fields["MaxAgeSeconds"]
    if len(ages) > 1 or not all(age.isascii() and age.isdecimal() for age in ages):
        refuse_malformed()
    for method in fields["AllowedMethod"]:
        if method not in METHODS:
            _refuse(f"Found unsupported HTTP method in CORS config. Unsupported method is {method}")
    for name in ("AllowedOrigin", "AllowedHeader"):
        for pattern in fields[name]:
            if pattern.count("*") > 1:
                _refuse(f'{name} "{pattern}" can not have more than one wildcard.')
    for name in ("AllowedOrigin", "AllowedHeader", "ExposeHeader"):
        for text in fields[name]:
            if not text.isprintable():
                _refuse(f"{name} can not have control characters.")
    for header in fields["ExposeHeader"]:
        if "*" in header:
            _refuse(
                f'ExposeHeader "{header}" contains wildcard. We currently do not support '
                "wildcard for ExposeHeader."
            )


def _refuse(message: str) -> None:
    raise S3Error(ErrorCode.InvalidRequest, message)
