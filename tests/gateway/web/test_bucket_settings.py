"""What buckets answer for settings that are unset, kept, the same for all, or refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.web_gateway import WebGateway, web_gateway

OWNERSHIP = (
    "<OwnershipControls><Rule><ObjectOwnership>{}</ObjectOwnership></Rule></OwnershipControls>"
)
CORS = (
    "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin>"
    "<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
)
LIFECYCLE = (
    "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>tmp/</Prefix></Filter>"
    "<Status>Enabled</Status>{}</Rule></LifecycleConfiguration>"
)
ABORT = (
    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation>"
    "</AbortIncompleteMultipartUpload>"
)
BLOCK = (
    "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls>"
    "<IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>false</BlockPublicPolicy>"
    "<RestrictPublicBuckets>false</RestrictPublicBuckets></PublicAccessBlockConfiguration>"
)
TAGGING = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
LOCK = (
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>"
    "<DefaultRetention><Mode>GOVERNANCE</Mode><Days>3</Days></DefaultRetention></Rule>"
    "</ObjectLockConfiguration>"
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(tmp_path_factory.mktemp("settings") / "data") as started:
        assert started.wire.call("PUT", "plain/").status == 200
        yield started


def inner(document: str) -> str:
    """A document without its root, which comes back in a namespace."""
    return document.partition(">")[2].rpartition("</")[0]


UNSET = {
    "cors": "NoSuchCORSConfiguration",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "policy": "NoSuchBucketPolicy",
    "policyStatus": "NoSuchBucketPolicy",
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    "replication": "ReplicationConfigurationNotFoundError",
    "tagging": "NoSuchTagSet",
    "website": "NoSuchWebsiteConfiguration",
    "analytics&id=x": "NoSuchConfiguration",
    "intelligent-tiering&id=x": "NoSuchConfiguration",
    "inventory&id=x": "NoSuchConfiguration",
    "metrics&id=x": "NoSuchConfiguration",
}
SAME_FOR_ALL = {
    "accelerate": "AccelerateConfiguration",
    "acl": "<Permission>FULL_CONTROL</Permission>",
    "analytics": "<IsTruncated>false</IsTruncated>",
    "intelligent-tiering": "<IsTruncated>false</IsTruncated>",
    "inventory": "<IsTruncated>false</IsTruncated>",
    "logging": "BucketLoggingStatus",
    "metrics": "<IsTruncated>false</IsTruncated>",
    "notification": "NotificationConfiguration",
    "object-lock": "<ObjectLockEnabled>Enabled</ObjectLockEnabled>",
    "ownershipControls": "BucketOwnerEnforced",
    "requestPayment": "<Payer>BucketOwner</Payer>",
}


def query(parameters: str) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in parameters.split("&"))


@pytest.mark.parametrize(("parameters", "code"), UNSET.items())
def test_unset_has_its_own_code(gateway: WebGateway, parameters: str, code: str) -> None:
    for path in ("plain", "plain/"):
        answer = gateway.wire.call("GET", path, **query(parameters))
        assert (answer.status, answer.code) == (404, code)
    assert gateway.wire.call("GET", "nowhere", **query(parameters)).code == "NoSuchBucket"


@pytest.mark.parametrize(("parameters", "part"), SAME_FOR_ALL.items())
def test_what_is_so_of_every_bucket(gateway: WebGateway, parameters: str, part: str) -> None:
    answer = gateway.wire.call("GET", "plain", **query(parameters))
    assert answer.status == 200
    assert part in answer.body.decode()
    assert gateway.wire.call("GET", "nowhere", **query(parameters)).code == "NoSuchBucket"


@pytest.mark.parametrize(
    ("setting", "document", "unset"),
    [
        ("cors", CORS, "NoSuchCORSConfiguration"),
        ("lifecycle", LIFECYCLE.format(ABORT), "NoSuchLifecycleConfiguration"),
        ("publicAccessBlock", BLOCK, "NoSuchPublicAccessBlockConfiguration"),
        ("tagging", TAGGING, "NoSuchTagSet"),
    ],
)
def test_what_is_kept_comes_back_until_it_is_removed(
    gateway: WebGateway, setting: str, document: str, unset: str
) -> None:
    wire = gateway.wire
    wire.call("PUT", "kept/")
    assert wire.call("PUT", "kept", document.encode(), **{setting: ""}).status in (200, 204)
    answer = wire.call("GET", "kept", **{setting: ""})
    assert answer.status == 200
    for part in inner(document).split("</Status>"):
        assert part.removesuffix("<Status>Enabled") in answer.body.decode()
    for _ in range(2):
        assert wire.call("DELETE", "kept", **{setting: ""}).status == 204
        assert wire.call("GET", "kept", **{setting: ""}).code == unset
    for method in ("PUT", "DELETE"):
        body = document.encode() if method == "PUT" else b""
        assert wire.call(method, "nowhere", body, **{setting: ""}).code == "NoSuchBucket"


def test_rule_of_object_lock_is_kept(gateway: WebGateway) -> None:
    gateway.wire.call("PUT", "locking/", headers={"x-amz-bucket-object-lock-enabled": "true"})
    put = {"object-lock": ""}
    assert "<Rule>" not in gateway.wire.call("GET", "locking", **put).body.decode()
    assert gateway.wire.call("PUT", "locking", LOCK.encode(), **put).status == 200
    assert inner(LOCK) in gateway.wire.call("GET", "locking", **put).body.decode()


@pytest.mark.parametrize("setting", ["encryption", "policy", "replication", "website"])
def test_removing_what_no_bucket_has_succeeds(gateway: WebGateway, setting: str) -> None:
    assert gateway.wire.call("DELETE", "plain", **{setting: ""}).status == 204
    assert gateway.wire.call("DELETE", "nowhere", **{setting: ""}).code == "NoSuchBucket"


@pytest.mark.parametrize(
    ("setting", "body", "code"),
    [
        ("logging", "<BucketLoggingStatus/>", ""),
        (
            "logging",
            "<BucketLoggingStatus><LoggingEnabled/></BucketLoggingStatus>",
            "NotImplemented",
        ),
        ("notification", "<NotificationConfiguration/>", ""),
        (
            "notification",
            "<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>",
            "NotImplemented",
        ),
        (
            "accelerate",
            "<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>",
            "",
        ),
        (
            "accelerate",
            "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>",
            "NotImplemented",
        ),
        ("accelerate", "<AccelerateConfiguration/>", "MalformedXML"),
        (
            "requestPayment",
            "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>",
            "",
        ),
        (
            "requestPayment",
            "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>",
            "NotImplemented",
        ),
        ("ownershipControls", OWNERSHIP.format("BucketOwnerEnforced"), ""),
        ("ownershipControls", OWNERSHIP.format("ObjectWriter"), "NotImplemented"),
        ("ownershipControls", OWNERSHIP.format("Nobody"), "MalformedXML"),
        ("policy", "{}", "NotImplemented"),
        ("encryption", "<ServerSideEncryptionConfiguration/>", "NotImplemented"),
        ("website", "<WebsiteConfiguration/>", "NotImplemented"),
        ("cors", "<CORSConfiguration/>", "MalformedXML"),
        ("cors", CORS.replace("GET", "TELEPORT"), "InvalidRequest"),
        ("lifecycle", LIFECYCLE.format(""), "MalformedXML"),
        (
            "lifecycle",
            LIFECYCLE.format(ABORT + "<Expiration><Days>1</Days></Expiration>"),
            "NotImplemented",
        ),
        ("tagging", "<Tagging/>", "MalformedXML"),
        ("publicAccessBlock", "<PublicAccessBlock/>", "MalformedXML"),
    ],
)
def test_only_what_can_be_true_is_accepted(
    gateway: WebGateway, setting: str, body: str, code: str
) -> None:
    answer = gateway.wire.call("PUT", "plain", body.encode(), **{setting: ""})
    assert (answer.code, answer.status == 200) == (code, not code)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-acl": "private"}, ""),
        ({"x-amz-acl": "bucket-owner-full-control"}, ""),
        ({"x-amz-acl": "public-read"}, "AccessControlListNotSupported"),
        ({"x-amz-grant-read": "id=1"}, "AccessControlListNotSupported"),
        ({"x-amz-acl": "nonsense"}, "InvalidArgument"),
        ({}, "MissingSecurityHeader"),
    ],
)
def test_canned_acl_may_say_what_is_so(
    gateway: WebGateway, headers: dict[str, str], code: str
) -> None:
    gateway.wire.call("PUT", "plain/key", b"x")
    for path in ("plain", "plain/key"):
        answer = gateway.wire.call("PUT", path, headers=headers, acl="")
        assert (answer.code, answer.status == 200) == (code, not code)


def test_list_may_be_put_back_as_it_was_read(gateway: WebGateway) -> None:
    gateway.wire.call("PUT", "plain/key", b"x")
    for path in ("plain", "plain/key"):
        acl = gateway.wire.call("GET", path, acl="")
        assert gateway.wire.call("PUT", path, acl.body, acl="").status == 200
        for changed in (
            acl.body.replace(b"FULL_CONTROL", b"READ"),
            acl.body.replace(b"<ID>main</ID>", b"<ID>somebody</ID>"),
        ):
            answer = gateway.wire.call("PUT", path, changed, acl="")
            assert answer.code == "AccessControlListNotSupported"
    assert gateway.wire.call("GET", "plain/missing", acl="").code == "NoSuchKey"


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("x-amz-acl", "private", ""),
        ("x-amz-acl", "public-read", "InvalidBucketAclWithObjectOwnership"),
        ("x-amz-object-ownership", "BucketOwnerEnforced", ""),
        ("x-amz-object-ownership", "ObjectWriter", "NotImplemented"),
        ("x-amz-object-ownership", "Nobody", "InvalidArgument"),
    ],
)
def test_new_bucket_belongs_to_its_account_alone(
    gateway: WebGateway, header: str, value: str, code: str
) -> None:
    name = f"new-{header[6:]}-{value.lower()}"
    answer = gateway.wire.call("PUT", f"{name}/", headers={header: value})
    assert (answer.code, answer.status == 200) == (code, not code)
    assert gateway.wire.call("HEAD", f"{name}/").status == (404 if code else 200)


def test_upload_that_a_rule_will_abort_says_when(gateway: WebGateway) -> None:
    wire, named = gateway.wire, "announced-aborts"
    wire.call("PUT", named)
    assert wire.call("PUT", named, LIFECYCLE.format(ABORT).encode(), lifecycle="").status == 200
    for key, applies in (("tmp/k", True), ("k", False)):
        opened = wire.call("POST", f"{named}/{key}", uploads="")
        listed = wire.call("GET", f"{named}/{key}", uploadId=opened.texts("UploadId")[0])
        for answer in (opened, listed):
            assert answer.status == 200
            assert answer.headers.get("x-amz-abort-rule-id") == ("a" if applies else None)
            assert ("x-amz-abort-date" in answer.headers) == applies
        date = opened.headers.get("x-amz-abort-date", "00:00:00 GMT")
        assert date.endswith("00:00:00 GMT")
        assert listed.headers.get("x-amz-abort-date", date) == date
