"""The smallest file server that the kernel makes fast: GET by os.sendfile, PUT into a file.

A limit to compare with where nginx is not installed. It is no S3: it checks nothing, signs nothing
and syncs nothing, and listens on loopback only.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import socketserver
from pathlib import Path

PIECE_BYTES = 1024 * 1024

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.I)
_RANGE = re.compile(rb"\r\nrange:[ \t]*bytes=(\d+)-(\d+)", re.I)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    with FileServer(options.port, options.directory) as server:
        server.serve_forever()


class FileServer(socketserver.ThreadingTCPServer):
    """One thread for each connection: sendfile needs no interpreter while it works."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, port: int, directory: Path) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.directory = directory.resolve()


class Handler(socketserver.BaseRequestHandler):
    """One connection."""

    server: FileServer
    request: socket.socket

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(PIECE_BYTES)
        self._view = memoryview(self._buffer)
        rest = b""
        try:
            while (found := self._head(rest)) is not None:
                head, rest = found
                rest = self._answer(head, rest)
        except OSError:
            return

    def _head(self, data: bytes) -> tuple[bytes, bytes] | None:
        while b"\r\n\r\n" not in data:
            more = self.request.recv(65536)
            if not more:
                return None
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest

    def _answer(self, head: bytes, rest: bytes) -> bytes:
        method, address, _ = head.split(b" ", 2)
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        path = (self.server.directory / address.decode().partition("?")[0].lstrip("/")).resolve()
        inside = path.is_relative_to(self.server.directory)
        if method == b"PUT" and inside:
            return self._put(path, length, rest)
        if method in (b"GET", b"HEAD") and inside and path.is_file():
            self._get(path, head, with_body=method == b"GET")
        else:
            self.request.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return rest

    def _get(self, path: Path, head: bytes, *, with_body: bool) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            first, stop, status = 0, size, b"200 OK"
            if (span := _RANGE.search(head)) and with_body:
                first, stop = int(span[1]), min(size, int(span[2]) + 1)
                status = b"206 Partial Content"
            head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, stop - first)
            if not with_body:
                self.request.sendall(head)
                return
            self.request.send(head, socket.MSG_MORE)
            while first < stop:
                first += os.sendfile(self.request.fileno(), descriptor, first, stop - first)
        finally:
            os.close(descriptor)

    def _put(self, path: Path, length: int, rest: bytes) -> bytes:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as file:
            body, rest = rest[:length], rest[length:]
            file.write(body)
            left = length - len(body)
            while left:
                size = self.request.recv_into(self._view, min(left, PIECE_BYTES))
                if not size:
                    raise ConnectionError("the body was cut short")
                file.write(self._view[:size])
                left -= size
        self.request.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        return rest


if __name__ == "__main__":
    main()
