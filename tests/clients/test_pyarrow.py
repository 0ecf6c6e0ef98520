"""pyarrow's file system and Parquet files, as data tools read them, on http and https."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.server import GatewayServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

MIB = 1 << 20


@pytest.fixture
def files(either_server: GatewayServer) -> Any:
    fs = pytest.importorskip("pyarrow.fs")
    trust = {"tls_ca_file_path": str(either_server.tls_cert)} if either_server.tls_cert else {}
    return fs.S3FileSystem(
        access_key=either_server.access_key,
        secret_key=either_server.secret,
        endpoint_override=f"127.0.0.1:{either_server.port}",
        scheme="https" if either_server.tls_cert else "http",
        region="us-east-1",
        allow_bucket_creation=True,
        **trust,
    )


def test_file_comes_back(files: Any, bucket: str) -> None:
    content = random.Random(1).randbytes(11 * MIB)
    files.create_dir(bucket)
    with files.open_output_stream(f"{bucket}/dir/k") as out:
        out.write(content)
    with files.open_input_file(f"{bucket}/dir/k") as file:
        assert file.size() == len(content)
        assert file.read_at(7, 5 * MIB) == content[5 * MIB : 5 * MIB + 7]
        assert file.read() == content


def test_listing(files: Any, bucket: str) -> None:
    from pyarrow.fs import FileSelector, FileType

    files.create_dir(bucket)
    for name in ("a/1", "a/b/2", "top"):
        with files.open_output_stream(f"{bucket}/{name}") as out:
            out.write(b"x")
    found = files.get_file_info(FileSelector(bucket, recursive=True))
    names = {info.path: info.type for info in found}
    assert names[f"{bucket}/a/b/2"] == FileType.File
    assert names[f"{bucket}/a/b"] == FileType.Directory
    assert files.get_file_info(f"{bucket}/absent").type == FileType.NotFound


def test_parquet_is_read_by_its_footer(files: Any, bucket: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"n": list(range(100_000)), "text": [str(n) for n in range(100_000)]})
    files.create_dir(bucket)
    pq.write_table(table, f"{bucket}/data.parquet", filesystem=files, row_group_size=10_000)
    found = pq.read_table(f"{bucket}/data.parquet", filesystem=files, columns=["n"])
    assert found.column("n").equals(table.column("n"))
    assert pq.ParquetFile(f"{bucket}/data.parquet", filesystem=files).num_row_groups == 10
