"""Buckets that accounts share, for tests: the accounts and their clients, and what policies say."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
from dataclasses import dataclass
from typing import Any

from gateway.keys import KeyStore
from gateway.rights import Limits
from tests.support.web_gateway import WebGateway
from tests.support.wire import Answer, Wire

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


DENIED = (403, "AccessDenied")


BLOCK = b"<PublicAccessBlockConfiguration><%s>true</%s></PublicAccessBlockConfiguration>"


@dataclass
class Shared:
    """A gateway with one bucket name for all accounts; `main` has made the buckets."""

    gateway: WebGateway
    keys: KeyStore
    main: Wire
    lena: Wire
    anybody: Wire

    def wire(self, account: str = "lena", limits: Limits | None = None) -> Wire:
        """A client with a new key of an account."""
        key = self.keys.create(key_only=True, account=account, limits=limits)
        return Wire(self.gateway.port, key.access_key, timeout=20)

    def bucket(self, *statements: dict[str, Any], ownership: str | None = None) -> str:
        """A new bucket of main with an object `k`, under a policy of these statements."""
        name = f"shared-{next(_numbers)}"
        headers = {"x-amz-object-ownership": ownership} if ownership else {}
        assert self.main.call("PUT", f"{name}/", headers=headers).status == 200
        assert self.main.call("PUT", f"{name}/k", b"content").status == 200
        if statements:
            self.set_policy(name, *statements)
        return name

    def set_policy(self, bucket: str, *statements: dict[str, Any]) -> None:
        """Put a policy on a bucket."""
        body = json.dumps({"Statement": statements})
        body = body.replace("BUCKET", bucket)
        assert self.main.call("PUT", bucket, body.encode(), policy="").status == 204


_numbers = iter(range(1000))


class Slow:
    """A request whose body is still on its way."""

    def __init__(
        self, shared: Shared, access_key: str, target: str, body: bytes, *lines: str
    ) -> None:
        self._body = body
        self._socket = socket.create_connection(("127.0.0.1", shared.gateway.port), timeout=20)
        credential = f"{access_key}/20260101/us-east-1/s3/aws4_request"
        head = (
            f"PUT /s3/{target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: AWS4-HMAC-SHA256 "
            f"Credential={credential}, SignedHeaders=host, Signature=00\r\n"
            "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nExpect: 100-continue\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n"
            + "".join(f"{line}\r\n" for line in (*lines, ""))
        )
        self._socket.sendall(head.encode())
        assert b" 100 " in self._socket.recv(1000), "it was admitted"

    def finish(self) -> tuple[int, str]:
        """Send the body; status and code of the answer."""
        self._socket.sendall(self._body)
        answer = b"".join(iter(lambda: self._socket.recv(1 << 16), b""))
        self._socket.close()
        code = re.search(rb"<Code>(.*?)</Code>", answer)
        return int(answer.split()[1]), code[1].decode() if code else ""


def allow(action: object, **changes: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": "lena"},
        "Action": action,
        "Resource": ["arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/*"],
        **changes,
    }


def outcome(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.code


def blocked(shared: Shared, bucket: str, what: bytes) -> None:
    body = BLOCK % (what, what)
    assert shared.main.call("PUT", bucket, body, publicAccessBlock="").status == 200


def content_md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
