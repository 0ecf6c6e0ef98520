"""One HTTP/1.1 connection that never blocks: a request goes out, its answer is read and judged.

Cheap per byte: bodies are sent from memory that is stamped in place, answers that nobody keeps are
dropped inside the kernel. Sources of requests and clocks of rounds are left to the engine.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from typing import Protocol

from benchmarks.data import WINDOW_BYTES, Body, Window
from benchmarks.s3_requests import Answer, Request, Target

RECEIVE_BYTES = 1024 * 1024
# Below this a body travels in one piece with its head.
JOINED_BYTES_MAX = 64 * 1024
# A connection that always finds room gives way to the others after so many pieces.
PIECES_PER_TURN = 16
# Kept of an answer that was not asked for, for the sake of its error code.
ERROR_BYTES_MAX = 64 * 1024

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.I)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.I)
_CLOSE = re.compile(rb"\r\nconnection:[^\r]*close", re.I)
_ERROR_CODE = re.compile(rb"<Code>([^<]{1,60})</Code>")

WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Owner(Protocol):
    """What a connection needs to know and to tell."""

    target: Target
    seed: int
    verify: bool
    buffer: bytearray
    view: memoryview

    def moved(self, size: int, now: float) -> None:
        """So many bytes of a body were sent or received."""

    def finished(self, connection: Connection, answer: Answer | None, error: str) -> None:
        """The request is over; `error` is empty when all is well."""

    def watch(self, connection: Connection) -> None:
        """There is a new socket to wait for."""

    def again(self, connection: Connection) -> None:
        """It has more to do but gives way."""


class Connection:
    """A keep-alive connection, made anew whenever the server closes it."""

    def __init__(self, owner: Owner, tls: ssl.SSLContext | None) -> None:
        self.request: Request | None = None
        self.sock: socket.socket | None = None
        self.started = 0.0
        self.first_byte = 0.0
        self._owner = owner
        self._tls = tls
        self._window: Window | None = None
        self._expected: Window | None = None
        self._sending = False
        self._pending = memoryview(b"")
        self._pending_is_body = False
        self._window_next = 0
        self._reset_answer()

    def open(self) -> None:
        """Connects and waits for it, which is not part of any measurement."""
        target = self._owner.target
        sock: socket.socket = socket.create_connection((target.host, target.port), timeout=10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_hostname=target.host)
        sock.setblocking(False)
        self.sock = sock
        self._owner.watch(self)

    def close(self) -> None:
        """Forgets the socket."""
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.close()
            self.sock = None

    def begin(self, request: Request) -> None:
        """Sends a request; the owner hears when it is over."""
        self.request = request
        self.started = time.monotonic()
        self.first_byte = 0.0
        self._reset_answer()
        self._window_next = 0
        body = request.body
        if body is None:
            self._pending = memoryview(request.head)
        elif isinstance(body, bytes):
            self._pending = memoryview(request.head + body)
        else:
            if self._window is None:
                self._window = Window(self._owner.seed)
            if body.size <= JOINED_BYTES_MAX:
                self._window.show(body, 0)
                self._pending = memoryview(request.head + self._window.buffer[: body.size])
                self._window_next = -1
            else:
                self._pending = memoryview(request.head)
        self._pending_is_body = False
        self._sending = True
        if self.sock is None:
            try:
                self.open()
            except OSError as error:
                self.fail(f"connect: {_name(error)}")
                return
        self.push()

    def fail(self, reason: str) -> None:
        """Ends the request without an answer."""
        self.close()
        self.request_over(None, reason)

    def request_over(self, answer: Answer | None, error: str) -> None:
        self._sending = False
        self._owner.finished(self, answer, error)

    # Sending

    def push(self) -> None:
        """Sends as much as the socket takes."""
        sock = self.sock
        if not self._sending or sock is None or self.request is None:
            return
        body = self.request.body
        owner = self._owner
        try:
            for _ in range(PIECES_PER_TURN):
                size = len(self._pending)
                if not size:
                    if not isinstance(body, Body) or self._window_next < 0:
                        self._sending = False
                        return
                    if self._window_next * WINDOW_BYTES >= body.size:
                        self._sending = False
                        return
                    assert self._window is not None
                    size = self._window.show(body, self._window_next)
                    self._pending = self._window.view[:size]
                    self._pending_is_body = True
                    self._window_next += 1
                sent = sock.send(self._pending)
                if self._pending_is_body:
                    owner.moved(sent, time.monotonic())
                self._pending = self._pending[sent:]
                if sent < size and self._tls is None:
                    return  # the kernel's buffer is full: it will tell
            owner.again(self)
        except WAIT:
            return
        except OSError as error:
            # The server may have said why before it hung up.
            self._sending = False
            self.pull()
            if self.request is not None and self.sock is sock:
                self.fail(_name(error))

    # Receiving

    def _reset_answer(self) -> None:
        self._head = b""
        self._partial = b""
        self._status = 0
        self._kept: bytearray | None = None
        self._received = 0
        self._remaining: int | None = None
        self._chunked: ChunkedReader | None = None
        self._in_body = False
        self._wrong = ""

    def pull(self) -> None:
        """Reads what has arrived."""
        sock = self.sock
        if sock is None:
            return
        owner = self._owner
        plain = self._tls is None
        try:
            for _ in range(PIECES_PER_TURN):
                wanted = RECEIVE_BYTES
                if (
                    self._in_body
                    and plain
                    and not owner.verify
                    and self._kept is None
                    and self._remaining
                ):
                    # MSG_TRUNC on TCP: bytes are counted and dropped, not copied (man 7 tcp).
                    wanted = min(RECEIVE_BYTES, self._remaining)
                    received = sock.recv_into(owner.buffer, wanted, socket.MSG_TRUNC)
                else:
                    received = sock.recv_into(owner.buffer)
                if received == 0:
                    self._at_end()
                    return
                if self.request is None:
                    self.close()  # bytes that nobody asked for
                    return
                self._take(received)
                if self.request is None or self.sock is not sock:
                    return
                if received < wanted and plain:
                    return
            owner.again(self)
        except WAIT:
            return
        except OSError as error:
            if self.request is None:
                self.close()
            else:
                self.fail(_name(error))

    def _at_end(self) -> None:
        if self.request is None:
            self.close()
        elif self._in_body and self._remaining is None and self._chunked is None:
            self.close()
            self._finish()
        else:
            where = "inside the answer" if self._in_body else "before an answer"
            self.fail(f"closed {where}")

    def _take(self, received: int) -> None:
        owner = self._owner
        if self._in_body:
            self._take_body(owner.view[:received])
            return
        if not self.first_byte:
            self.first_byte = time.monotonic()
        if self._partial:
            data = self._partial + bytes(owner.view[:received])
            end = data.find(b"\r\n\r\n")
            view = memoryview(data)
        else:
            end = owner.buffer.find(b"\r\n\r\n", 0, received)
            view = owner.view[:received]
        if end < 0:
            self._partial = bytes(view)
            return
        self._head = bytes(view[:end])
        self._partial = b""
        if not self._take_head():
            return
        self._take_body(view[end + 4 :])

    def _take_head(self) -> bool:
        request = self.request
        assert request is not None
        head = self._head
        try:
            self._status = int(head[9:12])
        except ValueError:
            self.fail("not HTTP")
            return False
        self._in_body = True
        if request.headless or self._status in (204, 304):
            self._remaining = 0
        elif found := _LENGTH.search(head):
            self._remaining = int(found[1])
        elif _CHUNKED.search(head):
            self._chunked = ChunkedReader()
        if request.keep_answer or self._status not in request.statuses:
            self._kept = bytearray()
        return True

    def _take_body(self, data: memoryview) -> None:
        size = len(data)
        if self._chunked is not None:
            for piece in self._chunked.feed(data):
                self._take_payload(piece)
            if self._chunked.done:
                self._finish()
            return
        if self._remaining is None:
            self._take_payload(data)
            return
        if size > self._remaining:
            self._wrong = "more than Content-Length"
            data = data[: self._remaining]
            size = len(data)
        self._remaining -= size
        if size:
            self._take_payload(data)
        if not self._remaining:
            self._finish()

    def _take_payload(self, data: memoryview) -> None:
        request = self.request
        assert request is not None
        owner = self._owner
        if self._kept is not None:
            if request.keep_answer or len(self._kept) < ERROR_BYTES_MAX:
                self._kept += data
        else:
            owner.moved(len(data), time.monotonic())
            if owner.verify and request.answer_body is not None and not self._wrong:
                if self._expected is None:
                    self._expected = Window(owner.seed)
                offset = request.answer_offset + self._received
                if not self._expected.matches(request.answer_body, offset, data):
                    self._wrong = "wrong bytes"
        self._received += len(data)

    def _finish(self) -> None:
        request = self.request
        assert request is not None
        kept = b"" if self._kept is None else bytes(self._kept)
        answer = Answer(self._status, self._head, kept)
        error = self._wrong
        if self._status not in request.statuses:
            code = _ERROR_CODE.search(kept)
            error = f"{self._status} {code[1].decode() if code else ''}".strip()
        elif request.answer_bytes is not None and self._received != request.answer_bytes:
            error = error or "wrong length"
        elif request.keep_answer and b"<Error>" in kept:
            # Complete may answer 200 and fail in its body.
            code = _ERROR_CODE.search(kept)
            error = f"200 {code[1].decode() if code else 'Error'}"
        if self._sending or self._wrong or _CLOSE.search(self._head):
            # An answer before the end of the request leaves the connection in doubt.
            self.close()
        elif self._head.startswith(b"HTTP/1.0"):
            self.close()
        self.request_over(answer, error)


class ChunkedReader:
    """Takes `Transfer-Encoding: chunked` apart."""

    def __init__(self) -> None:
        self.done = False
        self._line = b""
        self._left = 0
        self._after_data = False
        self._trailers = False

    def feed(self, data: memoryview) -> list[memoryview]:
        """The payload in what arrived."""
        pieces: list[memoryview] = []
        while len(data) and not self.done:
            if self._left:
                piece = data[: self._left]
                pieces.append(piece)
                self._left -= len(piece)
                data = data[len(piece) :]
                self._after_data = not self._left
                continue
            text = self._line + bytes(data[:4096])
            end = text.find(b"\n")
            if end < 0:
                self._line = text
                data = data[4096:]
                continue
            line = text[:end].strip()
            data = data[end + 1 - len(self._line) :]
            self._line = b""
            if self._trailers:
                self.done = not line
            elif self._after_data:
                self._after_data = False
            else:
                self._left = int(line.split(b";")[0], 16)
                self._trailers = not self._left
        return pieces


def _name(error: OSError) -> str:
    return type(error).__name__
