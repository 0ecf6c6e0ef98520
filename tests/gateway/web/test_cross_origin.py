"""What pages of other origins are told: preflights, answers and errors."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.bodies import noise
from tests.support.web_gateway import WebGateway, web_gateway

PAGE = "https://app.example.org"
RULES = (
    f"<CORSConfiguration><CORSRule><AllowedOrigin>{PAGE}</AllowedOrigin>"
    "<AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>"
    "<AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>"
    "<MaxAgeSeconds>60</MaxAgeSeconds></CORSRule></CORSConfiguration>"
).encode()
LARGE = noise(3_000_000)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(tmp_path_factory.mktemp("cors") / "data") as started:
        for bucket in ("open", "closed"):
            assert started.wire.call("PUT", f"{bucket}/small", b"x").status == 200
            assert started.wire.call("PUT", f"{bucket}/large", LARGE).status == 200
        assert started.wire.call("PUT", "open", RULES, cors="").status == 200
        yield started


def anonymous(gateway: WebGateway, method: str, path: str, **headers: str) -> tuple[int, str]:
    """Status and head of the answer to a request without credentials."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    request = [f"{method} /s3/{path} HTTP/1.1", "Host: x", "Connection: close", *lines]
    answer = gateway.raw("\r\n".join(request).encode() + b"\r\n\r\n").decode("latin-1")
    return int(answer[9:12]), answer


@pytest.mark.parametrize("path", ["open", "open/", "open/small", "open/missing", "open/a?tagging"])
def test_preflight_needs_no_credentials(gateway: WebGateway, path: str) -> None:
    status, head = anonymous(
        gateway,
        "OPTIONS",
        path,
        Origin=PAGE,
        Access_Control_Request_Method="PUT",
        Access_Control_Request_Headers="authorization, X-Amz-Date",
    )
    assert status == 200
    for name, value in {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Allow-Methods": "GET, PUT",
        "Access-Control-Allow-Headers": "authorization, x-amz-date",
        "Access-Control-Max-Age": "60",
        "Access-Control-Allow-Credentials": "true",
    }.items():
        assert re.findall(f"(?i)^{name}: (.*)\r$", head, re.M) == [value]


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("open/small", {}, 400, "BadRequest"),
        ("open/small", {"Origin": PAGE}, 400, "BadRequest"),
        ("open/small", {"Origin": PAGE, "Access_Control_Request_Method": "X"}, 400, "BadRequest"),
        (
            "open/small",
            {"Origin": PAGE, "Access_Control_Request_Method": "DELETE"},
            403,
            "AccessForbidden",
        ),
        (
            "open/small",
            {"Origin": "https://evil", "Access_Control_Request_Method": "GET"},
            403,
            "AccessForbidden",
        ),
        *(
            (path, {"Origin": PAGE, "Access_Control_Request_Method": "GET"}, 403, "AccessForbidden")
            for path in ("closed/small", "nowhere/k", "")
        ),
    ],
)
def test_preflight_is_refused(
    gateway: WebGateway, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answered, head = anonymous(gateway, "OPTIONS", path, **headers)
    assert (answered, f"<Code>{code}</Code>" in head) == (status, True)
    assert "access-control-allow" not in head.lower()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "open/small", 200),
        ("GET", "open/large", 200),
        ("GET", "open/missing", 404),
        ("GET", "open/", 200),
        ("PUT", "open/new", 200),
    ],
)
def test_answers_say_what_the_page_may_see(
    gateway: WebGateway, method: str, path: str, status: int
) -> None:
    answer = gateway.wire.call(method, path, headers={"Origin": PAGE})
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-expose-headers"] == "ETag"
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("method", "path", "origin"),
    [
        ("GET", "open/small", None),
        ("GET", "open/large", "https://evil"),
        ("HEAD", "open/small", PAGE),
        ("GET", "closed/small", PAGE),
        ("GET", "closed/large", PAGE),
        ("GET", "nowhere/k", PAGE),
        ("GET", "", PAGE),
    ],
)
def test_others_are_told_nothing(
    gateway: WebGateway, method: str, path: str, origin: str | None
) -> None:
    answer = gateway.wire.call(method, path, headers={"Origin": origin} if origin else {})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_page_may_read_why_it_was_refused(gateway: WebGateway) -> None:
    status, head = anonymous(gateway, "GET", "open/small", Origin=PAGE)
    assert status == 403
    assert f"Access-Control-Allow-Origin: {PAGE}" in head


def test_what_was_removed_is_forgotten_at_once(gateway: WebGateway) -> None:
    wire = gateway.wire
    wire.call("PUT", "brief/k", b"x")
    for change, allowed in (("PUT", True), ("DELETE", False)):
        wire.call(change, "brief", RULES if allowed else b"", cors="")
        answer = wire.call("GET", "brief/k", headers={"Origin": PAGE})
        assert ("access-control-allow-origin" in answer.headers) is allowed
