"""Buckets that an account shares by policy or by list, as real clients put and use them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import AccessKey, KeyStore
from tests.support.clients import installed, require_client
from tests.support.server import GatewayServer, clean_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

CONTENT = bytes(range(256)) * 4096
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "everybody reads what is published",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::films/trailers/*",
        },
        {
            "Sid": "lena adds to it",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::lena:root"},
            "Action": ["s3:ListBucket", "s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": ["arn:aws:s3:::films", "arn:aws:s3:::films/*"],
        },
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    """A gateway with one name space for all accounts."""
    folder = tmp_path_factory.mktemp("shared")
    started = GatewayServer(folder / "data", ("--set", "global_buckets=true")).start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def lena(server: GatewayServer) -> AccessKey:
    return KeyStore(server.data_dir).create(account="lena")


def boto3_client(server: GatewayServer, access_key: str | None, secret: str | None) -> Any:
    boto3 = pytest.importorskip("boto3")
    from botocore import UNSIGNED
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        config=Config(signature_version=UNSIGNED) if access_key is None else None,
    )


def test_boto3_publishes_and_shares(server: GatewayServer, lena: AccessKey) -> None:
    from botocore.exceptions import ClientError

    owner = boto3_client(server, server.access_key, server.secret)
    guest = boto3_client(server, lena.access_key, lena.secret)
    anybody = boto3_client(server, None, None)
    owner.create_bucket(Bucket="films")
    with pytest.raises(ClientError) as taken:
        guest.create_bucket(Bucket="films")
    assert taken.value.response["Error"]["Code"] == "BucketAlreadyExists"
    owner.put_object(Bucket="films", Key="trailers/one", Body=CONTENT)
    owner.put_object(Bucket="films", Key="masters/one", Body=CONTENT)
    owner.put_bucket_policy(Bucket="films", Policy=json.dumps(POLICY))
    assert json.loads(owner.get_bucket_policy(Bucket="films")["Policy"]) == POLICY
    assert owner.get_bucket_policy_status(Bucket="films")["PolicyStatus"]["IsPublic"] is True

    assert anybody.get_object(Bucket="films", Key="trailers/one")["Body"].read() == CONTENT
    for call in (
        lambda: anybody.get_object(Bucket="films", Key="masters/one"),
        lambda: anybody.list_objects_v2(Bucket="films"),
        lambda: guest.get_object(Bucket="films", Key="masters/one"),
    ):
        with pytest.raises(ClientError) as refused:
            call()
        assert refused.value.response["Error"]["Code"] == "AccessDenied"
    with pytest.raises(ClientError) as refused:
        guest.delete_bucket_policy(Bucket="films")
    assert refused.value.response["Error"]["Code"] == "MethodNotAllowed"

    # In parts, as every SDK sends what is large.
    transfer = pytest.importorskip("boto3.s3.transfer")
    parts = transfer.TransferConfig(multipart_threshold=1 << 20, multipart_chunksize=5 << 20)
    large = CONTENT * 11
    path = server.data_dir.parent / "large"
    path.write_bytes(large)
    guest.upload_file(str(path), "films", "trailers/two", Config=parts)
    assert anybody.get_object(Bucket="films", Key="trailers/two")["Body"].read() == large
    listed = guest.list_objects_v2(Bucket="films")["Contents"]
    assert [entry["Key"] for entry in listed] == ["masters/one", "trailers/one", "trailers/two"]


@pytest.mark.parametrize("program", installed("aws"))
def test_aws_cli_shares_by_policy_and_by_list(
    server: GatewayServer, tmp_path: Path, program: str
) -> None:
    aws = require_client(program)
    name = f"aws-{installed('aws').index(program)}"
    source = tmp_path / "k"
    source.write_bytes(CONTENT)

    def run(*arguments: str, anybody: bool = False) -> str:
        keys = {
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret or "",
        }
        flags = ["--endpoint-url", server.endpoint, "--region", "us-east-1"]
        done = subprocess.run(
            [aws, *arguments, *flags, *(["--no-sign-request"] if anybody else [])],
            env=clean_environment(**({} if anybody else keys), HOME=str(tmp_path)),
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout

    run("s3", "mb", f"s3://{name}")
    ownership = "Rules=[{ObjectOwnership=ObjectWriter}]"
    controls = ("--ownership-controls", ownership)
    run("s3api", "put-bucket-ownership-controls", "--bucket", name, *controls)
    run("s3", "cp", str(source), f"s3://{name}/listed", "--acl", "public-read")
    run("s3", "cp", str(source), f"s3://{name}/shut")
    run("s3", "cp", f"s3://{name}/listed", str(tmp_path / "got"), anybody=True)
    assert (tmp_path / "got").read_bytes() == CONTENT
    with pytest.raises(subprocess.CalledProcessError):
        run("s3", "cp", f"s3://{name}/shut", str(tmp_path / "no"), anybody=True)
    policy = json.dumps(POLICY).replace("films/trailers/*", f"{name}/*").replace("films", name)
    run("s3api", "put-bucket-policy", "--bucket", name, "--policy", policy)
    run("s3", "cp", f"s3://{name}/shut", str(tmp_path / "yes"), anybody=True)
    assert (tmp_path / "yes").read_bytes() == CONTENT
    grants = json.loads(run("s3api", "get-object-acl", "--bucket", name, "--key", "listed"))
    assert {grant["Permission"] for grant in grants["Grants"]} == {"READ", "FULL_CONTROL"}


def test_rclone_publishes_by_a_canned_acl(server: GatewayServer, tmp_path: Path) -> None:
    rclone = require_client("rclone")
    owner = boto3_client(server, server.access_key, server.secret)
    owner.create_bucket(Bucket="rclone-acl", ObjectOwnership="BucketOwnerPreferred")
    source = tmp_path / "source"
    source.mkdir()
    (source / "k").write_bytes(CONTENT)

    def copy(origin: str, target: str) -> None:
        subprocess.run(
            [rclone, "copy", origin, target, "--config", str(tmp_path / "none")],
            env=clean_environment(),
            check=True,
            timeout=120,
        )

    options = f"provider=Other,endpoint='{server.endpoint}'"
    keys = f"access_key_id={server.access_key},secret_access_key={server.secret}"
    copy(str(source), f":s3,{options},{keys},acl=public-read:rclone-acl")
    copy(f":s3,{options}:rclone-acl/k", str(tmp_path / "got"))
    assert (tmp_path / "got/k").read_bytes() == CONTENT
