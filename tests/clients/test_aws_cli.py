"""The AWS command line, versions 1 and 2, with its default settings, on http and https."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from gateway.file_cid import file_cid
from tests.support.clients import installed, require_client
from tests.support.server import GatewayServer, clean_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

MIB = 1 << 20
DENIED = "Auto Drive storage is immutable. Objects cannot be deleted from the Autonomys DSN."


class Aws:
    """`aws`, configured by its environment alone."""

    def __init__(self, program: str, server: GatewayServer, home: Path) -> None:
        self.path = require_client(program)
        home.mkdir(exist_ok=True)
        self.config = home / "config"
        self.config.write_text("[default]\n")
        self.environment = clean_environment(
            AWS_ACCESS_KEY_ID=server.access_key,
            AWS_SECRET_ACCESS_KEY=server.secret,
            AWS_DEFAULT_REGION="us-east-1",
            AWS_CONFIG_FILE=str(self.config),
            AWS_SHARED_CREDENTIALS_FILE=os.devnull,
            AWS_EC2_METADATA_DISABLED="true",
            AWS_MAX_ATTEMPTS="1",
            AWS_PAGER="",
            LC_ALL="C.UTF-8",
        )
        # Given as a flag: versions before 2023 know no AWS_ENDPOINT_URL.
        self.flags = ["--endpoint-url", server.endpoint]
        if server.tls_cert:
            self.flags += ["--ca-bundle", str(server.tls_cert)]

    def call(self, *words: str | Path, data: bytes | None = None) -> subprocess.CompletedProcess:
        """Runs a command to its end, whatever that is."""
        return subprocess.run(
            [self.path, *self.flags, *map(str, words)],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env=self.environment,
            timeout=300,
        )

    def run(self, *words: str | Path, data: bytes | None = None) -> bytes:
        """The output of a command that succeeds."""
        done = self.call(*words, data=data)
        assert done.returncode == 0, f"{words}: {done.stderr.decode(errors='replace')}"
        return done.stdout

    def api(self, *words: str | Path) -> Any:
        """The JSON that an `s3api` command answers."""
        out = self.run("s3api", *words, "--output", "json")
        return json.loads(out) if out.strip() else {}

    def fail(self, *words: str | Path) -> str:
        """The messages of a command that fails."""
        done = self.call(*words)
        assert done.returncode != 0, f"{words}: {done.stdout!r}"
        return (done.stdout + done.stderr).decode(errors="replace")


@pytest.fixture(params=installed("aws"))
def program(request: pytest.FixtureRequest) -> str:
    """Each `aws` of the machine: version 2 is Debian's, version 1 Python's."""
    found: str = request.param
    return found


@pytest.fixture
def aws(program: str, server: GatewayServer, tmp_path: Path) -> Aws:
    return Aws(program, server, tmp_path / "home")


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_tree_goes_up_and_comes_down(
    request: pytest.FixtureRequest,
    program: str,
    scheme: str,
    folder: Path,
    bucket: str,
    tmp_path: Path,
) -> None:
    server = request.getfixturevalue("server" if scheme == "http" else "secure_server")
    aws = Aws(program, server, tmp_path / "home")
    aws.run("s3", "cp", "--recursive", folder, f"s3://{bucket}/tree")
    aws.run("s3", "cp", "--recursive", f"s3://{bucket}/tree", tmp_path / "back")
    assert tree_of(tmp_path / "back") == tree_of(folder)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_large_file_goes_in_parts(
    request: pytest.FixtureRequest, program: str, scheme: str, bucket: str, tmp_path: Path
) -> None:
    server = request.getfixturevalue("server" if scheme == "http" else "secure_server")
    aws = Aws(program, server, tmp_path / "home")
    file = tmp_path / "large.bin"
    file.write_bytes(random.Random(1).randbytes(20 * MIB + 5))
    aws.run("s3", "cp", file, f"s3://{bucket}/large.bin")
    aws.run("s3", "cp", f"s3://{bucket}/large.bin", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    head = aws.api("head-object", "--bucket", bucket, "--key", "large.bin")
    assert head["ETag"].endswith('-3"')
    assert head["Metadata"]["cid"] == file_cid(file, "large.bin")


def test_copies_within_the_store(aws: Aws, bucket: str) -> None:
    content = random.Random(5).randbytes(20 * MIB)
    aws.run("s3", "cp", "-", f"s3://{bucket}/large", data=content)
    # Above 8 MiB the copy goes by parts.
    aws.run("s3", "cp", f"s3://{bucket}/large", f"s3://{bucket}/copied")
    assert aws.run("s3", "cp", f"s3://{bucket}/copied", "-") == content
    aws.run("s3", "cp", "-", f"s3://{bucket}/a/small +%", data=b"small")
    aws.run("s3", "cp", "--recursive", f"s3://{bucket}/a", f"s3://{bucket}/b")
    assert aws.run("s3", "cp", f"s3://{bucket}/b/small +%", "-") == b"small"


def test_standard_input_and_output(aws: Aws, bucket: str) -> None:
    content = random.Random(2).randbytes(9 * MIB)
    aws.run("s3", "cp", "-", f"s3://{bucket}/stream", data=content)
    assert aws.run("s3", "cp", f"s3://{bucket}/stream", "-") == content


def test_sync_again_uploads_nothing(aws: Aws, folder: Path, bucket: str) -> None:
    aws.run("s3", "mb", f"s3://{bucket}")
    assert b"upload:" in aws.run("s3", "sync", folder, f"s3://{bucket}")
    assert aws.run("s3", "sync", folder, f"s3://{bucket}") == b""
    (folder / "new").write_bytes(b"new")
    assert aws.run("s3", "sync", folder, f"s3://{bucket}").count(b"upload:") == 1


def test_sync_cannot_delete(aws: Aws, folder: Path, bucket: str) -> None:
    aws.run("s3", "mb", f"s3://{bucket}")
    aws.run("s3", "sync", folder, f"s3://{bucket}")
    (folder / "top.txt").unlink()
    assert "AccessDenied" in aws.fail("s3", "sync", "--delete", folder, f"s3://{bucket}")
    assert aws.run("s3", "cp", f"s3://{bucket}/top.txt", "-") == b"top\n"


def test_lists(aws: Aws, folder: Path, bucket: str) -> None:
    aws.run("s3", "cp", "--recursive", folder, f"s3://{bucket}")
    assert bucket.encode() in aws.run("s3", "ls")
    top = aws.run("s3", "ls", f"s3://{bucket}/").decode()
    assert "PRE a/" in top
    assert "top.txt" in top
    assert "deep.bin" not in top
    every = aws.run("s3", "ls", "--recursive", "--summarize", f"s3://{bucket}").decode()
    assert f"Total Objects: {len(tree_of(folder))}" in every


def test_make_bucket(aws: Aws, bucket: str) -> None:
    assert f"make_bucket: {bucket}" in aws.run("s3", "mb", f"s3://{bucket}").decode()
    assert aws.api("list-objects-v2", "--bucket", bucket).get("Contents", []) == []
    aws.api("head-bucket", "--bucket", bucket)
    assert aws.api("get-bucket-location", "--bucket", bucket)["LocationConstraint"] is None


@pytest.mark.parametrize(
    "words",
    [
        ["rm", "s3://{bucket}/k"],
        ["rm", "--recursive", "s3://{bucket}/"],
        ["rb", "s3://{bucket}"],
        ["rb", "--force", "s3://{bucket}"],
        ["mv", "s3://{bucket}/k", "-"],
    ],
)
def test_removals_are_denied(aws: Aws, bucket: str, words: list[str], tmp_path: Path) -> None:
    aws.run("s3", "cp", "-", f"s3://{bucket}/k", data=b"x")
    target = tmp_path / "moved"
    call = [str(target) if word == "-" else word.format(bucket=bucket) for word in words]
    assert DENIED in aws.fail("s3", *call)
    assert aws.run("s3", "cp", f"s3://{bucket}/k", "-") == b"x"


def test_delete_objects_is_denied(aws: Aws, bucket: str) -> None:
    aws.run("s3", "cp", "-", f"s3://{bucket}/k", data=b"x")
    keys = json.dumps({"Objects": [{"Key": "k"}]})
    assert DENIED in aws.fail("s3api", "delete-objects", "--bucket", bucket, "--delete", keys)


def test_move_up_works(aws: Aws, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    aws.run("s3", "mv", tmp_path / "file", f"s3://{bucket}/k")
    assert not (tmp_path / "file").exists()
    assert aws.run("s3", "cp", f"s3://{bucket}/k", "-") == b"x"


def test_metadata_and_ranges(aws: Aws, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    names = ("--bucket", bucket, "--key", "k")
    put = aws.api(
        "put-object", *names, "--body", tmp_path / "file", "--metadata", "who=me,Mixed=Value",
        "--content-type", "text/x-odd", "--cache-control", "max-age=5",
    )  # fmt: skip
    assert put["ETag"] == f'"{hashlib.md5(b"0123456789").hexdigest()}"'
    head = aws.api("head-object", *names)
    assert head["Metadata"] | {"cid": ""} == {"who": "me", "mixed": "Value", "cid": ""}
    assert (head["ContentType"], head["CacheControl"]) == ("text/x-odd", "max-age=5")
    for text, expected in [("bytes=2-4", b"234"), ("bytes=-3", b"789"), ("bytes=7-", b"789")]:
        aws.api("get-object", *names, "--range", text, tmp_path / "part")
        assert (tmp_path / "part").read_bytes() == expected
    assert "InvalidRange" in aws.fail(
        "s3api", "get-object", *names, "--range", "bytes=10-", tmp_path / "part"
    )


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums(aws: Aws, bucket: str, tmp_path: Path, algorithm: str) -> None:
    (tmp_path / "file").write_bytes(b"content")
    names = ("--bucket", bucket, "--key", "k")
    put = aws.api(
        "put-object", *names, "--body", tmp_path / "file", "--checksum-algorithm", algorithm
    )
    head = aws.api("head-object", *names, "--checksum-mode", "ENABLED")
    assert head[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]


def test_wrong_checksums_are_refused(aws: Aws, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    names = ("--bucket", bucket, "--key", "k", "--body", tmp_path / "file")
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    assert "BadDigest" in aws.fail("s3api", "put-object", *names, "--checksum-sha256", wrong)
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert "BadDigest" in aws.fail("s3api", "put-object", *names, "--content-md5", wrong)
    assert "404" in aws.fail("s3api", "head-object", "--bucket", bucket, "--key", "k")


def test_multipart_by_hand(aws: Aws, bucket: str, tmp_path: Path) -> None:
    contents = {1: random.Random(1).randbytes(5 * MIB), 2: b"last"}
    names = ["--bucket", bucket, "--key", "k"]
    upload = aws.api("create-multipart-upload", *names)["UploadId"]
    ids = [*names, "--upload-id", upload]
    parts = []
    for number in (2, 1):
        (tmp_path / "part").write_bytes(contents[number])
        done = aws.api(
            "upload-part", *ids, "--part-number", str(number), "--body", tmp_path / "part"
        )
        parts.insert(0, {"PartNumber": number, "ETag": done["ETag"]})
    assert [p["PartNumber"] for p in aws.api("list-parts", *ids)["Parts"]] == [1, 2]
    uploads = aws.api("list-multipart-uploads", "--bucket", bucket)["Uploads"]
    assert [item["UploadId"] for item in uploads] == [upload]
    aws.api("complete-multipart-upload", *ids, "--multipart-upload", json.dumps({"Parts": parts}))
    aws.api("get-object", *names, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == contents[1] + contents[2]


def test_abort(aws: Aws, bucket: str) -> None:
    names = ["--bucket", bucket, "--key", "k"]
    upload = aws.api("create-multipart-upload", *names)["UploadId"]
    aws.api("abort-multipart-upload", *names, "--upload-id", upload)
    assert aws.api("list-multipart-uploads", "--bucket", bucket).get("Uploads", []) == []


@pytest.mark.parametrize("operation", ["list-objects-v2", "list-objects"])
def test_listing_by_page(aws: Aws, bucket: str, tmp_path: Path, operation: str) -> None:
    names = [f"{n:02}" for n in range(25)]
    (tmp_path / "many").mkdir()
    for name in names:
        (tmp_path / "many" / name).write_text(name)
    aws.run("s3", "cp", "--recursive", tmp_path / "many", f"s3://{bucket}")
    listed = aws.api(operation, "--bucket", bucket, "--page-size", "10")
    assert [item["Key"] for item in listed["Contents"]] == names


def test_conditions(aws: Aws, bucket: str, tmp_path: Path) -> None:
    aws.run("s3", "cp", "-", f"s3://{bucket}/k", data=b"x")
    names = ("--bucket", bucket, "--key", "k")
    etag = aws.api("head-object", *names)["ETag"]
    aws.api("get-object", *names, "--if-match", etag, tmp_path / "out")
    assert "PreconditionFailed" in aws.fail(
        "s3api", "get-object", *names, "--if-match", '"x"', tmp_path / "out"
    )
    assert "304" in aws.fail(
        "s3api", "get-object", *names, "--if-none-match", etag, tmp_path / "out"
    )


def test_presigned_url(aws: Aws, bucket: str) -> None:
    aws.run("s3", "cp", "-", f"s3://{bucket}/k", data=b"content")
    aws.config.write_text("[default]\ns3 =\n  signature_version = s3v4\n")
    url = aws.run("s3", "presign", f"s3://{bucket}/k").decode().strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"content"


def test_wrong_secret_is_denied(aws: Aws) -> None:
    aws.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    assert "SignatureDoesNotMatch" in aws.fail("s3", "ls")
