"""Random requests to the server and to a model of S3 in memory: there is no difference."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from html import escape, unescape
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.s3_model import (
    ModelBucket,
    ModelUpload,
    ModelVersion,
    Name,
    md5_hex,
    multipart_etag,
    range_of,
)
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import Answer

MODES = ("deny", "hide")

# Few keys, so that they meet: neighbours in byte order, groups in groups, and odd characters.
KEYS = [
    "a",
    "a/",
    "a/b",
    "a/b/c",
    "a/b/d",
    "a/é",
    "a0",
    "b",
    "b//x",
    "b/.",
    "b/..",
    "c d+%2F",
    "é/\n",
]
keys = st.sampled_from(KEYS)
contents = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"", b"x" * 65_066, b"y" * 65_067, b"z" * 200_000])
)
users = st.dictionaries(st.sampled_from(["who", "when"]), st.sampled_from(["", "me", "a b"]))
types = st.sampled_from(["binary/octet-stream", "text/plain; charset=utf-8"])
prefixes = st.sampled_from(["", "a", "a/", "a/b", "b/", "é/", "none"])
delimiters = st.sampled_from(["", "/", "b", "//", "é"])
ranges = st.one_of(
    st.builds("{}-{}".format, st.integers(0, 9), st.integers(10, 300_000)),
    st.builds("{}-".format, st.integers(0, 70_000)),
    st.builds("-{}".format, st.integers(0, 70_000)),
)
_numbers = itertools.count()


class S3Machine(RuleBasedStateMachine):
    """Each example has a bucket of its own in one gateway."""

    gateway: WebGateway
    mode: str

    @initialize(filled=st.lists(keys, max_size=12))
    def make_bucket(self, filled: list[str]) -> None:
        self.bucket = f"model-{next(_numbers)}"
        self.model = ModelBucket()
        assert self.call("PUT", None).status == 200
        # The model is that of S3 under versioning: markers stack, on what was never there too.
        enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        assert self.call("PUT", None, enabled, versioning="").status == 200
        for number, key in enumerate(filled):
            self.put(key, b"%d" % number, {}, "text/plain", None)

    def call(
        self, method: str, key: str | None, body: bytes = b"", headers: Any = None, **query: object
    ) -> Answer:
        path = self.bucket if key is None else f"{self.bucket}/{key}"
        named = {name.replace("_", "-"): value for name, value in query.items()}
        return self.gateway.wire.call(method, path, body, headers=headers, **named)

    def add(self, key: str, version: ModelVersion, answer: Answer) -> None:
        version.version_id = answer.headers["x-amz-version-id"]
        self.model.add(key, version)

    def expect(self, answer: Answer, version: ModelVersion) -> None:
        assert answer.status == 200, answer
        assert answer.headers["etag"] == f'"{version.etag}"'
        assert answer.headers["content-type"] == version.content_type
        assert answer.headers["content-length"] == str(len(version.content))
        assert answer.headers["x-amz-version-id"] == version.version_id
        user = {
            name.removeprefix("x-amz-meta-"): value
            for name, value in answer.headers.items()
            if name.startswith("x-amz-meta-") and name != "x-amz-meta-cid"
        }
        assert user == version.user

    # Writing

    @rule(
        key=keys,
        content=contents,
        user=users,
        kind=types,
        condition=st.sampled_from([None, "absent", "current", "other"]),
    )
    def put(
        self, key: str, content: bytes, user: dict[str, str], kind: str, condition: str | None
    ) -> None:
        current = self.model.current(key)
        headers, status = described(user, kind), 200
        if condition == "absent":
            headers["If-None-Match"] = "*"
            status = 412 if current else 200
        elif condition is not None:
            etag = current.etag if current and condition == "current" else md5_hex(b"other")
            headers["If-Match"] = f'"{etag}"'
            status = 404 if current is None else 200 if condition == "current" else 412
        answer = self.call("PUT", key, content, headers)
        assert answer.status == status, answer
        if status == 200:
            version = ModelVersion(content, md5_hex(content), kind, user)
            assert answer.headers["etag"] == f'"{version.etag}"'
            self.add(key, version, answer)

    @rule(source=keys, key=keys, replaces=st.booleans(), user=users, kind=types)
    def copy(self, source: str, key: str, replaces: bool, user: dict[str, str], kind: str) -> None:
        found = self.model.current(source)
        headers = described(user, kind) if replaces else {}
        headers["x-amz-copy-source"] = f"/{self.bucket}/{quote(source)}"
        headers["x-amz-metadata-directive"] = "REPLACE" if replaces else "COPY"
        answer = self.call("PUT", key, headers=headers)
        if source == key and not replaces:
            assert answer.code == "InvalidRequest" if found else answer.status in (400, 404)
        elif found is None:
            assert (answer.status, answer.code) == (404, "NoSuchKey")
        else:
            assert answer.status == 200, answer
            etag = unescape(answer.texts("ETag")[0]).strip('"')
            if "-" not in found.etag:
                assert etag == found.etag
            kept = (kind, user) if replaces else (found.content_type, dict(found.user))
            self.add(key, ModelVersion(found.content, etag, *kept), answer)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        answer = self.call("DELETE", key)
        if self.mode == "deny":
            assert (answer.status, answer.code) == (403, "AccessDenied")
            return
        assert answer.status == 204, answer
        assert answer.headers["x-amz-delete-marker"] == "true"
        self.add(key, ModelVersion(is_marker=True), answer)

    @rule(wanted=st.lists(keys, min_size=1, max_size=4, unique=True))
    def delete_many(self, wanted: list[str]) -> None:
        rows = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in wanted)
        document = f"<Delete>{rows}</Delete>".encode()
        digest = base64.b64encode(hashlib.md5(document).digest()).decode()
        answer = self.call("POST", None, document, {"Content-MD5": digest}, delete="")
        if self.mode == "deny":
            assert (answer.status, answer.code) == (403, "AccessDenied")
            return
        assert answer.status == 200, answer
        assert [unescape(key) for key in answer.texts("Key")] == wanted
        for key, version_id in zip(wanted, answer.texts("DeleteMarkerVersionId"), strict=True):
            self.model.add(key, ModelVersion(version_id=version_id, is_marker=True))

    @rule(source=keys, key=keys)
    def rename(self, source: str, key: str) -> None:
        found = self.model.current(source)
        headers = {"x-amz-rename-source": quote(source, safe="")}
        answer = self.call("PUT", key, headers=headers, renameObject="")
        if source == key:
            assert (answer.status, answer.code) == (400, "InvalidRequest")
        elif self.mode == "deny":
            assert answer.status in (403, 404)
            assert answer.status == 403 or found is None
        elif found is None:
            assert (answer.status, answer.code) == (404, "NoSuchKey")
        else:
            assert answer.status == 200, answer
            self.add(key, replace(found), answer)
            hidden = self.call("HEAD", source)
            assert hidden.headers["x-amz-delete-marker"] == "true"
            self.add(source, ModelVersion(is_marker=True), hidden)

    @precondition(lambda self: self.model.versions)
    @rule(data=st.data())
    def delete_a_version(self, data: st.DataObject) -> None:
        key, version = self.pick_version(data)
        answer = self.call("DELETE", key, versionId=version.version_id)
        if version.is_marker:
            # Taking the marker away is how what it hides comes back.
            assert answer.status == 204, answer
            assert answer.headers["x-amz-delete-marker"] == "true"
            self.model.versions[key].remove(version)
            if not self.model.versions[key]:
                del self.model.versions[key]
        else:
            assert (answer.status, answer.code) == (403, "AccessDenied")

    # Uploads in parts

    @rule(key=keys, user=users, kind=types)
    def begin_upload(self, key: str, user: dict[str, str], kind: str) -> None:
        answer = self.call("POST", key, headers=described(user, kind), uploads="")
        assert answer.status == 200, answer
        self.model.uploads[answer.texts("UploadId")[0]] = ModelUpload(key, kind, user)

    @precondition(lambda self: self.model.uploads)
    @rule(data=st.data(), number=st.integers(1, 4), content=contents)
    def upload_part(self, data: st.DataObject, number: int, content: bytes) -> None:
        upload_id, upload = self.pick_upload(data)
        answer = self.call("PUT", upload.key, content, uploadId=upload_id, partNumber=number)
        assert answer.status == 200, answer
        assert answer.headers["etag"] == f'"{md5_hex(content)}"'
        upload.parts[number] = content

    @precondition(lambda self: self.model.uploads)
    @rule(data=st.data(), number=st.integers(1, 4), source=keys, first=st.integers(0, 70_000))
    def copy_part(self, data: st.DataObject, number: int, source: str, first: int) -> None:
        upload_id, upload = self.pick_upload(data)
        found = self.model.current(source)
        headers = {"x-amz-copy-source": f"/{self.bucket}/{quote(source)}"}
        if first:
            headers["x-amz-copy-source-range"] = f"bytes={first}-{first + 30}"
        answer = self.call(
            "PUT", upload.key, headers=headers, uploadId=upload_id, partNumber=number
        )
        if found is None:
            assert (answer.status, answer.code) == (404, "NoSuchKey")
        elif first and first + 30 >= len(found.content):
            assert (answer.status, answer.code) == (416, "InvalidRange")
        else:
            assert answer.status == 200, answer
            content = found.content[first : first + 31] if first else found.content
            assert unescape(answer.texts("ETag")[0]) == f'"{md5_hex(content)}"'
            upload.parts[number] = content

    @precondition(lambda self: self.model.uploads)
    @rule(data=st.data(), only=st.sets(st.integers(1, 4), min_size=1))
    def complete_upload(self, data: st.DataObject, only: set[int]) -> None:
        upload_id, upload = self.pick_upload(data)
        listed = sorted(only)
        parts = [upload.parts.get(number, b"never sent") for number in listed]
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{md5_hex(part)}</ETag></Part>"
            for number, part in zip(listed, parts, strict=True)
        )
        document = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        answer = self.call("POST", upload.key, document, uploadId=upload_id)
        if not only <= upload.parts.keys():
            assert (answer.status, answer.code) == (400, "InvalidPart")
            return
        assert answer.status == 200, answer
        content = b"".join(parts)
        version = ModelVersion(content, multipart_etag(parts), upload.content_type, upload.user)
        assert unescape(answer.texts("ETag")[0]) == f'"{version.etag}"'
        self.add(upload.key, version, answer)
        del self.model.uploads[upload_id]

    @precondition(lambda self: self.model.uploads)
    @rule(data=st.data())
    def abort_upload(self, data: st.DataObject) -> None:
        upload_id, upload = self.pick_upload(data)
        assert self.call("DELETE", upload.key, uploadId=upload_id).status == 204
        del self.model.uploads[upload_id]
        again = self.call("DELETE", upload.key, uploadId=upload_id)
        assert (again.status, again.code) == (404, "NoSuchUpload")

    @precondition(lambda self: self.model.uploads)
    @rule(data=st.data(), most=st.integers(1, 3))
    def list_parts(self, data: st.DataObject, most: int) -> None:
        upload_id, upload = self.pick_upload(data)
        found: list[int] = []
        query: dict[str, object] = {"uploadId": upload_id, "max_parts": most}
        for _ in range(10):
            answer = self.call("GET", upload.key, **query)
            found += map(int, answer.texts("PartNumber"))
            if answer.texts("IsTruncated") == ["false"]:
                break
            query["part_number_marker"] = answer.texts("NextPartNumberMarker")[0]
        assert found == sorted(upload.parts)

    # Reading

    @rule(key=keys)
    def read(self, key: str) -> None:
        version, answer, head = (
            self.model.current(key),
            self.call("GET", key),
            self.call("HEAD", key),
        )
        if version is None:
            assert (answer.status, answer.code, head.status) == (404, "NoSuchKey", 404)
            hidden = bool(self.model.versions.get(key))
            assert (answer.headers.get("x-amz-delete-marker") == "true") is hidden
            return
        self.expect(answer, version)
        assert answer.body == version.content
        self.expect(head, version)

    @rule(key=keys, text=ranges)
    def read_a_range(self, key: str, text: str) -> None:
        version = self.model.current(key)
        answer = self.call("GET", key, headers={"Range": f"bytes={text}"})
        if version is None:
            assert answer.status == 404
            return
        span = range_of(text, len(version.content))
        if span is None:
            assert (answer.status, answer.code) == (416, "InvalidRange")
            return
        first, last = span
        assert answer.status == 206
        assert answer.body == version.content[first : last + 1]
        expected = f"bytes {first}-{last}/{len(version.content)}"
        assert answer.headers["content-range"] == expected

    @rule(key=keys, matches=st.booleans(), name=st.sampled_from(["If-Match", "If-None-Match"]))
    def read_on_condition(self, key: str, matches: bool, name: str) -> None:
        version = self.model.current(key)
        etag = version.etag if version and matches else md5_hex(b"other")
        answer = self.call("GET", key, headers={name: f'"{etag}"'})
        if version is None:
            assert answer.status == 404
        elif name == "If-Match":
            assert answer.status == (200 if matches else 412)
        else:
            assert answer.status == (304 if matches else 200)

    @precondition(lambda self: self.model.versions)
    @rule(data=st.data())
    def read_a_version(self, data: st.DataObject) -> None:
        key, version = self.pick_version(data)
        answer = self.call("GET", key, versionId=version.version_id)
        if version.is_marker:
            assert (answer.status, answer.code) == (405, "MethodNotAllowed")
            return
        self.expect(answer, version)
        assert answer.body == version.content

    # Listing

    @rule(
        prefix=prefixes,
        delimiter=delimiters,
        most=st.integers(1, 4),
        version=st.sampled_from([1, 2]),
    )
    def list_pages(self, prefix: str, delimiter: str, most: int, version: int) -> None:
        query: dict[str, object] = {"prefix": prefix, "max_keys": most, "encoding_type": "url"}
        query |= {"delimiter": delimiter} if delimiter else {}
        query |= {"list_type": 2} if version == 2 else {}
        found: list[Name] = []
        for _ in range(50):
            answer = self.call("GET", None, **query)
            page = names_of(answer)
            assert len(page) <= most
            found += page
            if answer.texts("IsTruncated") == ["false"]:
                break
            assert len(page) == most
            if version == 2:
                query["continuation_token"] = answer.texts("NextContinuationToken")[0]
            else:
                following = [unquote(marker) for marker in answer.texts("NextMarker")]
                query["marker"] = following[0] if following else page[-1].text
        assert found == self.model.names(prefix, delimiter)

    @rule(after=st.one_of(keys, st.just("a/b/cc")), prefix=prefixes)
    def list_after(self, after: str, prefix: str) -> None:
        query = {"start_after": after, "prefix": prefix, "list_type": 2, "encoding_type": "url"}
        answer = self.call("GET", None, **query)
        found = names_of(answer)
        assert found == self.model.names(prefix, "", after)
        assert answer.texts("KeyCount") == [str(len(found))]

    @rule(prefix=prefixes, most=st.integers(1, 5))
    def list_versions(self, prefix: str, most: int) -> None:
        query: dict[str, object] = {"versions": "", "prefix": prefix, "max_keys": most}
        query["encoding_type"] = "url"
        found: list[tuple[str, str, bool, bool]] = []
        for _ in range(200):
            answer = self.call("GET", None, **query)
            page = versions_of(answer)
            assert len(page) <= most
            found += page
            if answer.texts("IsTruncated") == ["false"]:
                break
            query["key_marker"] = unquote(answer.texts("NextKeyMarker")[0])
            query["version_id_marker"] = answer.texts("NextVersionIdMarker")[0]
        assert found == self.model.history(prefix)

    @rule()
    def list_uploads(self) -> None:
        answer = self.call("GET", None, uploads="", encoding_type="url")
        found = list(zip(map(unquote, answer.texts("Key")), answer.texts("UploadId"), strict=True))
        assert [key for key, _ in found] == sorted(
            (upload.key for upload in self.model.uploads.values()), key=str.encode
        )
        assert {upload_id for _, upload_id in found} == self.model.uploads.keys()

    def pick_version(self, data: st.DataObject) -> tuple[str, ModelVersion]:
        key = data.draw(st.sampled_from(sorted(self.model.versions)))
        return key, data.draw(st.sampled_from(self.model.versions[key]))

    def pick_upload(self, data: st.DataObject) -> tuple[str, ModelUpload]:
        upload_id = data.draw(st.sampled_from(list(self.model.uploads)))
        return upload_id, self.model.uploads[upload_id]


def described(user: dict[str, str], kind: str) -> dict[str, str]:
    """The headers that give a write its metadata."""
    return {"Content-Type": kind, **{f"x-amz-meta-{k}": value for k, value in user.items()}}


def names_of(answer: Answer) -> list[Name]:
    """The names of a page, in their common order."""
    assert answer.status == 200, answer
    text = answer.body.decode()
    found = [Name(unquote(key), False) for key in re.findall("<Key>([^<]*)</Key>", text)]
    folded = re.findall("<CommonPrefixes><Prefix>([^<]*)</Prefix>", text)
    found += [Name(unquote(prefix), True) for prefix in folded]
    return sorted(found, key=lambda name: name.text.encode())


def versions_of(answer: Answer) -> list[tuple[str, str, bool, bool]]:
    """The versions and delete markers of a page, in their order."""
    assert answer.status == 200, answer
    rows = re.findall(
        "<(Version|DeleteMarker)><Key>([^<]*)</Key><VersionId>([^<]*)</VersionId>"
        "<IsLatest>(true|false)</IsLatest>",
        answer.body.decode(),
    )
    return [
        (unquote(key), version_id, latest == "true", tag == "DeleteMarker")
        for tag, key, version_id, latest in rows
    ]


@pytest.fixture(scope="module", params=MODES)
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[type[S3Machine]]:
    folder = tmp_path_factory.mktemp("model")
    with web_gateway(folder / "data", delete_policy=request.param) as gateway:
        yield type("Machine", (S3Machine,), {"gateway": gateway, "mode": request.param})


def check(machine: type[S3Machine], examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_server_and_model_agree(machine: type[S3Machine]) -> None:
    check(machine, 25, 30)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_server_and_model_agree_for_long(machine: type[S3Machine]) -> None:
    check(machine, 1000, 60)
