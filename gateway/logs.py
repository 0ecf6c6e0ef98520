"""Log lines: JSON for machines, text for people, and nothing secret in either.

`structlog.get_logger()` is enough to write one. What a client sent is escaped before it is
written, so that it can neither forge a line nor drive a terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sys
import time
import traceback
from typing import Any, BinaryIO, Literal, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

REDACTED = "[redacted]"

# Fields that are never written, whatever they hold; compared in lower case.
SECRET_FIELDS = frozenset(
    {
        "authorization",
        "cookie",
        "password",
        "proxy-authorization",
        "secret",
        "secret_access_key",
        "set-cookie",
        "signature",
        "x-amz-security-token",
        "x-amz-signature",
    }
)

# Secrets inside a longer text: a presigned URL, a quoted Authorization header, a chunk header.
# The credential is one too: a key-only key is nothing but its access key.
_SECRET_IN_TEXT = re.compile(
    r"(?i)((?:x-amz-|chunk-)?signature|(?:x-amz-)?credential|x-amz-security-token|awsaccesskeyid"
    r"|secret(?:[_-]?access)?[_-]?key)(\s*[=:]\s*|%3d)[^&\s,;\"'<]+"
)


def configure(
    level: str = "info",
    log_format: Literal["auto", "json", "console"] = "auto",
    file: TextIO | None = None,
) -> None:
    """Sets up structlog and the standard library's loggers for this process.

    `file` is standard error unless given; `auto` means text on a terminal and JSON elsewhere.
    """
    out = file or sys.stderr
    as_json = log_format == "json" or (log_format == "auto" and not out.isatty())
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        clean,
    ]
    _request_lines.file = None
    if as_json:
        if logging.getLevelNamesMapping()[level.upper()] <= logging.INFO:
            _request_lines.file = _Unfailing(out.buffer)
        shared += [_exception_text, structlog.processors.JSONRenderer(serializer=_dumps)]
        factory: Any = structlog.BytesLoggerFactory(file=cast(BinaryIO, _Unfailing(out.buffer)))
    else:
        shared += [
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(),
                exception_formatter=_write_exception,
                timestamp_key="time",
            )
        ]
        factory = structlog.PrintLoggerFactory(file=cast(TextIO, _Unfailing(out)))
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=level.upper(), force=True)
    # Ours has its own; aiohttp's would also log what a malformed request held.
    logging.getLogger("aiohttp.access").disabled = True


class _Unfailing:
    """A file that swallows what it cannot write.

    A log that is full, or a pipe that nobody reads any more, must not fail a request, let alone
    the one task that commits for all of them.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        # Every request passes here: contextlib.suppress would cost as much as the writing.
        try:  # noqa: SIM105
            self._file.write(data)
        except (OSError, ValueError):
            pass
        return len(data)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()


def write_request(
    *, method: str, path: str, remote: str | None, **fields: str | float | None
) -> None:
    """Write the line of one request: `log.info("request", ...)` at a fraction of its cost.

    What the client said is escaped like the texts of any other line; the other fields are ours.
    """
    if _request_lines.file is None:
        structlog.get_logger().info("request", method=method, path=path, remote=remote, **fields)
    else:
        _request_lines.write(
            {**fields, "method": safe(method), "path": safe(path), "remote": remote}
        )


class _RequestLines:
    """Lines of JSON without structlog's chain of processors, which every request would pay for."""

    def __init__(self) -> None:
        self.file: _Unfailing | None = None
        self._flushing = False
        self._second = 0
        self._second_text = ""

    def write(self, fields: dict[str, str | float | None]) -> None:
        assert self.file is not None
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        fields["event"] = "request"
        fields["level"] = "info"
        fields["time"] = f"{self._second_text}.{int((now - second) * 1e6):06}Z"
        self.file.write(orjson.dumps(fields) + b"\n")
        if not self._flushing:
            # Once for all requests that are answered in this turn of the event loop.
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self.file is not None:
            self.file.flush()


_request_lines = _RequestLines()


def clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor: hides secrets and escapes what could not be printed."""
    for name, value in event.items():
        if name in SECRET_FIELDS:
            event[name] = REDACTED
        elif type(value) is str:
            event[name] = safe(value)
        elif type(value) not in _PLAIN and name not in _PASSED:
            event[name] = _cleaned(name, value)
    return event


def safe(text: str) -> str:
    """The text without secrets, and with `\\x1b`, `\\n`, `\\u202e` for what is not printable."""
    if _may_hold_a_secret(text):
        text = _SECRET_IN_TEXT.sub(rf"\1\2{REDACTED}", text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_PLAIN = frozenset({int, float, bool, type(None)})
_PASSED = frozenset({"exc_info", "stack_info"})


def _may_hold_a_secret(text: str) -> bool:
    # Spelled out: every text of every line passes here, and this costs a third of the pattern.
    return (
        "ignature" in text
        or "redential" in text
        or "ccessKeyId" in text
        or "oken" in text
        or "ecret" in text
    )


def _cleaned(name: str, value: object) -> object:
    if name.lower() in SECRET_FIELDS:
        return REDACTED
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, dict):
        return {safe(str(key)): _cleaned(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_cleaned("", item) for item in value]
    if isinstance(value, bytes):
        return safe(value.decode("latin-1"))
    if isinstance(value, (int, float, bool)) or value is None:
        return value
    return safe(str(value))


def _dumps(event: EventDict, **_: object) -> bytes:
    return orjson.dumps(event, option=orjson.OPT_NON_STR_KEYS)


def _exception_text(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    exc_info = event.pop("exc_info", None)
    if exc_info:
        if isinstance(exc_info, BaseException):
            exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
        elif not isinstance(exc_info, tuple):
            exc_info = sys.exc_info()
        if exc_info[0] is not None:
            event["exception"] = _traceback_text(exc_info)
    return event


def _write_exception(out: TextIO, exc_info: ExcInfo) -> None:
    out.write("\n" + _traceback_text(exc_info))


def _traceback_text(exc_info: ExcInfo) -> str:
    # Line by line: the line breaks are ours, what stands in a line may not be.
    text = "".join(traceback.format_exception(*exc_info))
    return "\n".join(safe(line) for line in text.rstrip("\n").split("\n"))


class _ToStructlog(logging.Handler):
    """Hands the records of aiohttp and asyncio to structlog, so that they are cleaned alike."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(source=record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
