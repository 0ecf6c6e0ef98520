from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.keys import KeyStore
from gateway.rights import ALL_RIGHTS, Limits, Right
from gateway.s3.operations import READINGS, Operation
from gateway.web.authorization import NEEDS
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import COMPLETE, Wire

Maker = Callable[..., Wire]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    policies = ("backup=restic", "hidden=hide")
    data_dir = tmp_path_factory.mktemp("rights") / "data"
    with web_gateway(data_dir, bucket_delete_policies=policies) as started:
        for bucket, key in itertools.product(("open", "shut"), ("a/1", "b/1")):
            assert started.wire.call("PUT", f"{bucket}/{key}", b"old").status == 200
        yield started


@pytest.fixture
def with_limits(gateway: WebGateway) -> Iterator[Maker]:
    """Makes a client whose key has these limits."""
    wires: list[Wire] = []

    def make(*rights: Right, account: str = "main", **limits: object) -> Wire:
        key = KeyStore(gateway.data_dir).create(
            key_only=True,
            account=account,
            limits=Limits(frozenset(rights or ALL_RIGHTS), **limits),  # type: ignore[arg-type]
        )
        wires.append(Wire(gateway.port, key.access_key, timeout=20))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()


def upload(wire: Wire, path: str) -> tuple[int, str]:
    """Status and code of the first step that fails, or of completing."""
    created = wire.call("POST", path, uploads="")
    if created.status != 200:
        return created.status, created.code
    upload_id = created.texts("UploadId")[0]
    part = wire.call("PUT", path, b"part", partNumber=1, uploadId=upload_id)
    if part.status != 200:
        return part.status, part.code
    document = COMPLETE % part.headers["etag"].encode()
    done = wire.call("POST", path, document, uploadId=upload_id)
    return done.status, done.code


def test_every_operation_has_its_need() -> None:
    assert set(Operation) - NEEDS.keys() == READINGS.keys()


@pytest.mark.parametrize(
    ("right", "allowed"),
    [
        (Right.READ, {"get", "head", "bucket"}),
        (Right.LIST, {"list", "list v1", "uploads", "bucket"}),
        (Right.CREATE, {"put", "upload", "bucket", "make"}),
        (Right.WRITE, {"put", "upload", "bucket", "make", "delete"}),
        (Right.ADMIN, {"bucket"}),
    ],
)
def test_each_right_allows_its_own(
    gateway: WebGateway, with_limits: Maker, right: Right, allowed: set[str]
) -> None:
    wire = with_limits(right)
    new = f"open/{right.value}"
    denied = (403, "AccessDenied")
    answers = {
        "get": wire.call("GET", "open/a/1"),
        "head": wire.call("HEAD", "open/a/1"),
        "list": wire.call("GET", "open", **{"list-type": 2}),
        "list v1": wire.call("GET", "open/"),
        "uploads": wire.call("GET", "open", uploads=""),
        "bucket": wire.call("HEAD", "open/"),
        "put": wire.call("PUT", new, b"new"),
        "make": wire.call("PUT", "open"),
    }
    outcomes = {name: answer.status for name, answer in answers.items()}
    outcomes["upload"] = upload(wire, f"{new}-upload")[0]
    expected = allowed - {"delete"}
    assert {name for name, status in outcomes.items() if status == 200} == expected
    assert {status for status in outcomes.values() if status != 200} == {403}
    assert (answers["get"].status == 200) or (answers["get"].status, answers["get"].code) == denied


def test_a_key_sees_its_buckets_only(with_limits: Maker) -> None:
    wire = with_limits(buckets=("open",))
    assert wire.call("GET", "").texts("Name") == ["open"]
    assert wire.call("GET", "open/a/1").status == 200
    for path in ("shut/a/1", "shut", "shut/", "absent/x"):
        answer = wire.call("GET", path)
        assert (answer.status, answer.code) == (403, "AccessDenied"), path
    assert wire.call("HEAD", "shut").status == 403
    assert wire.call("PUT", "shut/new", b"x").status == 403
    assert wire.call("PUT", "other").status == 403


def test_a_key_sees_its_prefixes_only(with_limits: Maker) -> None:
    wire = with_limits(prefixes=("a/", "c"))
    assert wire.call("GET", "open/a/1").status == 200
    assert wire.call("GET", "open/b/1").status == 403
    assert wire.call("PUT", "open/b/2", b"x").status == 403
    assert wire.call("PUT", "open/c2", b"x").status == 200
    assert wire.call("GET", "open", prefix="a/").texts("Key") == ["a/1"]
    for query in ({}, {"prefix": "b/"}, {"prefix": "a"}):
        assert wire.call("GET", "open/", **query).status == 403, query
        assert wire.call("GET", "open/", uploads="", **query).status == 403, query


def test_the_body_of_what_is_refused_is_not_asked_for(
    gateway: WebGateway, with_limits: Maker
) -> None:
    key = KeyStore(gateway.data_dir).create(key_only=True, limits=Limits(frozenset({Right.READ})))
    head = gateway.head("PUT", "open/x", "Content-Length: 5", "Expect: 100-continue")
    answer = gateway.raw(head.replace(gateway.access_key.encode(), key.access_key.encode()))
    assert answer.startswith(b"HTTP/1.1 403")


def test_create_only_never_supersedes(gateway: WebGateway, with_limits: Maker) -> None:
    wire = with_limits(Right.CREATE)
    assert wire.call("PUT", "open/created", b"first").status == 200
    answer = wire.call("PUT", "open/created", b"second")
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert upload(wire, "open/created") == (403, "AccessDenied")
    assert gateway.wire.call("GET", "open/created").body == b"first"
    assert upload(wire, "open/uploaded")[0] == 200
    # A key that may write supersedes, and whoever completes an upload is who counts.
    assert upload(with_limits(Right.WRITE), "open/created")[0] == 200


def test_of_racing_creators_one_wins(gateway: WebGateway, with_limits: Maker) -> None:
    wires = [with_limits(Right.CREATE) for _ in range(8)]
    for race in range(5):
        with ThreadPoolExecutor(len(wires)) as pool:
            answers = list(
                pool.map(lambda wire, race=race: wire.call("PUT", f"open/race{race}", b"x"), wires)
            )
        assert sorted(answer.status for answer in answers) == [200] + [403] * 7


def test_a_key_ends_at_its_time(with_limits: Maker) -> None:
    assert with_limits(expires_us=4_000_000_000_000_000).call("GET", "open/a/1").status == 200
    answer = with_limits(expires_us=1).call("GET", "open/a/1")
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert answer.texts("Message") == ["The access key has expired."]


def test_accounts_do_not_see_each_other(gateway: WebGateway, with_limits: Maker) -> None:
    other = with_limits(account="other")
    assert other.call("GET", "").texts("Name") == []
    assert other.call("GET", "open/a/1").code == "NoSuchBucket"
    assert other.call("HEAD", "open").status == 404
    # Names are an account's own: the same name is another bucket.
    assert other.call("PUT", "open/a/1", b"other").status == 200
    assert other.call("GET", "").texts("Name") == ["open"]
    assert gateway.wire.call("GET", "open/a/1").body == b"old"
    started = gateway.wire.call("POST", "open/u", uploads="").texts("UploadId")[0]
    part = other.call("PUT", "open/u", b"x", partNumber=1, uploadId=started)
    assert (part.status, part.code) == (404, "NoSuchUpload")


DELETE = b"<Delete><Object><Key>locks/2</Key></Object><Object><Key>data/1</Key></Object></Delete>"


def test_who_may_only_create_removes_its_locks_and_nothing_else(
    gateway: WebGateway, with_limits: Maker
) -> None:
    for path in ("backup/locks/1", "backup/locks/2", "backup/snapshots/1", "hidden/k"):
        assert gateway.wire.call("PUT", path, b"x").status == 200
    assert gateway.wire.call("PUT", "backup/data/1", b"x").status == 200
    wire = with_limits(Right.CREATE)
    assert wire.call("DELETE", "backup/locks/1").status == 204
    for path in ("backup/snapshots/1", "backup/data/1", "hidden/k"):
        answer = wire.call("DELETE", path)
        assert (answer.status, answer.code) == (403, "AccessDenied"), path
    digest = base64.b64encode(hashlib.md5(DELETE).digest()).decode()
    answer = wire.call("POST", "backup", DELETE, headers={"Content-MD5": digest}, delete="")
    assert (answer.status, answer.texts("Key")) == (200, ["locks/2", "data/1"])
    assert answer.texts("Code") == ["AccessDenied"]
    assert with_limits(Right.READ).call("DELETE", "backup/locks/2").status == 403
    assert with_limits(Right.WRITE).call("DELETE", "hidden/k").status == 204


def test_passing_over_a_retention_is_for_admins(with_limits: Maker) -> None:
    headers = {"x-amz-bypass-governance-retention": "true"}
    rights = [Right.WRITE]
    answer = with_limits(*rights).call("DELETE", "hidden/absent", headers=headers)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    answer = with_limits(*rights, Right.ADMIN).call("DELETE", "hidden/absent", headers=headers)
    assert answer.status in (204, 404)


def test_settings_of_a_bucket_are_for_admins(with_limits: Maker) -> None:
    document = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    writer = with_limits(Right.WRITE, Right.READ, Right.LIST, Right.CREATE)
    assert writer.call("PUT", "open", document, tagging="").status == 403
    assert (
        with_limits(Right.ADMIN, prefixes=("a",)).call("PUT", "open", document, tagging="").status
        == 403
    )
    assert with_limits(Right.ADMIN).call("PUT", "open", document, tagging="").status in (200, 204)


def test_making_a_bucket_again_sets_nothing(gateway: WebGateway, with_limits: Maker) -> None:
    lock = {"x-amz-bucket-object-lock-enabled": "true"}
    assert gateway.wire.call("PUT", "hidden/").status == 200
    before = gateway.wire.call("GET", "hidden", versioning="").body
    assert with_limits(Right.CREATE).call("PUT", "hidden/", headers=lock).status == 200
    assert gateway.wire.call("GET", "hidden", versioning="").body == before


def test_a_key_that_only_creates_goes_on_with_its_own_uploads_alone(
    gateway: WebGateway, with_limits: Maker
) -> None:
    own, other = with_limits(Right.CREATE, Right.LIST), with_limits(Right.CREATE, Right.READ)
    path = "open/opened"
    upload_id = own.call("POST", path, uploads="").texts("UploadId")[0]
    document = COMPLETE % b"x"
    source = {"x-amz-copy-source": "/open/a/1"}
    refused = [
        other.call("PUT", path, b"part", partNumber=1, uploadId=upload_id),
        other.call("PUT", path, headers=source, partNumber=1, uploadId=upload_id),
        other.call("GET", path, uploadId=upload_id),
        other.call("POST", path, document, uploadId=upload_id),
        other.call("DELETE", path, uploadId=upload_id),
    ]
    assert {(answer.status, answer.code) for answer in refused} == {(403, "AccessDenied")}
    part = own.call("PUT", path, b"part", partNumber=1, uploadId=upload_id)
    assert own.call("GET", path, uploadId=upload_id).texts("PartNumber") == ["1"]
    done = COMPLETE % part.headers["etag"].encode()
    assert own.call("POST", path, done, uploadId=upload_id).status == 200
    # The completion may be repeated by who knows its parts; others learn nothing of the object.
    assert own.call("POST", path, done, uploadId=upload_id).status == 200
    for guessed in (document, COMPLETE % (b"0" * 32)):
        repeated = other.call("POST", path, guessed, uploadId=upload_id)
        assert (repeated.status, repeated.code) == (404, "NoSuchUpload")


def test_a_key_that_may_write_goes_on_with_the_uploads_of_others(
    gateway: WebGateway, with_limits: Maker
) -> None:
    upload_id = with_limits(Right.CREATE).call("POST", "open/o", uploads="").texts("UploadId")[0]
    writer = with_limits(Right.WRITE)
    assert writer.call("PUT", "open/o", b"part", partNumber=1, uploadId=upload_id).status == 200
    assert writer.call("DELETE", "open/o", uploadId=upload_id).status == 204
