from __future__ import annotations

import multiprocessing
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from gateway.catalog.queries import Usage, find_usage
from gateway.data_dir import DataPaths
from gateway.keys import KeyStore
from gateway.maintenance import rebuild, usage
from gateway.quotas import CHECK_SECONDS, WARNING_HEADER, Quota, QuotaStore
from tests.support.web_gateway import WebGateway, web_gateway
from tests.support.wire import COMPLETE, Answer, Wire


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGateway]:
    with web_gateway(tmp_path_factory.mktemp("quotas") / "data") as started:
        yield started


def limit(gateway: WebGateway, quota: Quota) -> None:
    """Set a quota and wait until it is in force."""
    QuotaStore(gateway.data_dir).set(quota)
    time.sleep(CHECK_SECONDS + 0.05)


def outcome(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.code


EXCEEDED = (403, "QuotaExceeded")


def test_bytes_of_all_versions_count(gateway: WebGateway) -> None:
    limit(gateway, Quota("main", "bytes", bytes_max=1000))
    for _ in range(2):
        assert gateway.wire.call("PUT", "bytes/k", bytes(500)).status == 200
    assert outcome(gateway.wire.call("PUT", "bytes/k", b"x")) == EXCEEDED
    assert outcome(gateway.wire.call("PUT", "bytes/other", b"x")) == EXCEEDED
    assert gateway.wire.call("PUT", "bytes/empty", b"").status == 200
    assert gateway.wire.call("PUT", "elsewhere/k", bytes(5000)).status == 200
    limit(gateway, Quota("main", "bytes"))
    assert gateway.wire.call("PUT", "bytes/k", b"x").status == 200


def test_what_is_too_large_is_refused_before_it_is_sent(gateway: WebGateway) -> None:
    limit(gateway, Quota("main", "early", bytes_max=1000))
    head = gateway.head("PUT", "early/k", "Content-Length: 1001", "Expect: 100-continue")
    assert gateway.raw(head).startswith(b"HTTP/1.1 403 ")


def test_copies_and_uploads_count(gateway: WebGateway) -> None:
    wire = gateway.wire
    limit(gateway, Quota("main", "copies", bytes_max=1000))
    assert wire.call("PUT", "copies/k", bytes(400)).status == 200
    source = {"x-amz-copy-source": "copies/k"}
    assert wire.call("PUT", "copies/k2", headers=source).status == 200
    assert outcome(wire.call("PUT", "copies/k3", headers=source)) == EXCEEDED
    upload = wire.call("POST", "copies/u", uploads="").texts("UploadId")[0]
    part = wire.call("PUT", "copies/u", bytes(201), partNumber=1, uploadId=upload)
    assert outcome(part) == EXCEEDED
    copied = wire.call(
        "PUT",
        "copies/u",
        headers={**source, "x-amz-copy-source-range": "bytes=0-200"},
        partNumber=1,
        uploadId=upload,
    )
    assert outcome(copied) == EXCEEDED
    etag = wire.call("PUT", "copies/u", bytes(200), partNumber=1, uploadId=upload).headers["etag"]
    assert wire.call("PUT", "copies/small", b"x").status == 200
    document = COMPLETE % etag.encode()
    assert outcome(wire.call("POST", "copies/u", document, uploadId=upload)) == EXCEEDED
    limit(gateway, Quota("main", "copies", bytes_max=1001))
    assert wire.call("POST", "copies/u", document, uploadId=upload).status == 200


def test_racing_writers_do_not_pass_together(gateway: WebGateway) -> None:
    limit(gateway, Quota("main", "race", objects_max=3))
    wires = [Wire(gateway.port, gateway.access_key, timeout=20) for _ in range(10)]
    with ThreadPoolExecutor(len(wires)) as pool:
        answers = list(pool.map(lambda i: wires[i].call("PUT", f"race/{i}", b"x"), range(10)))
    for wire in wires:
        wire.close()
    assert sorted(answer.status for answer in answers) == [200] * 3 + [403] * 7


def test_an_account_has_a_quota_over_its_buckets(gateway: WebGateway) -> None:
    key = KeyStore(gateway.data_dir).create(key_only=True, account="tenant")
    limit(gateway, Quota("tenant", objects_max=2))
    wire = Wire(gateway.port, key.access_key, timeout=20)
    assert wire.call("PUT", "one/k", b"x").status == 200
    assert wire.call("PUT", "two/k", b"x").status == 200
    assert outcome(wire.call("PUT", "three/k", b"x")) == EXCEEDED
    wire.close()
    assert gateway.wire.call("PUT", "one/k", b"x").status == 200


def test_a_soft_quota_warns(gateway: WebGateway) -> None:
    limit(gateway, Quota("main", "soft", objects_warn=1))
    assert WARNING_HEADER not in gateway.wire.call("PUT", "soft/1", b"x").headers
    assert gateway.wire.call("PUT", "soft/2", b"x").headers[WARNING_HEADER] == "bucket"
    source = {"x-amz-copy-source": "soft/1"}
    assert gateway.wire.call("PUT", "soft/3", headers=source).headers[WARNING_HEADER] == "bucket"
    assert WARNING_HEADER not in gateway.wire.call("PUT", "hard/1", b"x").headers


def test_what_is_used_is_the_same_after_a_rebuild(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with web_gateway(data_dir) as gateway:
        for size in (10, 20, 30):
            assert gateway.wire.call("PUT", "bbb/k", bytes(size)).status == 200
        assert gateway.wire.call("PUT", "ccc/k", bytes(5)).status == 200
    wanted = [("main", None), ("main", "bbb"), ("main", "ccc"), ("main", "ddd"), ("other", None)]
    expected = [Usage(4, 65), Usage(3, 60), Usage(1, 5), Usage(0, 0), Usage(0, 0)]
    assert usage(data_dir, wanted) == expected
    # In a process of its own, as the lock of the data directory ends with it.
    process = multiprocessing.get_context("spawn").Process(target=rebuild, args=(data_dir,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert usage(data_dir, wanted) == expected
    with closing(sqlite3.connect(DataPaths(data_dir).catalog)) as connection:
        assert find_usage(connection, "main", "bbb") == Usage(3, 60)
