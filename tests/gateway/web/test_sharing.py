"""Buckets that accounts share: whose a name is, who is a guest there, what slow bodies may do."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from gateway.rights import Limits, Right
from tests.support.sharing import (
    ALL_USERS,
    BLOCK,
    DENIED,
    Shared,
    Slow,
    allow,
    outcome,
)
from tests.support.web_gateway import web_gateway
from tests.support.wire import COMPLETE, Wire


def test_a_name_is_one_bucket_for_all_accounts(shared: Shared) -> None:
    name = shared.bucket()
    for path in (name, f"{name}/"):
        assert outcome(shared.lena.call("PUT", path)) == (409, "BucketAlreadyExists")
    assert outcome(shared.lena.call("GET", f"{name}/k")) == DENIED
    assert outcome(shared.lena.call("PUT", f"{name}/new", b"x")) == DENIED
    assert outcome(shared.anybody.call("GET", f"{name}/k")) == DENIED
    assert outcome(shared.lena.call("GET", name, **{"list-type": 2})) == DENIED
    assert shared.lena.call("HEAD", f"{name}/").status == 403
    assert name not in shared.lena.call("GET", "").texts("Name")
    assert outcome(shared.anybody.call("GET", "")) == DENIED
    assert outcome(shared.anybody.call("PUT", "nobodys-new/")) == DENIED
    assert outcome(shared.anybody.call("PUT", f"{name}/")) == DENIED
    assert outcome(shared.anybody.call("PUT", "nobodys-new/k", b"x")) == (404, "NoSuchBucket")
    # The first write still makes a bucket, for whoever comes first.
    assert shared.lena.call("PUT", "lenas-own/k", b"x").status == 200
    assert outcome(shared.main.call("PUT", "lenas-own/k", b"x")) == DENIED
    assert shared.main.call("PUT", f"{name}/").status == 200


def test_paths_without_a_bucket_mean_ones_own(shared: Shared) -> None:
    for wire, content in ((shared.main, b"of main"), (shared.lena, b"of lena")):
        assert wire.call("PUT", "flat-key", content).status == 200
    assert shared.main.call("GET", "flat-key").body == b"of main"
    assert shared.lena.call("GET", "flat-key").body == b"of lena"
    assert shared.lena.call("GET", "default/flat-key").body == b"of lena"
    assert shared.anybody.call("GET", "flat-key").status == 404


def test_default_is_every_accounts_own(shared: Shared) -> None:
    assert shared.main.call("PUT", "default/of-main", b"x").status == 200
    karl = shared.wire("karl")
    assert outcome(karl.call("GET", "default/of-main")) in ((404, "NoSuchBucket"),)
    assert karl.call("PUT", "default/k", b"of karl").status == 200
    assert karl.call("GET", "k").body == b"of karl"
    assert karl.call("GET", "default", **{"list-type": 2}).texts("Key") == ["k"]
    assert outcome(shared.anybody.call("GET", "default/of-main")) == (404, "NoSuchBucket")
    body = json.dumps({"Statement": allow("s3:*", Principal="*")}).replace("BUCKET", "default")
    refused = shared.main.call("PUT", "default", body.encode(), policy="")
    assert outcome(refused) == (501, "NotImplemented")


def test_a_removed_bucket_leaves_nothing_to_the_next_owner(shared: Shared) -> None:
    name = "comes-and-goes"
    assert shared.main.call("PUT", f"{name}/").status == 200
    shared.set_policy(name, allow("s3:*", Principal="*"))
    assert shared.main.call("DELETE", f"{name}/").status == 204
    assert shared.lena.call("PUT", f"{name}/").status == 200
    assert outcome(shared.lena.call("GET", name, policy="")) == (404, "NoSuchBucketPolicy")
    assert outcome(shared.main.call("GET", f"{name}/k")) == DENIED


def test_expected_owner_is_that_of_the_bucket(shared: Shared) -> None:
    name = shared.bucket(allow("s3:GetObject"))
    for owner, status in (("main", 200), ("lena", 403)):
        headers = {"x-amz-expected-bucket-owner": owner}
        assert shared.lena.call("GET", f"{name}/k", headers=headers).status == status


def test_an_open_bucket_is_that_of_the_account_that_opened_it(shared: Shared) -> None:
    assert shared.main.call("PUT", "was-open/").status == 200
    for name in ("was-open", "never-mains"):
        shared.keys.create_anonymous(Limits(frozenset({Right.READ}), (name,)))
    assert shared.anybody.call("HEAD", "was-open/").status == 200
    assert shared.main.call("DELETE", "was-open/").status == 204
    for name in ("was-open", "never-mains"):
        assert shared.lena.call("PUT", f"{name}/private", b"x").status == 200
        assert outcome(shared.anybody.call("GET", f"{name}/private")) == DENIED


def test_what_an_operator_has_opened_a_policy_may_still_deny(shared: Shared) -> None:
    name = shared.bucket()
    shared.keys.create_anonymous(Limits(frozenset({Right.READ}), (name,)))
    assert shared.anybody.call("GET", f"{name}/k").status == 200
    assert outcome(shared.anybody.call("GET", f"{name}/absent")) == (404, "NoSuchKey")
    shared.set_policy(
        name,
        allow("s3:GetObject", Effect="Deny", Principal="*", Resource="arn:aws:s3:::BUCKET/k"),
        allow("s3:PutObject", Principal="*"),
    )
    assert outcome(shared.anybody.call("GET", f"{name}/k")) == DENIED
    # An anonymous key is all that anybody has there.
    assert outcome(shared.anybody.call("PUT", f"{name}/new", b"x")) == DENIED


def test_a_guest_goes_on_with_its_own_uploads_only(shared: Shared) -> None:
    name = shared.bucket(
        allow(["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]),
        allow("s3:PutObject", Principal="*"),
    )

    def opened(wire: Wire) -> str:
        return wire.call("POST", f"{name}/up", uploads="").texts("UploadId")[0]

    of_main, of_lena = opened(shared.main), opened(shared.lena)
    part = shared.lena.call("PUT", f"{name}/up", b"part", partNumber=1, uploadId=of_lena)
    assert part.status == 200
    for method, query in (("PUT", {"partNumber": 1}), ("GET", {}), ("DELETE", {})):
        answer = shared.lena.call(method, f"{name}/up", b"x", uploadId=of_main, **query)
        assert outcome(answer) == DENIED
    assert shared.lena.call("GET", f"{name}/up", uploadId=of_lena).status == 200
    document = COMPLETE % part.headers["etag"].encode()
    assert outcome(shared.anybody.call("POST", f"{name}/up", document, uploadId=of_lena)) == DENIED
    done = shared.lena.call("POST", f"{name}/up", document, uploadId=of_lena)
    assert (done.status, done.texts("Error")) == (200, [])
    assert shared.main.call("GET", f"{name}/up").body == b"part"
    assert outcome(shared.anybody.call("POST", f"{name}/up", uploads="")) == DENIED
    assert shared.main.call("DELETE", f"{name}/up", uploadId=of_main).status == 204


def test_nobody_learns_when_a_key_was_hidden(shared: Shared) -> None:
    name = shared.bucket(allow(["s3:ListBucket"], Principal="*"), ownership="ObjectWriter")
    assert shared.main.call("DELETE", f"{name}/k").status == 204
    own = shared.main.call("GET", f"{name}/k")
    assert own.headers["x-amz-delete-marker"] == "true"
    for method, query in (("GET", {}), ("HEAD", {}), ("GET", {"versionId": ""})):
        answer = shared.anybody.call(method, f"{name}/k", **query)
        assert answer.status == 404
        assert not answer.headers.keys() & {"x-amz-delete-marker", "x-amz-version-id"}
    copied = {"x-amz-copy-source": f"{name}/k"}
    missing = shared.main.call("PUT", f"{name}/c", headers=copied)
    assert outcome(missing) == (404, "NoSuchKey")
    assert "x-amz-delete-marker" not in missing.headers


def test_a_bucket_and_its_settings_are_made_at_once(shared: Shared) -> None:
    buckets = shared.gateway.worker.buckets

    async def race() -> list[bool]:
        wishes: list[dict[str, str]] = [{}, {"tagging": "a=b"}, {"tagging": "c=d"}]
        made = await asyncio.gather(*(buckets.create("main", "raced-for", wish) for wish in wishes))
        kept = await buckets.setting("main", "raced-for", "tagging")
        assert kept == wishes[made.index(True)].get("tagging"), "those of the one that made it"
        return made

    made = shared.gateway.run(race())
    assert made.count(True) == 1


def test_a_slow_write_takes_no_name(shared: Shared) -> None:
    key = shared.keys.create(key_only=True, account="lena").access_key
    # Nobody has the name; and it has been lena's before, so that hers is the older row.
    assert shared.lena.call("PUT", "fought-for/").status == 200
    assert shared.lena.call("DELETE", "fought-for/").status == 204
    late = Slow(shared, key, "fought-for/x", b"late")
    assert shared.main.call("PUT", "fought-for/").status == 200
    assert late.finish() == DENIED
    assert shared.main.call("PUT", "fought-for/k", b"x").status == 200
    # Its own bucket, removed and made by another meanwhile.
    assert shared.lena.call("PUT", "let-go/").status == 200
    late = Slow(shared, key, "let-go/x", b"late")
    assert shared.lena.call("DELETE", "let-go/").status == 204
    assert shared.main.call("PUT", "let-go/").status == 200
    assert late.finish() == DENIED
    assert outcome(shared.lena.call("PUT", "let-go/x", b"x")) == DENIED
    assert shared.main.call("GET", "let-go", **{"list-type": 2}).texts("KeyCount") == ["0"]


def test_a_guests_slow_write_makes_no_bucket_anew(shared: Shared) -> None:
    name = "open-to-guests"
    assert shared.main.call("PUT", f"{name}/").status == 200
    shared.set_policy(name, allow("s3:PutObject"))
    lena = shared.keys.create(key_only=True, account="lena").access_key
    late = Slow(shared, lena, f"{name}/x", b"late")
    assert shared.main.call("DELETE", f"{name}/").status == 204
    assert late.finish() == (404, "NoSuchBucket")
    assert outcome(shared.main.call("GET", f"{name}/x")) == (404, "NoSuchBucket")
    assert name not in shared.main.call("GET", "").texts("Name")


def test_what_was_taken_back_is_not_done_late(shared: Shared) -> None:
    name = shared.bucket(ownership="ObjectWriter")
    shared.main.call("PUT", name, headers={"x-amz-grant-write-acp": "id=lena"}, acl="")
    given = {"x-amz-grant-write-acp": "id=lena", "x-amz-grant-full-control": "id=main"}
    shared.main.call("PUT", f"{name}/k", headers=given, acl="")
    lena = shared.keys.create(key_only=True, account="lena").access_key
    public = (
        b'<AccessControlPolicy xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        b'<AccessControlList><Grant><Grantee xsi:type="Group"><URI>%s</URI></Grantee>'
        b"<Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>"
        % ALL_USERS.encode()
    )
    late = [Slow(shared, lena, f"{name}{path}?acl", public) for path in ("", "/k")]
    for path in (name, f"{name}/k"):
        shared.main.call("PUT", path, headers={"x-amz-acl": "private"}, acl="")
    assert [each.finish() for each in late] == [DENIED, DENIED]
    assert outcome(shared.anybody.call("GET", f"{name}/k")) == DENIED
    # Nor what was blocked meanwhile, by the account itself.
    main = shared.gateway.access_key
    policy = json.dumps({"Statement": allow("s3:GetObject", Principal="*")})
    late = [
        Slow(shared, main, f"{name}?policy", policy.replace("BUCKET", name).encode()),
        Slow(shared, main, f"{name}?acl", public),
        Slow(shared, main, f"{name}/k?acl", public),
    ]
    both = BLOCK.replace(b"</Public", b"<BlockPublicAcls>true</BlockPublicAcls></Public")
    body = both % (b"BlockPublicPolicy", b"BlockPublicPolicy")
    assert shared.main.call("PUT", name, body, publicAccessBlock="").status == 200
    assert [each.finish() for each in late] == [DENIED, DENIED, DENIED]


def test_tags_that_come_late_do_not_come_along(shared: Shared) -> None:
    condition = {"StringEquals": {"s3:ExistingObjectTag/class": "open"}}
    name = shared.bucket(
        allow("s3:PutObject"), allow("s3:GetObject", Principal="*", Condition=condition)
    )
    lena = shared.keys.create(key_only=True, account="lena").access_key
    shared.lena.call("PUT", "lenas-late/src", b"x")
    late = Slow(shared, lena, f"{name}/t", b"body", "x-amz-copy-source: lenas-late/src")
    shared.lena.call("PUT", "lenas-late/src", b"x", headers={"x-amz-tagging": "class=open"})
    assert late.finish() == DENIED
    assert outcome(shared.anybody.call("GET", f"{name}/t")) == DENIED


def test_without_the_option_there_are_no_policies(tmp_path: Any) -> None:
    with web_gateway(tmp_path / "data") as gateway:
        wire = gateway.wire
        wire.call("PUT", "plain/k", b"x")
        body = json.dumps({"Statement": allow("s3:*", Principal="*")}).replace("BUCKET", "plain")
        refused = wire.call("PUT", "plain", body.encode(), policy="")
        assert outcome(refused) == (501, "NotImplemented")
        assert outcome(wire.call("GET", "plain", policy="")) == (404, "NoSuchBucketPolicy")
        assert wire.call("DELETE", "plain", policy="").status == 204
        assert wire.call("DELETE", "plain", ownershipControls="").status == 204
        anybody = Wire(gateway.port, None, timeout=20)
        assert outcome(anybody.call("GET", "plain/k")) == DENIED
        assert outcome(anybody.call("GET", "absent/k")) == DENIED


def test_policies_outlive_a_restart_and_do_nothing_once_names_are_not_shared(
    tmp_path: Any,
) -> None:
    with web_gateway(tmp_path / "data", global_buckets=True) as gateway:
        gateway.wire.call("PUT", "kept/k", b"x")
        body = json.dumps({"Statement": allow("s3:*", Principal="*")}).replace("BUCKET", "kept")
        assert gateway.wire.call("PUT", "kept", body.encode(), policy="").status == 204

    def read(**options: bool) -> int:
        with web_gateway(tmp_path / "data", **options) as gateway:
            return Wire(gateway.port, None, timeout=20).call("GET", "kept/k").status

    assert read(global_buckets=True) == 200
    assert read() == 403
