"""One running gateway for all clients, one more with https, and a fresh bucket for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import GatewayServer, make_certificate

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    """A gateway on http."""
    started = GatewayServer(tmp_path_factory.mktemp("gateway") / "data").start()
    yield started
    started.close()


@pytest.fixture(scope="session")
def secure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    """A gateway on https; `tls_cert` is the file that clients must trust."""
    folder = tmp_path_factory.mktemp("secure")
    cert, key = make_certificate(folder)
    flags = ("--tls-cert", str(cert), "--tls-key", str(key))
    started = GatewayServer(folder / "data", flags, tls_cert=cert).start()
    yield started
    started.close()


@pytest.fixture(scope="session")
def root_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    """A gateway on http with S3 at the root: for clients whose endpoint has no path."""
    flags = ("--base-path", "/")
    started = GatewayServer(tmp_path_factory.mktemp("root") / "data", flags).start()
    yield started
    started.close()


@pytest.fixture(scope="session")
def secure_root_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    """The same on https."""
    folder = tmp_path_factory.mktemp("secure-root")
    cert, key = make_certificate(folder)
    flags = ("--base-path", "/", "--tls-cert", str(cert), "--tls-key", str(key))
    started = GatewayServer(folder / "data", flags, tls_cert=cert).start()
    yield started
    started.close()


@pytest.fixture(params=["http", "https"])
def either_server(request: pytest.FixtureRequest) -> GatewayServer:
    """A gateway with S3 at the root, first on http, then on https."""
    name = "root_server" if request.param == "http" else "secure_root_server"
    server: GatewayServer = request.getfixturevalue(name)
    return server


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> str:
    """A bucket name that no other test has; nothing is in it yet."""
    words = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())
    return f"b{next(_numbers)}-{words}"[:50].rstrip("-")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small tree of files with what trees have: depth, emptiness, odd names."""
    root = tmp_path / "tree"
    files = {
        "top.txt": b"top\n",
        "empty": b"",
        "a/b/c/deep.bin": bytes(range(256)) * 100,
        "a/empty-too": b"",
        "a/plus+and space.txt": b"plus",
        "a/percent%20.txt": b"percent",
        "a/question?&=#.txt": b"question",
        "odd/naïve-ünïcode-日本語-🙂.txt": "ünï".encode(),
        "odd/'single' \"double\".txt": b"quotes",
        "odd/<angle>&amp;.txt": b"angle",
        "odd/~tilde,comma;semi:colon!.txt": b"marks",
        "odd/[brackets]{braces}(parens).txt": b"brackets",
        "odd/ leading and trailing .txt": b"spaces",
        "odd/.hidden": b"hidden",
        "big/six-mib.bin": bytes(range(251)) * (6 * 1024 * 1024 // 251 + 1),
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        # Older than what is uploaded now: `aws s3 sync` sends a file again that is newer than its
        # object's Last-Modified, which S3 cuts to whole seconds.
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return root
