"""Log lines are one line each, hide every secret and carry the request id."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Literal

import pytest
import structlog

from gateway import logs

Lines = Callable[[], list[dict[str, Any]]]


class Output(io.TextIOWrapper):
    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="utf-8", write_through=True)

    def text(self) -> str:
        self.flush()
        return self.bytes.getvalue().decode()


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def configured(log_format: Literal["json", "console"] = "json", level: str = "info") -> Output:
    out = Output()
    logs.configure(level, log_format, out)
    return out


def lines(out: Output) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.text().splitlines()]


def test_line_is_json_with_time_level_and_event() -> None:
    out = configured()
    structlog.get_logger().info("started", port=3000)
    (line,) = lines(out)
    assert (line["event"], line["level"], line["port"]) == ("started", "info", 3000)
    assert line["time"].endswith("Z")


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_line_of_a_request_is_escaped_and_whole(
    log_format: Literal["json", "console"],
) -> None:
    out = configured(log_format)
    for number in range(3):
        path = f"/s3/b/\x1b\u202e\ud800{number}?X-Amz-Signature=SESAME"
        method = "Signature=SESAME\x1b"
        logs.write_request(method=method, path=path, remote="::1", status=200, error=None, ms=1.5)
    await asyncio.sleep(0)
    assert "SESAME" not in out.text()
    assert "\x1b" not in out.text()
    text = out.text().replace("\\\\", "\\")
    assert [rf"\x1b\u202e\ud800{number}" in text for number in range(3)] == [True] * 3


async def test_line_of_a_request_is_what_structlog_would_write() -> None:
    out = configured()
    client = {"method": "GET", "path": "/s3/b/é\n", "remote": "127.0.0.1"}
    structlog.get_logger().info("request", **client, status=200, error=None, ms=1.5)
    logs.write_request(**client, status=200, error=None, ms=1.5)
    await asyncio.sleep(0)
    slow, fast = lines(out)
    times = [datetime.fromisoformat(line.pop("time")) for line in (slow, fast)]
    assert fast == slow
    assert timedelta() <= times[1] - times[0] < timedelta(seconds=10)


async def test_requests_are_not_logged_above_info() -> None:
    out = configured(level="warning")
    logs.write_request(method="GET", path="/", remote=None)
    await asyncio.sleep(0)
    assert out.text() == ""


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "fields",
    [
        {"secret": "SESAME"},
        {"authorization": "AWS4-HMAC-SHA256 SESAME"},
        {"signature": b"SESAME"},
        {"headers": {"Authorization": "SESAME", "X-Amz-Security-Token": "SESAME"}},
        {"headers": [{"secret": ["SESAME"]}]},
        {"path": "/s3/b/k?X-Amz-Date=1&X-Amz-Signature=SESAME&x=1"},
        {"path": "/s3/b/k?X-Amz-Credential=SESAME%2F20260101%2Fus-east-1"},
        {"path": "/s3/b/k?AWSAccessKeyId=SESAME&Signature=SESAME"},
        {"line": "a000;chunk-signature=SESAME"},
        {"header": "AWS4-HMAC-SHA256 Credential=SESAME/20260101/us/s3/x, Signature=SESAME"},
        {"body": b"secret_access_key: SESAME"},
        {"error": ValueError("Signature=SESAME")},
    ],
)
def test_secret_is_never_written(
    fields: dict[str, Any], log_format: Literal["json", "console"]
) -> None:
    out = configured(log_format)
    structlog.get_logger().info("event", **fields)
    assert "SESAME" not in out.text()
    assert logs.REDACTED in out.text()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secret_in_an_exception_is_not_written(log_format: Literal["json", "console"]) -> None:
    out = configured(log_format)
    try:
        raise ValueError("\x1b[31m Signature=" + "SESAME"[::1])
    except ValueError:
        structlog.get_logger().exception("failed")
    last = out.text().splitlines()[-1]
    assert "ValueError" in last
    assert "Signature=[redacted]" in last
    assert "Signature=SESAME" not in out.text()
    assert "\x1b[31m" not in out.text()


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x00\x7f\x85", r"\x00\x7f\x85"),
        ("\u202eevil\u2028", r"\u202eevil\u2028"),
        ("\ud800", r"\ud800"),
        ("déjà 🙂", "déjà 🙂"),
    ],
)
def test_control_characters_are_escaped(
    text: str, escaped: str, log_format: Literal["json", "console"]
) -> None:
    out = configured(log_format)
    structlog.get_logger().info("event", key=text)
    if log_format == "json":
        assert lines(out)[0]["key"] == escaped
    else:
        assert f"key={escaped}" in out.text().replace("'", "")
    assert len(out.text().splitlines()) == 1


def test_level_is_respected() -> None:
    out = configured(level="warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp").info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


def test_records_of_other_libraries_pass_the_same_way() -> None:
    out = configured()
    try:
        raise ValueError("Signature=SESAME\x1b")
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error %s", "\x1bSignature=SESAME")
    (line,) = lines(out)
    assert line["source"] == "aiohttp.server"
    assert line["event"] == r"Error \x1bSignature=[redacted]"
    assert "ValueError" in line["exception"]
    assert "SESAME\x1b" not in out.text()


def test_access_log_line_is_cheap() -> None:
    out = configured()
    log = structlog.get_logger()
    fields = {"request_id": "0" * 16, "method": "PUT", "path": "/s3/bucket/a/long/key" * 3}
    numbers = {"status": 200, "bytes_in": 1 << 30, "bytes_out": 0, "seconds": 0.001}
    best = min(_seconds(log, {**fields, **numbers}) for _ in range(5))
    # About 8 µs on an idle machine; the bound leaves room for a busy one.
    assert best < 40e-6
    assert len(lines(out)) == 5 * 2000


def _seconds(log: Any, fields: dict[str, Any]) -> float:
    started = time.perf_counter()
    for _ in range(2000):
        log.info("request", **fields)
    return (time.perf_counter() - started) / 2000


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_log_that_cannot_be_written_fails_nobody(log_format: Literal["json", "console"]) -> None:
    closed = io.TextIOWrapper(io.BytesIO())
    logs.configure("info", log_format, closed)
    closed.close()
    structlog.get_logger().info("nobody reads this")
