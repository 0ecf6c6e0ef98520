from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.post_policy import (
    LengthRange,
    check_policy,
    find_signer,
    form_headers,
    with_filename,
)

NOW = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
LATER = "2026-03-01T12:30:06Z"
KEY = ["starts-with", "$key", "foo"]
BUCKET = {"bucket": "b"}


def policy(*conditions: Any, expiration: Any = LATER, **more: Any) -> str:
    document = {"expiration": expiration, "conditions": list(conditions), **more}
    return base64.b64encode(json.dumps(document).encode()).decode()


def error_of(document: str, **fields: str) -> S3Error:
    with pytest.raises(S3Error) as raised:
        check_policy({"policy": document, "key": "foo.txt", **fields}, "b", NOW)
    return raised.value


@pytest.mark.parametrize(
    ("conditions", "fields"),
    [
        ([], {}),
        ([{"acl": "private"}], {"acl": "private"}),
        ([["eq", "$acl", "private"]], {"acl": "private"}),
        ([["StArTs-WiTh", "$AcL", ""]], {"acl": "private"}),
        ([["starts-with", "$tagging", ""]], {}),
        ([["starts-with", "$key", "foo."]], {}),
        ([], {"x-ignore-foo": "bar", "x-amz-checksum-sha256": "x", "awsaccesskeyid": "k"}),
        ([{"x-amz-meta-a": "1"}], {"x-amz-meta-a": "1"}),
    ],
)
def test_a_form_that_keeps_to_its_policy(conditions: list[Any], fields: dict[str, str]) -> None:
    form = {"policy": policy(BUCKET, KEY, *conditions), "key": "foo.txt", **fields}
    assert check_policy(form, "b", NOW) == LengthRange()


@pytest.mark.parametrize(
    ("conditions", "fields", "message"),
    [
        ([KEY], {}, "Extra input fields: bucket"),
        ([BUCKET], {}, "Extra input fields: key"),
        ([{"bucket": "c"}, KEY], {}, 'Policy Condition failed: {"bucket": "c"}'),
        ([BUCKET, ["eq", "$key", "foo"]], {}, 'Policy Condition failed: ["eq", "$key", "foo"]'),
        ([BUCKET, KEY, {"acl": "private"}], {}, 'Policy Condition failed: {"acl": "private"}'),
        ([BUCKET, KEY], {"x-amz-meta-a": "1"}, "Extra input fields: x-amz-meta-a"),
        ([BUCKET, KEY, ["eq", "$x-amz-meta-a", ""]], {"x-amz-meta-a": "1"}, "Policy Condition"),
        # Every condition on a field counts.
        ([BUCKET, KEY, ["eq", "$key", "x"]], {}, "Policy Condition failed"),
    ],
)
def test_a_form_that_does_not(conditions: list[Any], fields: dict[str, str], message: str) -> None:
    error = error_of(policy(*conditions), **fields)
    assert error.code is ErrorCode.AccessDenied
    assert error.message.startswith(f"Invalid according to Policy: {message}")


@pytest.mark.parametrize("expiration", ["2026-03-01T12:30:05Z", "2026-03-01T12:30:05.999Z"])
def test_a_policy_ends(expiration: str) -> None:
    error = error_of(policy(BUCKET, KEY, expiration=expiration))
    assert (error.code, error.message) == (
        ErrorCode.AccessDenied,
        "Invalid according to Policy: Policy expired.",
    )


@pytest.mark.parametrize(
    "document",
    [
        "",
        "%%%",
        base64.b64encode(b"{").decode(),
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b"[" * 100_000).decode(),
        policy(BUCKET, KEY, expiration="2026-03-01 13:30:05+00:00"),
        policy(BUCKET, KEY, expiration="2026-13-01T12:30:05Z"),
        policy(BUCKET, KEY, expiration=None),
        policy(BUCKET, KEY, expiration=5),
        base64.b64encode(b'{"EXPIRATION": "2999-01-01T00:00:00Z", "conditions": []}').decode(),
        base64.b64encode(b'{"expiration": "2999-01-01T00:00:00Z", "CONDITIONS": []}').decode(),
        policy(BUCKET, KEY, {}),
        policy(BUCKET, KEY, {"a": "1", "b": "2"}),
        policy(BUCKET, KEY, {"a": 1}),
        policy(BUCKET, KEY, "a"),
        policy(BUCKET, KEY, ["eq", "$a"]),
        policy(BUCKET, KEY, ["eq", "a", "1"]),
        policy(BUCKET, KEY, ["ends-with", "$a", "1"]),
        policy(BUCKET, KEY, ["content-length-range", 0]),
        policy(BUCKET, KEY, ["content-length-range", -1, 0]),
        policy(BUCKET, KEY, ["content-length-range", True, 0]),
        policy(BUCKET, KEY, ["content-length-range", 0, "x"]),
    ],
)
def test_a_policy_that_means_nothing(document: str) -> None:
    assert error_of(document).code is ErrorCode.InvalidPolicyDocument


def test_every_length_range_counts() -> None:
    document = policy(
        BUCKET, KEY, ["content-length-range", 1, 10], ["Content-Length-Range", "2", "20"]
    )
    assert check_policy({"policy": document, "key": "foo"}, "b", NOW) == LengthRange(2, 10)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"policy": "p"}, ErrorCode.InvalidArgument),
        ({"policy": "p", "awsaccesskeyid": "a"}, ErrorCode.InvalidArgument),
        ({"policy": "p", "signature": "a"}, ErrorCode.InvalidArgument),
        ({"awsaccesskeyid": "a", "signature": "a"}, ErrorCode.InvalidArgument),
        ({"policy": "p", "x-amz-signature": "a"}, ErrorCode.InvalidArgument),
        ({"policy": "p", "x-amz-security-token": "a"}, ErrorCode.InvalidToken),
    ],
)
def test_a_form_that_is_signed_by_half(fields: dict[str, str], code: ErrorCode) -> None:
    with pytest.raises(S3Error) as raised:
        find_signer(fields)
    assert raised.value.code is code


def test_a_form_without_policy_and_signature_is_anonymous() -> None:
    assert find_signer({"key": "k", "acl": "private"}) is None


def test_the_version_4_example_in_the_documentation() -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html
    fields = {
        "policy": "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6"
        "IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRr"
        "ZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19h"
        "Y3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nl"
        "c3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2Uv"
        "Il0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZl"
        "ci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10"
        "YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEy"
        "MjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1B"
        "Qy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9",
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
        "x-amz-date": "20151229T000000Z",
        "x-amz-signature": "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
    }
    signer = find_signer(fields)
    assert signer is not None
    assert signer.access_key == "AKIAIOSFODNN7EXAMPLE"
    signer.verify("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    with pytest.raises(S3Error):
        signer.verify("other")


@pytest.mark.parametrize("sent", ["foo.txt", "C:\\dir\\foo.txt", "/home/me/foo.txt"])
def test_the_name_of_the_file_is_put_in(sent: str) -> None:
    fields = {"key": "up/${filename}", "x-amz-meta-n": "${filename}", "policy": "${filename}"}
    assert with_filename(fields, sent) == {
        "key": "up/foo.txt",
        "x-amz-meta-n": "foo.txt",
        "policy": "${filename}",
    }


def test_fields_become_headers() -> None:
    fields = {
        "acl": "private",
        "content-type": "text/plain",
        "x-amz-meta-a": "1",
        "x-amz-signature": "s",
        "x-amz-trailer": "x",
        "authorization": "x",
        "if-match": "x",
        "key": "k",
    }
    assert form_headers(fields) == {
        "content-type": "text/plain",
        "x-amz-meta-a": "1",
        "x-amz-acl": "private",
    }
