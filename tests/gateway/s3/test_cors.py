from __future__ import annotations

import pytest

from gateway.s3.cors import (
    check_preflight,
    cors_headers,
    cors_rules,
    preflight_headers,
    read_cors,
)
from gateway.s3.errors import ErrorCode, S3Error

MANY = (
    "<CORSRule><AllowedOrigin>https://*.example.org</AllowedOrigin>"
    "<AllowedOrigin>http://exact</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
    "<AllowedMethod>PUT</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader>"
    "<AllowedHeader>Content-Type</AllowedHeader><ExposeHeader>ETag</ExposeHeader>"
    "<ExposeHeader>x-amz-version-id</ExposeHeader><MaxAgeSeconds>30</MaxAgeSeconds></CORSRule>"
    "<CORSRule><ID>any &amp; all</ID><AllowedOrigin>*</AllowedOrigin>"
    "<AllowedMethod>HEAD</AllowedMethod></CORSRule>"
)
VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"


def document(rules: str) -> bytes:
    return f"<CORSConfiguration>{rules}</CORSConfiguration>".encode()


def rule(**fields: str | list[str]) -> str:
    given = {"AllowedOrigin": "*", "AllowedMethod": "GET", **fields}
    content = "".join(
        f"<{name}>{value}</{name}>"
        for name, values in given.items()
        for value in ([values] if isinstance(values, str) else values)
    )
    return f"<CORSRule>{content}</CORSRule>"


RULES = cors_rules(read_cors(document(MANY)))


def test_document_comes_back_as_it_was_meant() -> None:
    kept = read_cors(document(MANY))
    assert read_cors(kept.encode()) == kept
    assert "<ID>any &amp; all</ID>" in kept
    assert len(RULES) == 2


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ("", "MalformedXML"),
        (rule() * 101, "MalformedXML"),
        (rule(AllowedOrigin=[]), "MalformedXML"),
        (rule(AllowedMethod=[]), "MalformedXML"),
        (rule(MaxAgeSeconds="x"), "MalformedXML"),
        (rule(MaxAgeSeconds=["1", "2"]), "MalformedXML"),
        (rule(ID="x" * 256), "MalformedXML"),
        (rule(Other="x"), "MalformedXML"),
        (rule(AllowedMethod="get"), "InvalidRequest"),
        (rule(AllowedMethod="PATCH"), "InvalidRequest"),
        (rule(AllowedOrigin="http://*.a.*"), "InvalidRequest"),
        (rule(AllowedHeader="*-*"), "InvalidRequest"),
        (rule(ExposeHeader="x-*"), "InvalidRequest"),
    ],
)
def test_rules_are_refused(rules: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_cors(document(rules))
    assert caught.value.code is ErrorCode[code]


@pytest.mark.parametrize(
    ("origin", "method", "allowed"),
    [
        ("https://a.example.org", "GET", "https://a.example.org"),
        ("https://a.b.example.org", "PUT", "https://a.b.example.org"),
        ("https://.example.org", "GET", "https://.example.org"),
        ("https://example.org", "GET", None),
        ("http://a.example.org", "GET", None),
        ("https://a.example.org.evil", "GET", None),
        ("http://exact", "GET", "http://exact"),
        ("http://exactly", "GET", None),
        ("http://exact", "DELETE", None),
        ("http://anywhere", "HEAD", "*"),
        ("null", "HEAD", "*"),
    ],
)
def test_first_rule_that_fits_decides(origin: str, method: str, allowed: str | None) -> None:
    headers = cors_headers(RULES, origin, method)
    assert headers.get("Access-Control-Allow-Origin") == allowed


def test_star_stands_for_what_lies_between() -> None:
    rules = cors_rules(read_cors(document(rule(AllowedOrigin="start*end"))))
    for origin, fits in (("startend", True), ("startXend", True), ("star", False), ("send", False)):
        assert bool(cors_headers(rules, origin, "GET")) is fits
    overlapping = cors_rules(read_cors(document(rule(AllowedOrigin="aba*aba"))))
    assert not cors_headers(overlapping, "aba", "GET")


def test_named_origin_may_bring_credentials() -> None:
    assert cors_headers(RULES, "http://exact", "GET") == {
        "Access-Control-Allow-Origin": "http://exact",
        "Access-Control-Allow-Methods": "GET, PUT",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "ETag, x-amz-version-id",
        "Access-Control-Max-Age": "30",
        "Vary": VARY,
    }


def test_any_origin_may_not() -> None:
    assert cors_headers(RULES, "http://x", "HEAD") == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "HEAD",
        "Vary": VARY,
    }


def asking(origin: str, method: str, headers: str = "") -> dict[str, str]:
    asked = {"origin": origin, "access-control-request-method": method}
    return {**asked, "access-control-request-headers": headers} if headers else asked


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "x"},
        {"origin": "", "access-control-request-method": "GET"},
        {"access-control-request-method": "GET"},
        asking("x", "PATCH"),
        asking("x", "get"),
    ],
)
def test_preflight_says_what_it_asks_for(headers: dict[str, str]) -> None:
    with pytest.raises(S3Error) as caught:
        check_preflight(headers)
    assert caught.value.code is ErrorCode.BadRequest


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("", None),
        ("content-type", "content-type"),
        ("Content-Type, X-Amz-Date,x-amz-acl", "content-type, x-amz-date, x-amz-acl"),
    ],
)
def test_preflight_is_allowed_headers_by_name_or_pattern(asked: str, allowed: str | None) -> None:
    answer = preflight_headers([RULES], asking("http://exact", "PUT", asked))
    assert answer["Access-Control-Allow-Origin"] == "http://exact"
    assert answer.get("Access-Control-Allow-Headers") == allowed


@pytest.mark.parametrize(
    "headers",
    [
        asking("http://other", "PUT"),
        asking("http://exact", "DELETE"),
        asking("http://exact", "PUT", "authorization"),
        asking("http://exact", "PUT", "content-type, authorization"),
        asking("http://x", "HEAD", "content-type"),
    ],
)
@pytest.mark.parametrize("configurations", [[], [RULES], [RULES, RULES]])
def test_preflight_is_forbidden(headers: dict[str, str], configurations: list) -> None:
    with pytest.raises(S3Error) as caught:
        preflight_headers(configurations, headers)
    assert caught.value.code is ErrorCode.AccessForbidden
    assert ("not enabled" in caught.value.message) == (not configurations)


def test_any_of_the_buckets_may_allow() -> None:
    other = cors_rules(read_cors(document(rule(AllowedOrigin="http://other"))))
    answer = preflight_headers([RULES, other], asking("http://other", "GET"))
    assert answer["Access-Control-Allow-Origin"] == "http://other"


def test_a_configuration_has_at_most_64_kib() -> None:
    small, large = (rule(AllowedHeader=["x" * 90] * count) for count in (500, 600))
    assert cors_rules(read_cors(document(small)))
    with pytest.raises(S3Error) as caught:
        read_cors(document(large))
    assert caught.value.code is ErrorCode.MalformedXML


@pytest.mark.parametrize("name", ["AllowedOrigin", "AllowedHeader", "ExposeHeader"])
def test_no_rule_breaks_a_line_of_headers(name: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_cors(document(rule(**{name: "ETag&#13;&#10;Set-Cookie: a=b"})))
    assert caught.value.code is ErrorCode.InvalidRequest


def test_a_preflight_asks_for_at_most_128_headers() -> None:
    asked = {"origin": "http://a", "access-control-request-method": "GET"}
    check_preflight({**asked, "access-control-request-headers": ",".join(["a"] * 128)})
    with pytest.raises(S3Error) as caught:
        check_preflight({**asked, "access-control-request-headers": ",".join(["a"] * 129)})
    assert caught.value.code is ErrorCode.BadRequest
