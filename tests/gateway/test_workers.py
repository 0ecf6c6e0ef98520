"""Several workers are one gateway: what one stores, every other serves, and one may crash."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.server import GatewayServer

MIB = 1 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GatewayServer]:
    started = GatewayServer(tmp_path / "data", ("--workers", "3")).start()
    yield started
    started.close()


@pytest.fixture
def clients(server: GatewayServer) -> list[Any]:
    """Each has connections of its own, so they meet different workers."""
    return [server.s3() for _ in range(5)]


def stored_and_read_elsewhere(clients: list[Any], number: int) -> bool:
    content = random.Random(number).randbytes([10, 70_000, 2 * MIB][number % 3])
    writer, reader = clients[number % 5], clients[(number + 2) % 5]
    writer.put_object(Bucket="shared", Key=str(number), Body=content)
    got: bytes = reader.get_object(Bucket="shared", Key=str(number))["Body"].read()
    return got == content


def test_every_worker_reads_what_another_wrote(clients: list[Any]) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda n: stored_and_read_elsewhere(clients, n), range(60)))
    assert len(clients[0].list_objects_v2(Bucket="shared")["Contents"]) == 60


def test_removed_bucket_is_gone_for_every_worker(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("""delete_policy = '{"mode": "hide", "scratch": ["*"]}'""")
    options = ("--workers", "3", "--config", str(config))
    with closing(GatewayServer(tmp_path / "data", options).start()) as server:
        clients = [server.s3() for _ in range(6)]
        for round_ in range(6):
            first, *others = clients[round_:] + clients[:round_]
            first.create_bucket(Bucket="passing")
            for other in others:
                other.head_bucket(Bucket="passing")
                other.put_object(Bucket="passing", Key="k", Body=b"x")
                assert first.get_object(Bucket="passing", Key="k")["Body"].read() == b"x"
            others[0].delete_object(Bucket="passing", Key="k")
            others[1].delete_bucket(Bucket="passing")
            for client in clients:
                for call in (partial(client.get_object, Key="k"), client.list_objects_v2):
                    with pytest.raises(ClientError) as refused:
                        call(Bucket="passing")
                    assert refused.value.response["Error"]["Code"] == "NoSuchBucket"
                assert not client.list_buckets()["Buckets"]


def test_of_racing_creators_one_wins_whatever_worker_it_meets(clients: list[Any]) -> None:
    """The condition is checked under a lock over all workers, in the transaction that commits."""

    def create(key: str, index: int) -> bool:
        try:
            clients[index].put_object(
                Bucket="shared", Key=key, Body=str(index).encode(), IfNoneMatch="*"
            )
        except ClientError as refused:
            assert refused.response["Error"]["Code"] == "PreconditionFailed"
            return False
        return True

    with ThreadPoolExecutor(5) as pool:
        for n in range(20):
            won = list(pool.map(partial(create, f"race/{n}"), range(5)))
            assert sum(won) == 1
            got = clients[0].get_object(Bucket="shared", Key=f"race/{n}")["Body"].read()
            assert got == str(won.index(True)).encode()


def test_of_racing_completes_one_wins_whatever_worker_it_meets(clients: list[Any]) -> None:
    """And a PUT may race with them: who comes first supersedes nobody."""

    def begin(key: str, index: int) -> dict[str, Any]:
        names = {"Bucket": "shared", "Key": key}
        upload = clients[index].create_multipart_upload(**names)["UploadId"]
        body = str(index).encode()
        part = clients[index].upload_part(**names, UploadId=upload, PartNumber=1, Body=body)
        listed = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        return {**names, "UploadId": upload, "MultipartUpload": listed}

    def finish(index: int, upload: dict[str, Any]) -> bool:
        try:
            if index == 0:
                clients[0].put_object(
                    Bucket="shared", Key=upload["Key"], Body=b"0", IfNoneMatch="*"
                )
            else:
                clients[index].complete_multipart_upload(**upload, IfNoneMatch="*")
        except ClientError as refused:
            assert refused.response["Error"]["Code"] == "PreconditionFailed"
            return False
        return True

    with ThreadPoolExecutor(5) as pool:
        for n in range(8):
            key = f"completed/{n}"
            uploads = list(pool.map(partial(begin, key), range(5)))
            won = list(pool.map(finish, range(5), uploads))
            assert sum(won) == 1
            got = clients[1].get_object(Bucket="shared", Key=key)["Body"].read()
            assert got == str(won.index(True)).encode()
            versions = clients[2].list_object_versions(Bucket="shared", Prefix=key)["Versions"]
            assert len(versions) == 1


def test_of_racing_updates_each_sees_the_one_before(clients: list[Any]) -> None:
    """If-Match is a compare-and-swap over all workers: no count is lost."""
    clients[0].put_object(Bucket="shared", Key="counter", Body=b"0")

    def count(index: int) -> None:
        done = 0
        while done < 5:
            got = clients[index].get_object(Bucket="shared", Key="counter")
            body = str(int(got["Body"].read()) + 1).encode()
            try:
                clients[index].put_object(
                    Bucket="shared", Key="counter", Body=body, IfMatch=got["ETag"]
                )
                done += 1
            except ClientError as refused:
                assert refused.response["Error"]["Code"] == "PreconditionFailed"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    assert clients[0].get_object(Bucket="shared", Key="counter")["Body"].read() == b"20"


def test_parts_may_reach_different_workers(clients: list[Any]) -> None:
    parts = [random.Random(n).randbytes(5 * MIB) for n in range(5)]
    names = {"Bucket": "shared", "Key": "parts"}
    upload = clients[0].create_multipart_upload(**names)["UploadId"]

    def send(index: int) -> dict[str, object]:
        part = {"PartNumber": index + 1, "Body": parts[index]}
        answer = clients[index].upload_part(**names, UploadId=upload, **part)
        return {"PartNumber": index + 1, "ETag": answer["ETag"]}

    with ThreadPoolExecutor(3) as pool:
        listed = {"Parts": list(pool.map(send, range(5)))}
    clients[1].complete_multipart_upload(**names, UploadId=upload, MultipartUpload=listed)
    assert clients[2].get_object(**names)["Body"].read() == b"".join(parts)


def test_worker_that_is_killed_loses_nothing(server: GatewayServer, clients: list[Any]) -> None:
    assert all(stored_and_read_elsewhere(clients, number) for number in range(12))
    server.processes()[1].kill()
    time.sleep(1)
    assert len(server.processes()) == 4
    for number in range(12):
        clients[number % 5].head_object(Bucket="shared", Key=str(number))
    assert all(stored_and_read_elsewhere(clients, number) for number in range(12, 24))
    assert server.stop() == 0
