"""DELETE over HTTP: refused by default, hidden or removed where the policy says so."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from hashlib import md5
from pathlib import Path
from time import time

import pytest

from gateway.s3.errors import IMMUTABLE_MESSAGE
from tests.support.parts import tables
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import Answer, Wire

POLICIES = (
    "hidden=hide",
    'vacant={"mode": "hide"; "scratch": ["*.tmp"]}'.replace(";", ","),
    "versioned=hide",
    *(f"race-{index}=hide" for index in range(24)),
    "many=hide",
    "locked=hide",
    "long=hide",
    'temporary={"scratch": ["**"]}',
    "restic=restic",
    'mixed={"mode": "deny"; "hide": ["tmp/"]}'.replace(";", ","),
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    data_dir: Path = tmp_path_factory.mktemp("deletes")
    with web_gateway(data_dir, bucket_delete_policies=POLICIES) as running:
        yield running


@pytest.fixture
def wire(gateway: WebGateway) -> Wire:
    return gateway.wire


def put(wire: Wire, path: str, body: bytes = b"x", **headers: str) -> str:
    answer = wire.call("PUT", path, body, headers=headers)
    assert answer.status == 200
    return answer.headers["x-amz-version-id"]


def delete(wire: Wire, path: str, version: str | None = None, **headers: str) -> Answer:
    query = {} if version is None else {"versionId": version}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return wire.call("DELETE", path, headers=sent, **query)


def delete_all(wire: Wire, bucket: str, content: str, **headers: str) -> Answer:
    body = f"<Delete>{content}</Delete>".encode()
    digest = {"Content-MD5": b64encode(md5(body).digest()).decode()}
    return wire.call("POST", bucket, body, headers=headers or digest, delete="")


def enable(wire: Wire, bucket: str) -> None:
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert wire.call("PUT", bucket, body, versioning="").status == 200


def shown(wire: Wire, bucket: str) -> list[str]:
    return wire.call("GET", bucket, **{"list-type": 2}).texts("Key")


def test_nothing_is_deleted_by_default(wire: Wire) -> None:
    version = put(wire, "kept/k")
    for answer in (
        delete(wire, "kept/k"),
        delete(wire, "kept/absent"),
        delete(wire, "kept/k", version),
        delete(wire, "kept"),
        delete_all(wire, "kept", "<Object><Key>k</Key></Object>"),
    ):
        assert (answer.status, answer.code) == (403, "AccessDenied")
        assert answer.texts("Message") == [IMMUTABLE_MESSAGE]
    assert wire.call("GET", "kept/k").status == 200
    assert delete(wire, "nowhere/k").code == "NoSuchBucket"


def test_what_is_hidden_is_gone_but_for_its_versions(wire: Wire) -> None:
    version = put(wire, "hidden/gone", b"content")
    answer = delete(wire, "hidden/gone")
    marker = answer.headers["x-amz-version-id"]
    assert (answer.status, answer.headers["x-amz-delete-marker"]) == (204, "true")
    assert "gone" not in shown(wire, "hidden")
    for method in ("GET", "HEAD"):
        missing = wire.call(method, "hidden/gone")
        assert missing.status == 404
        assert missing.code == ("NoSuchKey" if method == "GET" else "")
        assert missing.headers["x-amz-delete-marker"] == "true"
        assert missing.headers["x-amz-version-id"] == marker
        named = wire.call(method, "hidden/gone", versionId=marker)
        assert named.status == 405
        assert named.headers["x-amz-delete-marker"] == "true"
        assert named.headers["last-modified"]
        assert wire.call(method, "hidden/gone", versionId=version).status == 200
    listed = wire.call("GET", "hidden", versions="", prefix="gone")
    assert listed.texts("VersionId") == [marker, version]
    assert listed.texts("IsLatest") == ["true", "false"]
    assert listed.body.index(b"<DeleteMarker>") < listed.body.index(b"<Version>")


def test_a_marker_can_be_removed_a_version_cannot(wire: Wire) -> None:
    version = put(wire, "hidden/back", b"content")
    marker = delete(wire, "hidden/back").headers["x-amz-version-id"]
    refused = delete(wire, "hidden/back", version)
    assert (refused.status, refused.code) == (403, "AccessDenied")
    answer = delete(wire, "hidden/back", marker)
    assert (answer.status, answer.headers["x-amz-delete-marker"]) == (204, "true")
    assert answer.headers["x-amz-version-id"] == marker
    assert wire.call("GET", "hidden/back").body == b"content"
    assert wire.call("GET", "hidden/back", versionId=marker).code == "NoSuchVersion"
    again = delete(wire, "hidden/back", marker)
    assert (again.status, "x-amz-delete-marker" in again.headers) == (204, False)
    assert delete(wire, "hidden/back", "nonsense").code == "InvalidArgument"


def test_put_after_a_deletion_shows_the_key_again(wire: Wire) -> None:
    put(wire, "hidden/again", b"one")
    for _ in range(3):
        assert delete(wire, "hidden/again").status == 204
    absent = {"If-None-Match": "*"}
    put(wire, "hidden/again", b"two", **absent)
    assert wire.call("GET", "hidden/again").body == b"two"
    assert wire.call("PUT", "hidden/again", b"three", headers=absent).status == 412
    assert len(wire.call("GET", "hidden", versions="", prefix="again").texts("VersionId")) == 3


def test_policy_may_differ_below_a_prefix(wire: Wire) -> None:
    for key, status in (("tmp/a", 204), ("kept", 403), ("tmpfile", 403)):
        put(wire, f"mixed/{key}")
        assert delete(wire, f"mixed/{key}").status == status
    assert shown(wire, "mixed") == ["kept", "tmpfile"]


def test_scratch_is_removed_with_all_its_versions(gateway: WebGateway, wire: Wire) -> None:
    versions = [put(wire, "restic/repo/locks/1", body) for body in (b"one", b"two")]
    answer = delete(wire, "restic/repo/locks/1")
    assert (answer.status, "x-amz-version-id" in answer.headers) == (204, False)
    for version in versions:
        assert wire.call("GET", "restic/repo/locks/1", versionId=version).code == "NoSuchVersion"
    listed = wire.call("GET", "restic", versions="", prefix="repo/locks")
    assert listed.texts("VersionId") == []
    assert delete(wire, "restic/repo/locks/1").status == 204
    one = put(wire, "restic/repo/locks/2")
    two = put(wire, "restic/repo/locks/2")
    assert delete(wire, "restic/repo/locks/2", two).headers["x-amz-version-id"] == two
    assert wire.call("GET", "restic/repo/locks/2").headers["x-amz-version-id"] == one
    assert delete(wire, "restic/repo/data/ab/abcd").status == 403


def test_what_is_locked_stays_in_scratch_too(wire: Wire) -> None:
    lock = {"x-amz-object-lock-mode": "GOVERNANCE"}
    lock["x-amz-object-lock-retain-until-date"] = "2099-01-01T00:00:00Z"
    put(wire, "restic/locks/governed", **lock)
    put(wire, "restic/locks/held", **{"x-amz-object-lock-legal-hold": "ON"})
    put(wire, "restic/locks/free", **{"x-amz-object-lock-legal-hold": "OFF"})
    for key, status in (("governed", 403), ("held", 403), ("free", 204)):
        assert delete(wire, f"restic/locks/{key}").status == status
    bypass = {"x_amz_bypass_governance_retention": "true"}
    assert delete(wire, "restic/locks/held", **bypass).code == "AccessDenied"
    assert delete(wire, "restic/locks/governed", **bypass).status == 204


def test_only_scratch_is_not_retained_for_ever(wire: Wire) -> None:
    put(wire, "restic/locks/free")
    put(wire, "restic/data/kept")
    free = wire.call("GET", "restic/locks/free", retention="")
    assert (free.status, free.code) == (404, "NoSuchObjectLockConfiguration")
    kept = wire.call("GET", "restic/data/kept", retention="")
    assert kept.texts("Mode") == ["COMPLIANCE"]


def test_bucket_made_for_object_lock_is_versioned(wire: Wire) -> None:
    lock = {"x-amz-bucket-object-lock-enabled": "true"}
    assert wire.call("PUT", "locked", headers=lock).status == 200
    assert wire.call("GET", "locked", versioning="").texts("Status") == ["Enabled"]
    assert delete(wire, "locked/never").headers["x-amz-delete-marker"] == "true"


def test_deletion_of_many_answers_for_each_in_order(wire: Wire) -> None:
    one, locked = put(wire, "restic/snapshots/1"), put(wire, "restic/data/1")
    put(wire, "restic/locks/1")
    content = "".join(
        f"<Object><Key>{key}</Key>{version}</Object>"
        for key, version in (
            ("snapshots/1", ""),
            ("data/1", ""),
            ("locks/1", ""),
            ("snapshots/1", f"<VersionId>{one}</VersionId>"),
            ("locks/&lt;&amp;", ""),
            ("snapshots/x", "<VersionId>bad</VersionId>"),
        )
    )
    answer = delete_all(wire, "restic", content)
    assert answer.status == 200
    names = ["snapshots/1", "data/1", "locks/1", "snapshots/1", "locks/&lt;&amp;", "snapshots/x"]
    assert answer.texts("Key") == names
    assert answer.texts("Code") == ["AccessDenied", "AccessDenied", "InvalidArgument"]
    assert answer.texts("DeleteMarker") == ["true"]
    marker = answer.texts("DeleteMarkerVersionId")[0]
    assert wire.call("HEAD", "restic/snapshots/1").headers["x-amz-version-id"] == marker
    assert wire.call("HEAD", "restic/data/1").headers["x-amz-version-id"] == locked
    content = f"<Quiet>true</Quiet><Object><Key>snapshots/1</Key><VersionId>{marker}</VersionId>"
    quiet = delete_all(wire, "restic", content + "</Object><Object><Key>data/1</Key></Object>")
    assert quiet.texts("Key") == ["data/1"]
    assert wire.call("HEAD", "restic/snapshots/1").headers["x-amz-version-id"] == one


def test_markers_stack_where_versioning_was_enabled(wire: Wire) -> None:
    """Elsewhere deleting what is not there does nothing, as on S3 without versions."""
    for bucket, markers in (("hidden", 1), ("versioned", 3)):
        put(wire, f"{bucket}/stack")
        if bucket == "versioned":
            enable(wire, bucket)
        for _ in range(3):
            assert delete(wire, f"{bucket}/stack").status == 204
        listed = wire.call("GET", bucket, versions="", prefix="stack")
        assert listed.body.count(b"<DeleteMarker>") == markers


def test_no_marker_is_put_on_what_cannot_be_a_key(wire: Wire) -> None:
    assert wire.call("PUT", "long/").status == 200
    enable(wire, "long")
    objects = "".join(f"<Object><Key>{'é' * count}</Key></Object>" for count in (512, 513))
    answer = delete_all(wire, "long", objects)
    assert (answer.status, answer.texts("Code")) == (200, ["KeyTooLongError"])
    assert wire.call("GET", "long", versions="").texts("IsLatest") == ["true"]


def test_deletion_of_many_needs_a_digest_and_keys(wire: Wire) -> None:
    put(wire, "hidden/k")
    one = "<Object><Key>k</Key></Object>"
    assert delete_all(wire, "hidden", one, Accept="x").code == "InvalidRequest"
    wrong = {"Content-MD5": b64encode(bytes(16)).decode()}
    assert delete_all(wire, "hidden", one, **wrong).code == "BadDigest"
    assert delete_all(wire, "hidden", one * 1001).code == "MalformedXML"
    assert delete_all(wire, "hidden", "").code == "MalformedXML"
    assert "k" in shown(wire, "hidden")
    full = "".join(f"<Object><Key>{n}</Key></Object>" for n in range(1000))
    assert len(delete_all(wire, "hidden", full).texts("Key")) == 1000
    put(wire, "many/k")
    enable(wire, "many")
    assert len(delete_all(wire, "many", full).texts("DeleteMarkerVersionId")) == 1000


def test_conditions_of_a_deletion(wire: Wire) -> None:
    def refused(path: str, **headers: str) -> tuple[int, str]:
        answer = delete(wire, path, **headers)
        return answer.status, answer.code

    put(wire, "hidden/if", b"content")
    head = wire.call("HEAD", "hidden/if")
    etag, modified = head.headers["etag"], head.headers["last-modified"]
    failed = (412, "PreconditionFailed")
    assert refused("hidden/if", If_Match='"00"') == failed
    assert refused("hidden/if", x_amz_if_match_size="8") == failed
    long_ago = formatdate(time() - 100, usegmt=True)
    assert refused("hidden/if", x_amz_if_match_last_modified_time=long_ago) == failed
    assert refused("hidden/if", x_amz_if_match_size="x") == (400, "InvalidArgument")
    assert refused("hidden/if", x_amz_if_match_last_modified_time="x") == (400, "InvalidArgument")
    assert refused("hidden/if", If_None_Match="*") == (501, "NotImplemented")
    body = "<Object><Key>if</Key><ETag>00</ETag></Object>"
    assert delete_all(wire, "hidden", body).texts("Code") == ["PreconditionFailed"]
    assert wire.call("HEAD", "hidden/if").status == 200
    given = {"x_amz_if_match_last_modified_time": modified, "x_amz_if_match_size": "7"}
    assert delete(wire, "hidden/if", If_Match=etag, **given).status == 204
    # Where there is nothing, there is nothing to check, nor to put a marker on.
    assert refused("hidden/if", If_Match=etag) == (204, "")
    assert refused("hidden/never", If_Match=etag) == (204, "")
    assert wire.call("GET", "hidden", versions="", prefix="never").texts("Key") == []
    assert len(wire.call("GET", "hidden", versions="", prefix="if").texts("VersionId")) == 2


def test_of_racing_conditional_deletions_one_wins(gateway: WebGateway) -> None:
    """Decided within the commit: the second one finds a delete marker, which has no ETag."""
    etag = gateway.wire.call("PUT", "versioned/race", b"x").headers["etag"]
    enable(gateway.wire, "versioned")

    def run(_: int) -> int:
        wire = Wire(gateway.port, gateway.access_key, timeout=20)
        status = delete(wire, "versioned/race", If_Match=etag).status
        wire.close()
        return status

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(run, range(8))) == [204] + [412] * 7


def test_bucket_with_versions_is_not_empty_however_hidden(wire: Wire) -> None:
    put(wire, "hidden/k")
    assert delete(wire, "hidden/k").status == 204
    answer = delete(wire, "hidden")
    assert (answer.status, answer.code) == (409, "BucketNotEmpty")


def test_empty_bucket_goes_and_comes_anew(wire: Wire) -> None:
    assert wire.call("PUT", "vacant").status == 200
    tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
    assert wire.call("PUT", "vacant", tags, tagging="").status in (200, 204)
    enable(wire, "vacant")
    assert delete(wire, "vacant").status == 204
    for method, path in (("HEAD", "vacant"), ("GET", "vacant/k"), ("DELETE", "vacant")):
        assert wire.call(method, path).status == 404
    for path, query in (("vacant", {}), ("vacant", {"tagging": ""}), ("vacant/k", {})):
        assert wire.call("GET", path, **query).code == "NoSuchBucket"
    assert wire.call("PUT", "vacant", tags, tagging="").code == "NoSuchBucket"
    assert "vacant" not in wire.call("GET", "").texts("Name")
    assert wire.call("PUT", "vacant").status == 200
    assert wire.call("GET", "vacant", tagging="").code == "NoSuchTagSet"
    assert wire.call("GET", "vacant", versioning="").texts("Status") == []
    assert "vacant" in wire.call("GET", "").texts("Name")


@pytest.mark.parametrize("begins_upload", [False, True])
def test_write_makes_a_removed_bucket_anew(wire: Wire, begins_upload: bool) -> None:
    assert wire.call("PUT", "vacant").status == 200
    assert delete(wire, "vacant").status == 204
    if begins_upload:
        upload = wire.call("POST", "vacant/k", uploads="").texts("UploadId")[0]
        answer = delete(wire, "vacant")
        assert (answer.status, answer.code) == (409, "BucketNotEmpty")
        assert wire.call("DELETE", "vacant/k", uploadId=upload).status == 204
    else:
        wire.call("PUT", "vacant/k.tmp", b"content")
        assert wire.call("GET", "vacant/k.tmp").body == b"content"
        assert delete(wire, "vacant").code == "BucketNotEmpty"
        assert delete(wire, "vacant/k.tmp").status == 204
    assert delete(wire, "vacant").status == 204
    assert wire.call("HEAD", "vacant").status == 404


def test_denied_bucket_stays_though_empty(wire: Wire) -> None:
    assert wire.call("PUT", "plain").status == 200
    answer = delete(wire, "plain")
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert answer.texts("Message") == [IMMUTABLE_MESSAGE]
    assert wire.call("HEAD", "plain").status == 200


def test_of_racing_writes_and_removals_no_object_is_lost(gateway: WebGateway) -> None:
    """A write that was under way when its bucket went makes it anew."""

    def run(index: int) -> None:
        wire = Wire(gateway.port, gateway.access_key, timeout=20)
        name = f"race-{index // 2}"
        if index % 2:
            assert delete(wire, name).status in (204, 404, 409)
        else:
            put(wire, f"{name}/k")
        wire.close()

    for index in range(24):
        assert gateway.wire.call("PUT", f"race-{index}").status == 200
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(48)))
    for index in range(24):
        assert gateway.wire.call("GET", f"race-{index}/k").status == 200
        assert gateway.wire.call("GET", f"race-{index}").texts("Key") == ["k"]


def test_bucket_that_hides_says_enabled_when_asked_to(wire: Wire) -> None:
    put(wire, "hidden/k")
    put(wire, "versioned/k")
    assert wire.call("GET", "hidden", versioning="").texts("Status") == []
    enable(wire, "versioned")
    assert wire.call("GET", "versioned", versioning="").texts("Status") == ["Enabled"]


def test_scratch_under_versioning_is_as_on_s3(wire: Wire) -> None:
    """Who enabled it expects markers by key, and by version id that what is named goes."""
    version = put(wire, "temporary/k", b"content")
    enable(wire, "temporary")
    marker = delete(wire, "temporary/k").headers["x-amz-version-id"]
    assert wire.call("GET", "temporary/k", versionId=version).body == b"content"
    assert delete(wire, "temporary/k", marker).headers["x-amz-delete-marker"] == "true"
    assert wire.call("GET", "temporary/k").body == b"content"
    assert delete(wire, "temporary/k", version).headers["x-amz-version-id"] == version
    assert wire.call("GET", "temporary", versions="").texts("VersionId") == []


def test_rebuild_brings_back_what_is_hidden_and_not_what_was_removed(tmp_path: Path) -> None:
    from gateway.maintenance import rebuild, verify

    data_dir = tmp_path / "data"
    with web_gateway(data_dir, bucket_delete_policies=("backup=restic",)) as gateway:
        wire = gateway.wire
        for key in ("snapshots/1", "snapshots/2", "locks/1", "data/1"):
            put(wire, f"backup/{key}")
        marker = delete(wire, "backup/snapshots/1").headers["x-amz-version-id"]
        for path, version in (
            ("backup/snapshots/2", None),
            ("backup/locks/1", None),
            ("backup/snapshots/1", marker),
        ):
            assert delete(wire, path, version).status == 204
    before = tables(data_dir)
    assert verify(data_dir).damages == []
    rebuild(data_dir)
    after = tables(data_dir)
    for table in ("versions", "removals", "objects"):
        assert after[table] == before[table], table
    assert verify(data_dir).damages == []
