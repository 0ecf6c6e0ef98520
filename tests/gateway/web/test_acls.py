"""Access control lists, object ownership and public access blocks over the wire."""

from __future__ import annotations

import json
from typing import Any

from tests.support.sharing import (
    ALL_USERS,
    DENIED,
    Shared,
    allow,
    blocked,
    outcome,
)
from tests.support.web_gateway import web_gateway
from tests.support.wire import COMPLETE, Wire


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


def test_a_blocked_list_is_not_completed_either(shared: Shared) -> None:
    name = shared.bucket(ownership="ObjectWriter")
    opened = shared.main.call("POST", f"{name}/u", headers={"x-amz-acl": "public-read"}, uploads="")
    upload = opened.texts("UploadId")[0]
    part = shared.main.call("PUT", f"{name}/u", b"part", partNumber=1, uploadId=upload)
    blocked(shared, name, b"BlockPublicAcls")
    document = COMPLETE % part.headers["etag"].encode()
    done = shared.main.call("POST", f"{name}/u", document, uploadId=upload)
    assert done.code == "AccessDenied"


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
