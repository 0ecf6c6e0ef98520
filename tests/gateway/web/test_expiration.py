"""Rules that hide objects, over HTTP: where they are accepted, and what answers say of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from gateway.expired_objects import ExpiredObjects
from gateway.keys import KeyStore
from gateway.rights import Limits, Right
from gateway.s3.lifecycle_rules import DAY_US
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import Answer, Wire

POLICIES = (
    "mixed=" + '{"mode": "hide"; "deny": ["ledger/"]}'.replace(";", ","),
    "some=" + '{"hide": ["tmp/"]}',
    "denied=deny",
)
HEADER = "x-amz-expiration"
DAYS = "<Expiration><Days>{}</Days></Expiration>"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    data_dir: Path = tmp_path_factory.mktemp("expiration")
    with web_gateway(data_dir, delete_policy="hide", bucket_delete_policies=POLICIES) as running:
        yield running


@pytest.fixture
def wire(gateway: WebGateway) -> Wire:
    return gateway.wire


def rule(name: str, where: str, action: str = DAYS.format(3)) -> str:
    return f"<Rule><ID>{name}</ID>{where}<Status>Enabled</Status>{action}</Rule>"


def below(prefix: str) -> str:
    return f"<Filter><Prefix>{prefix}</Prefix></Filter>"


def put_rules(wire: Wire, bucket: str, *rules: str) -> Answer:
    body = f"<LifecycleConfiguration>{''.join(rules)}</LifecycleConfiguration>".encode()
    assert wire.call("PUT", bucket).status == 200
    return wire.call("PUT", bucket, body, lifecycle="")


@pytest.mark.parametrize(
    ("bucket", "prefix", "accepted"),
    [
        ("all", "", True),
        ("mixed", "tmp/", True),
        ("mixed", "", False),
        ("mixed", "ledger/2026/", False),
        ("some", "tmp/", True),
        ("some", "t", False),
        ("denied", "tmp/", False),
    ],
)
@pytest.mark.parametrize(
    "action",
    [
        DAYS.format(1),
        "<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration>",
        "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>",
    ],
)
def test_rule_is_accepted_where_the_policy_lets_it_be_kept(
    wire: Wire, bucket: str, prefix: str, accepted: bool, action: str
) -> None:
    wire.call("DELETE", bucket, lifecycle="")
    answer = put_rules(wire, bucket, rule("one", below(prefix), action))
    kept = wire.call("GET", bucket, lifecycle="")
    if accepted:
        assert answer.status == 200
        assert kept.texts("ID") == ["one"]
    else:
        assert (answer.status, answer.code) == (501, "NotImplemented")
        assert "delete policy" in answer.body.decode()
        assert kept.code == "NoSuchLifecycleConfiguration"


def test_rule_without_an_id_is_given_one(wire: Wire) -> None:
    rules = [rule("", below(prefix)).replace("<ID></ID>", "") for prefix in ("a/", "b/")]
    assert put_rules(wire, "named", *rules).status == 200
    names = wire.call("GET", "named", lifecycle="").texts("ID")
    assert len(set(names)) == 2
    assert all(names)


def expiry(answer: Answer) -> tuple[float, str]:
    """In how many days the object of an answer expires, and by which rule."""
    found = re.fullmatch('expiry-date="(.*)", rule-id="(.*)"', answer.headers[HEADER])
    assert found
    seconds = parsedate_to_datetime(found[1]).timestamp()
    assert seconds % 86_400 == 0
    return (seconds - time.time()) / 86_400, found[2]


def multipart(wire: Wire, path: str) -> Answer:
    upload_id = wire.call("POST", path, uploads="").texts("UploadId")[0]
    part = wire.call("PUT", path, b"x", partNumber="1", uploadId=upload_id)
    body = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>".encode()
    return wire.call("POST", path, document, uploadId=upload_id)


def test_answers_say_when_an_object_expires(wire: Wire) -> None:
    assert put_rules(wire, "said", rule("a b", below("tmp/"))).status == 200
    for prefix, applies in (("tmp/", True), ("", False)):
        path = f"said/{prefix}k"
        answers = [
            wire.call("PUT", path, b"x"),
            wire.call("GET", path),
            wire.call("HEAD", path),
            wire.call("GET", path, headers={"Range": "bytes=0-0"}),
            wire.call("PUT", f"{path}2", headers={"x-amz-copy-source": f"/{path}"}),
            multipart(wire, f"{path}3"),
        ]
        assert {answer.status for answer in answers} <= {200, 206}
        if applies:
            for answer in answers:
                days, name = expiry(answer)
                assert 2.99 < days < 4
                assert name == "a%20b"
        else:
            assert not any(HEADER in answer.headers for answer in answers)


def test_rules_and_tags_count_at_once(wire: Wire) -> None:
    tagged = "<Filter><Tag><Key>a</Key><Value>{}</Value></Tag></Filter>"
    path = "at-once/k"
    assert wire.call("PUT", path, b"x", headers={"x-amz-tagging": "a=1"}).status == 200
    assert HEADER not in wire.call("HEAD", path).headers
    put_rules(wire, "at-once", rule("one", tagged.format(1)), rule("two", tagged.format(2)))
    assert expiry(wire.call("HEAD", path))[1] == "one"
    tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>2</Value></Tag></TagSet></Tagging>"
    assert wire.call("PUT", path, tags.encode(), tagging="").status == 200
    assert expiry(wire.call("HEAD", path))[1] == "two"
    assert wire.call("DELETE", path, tagging="").status == 204
    assert HEADER not in wire.call("HEAD", path).headers
    put_rules(wire, "at-once", rule("three", "<Filter/>"))
    assert expiry(wire.call("GET", path))[1] == "three"
    assert wire.call("DELETE", "at-once", lifecycle="").status == 204
    assert HEADER not in wire.call("GET", path).headers


def test_nothing_is_said_of_versions_and_to_anybody(gateway: WebGateway) -> None:
    wire = gateway.wire
    put_rules(wire, "told", rule("one", "<Filter/>"))
    version = wire.call("PUT", "told/k", b"x").headers["x-amz-version-id"]
    assert HEADER in wire.call("GET", "told/k").headers
    assert HEADER not in wire.call("GET", "told/k", versionId=version).headers
    KeyStore(gateway.data_dir).create_anonymous(Limits(frozenset({Right.READ}), ("told",)))
    anybody = Wire(gateway.port, None, timeout=20)
    try:
        deadline = time.monotonic() + 20
        while (answer := anybody.call("GET", "told/k")).status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        anybody.close()
    assert HEADER not in answer.headers


def test_expired_object_is_hidden_and_comes_back(gateway: WebGateway) -> None:
    wire = gateway.wire
    put_rules(wire, "swept", rule("one", below("tmp/")))
    version = wire.call("PUT", "swept/tmp/k", b"old").headers["x-amz-version-id"]
    wire.call("PUT", "swept/k", b"stays")
    worker = gateway.worker
    sweep = ExpiredObjects(worker._database, worker._services.deletes)
    assert gateway.run(sweep.hide_due(time.time_ns() // 1000 + 5 * DAY_US)) >= 1
    hidden = wire.call("GET", "swept/tmp/k")
    assert (hidden.status, hidden.headers["x-amz-delete-marker"]) == (404, "true")
    assert wire.call("GET", "swept/k").body == b"stays"
    assert wire.call("GET", "swept/tmp/k", versionId=version).body == b"old"
    marker = hidden.headers["x-amz-version-id"]
    assert wire.call("DELETE", "swept/tmp/k", versionId=marker).status == 204
    assert wire.call("GET", "swept/tmp/k").body == b"old"


def test_days_may_be_short(tmp_path: Path) -> None:
    with web_gateway(tmp_path / "data", delete_policy="hide", lifecycle_day_seconds=1) as gateway:
        wire = gateway.wire
        put_rules(wire, "quick", rule("one", "<Filter/>", DAYS.format(1)))
        assert HEADER in wire.call("PUT", "quick/k", b"x").headers
        deadline = time.monotonic() + 20
        while wire.call("HEAD", "quick/k").status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert wire.call("HEAD", "quick/k").headers["x-amz-delete-marker"] == "true"
