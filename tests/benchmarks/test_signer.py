"""The small signer says what botocore says."""

from __future__ import annotations

import calendar
import time
from unittest import mock

import pytest

from benchmarks.data import Body, Window
from benchmarks.s3_requests import S3Requests, Target
from benchmarks.signer import EMPTY_SHA256, UNSIGNED, Signer

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = calendar.timegm((2026, 2, 28, 23, 59, 59))


def botocore_signature(method: str, url: str, payload: str, now: int) -> str:
    auth = pytest.importorskip("botocore.auth")
    from datetime import UTC, datetime

    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest(method=method, url=url)
    signer = auth.S3SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1")
    # botocore leaves a payload unsigned over https only, and the scheme is no part of a signature.
    signer.payload = lambda request: payload
    moment = datetime.fromtimestamp(now, UTC)
    # The clock has moved from one botocore to another.
    names = [name for name in ("get_current_datetime", "datetime") if hasattr(auth, name)]
    fake = (
        mock.Mock(return_value=moment.replace(tzinfo=None))
        if names[0] == "get_current_datetime"
        else mock.Mock(utcnow=mock.Mock(return_value=moment), now=mock.Mock(return_value=moment))
    )
    with mock.patch.object(auth, names[0], fake):
        signer.add_auth(request)
    return str(request.headers["Authorization"])


@pytest.mark.parametrize(
    ("method", "path", "query", "payload"),
    [
        ("GET", "/s3/bucket/00/key", "", UNSIGNED),
        ("PUT", "/bucket/key", "partNumber=3&uploadId=a%2Bb%3D", UNSIGNED),
        ("POST", "/bucket/key", "uploads=", EMPTY_SHA256),
        ("GET", "/bucket", "delimiter=%2F&list-type=2&prefix=a%2F", EMPTY_SHA256),
    ],
)
def test_signature_is_that_of_botocore(method: str, path: str, query: str, payload: str) -> None:
    ours = Signer(KEY, SECRET, "us-east-1", "127.0.0.1:9000")
    text = ours.headers(method, path, query, payload, NOW)
    headers = dict(line.split(": ", 1) for line in text.strip().split("\r\n"))
    url = f"http://127.0.0.1:9000{path}" + (f"?{query}" if query else "")
    assert headers["Authorization"] == botocore_signature(method, url, payload, NOW)
    assert headers["x-amz-date"] == "20260228T235959Z"


def test_key_of_a_new_day_is_another() -> None:
    signer = Signer(KEY, SECRET, "us-east-1", "host")
    signer.headers("GET", "/", "", UNSIGNED, NOW)
    later = signer.headers("GET", "/", "", UNSIGNED, NOW + 1)
    assert later == Signer(KEY, SECRET, "us-east-1", "host").headers(
        "GET", "/", "", UNSIGNED, NOW + 1
    )


def test_without_a_key_nothing_is_signed() -> None:
    assert Signer("", "", "us-east-1", "host").headers("GET", "/", "", UNSIGNED) == "Host: host\r\n"


def test_signed_payload_declares_the_hash_of_the_body() -> None:
    window = Window(3)
    target = Target("t", "127.0.0.1", 1, "bucket", access_key=KEY, secret=SECRET, payload="signed")
    body = Body(300_000, 5)
    head = S3Requests(target, window).put("key", body).head.decode()
    assert f"x-amz-content-sha256: {window.sha256(body)}" in head
    assert "Content-Length: 300000" in head


def test_secret_is_not_shown() -> None:
    assert SECRET not in repr(Target("t", "h", 1, "b", access_key=KEY, secret=SECRET))


def test_signing_is_cheap() -> None:
    start = time.process_time()
    signer = Signer(KEY, SECRET, "us-east-1", "host")
    for number in range(1000):
        signer.headers("GET", f"/bucket/{number}", "", UNSIGNED, NOW)
    # A signature takes microseconds; this only notices when keys are derived each time or worse.
    assert time.process_time() - start < 1
