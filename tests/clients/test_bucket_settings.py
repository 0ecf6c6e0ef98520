"""boto3 on settings of buckets, tags and locks, as its model reads and writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.server import GatewayServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]


@pytest.fixture
def s3(either_server: GatewayServer, bucket: str) -> Any:
    client = either_server.s3()
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    return client


def test_tags(s3: Any, bucket: str) -> None:
    tags = [{"Key": "a", "Value": "1 + 1 = 2"}, {"Key": "ü", "Value": ""}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1&b=")
    assert s3.head_object(Bucket=bucket, Key="k")["TagCount"] == 2
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tags
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    assert s3.get_object_tagging(Bucket=bucket, Key="copy")["TagSet"] == tags
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []


def test_locks(s3: Any, bucket: str) -> None:
    assert s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"] == {
        "ObjectLockEnabled": "Enabled"
    }
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    s3.put_object(
        Bucket=bucket,
        Key="k",
        Body=b"x",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until,
        ObjectLockLegalHoldStatus="ON",
    )
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["ObjectLockMode"] == "COMPLIANCE"
    assert head["ObjectLockRetainUntilDate"] == until
    assert head["ObjectLockLegalHoldStatus"] == "ON"
    names = {"Bucket": bucket, "Key": "k"}
    longer = {"Mode": "COMPLIANCE", "RetainUntilDate": until + timedelta(days=1)}
    s3.put_object_retention(**names, Retention=longer)
    assert s3.get_object_retention(**names)["Retention"] == longer
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object_retention(**names, Retention={**longer, "RetainUntilDate": until})
    s3.put_object_legal_hold(**names, LegalHold={"Status": "OFF"})
    assert s3.get_object_legal_hold(**names)["LegalHold"] == {"Status": "OFF"}


def test_rules(s3: Any, bucket: str) -> None:
    cors = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://*.org"], "MaxAgeSeconds": 5}]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": cors})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == cors
    stale = {
        "ID": "stale",
        "Status": "Enabled",
        "Filter": {"Prefix": "tmp/"},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [stale]})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [stale]
    blocks = {"BlockPublicAcls": True, "IgnorePublicAcls": True}
    blocks |= {"BlockPublicPolicy": True, "RestrictPublicBuckets": True}
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=blocks)
    found = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert found == blocks


def test_what_every_bucket_answers(s3: Any, bucket: str) -> None:
    ownership = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]
    assert ownership == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=ownership)
    acl = s3.get_bucket_acl(Bucket=bucket)
    assert [grant["Permission"] for grant in acl["Grants"]] == ["FULL_CONTROL"]
    s3.put_bucket_acl(
        Bucket=bucket, AccessControlPolicy={"Owner": acl["Owner"], "Grants": acl["Grants"]}
    )
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    assert s3.list_bucket_metrics_configurations(Bucket=bucket)["IsTruncated"] is False
