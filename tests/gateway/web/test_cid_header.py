"""The CID of an object is in every answer about it, in a header of the operator's choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.web_gateway import web_gateway
from tests.support.wire import COMPLETE

OWN = {"x-amz-meta-cid": "of-the-client", "x-amz-meta-b": "2"}


@pytest.mark.parametrize(
    ("name", "kept"),
    [("x-amz-meta-cid", {"b": "2"}), ("x-dsn-cid", {"b": "2", "cid": "of-the-client"})],
)
def test_cid_is_where_it_is_wanted_and_metadata_what_was_sent(
    tmp_path: Path, name: str, kept: dict[str, str]
) -> None:
    with web_gateway(tmp_path / "data", cid_header=name) as gateway:
        call = gateway.wire.call
        put = call("PUT", "bucket/k", b"content", headers=OWN)
        cid = put.headers[name]
        upload_id = call("POST", "bucket/u", uploads="", headers=OWN).texts("UploadId")[0]
        part = call("PUT", "bucket/u", b"content", partNumber=1, uploadId=upload_id)
        document = COMPLETE % part.headers["etag"].encode()
        completed = call("POST", "bucket/u", document, uploadId=upload_id)
        copied = call("PUT", "bucket/c", headers={"x-amz-copy-source": "/bucket/k"})
        assert copied.headers[name] == cid
        for answer in (call("GET", "bucket/k"), call("HEAD", "bucket/k"), call("GET", "bucket/c")):
            prefix = "x-amz-meta-"
            metadata = {
                header[len(prefix) :]: value
                for header, value in answer.headers.items()
                if header.startswith(prefix) and header != name
            }
            assert answer.headers[name] == cid
            assert metadata == kept
        same = {"If-None-Match": put.headers["etag"]}
        assert call("GET", "bucket/k", headers=same).headers[name] == cid
        assert call("HEAD", "bucket/u").headers[name] == completed.headers[name] != cid
