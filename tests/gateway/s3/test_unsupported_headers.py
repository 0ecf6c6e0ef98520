from __future__ import annotations

import pytest

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.unsupported_headers import refuse_unsupported_headers

SSE = "x-amz-server-side-encryption"
KEY = "pO3upElrwuEXSoFwCfnZPdSsmt/xWeFa0N9KgDijwVs="
KEY_MD5 = "DWygnHRtgiJ77HCm+1rvHw=="
CUSTOMER = {
    f"{SSE}-customer-algorithm": "AES256",
    f"{SSE}-customer-key": KEY,
    f"{SSE}-customer-key-md5": KEY_MD5,
}


def refusal(headers: dict[str, str], *, reads: bool = False) -> S3Error:
    with pytest.raises(S3Error) as caught:
        refuse_unsupported_headers(headers, reads=reads)
    return caught.value


@pytest.mark.parametrize(
    "headers",
    [
        {SSE: "AES256"},
        {SSE: "aws:kms"},
        {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": "k"},
        {SSE: "aws:kms:dsse", f"{SSE}-context": "x", f"{SSE}-bucket-key-enabled": "true"},
        CUSTOMER,
        {f"x-amz-copy-source-server-side-encryption-{n}": v for n, v in CUSTOMER.items()},
        {"x-amz-write-offset-bytes": "0"},
    ],
)
def test_what_cannot_be_done_is_not_implemented(headers: dict[str, str]) -> None:
    error = refusal({"content-type": "x", **headers})
    assert error.code is ErrorCode.NotImplemented
    assert error.fields["Header"] in headers


@pytest.mark.parametrize(
    "headers",
    [
        {SSE: ""},
        {SSE: "aes:kms"},
        {SSE: "AES256", f"{SSE}-aws-kms-key-id": "k"},
        {f"{SSE}-aws-kms-key-id": "k"},
        {SSE: "AES256", **CUSTOMER},
        {SSE: "aws:kms", **CUSTOMER},
        {**CUSTOMER, f"{SSE}-customer-algorithm": "AES"},
        {**CUSTOMER, f"{SSE}-customer-key": ""},
        {**CUSTOMER, f"{SSE}-customer-key": "?"},
        {**CUSTOMER, f"{SSE}-customer-key": KEY[:-4]},
        {**CUSTOMER, f"{SSE}-customer-key-md5": "AAAAAAAAAAAAAAAAAAAAAA=="},
        *({k: v for k, v in CUSTOMER.items() if k != left_out} for left_out in CUSTOMER),
    ],
)
def test_what_aws_refuses_is_refused_as_there(headers: dict[str, str]) -> None:
    assert refusal(headers).code is ErrorCode.InvalidArgument


def test_reading_names_no_method() -> None:
    assert refusal({SSE: "aws:kms"}, reads=True).code is ErrorCode.InvalidArgument
    assert refusal(CUSTOMER, reads=True).code is ErrorCode.NotImplemented


def test_other_headers_pass() -> None:
    refuse_unsupported_headers({"x-amz-tagging": "a=b", "x-amz-acl": "private"})
