"""Buckets that accounts share: names, policies, lists and ownership, over the wire."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.keys import KeyStore
from gateway.rights import Limits, Right
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import Answer, Wire

COMPLETE = (
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
    b"</CompleteMultipartUpload>"
)
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
DENIED = (403, "AccessDenied")


@dataclass
class Shared:
    """A gateway with one bucket name for all accounts; `main` has made the buckets."""

    gateway: WebGateway
    keys: KeyStore
    main: Wire
    lena: Wire
    anybody: Wire

    def wire(self, account: str = "lena", limits: Limits | None = None) -> Wire:
        """A client with a new key of an account."""
        key = self.keys.create(key_only=True, account=account, limits=limits)
        return Wire(self.gateway.port, key.access_key, timeout=20)

    def bucket(self, *statements: dict[str, Any], ownership: str | None = None) -> str:
        """A new bucket of main with an object `k`, under a policy of these statements."""
        name = f"shared-{next(_numbers)}"
        headers = {"x-amz-object-ownership": ownership} if ownership else {}
        assert self.main.call("PUT", f"{name}/", headers=headers).status == 200
        assert self.main.call("PUT", f"{name}/k", b"content").status == 200
        if statements:
            self.set_policy(name, *statements)
        return name

    def set_policy(self, bucket: str, *statements: dict[str, Any]) -> None:
        """Put a policy on a bucket."""
        body = json.dumps({"Statement": statements})
        body = body.replace("BUCKET", bucket)
        assert self.main.call("PUT", bucket, body.encode(), policy="").status == 204


_numbers = iter(range(1000))


def allow(action: object, **changes: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": "lena"},
        "Action": action,
        "Resource": ["arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/*"],
        **changes,
    }


def outcome(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.code


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    data_dir = tmp_path_factory.mktemp("shared") / "data"
    with web_gateway(data_dir, global_buckets=True, delete_policy="hide") as gateway:
        keys = KeyStore(data_dir)
        lena = keys.create(key_only=True, account="lena")
        yield Shared(
            gateway,
            keys,
            gateway.wire,
            Wire(gateway.port, lena.access_key, timeout=20),
            Wire(gateway.port, None, timeout=20),
        )


# Names


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


def test_a_removed_bucket_leaves_nothing_to_the_next_owner(shared: Shared) -> None:
    name = "comes-and-goes"
    assert shared.main.call("PUT", f"{name}/").status == 200
    shared.set_policy(name, allow("s3:*", Principal="*"))
    assert shared.main.call("DELETE", f"{name}/").status == 204
    assert shared.lena.call("PUT", f"{name}/").status == 200
    assert outcome(shared.lena.call("GET", name, policy="")) == (404, "NoSuchBucketPolicy")
    assert outcome(shared.main.call("GET", f"{name}/k")) == DENIED


# Policies


def test_a_policy_is_kept_as_it_was_sent(shared: Shared) -> None:
    name = shared.bucket()
    assert outcome(shared.main.call("GET", name, policy="")) == (404, "NoSuchBucketPolicy")
    assert outcome(shared.main.call("GET", name, policyStatus="")) == (404, "NoSuchBucketPolicy")
    body = json.dumps({"Statement": allow("s3:GetObject")}, indent=3).replace("BUCKET", name)
    assert shared.main.call("PUT", name, body.encode(), policy="").status == 204
    answer = shared.main.call("GET", name, policy="")
    assert (answer.body.decode(), answer.headers["content-type"]) == (body, "application/json")
    assert shared.main.call("GET", name, policyStatus="").texts("IsPublic") == ["false"]
    assert shared.lena.call("GET", f"{name}/k").body == b"content"
    bad = shared.main.call("PUT", name, b"{}", policy="")
    assert outcome(bad) == (400, "MalformedPolicy")
    elsewhere = body.replace(name, "another-bucket").encode()
    assert outcome(shared.main.call("PUT", name, elsewhere, policy="")) == (400, "MalformedPolicy")
    assert shared.lena.call("GET", f"{name}/k").status == 200, "the old one holds"
    assert shared.main.call("DELETE", name, policy="").status == 204
    assert shared.main.call("DELETE", name, policy="").status == 204
    assert outcome(shared.lena.call("GET", f"{name}/k")) == DENIED


def test_a_policy_opens_what_it_names_and_no_more(shared: Shared) -> None:
    name = shared.bucket(
        allow("s3:GetObject", Principal="*", Resource="arn:aws:s3:::BUCKET/pub/*"),
        allow("s3:ListBucket", Condition={"StringLike": {"s3:prefix": "pub/*"}}),
    )
    shared.main.call("PUT", f"{name}/pub/a", b"open")
    assert shared.anybody.call("GET", f"{name}/pub/a").body == b"open"
    assert shared.lena.call("GET", f"{name}/pub/a", b"").headers["etag"]
    assert outcome(shared.anybody.call("GET", f"{name}/k")) == DENIED
    assert outcome(shared.anybody.call("PUT", f"{name}/pub/a", b"x")) == DENIED
    assert outcome(shared.anybody.call("GET", f"{name}/pub/a", tagging="")) == DENIED
    listed = shared.lena.call("GET", name, prefix="pub/", **{"list-type": 2})
    assert listed.texts("Key") == ["pub/a"]
    assert outcome(shared.lena.call("GET", name, prefix="", **{"list-type": 2})) == DENIED
    # What is not there is told to those who may list it.
    assert outcome(shared.lena.call("GET", f"{name}/pub/b")) == (404, "NoSuchKey")
    assert outcome(shared.anybody.call("GET", f"{name}/pub/b")) == DENIED
    assert shared.anybody.call("HEAD", f"{name}/pub/b").status == 403


def test_versions_are_an_action_of_their_own(shared: Shared) -> None:
    name = shared.bucket(allow("s3:GetObject", Principal="*"))
    version = shared.main.call("HEAD", f"{name}/k").headers["x-amz-version-id"]
    shared.main.call("PUT", f"{name}/k", b"newer")
    assert shared.anybody.call("GET", f"{name}/k").body == b"newer"
    assert outcome(shared.anybody.call("GET", f"{name}/k", versionId=version)) == DENIED
    shared.set_policy(name, allow("s3:GetObjectVersion", Principal="*"))
    assert shared.anybody.call("GET", f"{name}/k", versionId=version).body == b"content"
    assert outcome(shared.anybody.call("GET", f"{name}/k")) == DENIED


def test_nobody_in_particular_cannot_dress_up_a_page(shared: Shared) -> None:
    name = shared.bucket(allow("s3:*", Principal="*"))
    answer = shared.anybody.call("GET", f"{name}/k", **{"response-content-type": "text/html"})
    assert outcome(answer) == (400, "InvalidRequest")


def test_a_denial_is_for_the_owner_too_but_never_final(shared: Shared) -> None:
    name = shared.bucket(allow("s3:*", Effect="Deny", Principal="*"))
    assert outcome(shared.main.call("GET", f"{name}/k")) == DENIED
    assert outcome(shared.main.call("PUT", f"{name}/k", b"x")) == DENIED
    assert outcome(shared.main.call("GET", name, acl="")) == DENIED
    assert shared.main.call("GET", name, policy="").status == 200
    assert shared.main.call("DELETE", name, policy="").status == 204
    assert shared.main.call("GET", f"{name}/k").status == 200


def test_settings_are_shared_by_their_actions(shared: Shared) -> None:
    name = shared.bucket(allow("s3:GetBucketTagging"))
    tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    assert shared.main.call("PUT", name, tags, tagging="").status == 204
    assert shared.lena.call("GET", name, tagging="").texts("Value") == ["b"]
    assert outcome(shared.lena.call("PUT", name, tags, tagging="")) == DENIED
    assert outcome(shared.lena.call("DELETE", f"{name}/")) == DENIED
    assert outcome(shared.lena.call("GET", name, lifecycle="")) == DENIED
    # Whatever it says, a policy does not give itself away.
    shared.set_policy(name, allow("s3:*"))
    assert shared.lena.call("PUT", name, tags, tagging="").status == 204
    for method in ("GET", "PUT", "DELETE"):
        refused = shared.lena.call(method, name, b"{}", policy="")
        assert outcome(refused) == (405, "MethodNotAllowed")


def test_a_policy_gives_a_key_no_more_than_its_rights(shared: Shared) -> None:
    name = shared.bucket(allow("s3:*"))
    reader = shared.wire(limits=Limits(frozenset({Right.READ})))
    assert reader.call("GET", f"{name}/k").status == 200
    assert outcome(reader.call("PUT", f"{name}/k", b"x")) == DENIED
    elsewhere = shared.wire(limits=Limits(buckets=("lenas-own",)))
    assert outcome(elsewhere.call("GET", f"{name}/k")) == DENIED
    # Nor does a policy of one's own account.
    own = shared.wire("main", Limits(frozenset({Right.LIST})))
    shared.set_policy(name, allow("s3:*", Principal="*"))
    assert outcome(own.call("GET", f"{name}/k")) == DENIED


def test_a_policy_may_name_one_key(shared: Shared) -> None:
    key = shared.keys.create(key_only=True, account="lena")
    label = next(k.access_key for k in shared.keys.listed()[::-1] if k.account == "lena")
    name = shared.bucket(
        allow("s3:GetObject", Principal={"AWS": f"arn:aws:iam::lena:user/{label}"})
    )
    named = Wire(shared.gateway.port, key.access_key, timeout=20)
    assert named.call("GET", f"{name}/k").status == 200
    assert outcome(shared.lena.call("GET", f"{name}/k")) == DENIED


def test_tags_decide(shared: Shared) -> None:
    name = shared.bucket(
        allow(
            "s3:GetObject",
            Principal="*",
            Condition={"StringEquals": {"s3:ExistingObjectTag/class": "open"}},
        ),
        allow("s3:PutObject", Condition={"StringEquals": {"s3:RequestObjectTag/class": "in"}}),
        allow("s3:PutObjectTagging", Resource="arn:aws:s3:::BUCKET/new*"),
    )
    tagged = {"x-amz-tagging": "class=open"}
    shared.main.call("PUT", f"{name}/open", b"open", headers=tagged)
    shared.main.call("PUT", f"{name}/shut", b"shut", headers={"x-amz-tagging": "class=shut"})
    assert shared.anybody.call("GET", f"{name}/open").body == b"open"
    assert outcome(shared.anybody.call("GET", f"{name}/shut")) == DENIED
    assert outcome(shared.anybody.call("GET", f"{name}/k")) == DENIED
    assert outcome(shared.anybody.call("GET", f"{name}/absent")) == DENIED
    shared.main.call("PUT", f"{name}/open", b"no more")
    assert outcome(shared.anybody.call("GET", f"{name}/open")) == DENIED
    inbound = {"x-amz-tagging": "class=in"}
    assert outcome(shared.lena.call("PUT", f"{name}/new", b"x")) == DENIED
    assert shared.lena.call("PUT", f"{name}/new", b"x", headers=inbound).status == 200
    # Tags are an action of their own: they may open an object to others.
    assert outcome(shared.lena.call("PUT", f"{name}/other", b"x", headers=inbound)) == DENIED
    assert outcome(shared.lena.call("PUT", f"{name}/new", b"x", headers=tagged)) == DENIED


def test_copies_need_source_and_destination(shared: Shared) -> None:
    source = shared.bucket(allow("s3:GetObject", Resource="arn:aws:s3:::BUCKET/pub/*"))
    shared.main.call("PUT", f"{source}/pub/a", b"to be copied")
    shared.lena.call("PUT", "lenas-copies/x", b"x")

    def copy(path: str, wire: Wire = shared.lena, to: str = "lenas-copies/a") -> Answer:
        return wire.call("PUT", to, headers={"x-amz-copy-source": path})

    assert copy(f"{source}/pub/a").status == 200
    assert shared.lena.call("GET", "lenas-copies/a").body == b"to be copied"
    assert outcome(copy(f"{source}/k")) == DENIED
    assert outcome(copy(f"{source}/pub/absent")) == DENIED, "not even that it is not there"
    assert outcome(copy("lenas-copies/absent")) == (404, "NoSuchKey")
    assert outcome(copy("nowhere-at-all/a")) == (404, "NoSuchBucket")
    assert outcome(copy(f"{source}/pub/a", to=f"{source}/pub/b")) == DENIED
    assert outcome(copy("lenas-copies/a", wire=shared.main)) == DENIED
    version = shared.main.call("HEAD", f"{source}/pub/a").headers["x-amz-version-id"]
    assert outcome(copy(f"{source}/pub/a?versionId={version}")) == DENIED
    shared.set_policy(source, allow("s3:GetObjectVersion"), allow("s3:ListBucket"))
    assert copy(f"{source}/pub/a?versionId={version}").status == 200
    shared.set_policy(source, allow("s3:GetObject"), allow("s3:ListBucket"))
    assert outcome(copy(f"{source}/pub/absent")) == (404, "NoSuchKey")
    upload = shared.lena.call("POST", "lenas-copies/parts", uploads="").texts("UploadId")[0]
    part = {"partNumber": 1, "uploadId": upload}
    done = shared.lena.call(
        "PUT", "lenas-copies/parts", headers={"x-amz-copy-source": f"{source}/pub/a"}, **part
    )
    assert done.status == 200
    owner = {"x-amz-copy-source": f"{source}/pub/a", "x-amz-source-expected-bucket-owner": "lena"}
    assert outcome(shared.lena.call("PUT", "lenas-copies/b", headers=owner)) == DENIED
    owner["x-amz-source-expected-bucket-owner"] = "main"
    assert shared.lena.call("PUT", "lenas-copies/b", headers=owner).status == 200


def test_expected_owner_is_that_of_the_bucket(shared: Shared) -> None:
    name = shared.bucket(allow("s3:GetObject"))
    for owner, status in (("main", 200), ("lena", 403)):
        headers = {"x-amz-expected-bucket-owner": owner}
        assert shared.lena.call("GET", f"{name}/k", headers=headers).status == status


def test_deletes_key_by_key(shared: Shared) -> None:
    name = shared.bucket(allow("s3:DeleteObject", Resource="arn:aws:s3:::BUCKET/tmp/*"))
    for key in ("tmp/a", "tmp/b"):
        shared.main.call("PUT", f"{name}/{key}", b"x")
    assert shared.lena.call("DELETE", f"{name}/tmp/a").status == 204
    assert outcome(shared.lena.call("DELETE", f"{name}/k")) == DENIED
    body = b"<Delete><Object><Key>tmp/b</Key></Object><Object><Key>k</Key></Object></Delete>"
    headers = {"Content-MD5": _md5(body)}
    done = shared.lena.call("POST", name, body, headers=headers, delete="")
    assert done.status == 200
    assert (done.texts("Code"), done.texts("Key")) == (["AccessDenied"], ["tmp/b", "k"])
    assert shared.main.call("GET", f"{name}/k").status == 200
    assert shared.main.call("GET", f"{name}/tmp/b").status == 404
    anybody = shared.anybody.call("POST", name, body, headers=headers, delete="")
    assert anybody.texts("Code") == ["AccessDenied", "AccessDenied"]


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


def test_rename_needs_both_ends(shared: Shared) -> None:
    name = shared.bucket(allow(["s3:PutObject", "s3:GetObject"]))

    def rename(source: str, key: str) -> Answer:
        headers = {"x-amz-rename-source": source}
        return shared.lena.call("PUT", f"{name}/{key}", headers=headers, renameObject="")

    assert outcome(rename("k", "moved")) == DENIED
    shared.set_policy(name, allow(["s3:PutObject", "s3:GetObject", "s3:DeleteObject"]))
    assert rename("k", "moved").status == 200
    assert shared.main.call("GET", f"{name}/moved").body == b"content"


# Lists


def test_lists_need_another_ownership(shared: Shared) -> None:
    name = shared.bucket()
    public = {"x-amz-acl": "public-read"}
    refused = (400, "AccessControlListNotSupported")
    for path in (name, f"{name}/k"):
        assert outcome(shared.main.call("PUT", path, headers=public, acl="")) == refused
    assert outcome(shared.main.call("PUT", f"{name}/n", b"x", headers=public)) == refused
    controls = shared.main.call("GET", name, ownershipControls="")
    assert controls.texts("ObjectOwnership") == ["BucketOwnerEnforced"]
    writer = controls.body.replace(b"BucketOwnerEnforced", b"ObjectWriter")
    assert shared.main.call("PUT", name, writer, ownershipControls="").status == 200
    assert shared.main.call("GET", name, ownershipControls="").body == writer
    for path in (name, f"{name}/k"):
        assert shared.main.call("PUT", path, headers=public, acl="").status == 200
        assert ALL_USERS in shared.main.call("GET", path, acl="").texts("URI")
    assert shared.anybody.call("GET", f"{name}/k").body == b"content"
    assert shared.anybody.call("GET", name, **{"list-type": 2}).texts("Key") == ["k"]
    assert outcome(shared.anybody.call("GET", f"{name}/absent")) == (404, "NoSuchKey")
    # Back again only once the bucket's own list is private; those of objects do not count then.
    enforced = (400, "InvalidBucketAclWithObjectOwnership")
    assert outcome(shared.main.call("PUT", name, controls.body, ownershipControls="")) == enforced
    shared.main.call("PUT", name, headers={"x-amz-acl": "private"}, acl="")
    assert shared.main.call("PUT", name, controls.body, ownershipControls="").status == 200
    assert outcome(shared.anybody.call("GET", f"{name}/k")) == DENIED
    assert shared.main.call("GET", f"{name}/k", acl="").texts("URI") == []
    assert shared.main.call("DELETE", name, ownershipControls="").status == 204


def test_new_buckets_with_lists(shared: Shared) -> None:
    headers = {"x-amz-acl": "public-read"}
    refused = shared.main.call("PUT", "with-list/", headers=headers)
    assert outcome(refused) == (400, "InvalidBucketAclWithObjectOwnership")
    headers["x-amz-object-ownership"] = "BucketOwnerPreferred"
    assert shared.main.call("PUT", "with-list/", headers=headers).status == 200
    assert shared.anybody.call("GET", "with-list/").status == 200
    headers["x-amz-acl"] = "private"
    assert shared.main.call("PUT", "with-list/", headers=headers).status == 200
    assert shared.anybody.call("GET", "with-list/").status == 200, "it was there"


def test_who_writes_an_object_owns_it(shared: Shared) -> None:
    name = shared.bucket(allow(["s3:PutObject"]), ownership="ObjectWriter")
    assert shared.lena.call("PUT", f"{name}/hers", b"of lena").status == 200
    assert outcome(shared.main.call("GET", f"{name}/hers")) == DENIED
    assert outcome(shared.main.call("GET", f"{name}/hers", acl="")) == DENIED
    assert shared.lena.call("GET", f"{name}/hers").body == b"of lena"
    acl = shared.lena.call("GET", f"{name}/hers", acl="")
    assert acl.texts("ID") == ["lena", "lena"]
    given = {"x-amz-grant-read": "id=main", "x-amz-grant-full-control": "id=lena"}
    assert shared.lena.call("PUT", f"{name}/hers", headers=given, acl="").status == 200
    assert shared.main.call("GET", f"{name}/hers").body == b"of lena"
    nobody = {"x-amz-grant-read": "id=nobody"}
    refused = shared.lena.call("PUT", f"{name}/hers", headers=nobody, acl="")
    assert outcome(refused) == (400, "InvalidArgument")
    both = shared.lena.call(
        "PUT", f"{name}/hers", acl.body, headers={"x-amz-acl": "private"}, acl=""
    )
    assert outcome(both) == (400, "UnexpectedContent")
    # What comes after it is its writer's again, and so is a copy.
    assert shared.main.call("PUT", f"{name}/hers", b"of main").status == 200
    assert outcome(shared.lena.call("GET", f"{name}/hers")) == DENIED
    assert shared.main.call("GET", f"{name}/hers", acl="").texts("ID") == ["main", "main"]


def test_uploads_in_parts_have_an_owner(shared: Shared) -> None:
    name = shared.bucket(ownership="ObjectWriter")
    writable = {"x-amz-acl": "public-read-write"}
    assert shared.main.call("PUT", name, headers=writable, acl="").status == 200
    started = shared.lena.call(
        "POST", f"{name}/up", headers={"x-amz-acl": "public-read"}, uploads=""
    )
    upload = started.texts("UploadId")[0]
    assert shared.main.call("GET", name, uploads="").texts("ID") == ["lena", "lena"]
    part = shared.lena.call("PUT", f"{name}/up", b"part", partNumber=1, uploadId=upload)
    assert shared.lena.call("GET", f"{name}/up", uploadId=upload).texts("ID") == ["lena", "lena"]
    document = COMPLETE % part.headers["etag"].encode()
    assert shared.lena.call("POST", f"{name}/up", document, uploadId=upload).status == 200
    assert shared.anybody.call("GET", f"{name}/up").body == b"part"
    # Whoever may write to the bucket may put markers, not reach for versions.
    version = shared.lena.call("HEAD", f"{name}/up").headers["x-amz-version-id"]
    assert outcome(shared.lena.call("DELETE", f"{name}/up", versionId=version)) == DENIED
    assert shared.anybody.call("PUT", f"{name}/by-anybody", b"x").status == 200
    assert shared.main.call("GET", f"{name}/by-anybody").body == b"x", "it is the bucket's"
    assert shared.anybody.call("DELETE", f"{name}/up").status == 204


def test_preferred_owner(shared: Shared) -> None:
    name = shared.bucket(allow("s3:PutObject"), ownership="BucketOwnerPreferred")
    given = {"x-amz-acl": "bucket-owner-full-control"}
    assert shared.lena.call("PUT", f"{name}/given", b"x", headers=given).status == 200
    assert shared.lena.call("PUT", f"{name}/kept", b"x").status == 200
    assert shared.main.call("GET", f"{name}/given").status == 200
    assert outcome(shared.lena.call("GET", f"{name}/given")) == DENIED
    assert outcome(shared.main.call("GET", f"{name}/kept")) == DENIED


BLOCK = b"<PublicAccessBlockConfiguration><%s>true</%s></PublicAccessBlockConfiguration>"


def blocked(shared: Shared, bucket: str, what: bytes) -> None:
    body = BLOCK % (what, what)
    assert shared.main.call("PUT", bucket, body, publicAccessBlock="").status == 200


def test_public_access_can_be_blocked(shared: Shared) -> None:
    name = shared.bucket(ownership="ObjectWriter")
    public, wide = {"x-amz-acl": "public-read"}, allow("s3:GetObject", Principal="*")
    blocked(shared, name, b"BlockPublicAcls")
    assert outcome(shared.main.call("PUT", name, headers=public, acl="")) == DENIED
    assert outcome(shared.main.call("PUT", f"{name}/k", headers=public, acl="")) == DENIED
    assert outcome(shared.main.call("PUT", f"{name}/n", b"x", headers=public)) == DENIED
    blocked(shared, name, b"BlockPublicPolicy")
    body = json.dumps({"Statement": wide}).replace("BUCKET", name).encode()
    assert outcome(shared.main.call("PUT", name, body, policy="")) == DENIED
    assert shared.main.call("PUT", f"{name}/k", headers=public, acl="").status == 200
    assert shared.anybody.call("GET", f"{name}/k").status == 200
    blocked(shared, name, b"IgnorePublicAcls")
    assert outcome(shared.anybody.call("GET", f"{name}/k")) == DENIED
    shared.set_policy(name, wide)
    assert shared.anybody.call("GET", f"{name}/k").status == 200
    blocked(shared, name, b"RestrictPublicBuckets")
    assert outcome(shared.lena.call("GET", f"{name}/k")) == (200, ""), "by its list"
    shared.main.call("PUT", f"{name}/k", headers={"x-amz-acl": "private"}, acl="")
    assert outcome(shared.lena.call("GET", f"{name}/k")) == DENIED
    assert shared.main.call("GET", f"{name}/k").status == 200
    assert shared.main.call("DELETE", name, publicAccessBlock="").status == 204
    assert shared.lena.call("GET", f"{name}/k").status == 200


# What comes between


def test_an_open_bucket_is_that_of_the_account_that_opened_it(shared: Shared) -> None:
    assert shared.main.call("PUT", "was-open/").status == 200
    for name in ("was-open", "never-mains"):
        shared.keys.create_anonymous(Limits(frozenset({Right.READ}), (name,)))
    assert shared.anybody.call("HEAD", "was-open/").status == 200
    assert shared.main.call("DELETE", "was-open/").status == 204
    for name in ("was-open", "never-mains"):
        assert shared.lena.call("PUT", f"{name}/private", b"x").status == 200
        assert outcome(shared.anybody.call("GET", f"{name}/private")) == DENIED


class Slow:
    """A request whose body is still on its way."""

    def __init__(
        self, shared: Shared, access_key: str, target: str, body: bytes, *lines: str
    ) -> None:
        self._body = body
        self._socket = socket.create_connection(("127.0.0.1", shared.gateway.port), timeout=20)
        credential = f"{access_key}/20260101/us-east-1/s3/aws4_request"
        head = (
            f"PUT /s3/{target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: AWS4-HMAC-SHA256 "
            f"Credential={credential}, SignedHeaders=host, Signature=00\r\n"
            "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nExpect: 100-continue\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n"
            + "".join(f"{line}\r\n" for line in (*lines, ""))
        )
        self._socket.sendall(head.encode())
        assert b" 100 " in self._socket.recv(1000), "it was admitted"

    def finish(self) -> tuple[int, str]:
        """Send the body; status and code of the answer."""
        self._socket.sendall(self._body)
        answer = b"".join(iter(lambda: self._socket.recv(1 << 16), b""))
        self._socket.close()
        code = re.search(rb"<Code>(.*?)</Code>", answer)
        return int(answer.split()[1]), code[1].decode() if code else ""


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


def test_a_blocked_list_is_not_completed_either(shared: Shared) -> None:
    name = shared.bucket(ownership="ObjectWriter")
    opened = shared.main.call("POST", f"{name}/u", headers={"x-amz-acl": "public-read"}, uploads="")
    upload = opened.texts("UploadId")[0]
    part = shared.main.call("PUT", f"{name}/u", b"part", partNumber=1, uploadId=upload)
    blocked(shared, name, b"BlockPublicAcls")
    document = COMPLETE % part.headers["etag"].encode()
    done = shared.main.call("POST", f"{name}/u", document, uploadId=upload)
    assert done.code == "AccessDenied"


# What comes along


def test_tags_that_come_along_with_a_copy_are_given_and_read(shared: Shared) -> None:
    open_if_tagged = allow(
        "s3:GetObject",
        Principal="*",
        Condition={"StringEquals": {"s3:ExistingObjectTag/class": "open"}},
    )
    name = shared.bucket(allow("s3:PutObject"), open_if_tagged)
    tagged = {"x-amz-tagging": "class=open"}
    assert shared.lena.call("PUT", "lenas-tags/a", b"x", headers=tagged).status == 200
    assert outcome(shared.lena.call("PUT", f"{name}/n", b"x", headers=tagged)) == DENIED
    copied = {"x-amz-copy-source": "lenas-tags/a"}
    assert outcome(shared.lena.call("PUT", f"{name}/n", headers=copied)) == DENIED
    bare = {**copied, "x-amz-tagging-directive": "REPLACE"}
    assert shared.lena.call("PUT", f"{name}/n", headers=bare).status == 200
    assert outcome(shared.anybody.call("GET", f"{name}/n")) == DENIED
    # A header that says something else is not what is stored.
    only_in = allow("s3:PutObject", Condition={"StringEquals": {"s3:RequestObjectTag/class": "in"}})
    shared.set_policy(name, only_in, allow("s3:PutObjectTagging"), open_if_tagged)
    lied = {**copied, "x-amz-tagging": "class=in"}
    assert outcome(shared.lena.call("PUT", f"{name}/n", headers=lied)) == DENIED
    said = {**lied, "x-amz-tagging-directive": "REPLACE"}
    assert shared.lena.call("PUT", f"{name}/n", headers=said).status == 200
    # To take tags along is to read them.
    shared.set_policy(name, allow("s3:GetObject"))
    shared.main.call("PUT", f"{name}/k", b"x", headers={"x-amz-tagging": "secret=value"})
    source = {"x-amz-copy-source": f"{name}/k"}
    for to in ("lenas-tags/b", "lenas-new-for-tags/b"):
        assert outcome(shared.lena.call("PUT", to, headers=source)) == DENIED
    source["x-amz-tagging-directive"] = "REPLACE"
    assert shared.lena.call("PUT", "lenas-tags/b", headers=source).status == 200
    shared.set_policy(name, allow(["s3:GetObject", "s3:GetObjectTagging"]))
    del source["x-amz-tagging-directive"]
    assert shared.lena.call("PUT", "lenas-tags/b", headers=source).status == 200
    assert shared.lena.call("GET", "lenas-tags/b", tagging="").texts("Value") == ["value"]


def test_keys_of_tags_have_a_case(shared: Shared) -> None:
    condition = {"StringEquals": {"s3:ExistingObjectTag/class": "open"}}
    name = shared.bucket(allow("s3:GetObject", Principal="*", Condition=condition))
    shared.main.call("PUT", f"{name}/k", b"x", headers={"x-amz-tagging": "class=shut&CLASS=open"})
    assert outcome(shared.anybody.call("GET", f"{name}/k")) == DENIED


LOCKS = (
    {
        "x-amz-object-lock-mode": "GOVERNANCE",
        "x-amz-object-lock-retain-until-date": "2090-01-01T00:00:00Z",
    },
    {"x-amz-object-lock-legal-hold": "ON"},
)


def test_locks_are_actions_of_their_own(shared: Shared) -> None:
    name = shared.bucket(allow("s3:PutObject"), ownership="ObjectWriter")
    shared.main.call("PUT", name, headers={"x-amz-acl": "public-read-write"}, acl="")
    for headers in LOCKS:
        for wire in (shared.lena, shared.anybody):
            assert outcome(wire.call("PUT", f"{name}/n", b"x", headers=headers)) == DENIED
        started = shared.lena.call("POST", f"{name}/n", headers=headers, uploads="")
        assert outcome(started) == DENIED
        copied = {**headers, "x-amz-copy-source": "lenas-own/k"}
        assert outcome(shared.lena.call("PUT", f"{name}/n", headers=copied)) == DENIED
    shared.set_policy(name, allow(["s3:PutObject", "s3:PutObjectLegalHold"]))
    assert shared.lena.call("PUT", f"{name}/n", b"x", headers=LOCKS[1]).status == 200
    # What was noted is for those who may read it.
    shared.set_policy(name, allow("s3:GetObject"), allow("s3:GetObjectTagging", Principal="*"))
    noted = {**LOCKS[0], **LOCKS[1], "x-amz-tagging": "a=b"}
    shared.main.call("PUT", f"{name}/k", b"x", headers=noted)
    shown = shared.lena.call("HEAD", f"{name}/k").headers
    assert shown["x-amz-tagging-count"] == "1"
    assert not any(header.startswith("x-amz-object-lock") for header in shown)
    own = shared.main.call("HEAD", f"{name}/k").headers
    assert {*LOCKS[0], *LOCKS[1]} <= own.keys()


def test_sharing_what_will_be_anothers_is_an_action_of_its_own(shared: Shared) -> None:
    name = shared.bucket(allow("s3:PutObject", Principal="*"), ownership="ObjectWriter")
    for headers in ({"x-amz-acl": "public-read"}, {"x-amz-grant-full-control": "id=lena"}):
        refused = shared.anybody.call("PUT", f"{name}/k", b"x", headers=headers)
        assert outcome(refused) == DENIED
        assert shared.lena.call("PUT", f"{name}/hers", b"x", headers=headers).status == 200
    shared.set_policy(name, allow(["s3:PutObject", "s3:PutObjectAcl"], Principal="*"))
    public = {"x-amz-acl": "public-read"}
    assert shared.anybody.call("PUT", f"{name}/k", b"x", headers=public).status == 200
    assert shared.anybody.call("GET", f"{name}/k").status == 200


def test_a_version_is_meant_wherever_it_is_named(shared: Shared) -> None:
    name = shared.bucket()
    version = shared.main.call("HEAD", f"{name}/k").headers["x-amz-version-id"]
    condition = {"StringEquals": {"s3:VersionId": version}}
    shared.set_policy(
        name, allow("s3:*Version*", Effect="Deny", Principal="*", Condition=condition)
    )
    shared.main.call("PUT", f"{name}/k", b"newer")
    assert outcome(shared.main.call("GET", f"{name}/k", versionId=version)) == DENIED
    copied = {"x-amz-copy-source": f"{name}/k?versionId={version}"}
    assert outcome(shared.main.call("PUT", f"{name}/c", headers=copied)) == DENIED
    body = (
        f"<Delete><Object><Key>k</Key><VersionId>{version}</VersionId></Object></Delete>"
    ).encode()
    done = shared.main.call("POST", name, body, headers={"Content-MD5": _md5(body)}, delete="")
    assert done.texts("Code") == ["AccessDenied"]
    assert shared.main.call("GET", f"{name}/k").status == 200


def test_conditions_are_about_what_a_request_has(shared: Shared) -> None:
    magic = {"StringEquals": {"s3:prefix": "magic"}}
    name = shared.bucket(allow("s3:*", Condition=magic))
    assert outcome(shared.lena.call("GET", f"{name}/k", prefix="magic")) == DENIED
    listed = shared.lena.call("GET", name, prefix="magic", **{"list-type": 2})
    assert listed.status == 200
    tagged = {"StringEquals": {"s3:RequestObjectTag/a": "b"}}
    shared.set_policy(name, allow(["s3:PutObject", "s3:PutObjectTagging"][:1], Condition=tagged))
    header = {"x-amz-tagging": "a=b"}
    assert outcome(shared.lena.call("GET", f"{name}/k", headers=header)) == DENIED


def test_what_an_upload_was_opened_with_is_not_said_again(shared: Shared) -> None:
    condition = {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}
    name = shared.bucket(allow("s3:PutObject", Condition=condition))
    assert outcome(shared.lena.call("PUT", f"{name}/n", b"x")) == DENIED
    assert outcome(shared.lena.call("POST", f"{name}/n", uploads="")) == DENIED
    given = {"x-amz-acl": "bucket-owner-full-control"}
    opened = shared.lena.call("POST", f"{name}/n", headers=given, uploads="")
    upload = opened.texts("UploadId")[0]
    part = shared.lena.call("PUT", f"{name}/n", b"part", partNumber=1, uploadId=upload)
    assert part.status == 200
    shared.set_policy(name, allow("s3:PutObject", Condition=condition, Principal={"AWS": "main"}))
    document = COMPLETE % part.headers["etag"].encode()
    assert outcome(shared.lena.call("POST", f"{name}/n", document, uploadId=upload)) == DENIED
    shared.set_policy(name, allow("s3:PutObject", Condition=condition))
    done = shared.lena.call("POST", f"{name}/n", document, uploadId=upload)
    assert (done.status, done.texts("Error")) == (200, [])


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


def test_a_denied_list_is_denied_by_header_too(shared: Shared) -> None:
    name = shared.bucket(
        allow("s3:PutObject"),
        allow("s3:PutObjectAcl", Effect="Deny", Principal="*"),
        ownership="ObjectWriter",
    )
    public = {"x-amz-acl": "public-read"}
    for wire in (shared.lena, shared.main):
        assert outcome(wire.call("PUT", f"{name}/p", b"x", headers=public)) == DENIED
        assert outcome(wire.call("POST", f"{name}/p", headers=public, uploads="")) == DENIED
        assert wire.call("PUT", f"{name}/p", b"x").status == 200


def test_what_goes_along_with_a_rename_is_given_anew(shared: Shared) -> None:
    moving = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    name = shared.bucket(allow(moving))

    def rename(source: str, key: str, **headers: str) -> tuple[int, str]:
        given = {"x-amz-rename-source": source, **headers}
        return outcome(shared.lena.call("PUT", f"{name}/{key}", headers=given, renameObject=""))

    for key, noted in (
        ("tagged", {"x-amz-tagging": "class=out"}),
        ("held", {"x-amz-object-lock-legal-hold": "ON"}),
    ):
        shared.main.call("PUT", f"{name}/{key}", b"x", headers=noted)
        assert rename(key, "moved") == DENIED
    tagging = ["s3:GetObjectTagging", "s3:PutObjectTagging"]
    put_in = {"StringEquals": {"s3:RequestObjectTag/class": "in"}}
    statements = (
        allow(["s3:GetObject", "s3:DeleteObject", *tagging]),
        allow("s3:PutObject", Condition=put_in),
    )
    shared.set_policy(name, *statements)
    assert rename("tagged", "moved") == DENIED
    assert rename("tagged", "moved", **{"x-amz-tagging": "class=in"}) == DENIED
    shared.set_policy(name, allow([*moving, *tagging]))
    assert rename("tagged", "moved") == (200, "")
    assert shared.main.call("GET", f"{name}/moved", tagging="").texts("Value") == ["out"]


def test_what_an_operation_does_not_heed_is_no_condition_of_it(shared: Shared) -> None:
    has_match = {"Null": {"s3:if-match": "false"}}
    name = shared.bucket(
        allow("s3:DeleteObject", Condition=has_match),
        allow(
            "s3:PutObject",
            Principal="*",
            Condition={"StringLike": {"s3:x-amz-copy-source": "trusted/*"}},
        ),
    )
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    headers = {"Content-MD5": _md5(body), "If-Match": '"wrong"'}
    done = shared.lena.call("POST", name, body, headers=headers, delete="")
    assert done.texts("Code") == ["AccessDenied"]
    assert shared.main.call("GET", f"{name}/k").status == 200
    assert outcome(form(shared.anybody, name)) == DENIED
    assert outcome(form(shared.anybody, name, {"x-amz-copy-source": "trusted/x"})) == DENIED


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


def test_what_a_tag_denies_a_head_does_not_say(shared: Shared) -> None:
    tagged = {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}}
    name = shared.bucket(
        allow("s3:GetObject*"),
        allow("s3:GetObjectTagging", Effect="Deny", Principal={"AWS": "lena"}, Condition=tagged),
    )
    shared.main.call("PUT", f"{name}/k", b"x", headers={"x-amz-tagging": "secret=yes"})
    assert outcome(shared.lena.call("GET", f"{name}/k", tagging="")) == DENIED
    assert "x-amz-tagging-count" not in shared.lena.call("HEAD", f"{name}/k").headers


# Forms


def form(wire: Wire, bucket: str, more: Mapping[str, str] | None = None, **headers: str) -> Answer:
    """Upload an object by a form without a policy."""
    fields = {"key": "by-form", **(more or {}), "file": "content"}
    parts = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"'
        f"{'; filename=f' if name == 'file' else ''}\r\n\r\n{value}\r\n"
        for name, value in fields.items()
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    return wire.call("POST", bucket, f"{parts}--x--\r\n".encode(), headers=kind | headers)


def test_forms_of_anybody(shared: Shared) -> None:
    name = shared.bucket(
        allow("s3:PutObject", Principal="*"),
        allow(
            "s3:PutObject",
            Principal="*",
            Effect="Deny",
            Condition={"StringLike": {"aws:UserAgent": "bad*", "aws:Referer": "*"}},
        ),
    )
    rules = (
        b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin>"
        b"<AllowedMethod>POST</AllowedMethod></CORSRule></CORSConfiguration>"
    )
    assert shared.main.call("PUT", name, rules, cors="").status == 200
    done = form(shared.anybody, name, Origin="http://a.example")
    assert done.status == 204
    assert done.headers["access-control-allow-origin"] == "*"
    bad = {"User-Agent": "bad-agent", "Referer": "http://b.example"}
    assert outcome(form(shared.anybody, name, **bad)) == DENIED
    shared.keys.create_anonymous(Limits(frozenset({Right.READ}), (name,)))
    assert outcome(form(shared.anybody, name)) == DENIED
    assert outcome(form(shared.anybody, "default")) != (204, "")


# Lists that must not come back


def test_what_is_made_private_stays_so_under_another_ownership(shared: Shared) -> None:
    name = shared.bucket(ownership="ObjectWriter")
    public, private = {"x-amz-acl": "public-read"}, {"x-amz-acl": "private"}
    for path in (name, f"{name}/k"):
        assert shared.main.call("PUT", path, headers=public, acl="").status == 200
    refused = shared.main.call("DELETE", name, ownershipControls="")
    assert outcome(refused) == (400, "InvalidBucketAclWithObjectOwnership")
    controls = shared.main.call("GET", name, ownershipControls="").body
    assert shared.main.call("PUT", name, headers=private, acl="").status == 200
    assert shared.main.call("DELETE", name, ownershipControls="").status == 204
    for path in (name, f"{name}/k"):
        assert shared.main.call("PUT", path, headers=private, acl="").status == 200
    assert shared.main.call("PUT", name, controls, ownershipControls="").status == 200
    assert outcome(shared.anybody.call("GET", f"{name}/k")) == DENIED
    assert outcome(shared.anybody.call("GET", name)) == DENIED


def test_where_lists_are_the_default(tmp_path: Any) -> None:
    options = {"global_buckets": True, "object_ownership": "ObjectWriter"}
    with web_gateway(tmp_path / "data", **options) as gateway:
        wire, anybody = gateway.wire, Wire(gateway.port, None, timeout=20)
        public = {"x-amz-acl": "public-read"}
        assert wire.call("PUT", "by-write/k", b"x", headers=public).status == 200
        assert anybody.call("GET", "by-write/k").status == 200
        unset = wire.call("GET", "by-write", ownershipControls="")
        assert outcome(unset) == (404, "OwnershipControlsNotFoundError")
        many = {"x-amz-grant-read": ",".join(["id=main"] * 1000)}
        refused = wire.call("PUT", "by-write/k", b"x", headers=many)
        assert outcome(refused) == (400, "InvalidArgument")


# Where nothing is shared


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


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
