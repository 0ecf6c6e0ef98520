"""Bucket policies over the wire: what they open, what they deny, and what conditions are about."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gateway.rights import Limits, Right
from tests.support.sharing import (
    DENIED,
    Shared,
    allow,
    content_md5,
    outcome,
)
from tests.support.wire import COMPLETE, Answer, Wire


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


def test_deletes_key_by_key(shared: Shared) -> None:
    name = shared.bucket(allow("s3:DeleteObject", Resource="arn:aws:s3:::BUCKET/tmp/*"))
    for key in ("tmp/a", "tmp/b"):
        shared.main.call("PUT", f"{name}/{key}", b"x")
    assert shared.lena.call("DELETE", f"{name}/tmp/a").status == 204
    assert outcome(shared.lena.call("DELETE", f"{name}/k")) == DENIED
    body = b"<Delete><Object><Key>tmp/b</Key></Object><Object><Key>k</Key></Object></Delete>"
    headers = {"Content-MD5": content_md5(body)}
    done = shared.lena.call("POST", name, body, headers=headers, delete="")
    assert done.status == 200
    assert (done.texts("Code"), done.texts("Key")) == (["AccessDenied"], ["tmp/b", "k"])
    assert shared.main.call("GET", f"{name}/k").status == 200
    assert shared.main.call("GET", f"{name}/tmp/b").status == 404
    anybody = shared.anybody.call("POST", name, body, headers=headers, delete="")
    assert anybody.texts("Code") == ["AccessDenied", "AccessDenied"]


def test_rename_needs_both_ends(shared: Shared) -> None:
    name = shared.bucket(allow(["s3:PutObject", "s3:GetObject"]))

    def rename(source: str, key: str) -> Answer:
        headers = {"x-amz-rename-source": source}
        return shared.lena.call("PUT", f"{name}/{key}", headers=headers, renameObject="")

    assert outcome(rename("k", "moved")) == DENIED
    shared.set_policy(name, allow(["s3:PutObject", "s3:GetObject", "s3:DeleteObject"]))
    assert rename("k", "moved").status == 200
    assert shared.main.call("GET", f"{name}/moved").body == b"content"


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
    done = shared.main.call(
        "POST", name, body, headers={"Content-MD5": content_md5(body)}, delete=""
    )
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
    headers = {"Content-MD5": content_md5(body), "If-Match": '"wrong"'}
    done = shared.lena.call("POST", name, body, headers=headers, delete="")
    assert done.texts("Code") == ["AccessDenied"]
    assert shared.main.call("GET", f"{name}/k").status == 200
    assert outcome(form(shared.anybody, name)) == DENIED
    assert outcome(form(shared.anybody, name, {"x-amz-copy-source": "trusted/x"})) == DENIED


def test_what_a_tag_denies_a_head_does_not_say(shared: Shared) -> None:
    tagged = {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}}
    name = shared.bucket(
        allow("s3:GetObject*"),
        allow("s3:GetObjectTagging", Effect="Deny", Principal={"AWS": "lena"}, Condition=tagged),
    )
    shared.main.call("PUT", f"{name}/k", b"x", headers={"x-amz-tagging": "secret=yes"})
    assert outcome(shared.lena.call("GET", f"{name}/k", tagging="")) == DENIED
    assert "x-amz-tagging-count" not in shared.lena.call("HEAD", f"{name}/k").headers


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
