"""Clients that name the bucket by the host: boto3 and the AWS SDK for JavaScript."""

from __future__ import annotations

import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clients import NODE_PROJECT, require_node_packages
from tests.support.server import GatewayServer, clean_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]

DOMAIN = "s3.localhost"
KEYS = ["k", "a//b", "../a", "./a", "/a", "a/", "a%2Fb", "a b+c", "ü", "a\nb"]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    """A gateway below whose domain the host names the bucket."""
    flags = ("--base-path", "/", "--set", f"domains={DOMAIN}")
    started = GatewayServer(tmp_path_factory.mktemp("hosts") / "data", flags).start()
    yield started
    started.close()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names below the domain are this machine, which not every resolver knows."""
    resolve = socket.getaddrinfo

    def lookup(host: Any, *rest: Any, **more: Any) -> Any:
        local = isinstance(host, str) and host.endswith(DOMAIN)
        return resolve("127.0.0.1" if local else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


def client(server: GatewayServer, signature: str) -> Any:
    server_by_name = GatewayServer(
        server.data_dir,
        access_key=server.access_key,
        secret=server.secret,
        endpoint=f"http://{DOMAIN}:{server.port}",
    )
    return server_by_name.s3(s3={"addressing_style": "virtual"}, signature_version=signature)


@pytest.mark.parametrize("signature", ["s3v4", "s3"])
@pytest.mark.usefixtures("here")
def test_boto3(hosts: GatewayServer, bucket: str, signature: str) -> None:
    s3 = client(hosts, signature)
    s3.create_bucket(Bucket=bucket)
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
        url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
        assert url.startswith(f"http://{bucket}.{DOMAIN}")
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert answer.read() == key.encode()
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert {entry["Key"] for entry in listed} == set(KEYS)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")
    names = {"Bucket": bucket, "Key": "parts", "UploadId": upload["UploadId"]}
    etag = s3.upload_part(**names, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(**names, MultipartUpload=parts)
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "parts"})
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"part"
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]
    # The same bucket by its path.
    by_path = hosts.s3()
    assert by_path.get_object(Bucket=bucket, Key="parts")["Body"].read() == b"part"


def test_javascript_sdk(hosts: GatewayServer, bucket: str) -> None:
    require_node_packages("@aws-sdk/client-s3")
    done = subprocess.run(
        ["node", "hosts.mjs"],
        cwd=NODE_PROJECT,
        env=clean_environment(
            DOMAIN=DOMAIN,
            PORT=str(hosts.port),
            ACCESS_KEY=hosts.access_key,
            SECRET=hosts.secret,
            BUCKET=bucket,
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-3000:]
