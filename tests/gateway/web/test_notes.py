"""Tags, retention and legal hold of objects, as they come with a PUT and as they are changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.web_gateway import WebGateway, web_gateway

FAR = "2090-01-01T00:00:00.000Z"
FARTHER = "2091-01-01T00:00:00.000Z"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(tmp_path_factory.mktemp("notes") / "data") as started:
        yield started


def tagging(**tags: str) -> bytes:
    rows = "".join(f"<Tag><Key>{k}</Key><Value>{v}</Value></Tag>" for k, v in tags.items())
    return f"<Tagging><TagSet>{rows}</TagSet></Tagging>".encode()


def tags_of(gateway: WebGateway, path: str, **query: str) -> dict[str, str]:
    answer = gateway.wire.call("GET", path, tagging="", **query)
    assert answer.status == 200
    return dict(zip(answer.texts("Key"), answer.texts("Value"), strict=True))


def retention(mode: str, until: str) -> bytes:
    date = f"<RetainUntilDate>{until}</RetainUntilDate>"
    return f"<Retention><Mode>{mode}</Mode>{date}</Retention>".encode()


def test_tags_are_put_replaced_and_removed(gateway: WebGateway) -> None:
    wire = gateway.wire
    assert wire.call("PUT", "bucket/tags", b"x").status == 200
    assert tags_of(gateway, "bucket/tags") == {}
    assert "x-amz-tagging-count" not in wire.call("HEAD", "bucket/tags").headers
    for tags in ({"a": "1"}, {"b": "2", "c": ""}):
        assert wire.call("PUT", "bucket/tags", tagging(**tags), tagging="").status == 200
        assert tags_of(gateway, "bucket/tags") == tags
        for method in ("GET", "HEAD"):
            answer = wire.call(method, "bucket/tags")
            assert answer.headers["x-amz-tagging-count"] == str(len(tags))
    for _ in range(2):
        assert wire.call("DELETE", "bucket/tags", tagging="").status == 204
        assert tags_of(gateway, "bucket/tags") == {}
        assert "x-amz-tagging-count" not in wire.call("GET", "bucket/tags").headers


def test_tags_come_with_the_object(gateway: WebGateway) -> None:
    wire = gateway.wire
    headers = {"x-amz-tagging": "a=1&b=x%20y"}
    assert wire.call("PUT", "bucket/with", b"x", headers=headers).status == 200
    assert tags_of(gateway, "bucket/with") == {"a": "1", "b": "x y"}
    assert wire.call("PUT", "bucket/with", b"x").status == 200
    assert tags_of(gateway, "bucket/with") == {}


def test_tags_come_with_the_upload(gateway: WebGateway) -> None:
    wire = gateway.wire
    headers = {"x-amz-tagging": "a=1", "x-amz-object-lock-legal-hold": "ON"}
    (upload_id,) = wire.call("POST", "bucket/parts", headers=headers, uploads="").texts("UploadId")
    etag = wire.call("PUT", "bucket/parts", b"x", partNumber=1, uploadId=upload_id).headers["etag"]
    part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
    assert wire.call("POST", "bucket/parts", body, uploadId=upload_id).status == 200
    assert tags_of(gateway, "bucket/parts") == {"a": "1"}
    assert wire.call("HEAD", "bucket/parts").headers["x-amz-object-lock-legal-hold"] == "ON"


def test_each_version_has_its_own_tags(gateway: WebGateway) -> None:
    wire = gateway.wire
    ids = [
        wire.call("PUT", "bucket/versions", b"x", headers={"x-amz-tagging": f"n={n}"}).headers[
            "x-amz-version-id"
        ]
        for n in range(2)
    ]
    assert tags_of(gateway, "bucket/versions") == {"n": "1"}
    old = {"versionId": ids[0]}
    assert tags_of(gateway, "bucket/versions", **old) == {"n": "0"}
    answer = wire.call("PUT", "bucket/versions", tagging(n="new"), tagging="", **old)
    assert answer.headers["x-amz-version-id"] == ids[0]
    assert tags_of(gateway, "bucket/versions", **old) == {"n": "new"}
    assert tags_of(gateway, "bucket/versions") == {"n": "1"}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-tagging": "a=1&a=2"}, "InvalidArgument"),
        ({"x-amz-tagging": "aws:a=1"}, "InvalidTag"),
        ({"x-amz-object-lock-mode": "COMPLIANCE"}, "InvalidArgument"),
        ({"x-amz-object-lock-legal-hold": "maybe"}, "InvalidArgument"),
        ({"x-amz-server-side-encryption": "AES256"}, "NotImplemented"),
        ({"x-amz-server-side-encryption": "aws:kms"}, "NotImplemented"),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, "InvalidArgument"),
    ],
)
def test_what_is_refused_stores_nothing(
    gateway: WebGateway, headers: dict[str, str], code: str
) -> None:
    for size in (1, 300_000):
        answer = gateway.wire.call("PUT", "bucket/refused", bytes(size), headers=headers)
        assert answer.code == code
    assert gateway.wire.call("POST", "bucket/refused", headers=headers, uploads="").code == code
    assert gateway.wire.call("GET", "bucket/refused").status == 404


def test_every_version_is_retained(gateway: WebGateway) -> None:
    """As far as a date can say it; the headers say what somebody asked for, here nothing."""
    gateway.wire.call("PUT", "bucket/plain", b"x")
    kept = gateway.wire.call("GET", "bucket/plain", retention="")
    assert kept.texts("Mode") == ["COMPLIANCE"]
    assert kept.texts("RetainUntilDate")[0] > FARTHER
    assert gateway.wire.call("GET", "bucket/plain", **{"legal-hold": ""}).texts("Status") == ["OFF"]
    assert not [n for n in gateway.wire.call("HEAD", "bucket/plain").headers if "object-lock" in n]


def test_lock_is_kept_and_never_shortened(gateway: WebGateway) -> None:
    wire = gateway.wire
    headers = {
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": FAR,
        "x-amz-object-lock-legal-hold": "ON",
    }
    assert wire.call("PUT", "bucket/locked", b"x", headers=headers).status == 200
    assert headers.items() <= wire.call("HEAD", "bucket/locked").headers.items()
    longer = retention("COMPLIANCE", FARTHER)
    assert wire.call("PUT", "bucket/locked", longer, retention="").status == 200
    for refused in (retention("COMPLIANCE", FAR), retention("GOVERNANCE", FARTHER)):
        bypass = {"x-amz-bypass-governance-retention": "true"}
        answer = wire.call("PUT", "bucket/locked", refused, headers=bypass, retention="")
        assert (answer.status, answer.code) == (403, "AccessDenied")
    shown = wire.call("GET", "bucket/locked", retention="")
    assert (shown.texts("Mode"), shown.texts("RetainUntilDate")) == (["COMPLIANCE"], [FARTHER])
    hold = b"<LegalHold><Status>OFF</Status></LegalHold>"
    assert wire.call("PUT", "bucket/locked", hold, **{"legal-hold": ""}).status == 200
    assert wire.call("HEAD", "bucket/locked").headers["x-amz-object-lock-legal-hold"] == "OFF"


def test_governance_gives_way_to_who_asks_for_it(gateway: WebGateway) -> None:
    wire = gateway.wire
    wire.call("PUT", "bucket/governed", b"x")
    assert (
        wire.call("PUT", "bucket/governed", retention("GOVERNANCE", FARTHER), retention="").status
        == 200
    )
    shorter = retention("GOVERNANCE", FAR)
    assert wire.call("PUT", "bucket/governed", shorter, retention="").code == "AccessDenied"
    bypass = {"x-amz-bypass-governance-retention": "true"}
    assert wire.call("PUT", "bucket/governed", shorter, headers=bypass, retention="").status == 200
    assert wire.call("GET", "bucket/governed", retention="").texts("RetainUntilDate") == [FAR]


@pytest.mark.parametrize("name", ["acl", "tagging", "retention", "legal-hold"])
def test_what_is_not_there_has_no_notes(gateway: WebGateway, name: str) -> None:
    gateway.wire.call("PUT", "bucket/there", b"x")
    assert gateway.wire.call("GET", "bucket/missing", **{name: ""}).code == "NoSuchKey"
    assert gateway.wire.call("PUT", "bucket/missing", b"<x/>", **{name: ""}).code == "NoSuchKey"
    assert gateway.wire.call("GET", "nowhere/k", **{name: ""}).code == "NoSuchBucket"
    unknown = {name: "", "versionId": "0" * 16}
    assert gateway.wire.call("GET", "bucket/there", **unknown).code == "NoSuchVersion"


def test_redirect_of_a_website_is_kept(gateway: WebGateway) -> None:
    header = {"x-amz-website-redirect-location": "/elsewhere"}
    gateway.wire.call("PUT", "bucket/redirect", b"x", headers=header)
    answer = gateway.wire.call("GET", "bucket/redirect")
    assert answer.status == 200
    assert header.items() <= answer.headers.items()
