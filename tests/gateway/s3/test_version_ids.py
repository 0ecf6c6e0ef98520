from __future__ import annotations

import pytest

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.version_ids import parse_version_id, version_id


@pytest.mark.parametrize("sequence", [0, 1, 1_780_000_000_000_000 << 10, 2**63 - 1])
def test_id_leads_back_to_its_number(sequence: int) -> None:
    assert parse_version_id(version_id(sequence)) == sequence


def test_order_of_the_ids_is_that_of_the_numbers() -> None:
    numbers = [0, 9, 10, 255, 2**40, 2**62, 2**63 - 1]
    assert sorted(map(version_id, reversed(numbers))) == list(map(version_id, numbers))


def test_null_is_nobodys() -> None:
    assert parse_version_id("null") is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "Null", "undefined", "000653e2c4d3840", "000653e2c4d384011"),
        *("000653E2C4D38401", " 000653e2c4d38401", "000653e2c4d38401\n", "+00653e2c4d38401"),
        *("8000000000000000", "٠00653e2c4d38401", "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3"),
    ],
)
def test_anything_else_is_no_version_id(text: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_version_id(text, "version-id-marker")
    assert caught.value.code is ErrorCode.InvalidArgument
    assert caught.value.fields == {"ArgumentName": "version-id-marker", "ArgumentValue": text}
