"""boto3 with its default settings, on http and https."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from gateway.file_cid import file_cid
from tests.support.server import GatewayServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

MIB = 1 << 20
PART = 5 * MIB
DENIED = "Auto Drive storage is immutable. Objects cannot be deleted from the Autonomys DSN."


@pytest.fixture(params=["http", "https"])
def s3(request: pytest.FixtureRequest) -> Any:
    """A client with defaults, on either scheme."""
    name = "server" if request.param == "http" else "secure_server"
    return request.getfixturevalue(name).s3()


@pytest.fixture
def plain(server: GatewayServer) -> Any:
    """A client on http, for what the scheme cannot change."""
    return server.s3()


def some(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{size} {seed}").randbytes(size)


def read(s3: Any, bucket: str, key: str, **arguments: Any) -> bytes:
    content: bytes = s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"].read()
    return content


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    """Status and code of the error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def put_parts(s3: Any, bucket: str, key: str, parts: list[bytes], **create: Any) -> dict[str, Any]:
    """A multipart upload by hand, in order; what Complete answers."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **create)["UploadId"]
    names = {"Bucket": bucket, "Key": key, "UploadId": upload}
    done = [
        {"PartNumber": n, "ETag": s3.upload_part(**names, PartNumber=n, Body=part)["ETag"]}
        for n, part in enumerate(parts, 1)
    ]
    answer: dict[str, Any] = s3.complete_multipart_upload(**names, MultipartUpload={"Parts": done})
    return answer


# Objects


@pytest.mark.parametrize("size", [0, 1, 65_066, 65_067, MIB, MIB + 1, 3 * MIB + 7])
def test_object_comes_back(s3: Any, bucket: str, size: int, tmp_path: Path) -> None:
    content = some(size)
    put = s3.put_object(Bucket=bucket, Key="folder/name.bin", Body=content)
    assert put["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="folder/name.bin")
    assert got["Body"].read() == content
    assert got["ContentLength"] == size
    assert got["ETag"] == put["ETag"]
    assert got["AcceptRanges"] == "bytes"
    head = s3.head_object(Bucket=bucket, Key="folder/name.bin")
    assert (head["ETag"], head["ContentLength"]) == (put["ETag"], size)
    assert head["LastModified"] == got["LastModified"]
    file = tmp_path / "name.bin"
    file.write_bytes(content)
    cid = file_cid(file, "name.bin")
    assert head["Metadata"]["cid"] == got["Metadata"]["cid"] == cid
    assert put["ResponseMetadata"]["HTTPHeaders"]["x-amz-meta-cid"] == cid


def test_stream_of_unknown_kind_is_stored(s3: Any, bucket: str) -> None:
    content = some(2 * MIB + 1)
    s3.upload_fileobj(io.BytesIO(content), bucket, "stream")
    assert read(s3, bucket, "stream") == content


def test_last_write_wins(plain: Any, bucket: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"one")
    plain.put_object(Bucket=bucket, Key="k", Body=b"two")
    assert read(plain, bucket, "k") == b"two"
    assert len(plain.list_objects_v2(Bucket=bucket)["Contents"]) == 1


def test_content_encoding_is_kept_and_not_undone(s3: Any, bucket: str) -> None:
    packed = zlib.compress(b"x" * 1000, wbits=31)
    s3.put_object(Bucket=bucket, Key="k", Body=packed, ContentEncoding="gzip")
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["ContentEncoding"] == "gzip"
    assert got["Body"]._raw_stream.read(decode_content=False) == packed


def test_aws_chunked_is_no_content_encoding(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * 100_000)
    assert "ContentEncoding" not in s3.head_object(Bucket=bucket, Key="k")


def test_metadata_comes_back(s3: Any, bucket: str) -> None:
    system = {
        "ContentType": "text/x-odd; charset=utf-8",
        "CacheControl": "max-age=5",
        "ContentDisposition": 'attachment; filename="a b.txt"',
        "ContentLanguage": "de",
        "Metadata": {"who": "me", "empty": "", "mixed-case": "Value, with  spaces"},
    }
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **system)
    for answer in (s3.head_object(Bucket=bucket, Key="k"), s3.get_object(Bucket=bucket, Key="k")):
        for name, value in system.items():
            if name != "Metadata":
                assert answer[name] == value
        metadata = {k: v for k, v in answer["Metadata"].items() if k != "cid"}
        assert metadata == {"who": "me", "empty": "", "mixed-case": "Value, with  spaces"}


def test_default_content_type(plain: Any, bucket: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert plain.head_object(Bucket=bucket, Key="k")["ContentType"] == "binary/octet-stream"


def test_cid_cannot_be_forged(plain: Any, bucket: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"cid": "forged"})
    assert plain.head_object(Bucket=bucket, Key="k")["Metadata"]["cid"].startswith("bafkr6i")


def test_too_much_metadata_is_refused(plain: Any, bucket: str) -> None:
    large = {"m": "x" * 2048}
    assert refused(plain.put_object, Bucket=bucket, Key="k", Body=b"x", Metadata=large) == (
        400,
        "MetadataTooLarge",
    )


ODD_KEYS = [
    " ",
    "a b",
    "a+b",
    "a%20b",
    "a%2Fb",
    "a//b",
    "/leading",
    "trailing/",
    "./dot",
    "../dots",
    "a/../b",
    "?query=1&x",
    "#fragment",
    "quote'\"",
    "<xml>&amp;",
    "back\\slash",
    "colon:semi;comma,",
    "new\nline",
    "tab\tcr\r",
    "\x01control",
    "ünïcode/日本語/🙂",
    "e\u0301",
    "é",
    "~!@$^*()[]{}|`=",
    "x" * 1024,
]


def test_odd_keys_stay_as_they_are(s3: Any, bucket: str) -> None:
    for key in ODD_KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in ODD_KEYS:
        assert read(s3, bucket, key) == key.encode(), repr(key)
    listed = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(ODD_KEYS, key=lambda key: key.encode())


def test_too_long_a_key_is_refused(plain: Any, bucket: str) -> None:
    assert refused(plain.put_object, Bucket=bucket, Key="x" * 1025, Body=b"") == (
        400,
        "KeyTooLongError",
    )


# Reading parts of it


@pytest.mark.parametrize("size", [1, 1000, 65_066, 3 * MIB + 5])
def test_every_form_of_range(plain: Any, bucket: str, size: int) -> None:
    content = some(size)
    plain.put_object(Bucket=bucket, Key="k", Body=content)
    middle = size // 2
    ranges = {
        "bytes=0-0": content[:1],
        "bytes=0-": content,
        f"bytes={middle}-": content[middle:],
        f"bytes={middle}-{size + 100}": content[middle:],
        f"bytes=0-{middle}": content[: middle + 1],
        "bytes=-1": content[-1:],
        f"bytes=-{size + 10}": content,
        "bytes=0000-0000": content[:1],
    }
    for text, expected in ranges.items():
        got = plain.get_object(Bucket=bucket, Key="k", Range=text)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206, text
        assert got["Body"].read() == expected, text
        assert got["ContentLength"] == len(expected)
        first = content.index(expected) if size == 1 else int(got["ContentRange"][6:].split("-")[0])
        assert got["ContentRange"] == f"bytes {first}-{first + len(expected) - 1}/{size}"
        assert got["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'


def test_random_ranges(plain: Any, bucket: str) -> None:
    content = some(2 * MIB + 77)
    plain.put_object(Bucket=bucket, Key="k", Body=content)
    chance = random.Random(1)
    for _ in range(100):
        first = chance.randrange(len(content))
        last = min(first + chance.choice([0, 1, 100, 65_066, 200_000]), len(content) - 1)
        assert read(plain, bucket, "k", Range=f"bytes={first}-{last}") == content[first : last + 1]


def test_range_outside_is_416(plain: Any, bucket: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"12345")
    plain.put_object(Bucket=bucket, Key="empty", Body=b"")
    for key, text in [("k", "bytes=5-"), ("k", "bytes=-0"), ("empty", "bytes=0-0")]:
        assert refused(plain.get_object, Bucket=bucket, Key=key, Range=text) == (
            416,
            "InvalidRange",
        )


@pytest.mark.parametrize("text", ["bytes=3-1", "bytes=x-y", "lines=0-1", "bytes=", "bytes=0-1,3-4"])
def test_range_without_sense_gives_everything(plain: Any, bucket: str, text: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"12345")
    got = plain.get_object(Bucket=bucket, Key="k", Range=text)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert got["Body"].read() == b"12345"


def test_conditions_on_reading(plain: Any, bucket: str) -> None:
    etag = plain.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    names = {"Bucket": bucket, "Key": "k"}
    moment = plain.head_object(**names)["LastModified"]
    before, after = moment - timedelta(hours=1), moment + timedelta(seconds=1)
    assert read(plain, bucket, "k", IfMatch=etag) == b"x"
    assert read(plain, bucket, "k", IfNoneMatch='"other"') == b"x"
    assert read(plain, bucket, "k", IfModifiedSince=before) == b"x"
    assert read(plain, bucket, "k", IfUnmodifiedSince=after) == b"x"
    assert refused(plain.get_object, **names, IfMatch='"other"')[0] == 412
    assert refused(plain.get_object, **names, IfNoneMatch=etag)[0] == 304
    assert refused(plain.head_object, **names, IfNoneMatch=etag)[0] == 304
    assert refused(plain.get_object, **names, IfModifiedSince=moment)[0] == 304
    assert refused(plain.get_object, **names, IfUnmodifiedSince=before)[0] == 412


def test_response_headers_may_be_chosen(plain: Any, bucket: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="text/plain")
    got = plain.get_object(
        Bucket=bucket,
        Key="k",
        ResponseContentType="image/png",
        ResponseContentDisposition="attachment",
        ResponseCacheControl="no-store",
    )
    assert (got["ContentType"], got["ContentDisposition"], got["CacheControl"]) == (
        "image/png",
        "attachment",
        "no-store",
    )


# Conditions on writing


def test_create_only_if_absent(plain: Any, bucket: str) -> None:
    names = {"Bucket": bucket, "Key": "k"}
    etag = plain.put_object(**names, Body=b"one", IfNoneMatch="*")["ETag"]
    failed = (412, "PreconditionFailed")
    assert refused(plain.put_object, **names, Body=b"two", IfNoneMatch="*") == failed
    assert refused(plain.put_object, **names, Body=b"two", IfMatch='"other"') == failed
    plain.put_object(**names, Body=b"three", IfMatch=etag)
    assert read(plain, bucket, "k") == b"three"


def test_one_of_many_creators_wins(plain: Any, bucket: str) -> None:
    def create(number: int) -> int:
        try:
            plain.put_object(Bucket=bucket, Key="k", Body=b"%d" % number, IfNoneMatch="*")
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412)
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(16))) == 1


# Checksums

ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 10, 200_000])
def test_checksum_is_verified_and_returned(s3: Any, bucket: str, algorithm: str, size: int) -> None:
    field = f"Checksum{algorithm}"
    content = some(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=content, ChecksumAlgorithm=algorithm)
    assert put[field]
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[field] == put[field]
    assert head["ChecksumType"] == "FULL_OBJECT"
    assert field not in s3.head_object(Bucket=bucket, Key="k")
    # The client itself compares what it reads.
    assert read(s3, bucket, "k", ChecksumMode="ENABLED") == content


WRONG = {
    "CRC32": b"\0\0\0\1",
    "CRC32C": b"\0\0\0\1",
    "CRC64NVME": b"\0" * 7 + b"\1",
    "SHA1": b"\1" * 20,
    "SHA256": b"\1" * 32,
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_wrong_checksum_stores_nothing(plain: Any, bucket: str, algorithm: str) -> None:
    wrong = {f"Checksum{algorithm}": base64.b64encode(WRONG[algorithm]).decode()}
    assert refused(plain.put_object, Bucket=bucket, Key="k", Body=b"content", **wrong) == (
        400,
        "BadDigest",
    )
    assert refused(plain.head_object, Bucket=bucket, Key="k")[0] == 404


def test_wrong_md5_stores_nothing(plain: Any, bucket: str) -> None:
    md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    names = {"Bucket": bucket, "Key": "k", "Body": b"content"}
    assert refused(plain.put_object, **names, ContentMD5=md5) == (400, "BadDigest")
    assert refused(plain.put_object, **names, ContentMD5="x") == (400, "InvalidDigest")
    assert refused(plain.head_object, Bucket=bucket, Key="k")[0] == 404


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_checksums_of_parts(s3: Any, bucket: str, algorithm: str) -> None:
    field = f"Checksum{algorithm}"
    create = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm)
    names = {"Bucket": bucket, "Key": "k", "UploadId": create["UploadId"]}
    parts, contents = [], [some(PART), some(1000)]
    for number, content in enumerate(contents, 1):
        part = s3.upload_part(**names, PartNumber=number, Body=content, ChecksumAlgorithm=algorithm)
        parts.append({"PartNumber": number, "ETag": part["ETag"], field: part[field]})
    done = s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    if algorithm.startswith("SHA"):
        assert done[field].endswith("-2")
    assert read(s3, bucket, "k", ChecksumMode="ENABLED") == b"".join(contents)


def test_clients_before_default_checksums(server: GatewayServer, bucket: str) -> None:
    old = server.s3(
        request_checksum_calculation="when_required", response_checksum_validation="when_required"
    )
    old.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert read(old, bucket, "k") == b"x"


@pytest.mark.parametrize("payload", [True, False])
def test_signed_and_unsigned_payloads(
    secure_server: GatewayServer, bucket: str, payload: bool
) -> None:
    s3 = secure_server.s3(s3={"payload_signing_enabled": payload})
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * 100_000)
    assert read(s3, bucket, "k") == b"x" * 100_000


# Multipart


def test_managed_transfer_in_threads(s3: Any, bucket: str, tmp_path: Path) -> None:
    content = some(23 * MIB + 11)
    (tmp_path / "up").write_bytes(content)
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=8)
    s3.upload_file(str(tmp_path / "up"), bucket, "k/up", Config=config)
    s3.download_file(bucket, "k/up", str(tmp_path / "down"), Config=config)
    assert (tmp_path / "down").read_bytes() == content
    head = s3.head_object(Bucket=bucket, Key="k/up")
    digests = b"".join(
        hashlib.md5(content[start : start + PART]).digest()
        for start in range(0, len(content), PART)
    )
    assert head["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-5"'
    assert head["Metadata"]["cid"] == file_cid(tmp_path / "up", "up")


def test_parts_in_any_order_and_again(plain: Any, bucket: str) -> None:
    contents = {number: some(PART, number) for number in (1, 2, 3)} | {4: some(77)}
    upload = plain.create_multipart_upload(
        Bucket=bucket, Key="k", ContentType="text/x-parts", Metadata={"who": "me"}
    )["UploadId"]
    names = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    plain.upload_part(**names, PartNumber=2, Body=b"to be replaced")
    with ThreadPoolExecutor(4) as pool:
        etags = dict(
            pool.map(
                lambda n: (n, plain.upload_part(**names, PartNumber=n, Body=contents[n])["ETag"]),
                [4, 2, 3, 1],
            )
        )
    listed = plain.list_parts(**names)
    assert [(p["PartNumber"], p["ETag"], p["Size"]) for p in listed["Parts"]] == [
        (n, etags[n], len(contents[n])) for n in (1, 2, 3, 4)
    ]
    assert refused(plain.head_object, Bucket=bucket, Key="k")[0] == 404
    parts = [{"PartNumber": n, "ETag": etags[n]} for n in (1, 2, 3, 4)]
    done = plain.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    got = plain.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(contents[n] for n in (1, 2, 3, 4))
    assert got["ContentType"] == "text/x-parts"
    assert got["Metadata"]["who"] == "me"
    assert got["ETag"] == done["ETag"]


def test_multipart_and_put_have_one_cid(plain: Any, bucket: str) -> None:
    parts = [some(PART), some(PART + 12_345, 1), some(PART, 2), some(1)]
    plain.put_object(Bucket=bucket, Key="a/same", Body=b"".join(parts))
    put_parts(plain, bucket, "b/same", parts)
    cids = {
        plain.head_object(Bucket=bucket, Key=key)["Metadata"]["cid"] for key in ("a/same", "b/same")
    }
    assert len(cids) == 1
    assert read(plain, bucket, "b/same") == b"".join(parts)


def test_part_that_is_left_out_is_not_in_the_object(plain: Any, bucket: str) -> None:
    upload = plain.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    names = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    etags = [
        plain.upload_part(**names, PartNumber=n, Body=some(PART, n))["ETag"] for n in (1, 2, 3)
    ]
    parts = [{"PartNumber": n, "ETag": etags[n - 1]} for n in (1, 3)]
    plain.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    assert read(plain, bucket, "k") == some(PART, 1) + some(PART, 3)


def test_single_part_and_empty_part(plain: Any, bucket: str) -> None:
    put_parts(plain, bucket, "one", [b"tiny"])
    put_parts(plain, bucket, "none", [b""])
    assert read(plain, bucket, "one") == b"tiny"
    assert read(plain, bucket, "none") == b""


def test_bad_part_lists_are_refused(plain: Any, bucket: str) -> None:
    upload = plain.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    names = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    small = plain.upload_part(**names, PartNumber=1, Body=b"small")["ETag"]
    last = plain.upload_part(**names, PartNumber=2, Body=b"last")["ETag"]

    def complete(*parts: tuple[int, str]) -> tuple[int, str]:
        listed = {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in parts]}
        return refused(plain.complete_multipart_upload, **names, MultipartUpload=listed)

    assert complete((2, last), (1, small)) == (400, "InvalidPartOrder")
    assert complete((1, small), (1, small)) == (400, "InvalidPartOrder")
    assert complete((1, small), (3, last)) == (400, "InvalidPart")
    assert complete((1, last)) == (400, "InvalidPart")
    assert complete((1, small), (2, last)) == (400, "EntityTooSmall")
    assert complete() == (400, "MalformedXML")
    # It is still open.
    parts = {"Parts": [{"PartNumber": 2, "ETag": last}]}
    plain.complete_multipart_upload(**names, MultipartUpload=parts)
    assert read(plain, bucket, "k") == b"last"


def test_complete_again_gives_the_same_answer(plain: Any, bucket: str) -> None:
    upload = plain.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    names = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    etag = plain.upload_part(**names, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    answers = [
        plain.complete_multipart_upload(**names, MultipartUpload=parts)["ETag"] for _ in range(2)
    ]
    assert answers[0] == answers[1]


def test_unknown_upload_is_404(plain: Any, bucket: str) -> None:
    names = {"Bucket": bucket, "Key": "k", "UploadId": "no-such-upload"}
    gone = (404, "NoSuchUpload")
    parts = {"Parts": [{"PartNumber": 1, "ETag": '"0"'}]}
    plain.put_object(Bucket=bucket, Key="other", Body=b"")
    assert refused(plain.upload_part, **names, PartNumber=1, Body=b"x") == gone
    assert refused(plain.list_parts, **names) == gone
    assert refused(plain.abort_multipart_upload, **names) == gone
    assert refused(plain.complete_multipart_upload, **names, MultipartUpload=parts) == gone


@pytest.mark.parametrize("number", [0, 10_001, -1])
def test_part_numbers_have_bounds(plain: Any, bucket: str, number: int) -> None:
    upload = plain.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    names = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    assert refused(plain.upload_part, **names, PartNumber=number, Body=b"x") == (
        400,
        "InvalidArgument",
    )


def test_abort_ends_an_upload(plain: Any, bucket: str) -> None:
    upload = plain.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    names = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    plain.upload_part(**names, PartNumber=1, Body=b"x")
    assert [u["UploadId"] for u in plain.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [
        upload
    ]
    answer = plain.abort_multipart_upload(**names)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert "Uploads" not in plain.list_multipart_uploads(Bucket=bucket)
    assert refused(plain.upload_part, **names, PartNumber=1, Body=b"x") == (404, "NoSuchUpload")


def test_uploads_and_parts_are_listed_by_page(plain: Any, bucket: str) -> None:
    keys = ["a/1", "a/2", "b", "b"]
    uploads = [plain.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"] for key in keys]
    pages = plain.get_paginator("list_multipart_uploads").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 1}
    )
    found = [(u["Key"], u["UploadId"]) for page in pages for u in page.get("Uploads", [])]
    assert [key for key, _ in found] == keys
    assert sorted(upload for _, upload in found) == sorted(uploads)
    folded = plain.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [p["Prefix"] for p in folded["CommonPrefixes"]] == ["a/"]
    names = {"Bucket": bucket, "Key": "b", "UploadId": uploads[-1]}
    for number in (1, 5, 9):
        plain.upload_part(**names, PartNumber=number, Body=b"%d" % number)
    pages = plain.get_paginator("list_parts").paginate(**names, PaginationConfig={"PageSize": 2})
    assert [p["PartNumber"] for page in pages for p in page["Parts"]] == [1, 5, 9]


def test_parts_can_be_read_by_number(plain: Any, bucket: str) -> None:
    parts = [some(PART), some(9, 1)]
    put_parts(plain, bucket, "k", parts)
    for number, content in enumerate(parts, 1):
        got = plain.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert got["Body"].read() == content
        assert got["PartsCount"] == 2


# Buckets and listings


def test_bucket_appears_with_its_first_object(plain: Any, bucket: str) -> None:
    assert refused(plain.head_bucket, Bucket=bucket)[0] == 404
    assert refused(plain.list_objects_v2, Bucket=bucket) == (404, "NoSuchBucket")
    plain.put_object(Bucket=bucket, Key="k", Body=b"x")
    plain.head_bucket(Bucket=bucket)
    assert bucket in [item["Name"] for item in plain.list_buckets()["Buckets"]]


def test_created_bucket_is_there_and_empty(plain: Any, bucket: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    for _ in range(2):
        plain.create_bucket(Bucket=bucket)
    plain.head_bucket(Bucket=bucket)
    assert plain.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    made = {item["Name"]: item["CreationDate"] for item in plain.list_buckets()["Buckets"]}[bucket]
    assert before <= made <= datetime.now(UTC) + timedelta(seconds=2)
    assert plain.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert plain.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_bucket_in_another_region_is_created(plain: Any, bucket: str) -> None:
    where = {"LocationConstraint": "eu-west-1"}
    plain.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    plain.head_bucket(Bucket=bucket)


@pytest.fixture(scope="module")
def listed(server: GatewayServer) -> tuple[str, list[str]]:
    """A bucket with some keys in byte order."""
    s3, name = server.s3(), "listings-of-boto3"
    keys = [f"folder{n % 5}/{n:03}" for n in range(60)] + ["top", "zz/a/b", "zz/a/c", "Upper", "é"]
    for key in keys:
        s3.put_object(Bucket=name, Key=key, Body=b"12345")
    return name, sorted(keys, key=lambda key: key.encode())


@pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
@pytest.mark.parametrize("page", [1, 7, 1000])
def test_pages_hold_every_key_once(
    plain: Any, listed: tuple[str, list[str]], operation: str, page: int
) -> None:
    name, keys = listed
    pages = list(
        plain.get_paginator(operation).paginate(Bucket=name, PaginationConfig={"PageSize": page})
    )
    assert [item["Key"] for p in pages for item in p.get("Contents", [])] == keys
    assert all(len(p.get("Contents", [])) <= page for p in pages)
    first = pages[0]["Contents"][0]
    assert (first["Size"], first["StorageClass"]) == (5, "STANDARD")
    assert first["ETag"] == f'"{hashlib.md5(b"12345").hexdigest()}"'


@pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
@pytest.mark.parametrize("page", [1, 2, 1000])
def test_folders_fold_over_pages(
    plain: Any, listed: tuple[str, list[str]], operation: str, page: int
) -> None:
    name, _ = listed
    pages = list(
        plain.get_paginator(operation).paginate(
            Bucket=name, Delimiter="/", PaginationConfig={"PageSize": page}
        )
    )
    folders = [item["Prefix"] for p in pages for item in p.get("CommonPrefixes", [])]
    assert folders == [f"folder{n}/" for n in range(5)] + ["zz/"]
    assert [item["Key"] for p in pages for item in p.get("Contents", [])] == ["Upper", "top", "é"]


def test_prefix_start_after_and_limits(plain: Any, listed: tuple[str, list[str]]) -> None:
    name, keys = listed

    def found(**arguments: Any) -> list[str]:
        answer = plain.list_objects_v2(Bucket=name, **arguments)
        assert answer["KeyCount"] == len(answer.get("Contents", []))
        return [item["Key"] for item in answer.get("Contents", [])]

    assert found(Prefix="folder1/") == [key for key in keys if key.startswith("folder1/")]
    assert found(Prefix="no-such") == []
    assert found(StartAfter="top") == [key for key in keys if key.encode() > b"top"]
    assert found(MaxKeys=0) == []
    assert found(MaxKeys=3) == keys[:3]
    assert plain.list_objects_v2(Bucket=name, MaxKeys=5000)["MaxKeys"] == 1000
    assert refused(plain.list_objects_v2, Bucket=name, ContinuationToken="garbage!")[0] == 400
    owners = [
        item.get("Owner")
        for item in plain.list_objects_v2(Bucket=name, FetchOwner=True)["Contents"]
    ]
    assert all(owners)


@pytest.mark.parametrize("delimiter", ["o", "lder", "%", " "])
def test_any_delimiter_folds(plain: Any, listed: tuple[str, list[str]], delimiter: str) -> None:
    name, keys = listed
    answer = plain.list_objects_v2(Bucket=name, Delimiter=delimiter)
    folded = {key[: key.index(delimiter) + len(delimiter)] for key in keys if delimiter in key}
    assert [item["Prefix"] for item in answer.get("CommonPrefixes", [])] == sorted(folded)


def test_resources_work(server: GatewayServer, listed: tuple[str, list[str]]) -> None:
    import boto3

    name, keys = listed
    resource = boto3.resource(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret,
        region_name="us-east-1",
    )
    assert [item.key for item in resource.Bucket(name).objects.page_size(10)] == keys


# Copies


def test_copy_object_takes_over_or_replaces(s3: Any, bucket: str) -> None:
    body = some(200_000)
    kept = {"Metadata": {"a": "1"}, "ContentType": "text/x", "CacheControl": "no-store"}
    s3.put_object(Bucket=bucket, Key="a b+c/ü", Body=body, **kept)
    source = {"Bucket": bucket, "Key": "a b+c/ü"}
    done = s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    assert done["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    found = s3.head_object(Bucket=bucket, Key="copy")
    assert (found["ContentType"], found["CacheControl"]) == ("text/x", "no-store")
    assert found["Metadata"]["a"] == "1"
    assert read(s3, bucket, "copy") == body
    replaced = {"MetadataDirective": "REPLACE", "Metadata": {"b": "2"}}
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/copy", **replaced)
    found = s3.head_object(Bucket=bucket, Key="copy")
    assert found["Metadata"].keys() - {"cid"} == {"b"}
    assert read(s3, bucket, "copy") == body


def test_tags_go_with_a_copy_or_not(plain: Any, bucket: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1")
    source = {"Bucket": bucket, "Key": "k"}
    plain.copy_object(Bucket=bucket, Key="with", CopySource=source)
    replaced = {"TaggingDirective": "REPLACE", "Tagging": "b=2"}
    plain.copy_object(Bucket=bucket, Key="without", CopySource=source, **replaced)
    tags = [
        plain.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] for key in ("with", "without")
    ]
    assert tags == [[{"Key": "a", "Value": "1"}], [{"Key": "b", "Value": "2"}]]


def test_a_managed_copy_goes_by_parts(plain: Any, bucket: str) -> None:
    body = some(12 * MIB + 7)
    plain.put_object(Bucket=bucket, Key="whole", Body=body)
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    plain.copy({"Bucket": bucket, "Key": "whole"}, bucket, "by-parts", Config=config)
    assert read(plain, bucket, "by-parts") == body
    found = plain.head_object(Bucket=bucket, Key="by-parts", PartNumber=2)
    assert (found["PartsCount"], found["ContentLength"]) == (3, PART)


def test_conditions_of_a_copy(plain: Any, bucket: str) -> None:
    etag = plain.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    plain.put_object(Bucket=bucket, Key="there", Body=b"y")
    names = {"Bucket": bucket, "CopySource": f"{bucket}/k"}
    failed = (412, "PreconditionFailed")
    assert refused(plain.copy_object, **names, Key="c", CopySourceIfMatch="other") == failed
    assert refused(plain.copy_object, **names, Key="c", CopySourceIfNoneMatch=etag) == failed
    assert refused(plain.copy_object, **names, Key="there", IfNoneMatch="*") == failed
    plain.copy_object(**names, Key="c", CopySourceIfMatch=etag, IfNoneMatch="*")
    assert read(plain, bucket, "c") == b"x"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_attributes_of_a_multipart_object(plain: Any, bucket: str, algorithm: str) -> None:
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    extra = {"ChecksumAlgorithm": algorithm}
    body = some(11 * MIB)
    plain.upload_fileobj(io.BytesIO(body), bucket, "k", ExtraArgs=extra, Config=config)
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    found = plain.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=wanted)
    assert found["ObjectSize"] == len(body)
    assert f"Checksum{algorithm}" in found["Checksum"]
    parts = found["ObjectParts"]["Parts"]
    assert [part["Size"] for part in parts] == [PART, PART, MIB]
    for number, part in enumerate(parts, start=1):
        one = plain.get_object(Bucket=bucket, Key="k", PartNumber=number, ChecksumMode="ENABLED")
        assert one[f"Checksum{algorithm}"] == part[f"Checksum{algorithm}"]
        # boto3 checks the body against it.
        assert one["Body"].read() == body[(number - 1) * PART : number * PART]
    listed = plain.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert listed["ChecksumAlgorithm"] == [algorithm]


# What does not work, says so


def test_errors_are_those_of_s3(plain: Any, bucket: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"x")
    names = {"Bucket": bucket, "Key": "absent"}
    with pytest.raises(plain.exceptions.NoSuchKey):
        plain.get_object(**names)
    assert refused(plain.head_object, **names) == (404, "404")
    assert refused(plain.get_object, Bucket="no-such-bucket", Key="k") == (404, "NoSuchBucket")


def test_deletes_are_denied_and_lose_nothing(plain: Any, bucket: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"x")
    with pytest.raises(ClientError) as caught:
        plain.delete_object(Bucket=bucket, Key="k")
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"]) == ("AccessDenied", DENIED)
    assert refused(plain.delete_object, Bucket=bucket, Key="absent") == (403, "AccessDenied")
    assert refused(plain.delete_bucket, Bucket=bucket) == (403, "AccessDenied")
    keys = {"Objects": [{"Key": "k"}]}
    assert refused(plain.delete_objects, Bucket=bucket, Delete=keys) == (403, "AccessDenied")
    assert read(plain, bucket, "k") == b"x"


def test_what_is_not_supported_changes_nothing(plain: Any, bucket: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"x")
    names = {"Bucket": bucket, "Key": "k"}
    missing = (501, "NotImplemented")
    assert refused(plain.restore_object, **names) == missing
    assert refused(plain.put_bucket_policy, Bucket=bucket, Policy="{}") == missing
    assert refused(plain.put_object, **names, Body=b"y", ServerSideEncryption="AES256") == missing
    closed = (400, "AccessControlListNotSupported")
    assert refused(plain.put_object_acl, **names, ACL="public-read") == closed
    assert refused(plain.put_object, **names, Body=b"y", ACL="public-read") == closed
    assert read(plain, bucket, "k") == b"x"
    assert len(plain.list_objects_v2(Bucket=bucket)["Contents"]) == 1


def test_tags_come_back(plain: Any, bucket: str) -> None:
    names = {"Bucket": bucket, "Key": "k"}
    plain.put_object(**names, Body=b"x", Tagging="a=b&c=d%20e")
    tags = [{"Key": "a", "Value": "b"}, {"Key": "c", "Value": "d e"}]
    assert plain.get_object_tagging(**names)["TagSet"] == tags
    plain.put_object_tagging(**names, Tagging={"TagSet": tags[:1]})
    assert plain.get_object_tagging(**names)["TagSet"] == tags[:1]
    assert plain.get_object(**names)["TagCount"] == 1


# Who may


def test_wrong_secret_and_unknown_key(server: GatewayServer, bucket: str) -> None:
    real = (server.access_key, server.secret)
    try:
        server.secret = "wrong"
        assert refused(server.s3().list_buckets) == (403, "SignatureDoesNotMatch")
        server.access_key = "nobody"
        assert refused(server.s3().list_buckets) == (403, "InvalidAccessKeyId")
    finally:
        server.access_key, server.secret = real


def test_no_credentials_is_denied(server: GatewayServer) -> None:
    from botocore import UNSIGNED

    assert refused(server.s3(signature_version=UNSIGNED).list_buckets) == (403, "AccessDenied")


@pytest.fixture
def other_keys(server: GatewayServer) -> Iterator[Any]:
    """Clients with other keys of the same gateway: call it with what `KeyStore.create` takes."""
    from gateway.keys import KeyStore

    real = (server.access_key, server.secret)

    def client(**create: Any) -> Any:
        key = KeyStore(server.data_dir).create(**create)
        server.access_key, server.secret = key.access_key, key.secret or "anything at all"
        return server.s3()

    yield client
    server.access_key, server.secret = real


def test_key_without_a_secret_takes_any(plain: Any, other_keys: Any, bucket: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"x" * 100_000)
    bearer = other_keys(key_only=True)
    assert read(bearer, bucket, "k") == b"x" * 100_000
    bearer.put_object(Bucket=bucket, Key="k2", Body=b"y")
    assert read(plain, bucket, "k2") == b"y"


def test_accounts_do_not_see_each_other(plain: Any, other_keys: Any, bucket: str) -> None:
    plain.put_object(Bucket=bucket, Key="k", Body=b"x")
    stranger = other_keys(account="other")
    assert refused(stranger.get_object, Bucket=bucket, Key="k")[0] in (403, 404)
    assert bucket not in [item["Name"] for item in stranger.list_buckets()["Buckets"]]
    stranger.put_object(Bucket=bucket, Key="k", Body=b"mine")
    assert read(stranger, bucket, "k") == b"mine"
    assert read(plain, bucket, "k") == b"x"


# Unless told otherwise, boto3 presigns with version 2.
@pytest.mark.parametrize("signature_version", [None, "s3", "s3v4"])
def test_presigned_urls(
    server: GatewayServer, plain: Any, bucket: str, signature_version: str | None
) -> None:
    plain.put_object(Bucket=bucket, Key="a b", Body=b"x")
    s3 = server.s3(signature_version=signature_version)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b"})
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"x"
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "new"})
    sent(url, "PUT", b"new")
    assert read(plain, bucket, "new") == b"new"


def sent(url: str, method: str = "GET", body: bytes | None = None) -> bytes:
    """The answer to a request as a browser or curl sends it."""
    request = urllib.request.Request(url, data=body, method=method)
    # urllib would add a type of its own, which a URL of version 2 does not sign.
    request.add_unredirected_header("Content-type", "")
    with urllib.request.urlopen(request) as answer:
        return answer.read()


@pytest.mark.parametrize("signature_version", ["s3", "s3v4"])
def test_every_kind_of_operation_can_be_presigned(
    server: GatewayServer, plain: Any, bucket: str, signature_version: str
) -> None:
    s3 = server.s3(signature_version=signature_version)
    where = {"Bucket": bucket, "Key": "a b/ü"}

    def url(operation: str, **parameters: object) -> str:
        return s3.generate_presigned_url(operation, Params={**where, **parameters})

    upload = plain.create_multipart_upload(**where, Metadata={"a": "1"})["UploadId"]
    sent(url("upload_part", UploadId=upload, PartNumber=1), "PUT", b"part")
    etag = plain.list_parts(**where, UploadId=upload)["Parts"][0]["ETag"]
    document = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{etag.strip(chr(34))}</ETag></Part></CompleteMultipartUpload>"
    )
    sent(url("complete_multipart_upload", UploadId=upload), "POST", document.encode())
    assert sent(url("get_object")) == b"part"
    assert sent(url("head_object"), "HEAD") == b""
    listing = s3.generate_presigned_url("list_objects_v2", Params={"Bucket": bucket, "Prefix": "a"})
    assert b"<KeyCount>1</KeyCount>" in sent(listing)
    with pytest.raises(urllib.error.HTTPError) as refused:
        sent(url("head_object"))
    assert refused.value.code == 403
    with urllib.request.urlopen(url("get_object", ResponseContentType="text/x")) as answer:
        assert answer.headers["Content-Type"] == "text/x"


@pytest.mark.parametrize("secure", [False, True])
def test_signature_version_2(
    server: GatewayServer, secure_server: GatewayServer, bucket: str, secure: bool
) -> None:
    s3 = (secure_server if secure else server).s3(signature_version="s3")
    s3.create_bucket(Bucket=bucket)
    body = os.urandom(6 << 20)
    s3.put_object(Bucket=bucket, Key="k", Body=body, Metadata={"a": "1  2"}, ContentType="text/x")
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["Body"].read(), got["Metadata"]["a"]) == (body, "1  2")
    s3.upload_fileobj(io.BytesIO(body * 2), bucket, "parts")
    assert s3.head_object(Bucket=bucket, Key="parts")["ContentLength"] == 12 << 20
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == 2


@pytest.mark.parametrize("signature_version", [None, "s3v4"])
def test_a_form_made_by_boto3(
    server: GatewayServer, plain: Any, bucket: str, signature_version: str | None
) -> None:
    plain.create_bucket(Bucket=bucket)
    form = server.s3(signature_version=signature_version).generate_presigned_post(
        bucket,
        "up/${filename}",
        Fields={"Content-Type": "text/x", "x-amz-meta-a": "1"},
        Conditions=[
            {"Content-Type": "text/x"},
            ["starts-with", "$x-amz-meta-a", ""],
            ["content-length-range", 1, 100],
        ],
    )
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form["fields"].items()
    ]
    file = '--edge\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n'
    body = ("".join(parts) + file + "content\r\n--edge--\r\n").encode()
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    with urllib.request.urlopen(urllib.request.Request(form["url"], body, headers)) as answer:
        assert answer.status == 204
    got = plain.get_object(Bucket=bucket, Key="up/f.txt")
    assert (got["Body"].read(), got["ContentType"]) == (b"content", "text/x")
    assert got["Metadata"]["a"] == "1"
