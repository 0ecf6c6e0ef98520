"""boto3 and rules that hide what is over: announced, carried out, and taken back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.server import GatewayServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]

DAY_SECONDS = 1


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a gateway whose days are short."""
    flags = ("--set", "delete_policy=hide", "--set", f"lifecycle_day_seconds={DAY_SECONDS}")
    flags += ("--set", "bucket_delete_policies=denied=deny")
    started = GatewayServer(tmp_path_factory.mktemp("lifecycle") / "data", flags).start()
    yield started.s3()
    started.close()


def rule(name: str, where: dict[str, Any], **expiration: Any) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": where, "Expiration": expiration}


def test_expired_objects_are_hidden_and_come_back(s3: Any, bucket: str) -> None:
    old = s3.put_object(Bucket=bucket, Key="tmp/k", Body=b"old", Tagging="keep=no")
    s3.put_object(Bucket=bucket, Key="tmp/kept", Body=b"kept", Tagging="keep=yes")
    s3.put_object(Bucket=bucket, Key="other", Body=b"other")
    where = {"And": {"Prefix": "tmp/", "Tags": [{"Key": "keep", "Value": "no"}]}}
    rules = [
        rule("passing", where, Days=1),
        rule("large", {"ObjectSizeGreaterThan": 1000}, Days=1),
        rule("markers", {"Prefix": "tmp/"}, ExpiredObjectDeleteMarker=True),
    ]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    deadline = time.monotonic() + 30
    while True:
        try:
            head = s3.head_object(Bucket=bucket, Key="tmp/k")
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
            break
        assert 'rule-id="passing"' in head["Expiration"]
        assert time.monotonic() < deadline
        time.sleep(DAY_SECONDS / 20)
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == ["other", "tmp/kept"]
    assert "Expiration" not in s3.head_object(Bucket=bucket, Key="tmp/kept")
    body = s3.get_object(Bucket=bucket, Key="tmp/k", VersionId=old["VersionId"])["Body"]
    assert body.read() == b"old"
    (marker,) = s3.list_object_versions(Bucket=bucket)["DeleteMarkers"]
    s3.delete_bucket_lifecycle(Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="tmp/k", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=bucket, Key="tmp/k")["Body"].read() == b"old"


def test_date_in_the_past_is_for_everything(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    rules = [rule("past", {}, Date="2015-01-01T00:00:00Z")]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    deadline = time.monotonic() + 30
    while "Contents" in s3.list_objects_v2(Bucket=bucket):
        assert time.monotonic() < deadline
        time.sleep(DAY_SECONDS / 20)


def test_rule_that_the_policy_denies_is_refused(s3: Any) -> None:
    s3.create_bucket(Bucket="denied")
    rules = {"Rules": [rule("one", {"Prefix": "tmp/"}, Days=1)]}
    with pytest.raises(ClientError, match=r"NotImplemented.*delete policy"):
        s3.put_bucket_lifecycle_configuration(Bucket="denied", LifecycleConfiguration=rules)
