"""aiobotocore with its default settings, on http and https."""

from __future__ import annotations

import asyncio
import random
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.support.server import GatewayServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

MIB = 1 << 20


def connect(server: GatewayServer) -> AbstractAsyncContextManager[Any]:
    session = pytest.importorskip("aiobotocore.session").get_session()
    client: AbstractAsyncContextManager[Any] = session.create_client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret,
        verify=str(server.tls_cert) if server.tls_cert else None,
    )
    return client


async def read(s3: Any, bucket: str, key: str, **options: Any) -> bytes:
    answer = await s3.get_object(Bucket=bucket, Key=key, **options)
    async with answer["Body"] as body:
        return bytes(await body.read())


async def test_many_objects_at_once_come_back(either_server: GatewayServer, bucket: str) -> None:
    contents = {f"k{n:02}": random.Random(n).randbytes(n * 40_000) for n in range(20)}
    async with connect(either_server) as s3:
        await s3.create_bucket(Bucket=bucket)
        await asyncio.gather(
            *(s3.put_object(Bucket=bucket, Key=k, Body=content) for k, content in contents.items())
        )
        found = await asyncio.gather(*(read(s3, bucket, key) for key in contents))
        assert dict(zip(contents, found, strict=True)) == contents
        assert await read(s3, bucket, "k03", Range="bytes=-7") == contents["k03"][-7:]
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": 7}
        )
        keys = [item["Key"] async for page in pages for item in page["Contents"]]
        assert keys == sorted(contents)


async def test_parts_in_parallel(either_server: GatewayServer, bucket: str) -> None:
    parts = [random.Random(n).randbytes(5 * MIB) for n in range(3)] + [b"last"]
    async with connect(either_server) as s3:
        await s3.create_bucket(Bucket=bucket)
        upload = (await s3.create_multipart_upload(Bucket=bucket, Key="k"))["UploadId"]
        names = {"Bucket": bucket, "Key": "k", "UploadId": upload}
        sent = await asyncio.gather(
            *(
                s3.upload_part(**names, PartNumber=number, Body=content)
                for number, content in enumerate(parts, 1)
            )
        )
        listed = [{"PartNumber": n, "ETag": part["ETag"]} for n, part in enumerate(sent, 1)]
        await s3.complete_multipart_upload(**names, MultipartUpload={"Parts": listed})
        assert await read(s3, bucket, "k") == b"".join(parts)
