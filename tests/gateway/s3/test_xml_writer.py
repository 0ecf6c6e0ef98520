from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import botocore.session  # type: ignore[import-untyped]
import pytest
from botocore.parsers import RestXMLParser  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.listing import (
    ObjectEntry,
    Page,
    encode_token,
    parse_list_objects,
    parse_list_objects_v2,
)
from gateway.s3.upload_listing import (
    PartEntry,
    PartsPage,
    UploadEntry,
    UploadPosition,
    parse_list_parts,
    parse_list_uploads,
)
from gateway.s3.xml_writer import (
    DECLARATION,
    BucketEntry,
    CompletedUpload,
    DeletedItem,
    FailedItem,
    Owner,
    escape,
    write_complete_multipart_upload,
    write_delete_result,
    write_error,
    write_initiate_multipart_upload,
    write_list_buckets,
    write_list_multipart_uploads,
    write_list_objects,
    write_list_objects_v2,
    write_list_parts,
    write_location_constraint,
    write_versioning_configuration,
)

OWNER = Owner("me", "Me & co")
NOON = 1_772_366_400_000_000
MODEL = botocore.session.get_session().get_service_model("s3")


def client_reads(operation: str, body: bytes, status: int = 200) -> dict[str, Any]:
    """What boto3 makes of an answer, without its metadata."""
    shape = MODEL.operation_model(operation).output_shape
    response = {"headers": {}, "body": body, "status_code": status}
    found: dict[str, Any] = RestXMLParser().parse(response, shape)
    found.pop("ResponseMetadata")
    return found


def moment(found: Any) -> str:
    return str(found.isoformat())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 😀", "plain é 😀"),
        ("<a&\"b'>", "&lt;a&amp;&quot;b'&gt;"),
        ("a\nb\rc\td", "a&#xA;b&#xD;c&#x9;d"),
        ("\x01\x1f\uffff", "&#x1;&#x1F;&#xFFFF;"),
        ("\x7f\x85\u2028", "\x7f\x85\u2028"),
    ],
)
def test_text_is_escaped(text: str, expected: str) -> None:
    assert escape(text) == expected


LEGAL = re.compile("[^\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]*")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_legal_text_is_read_back(text: str) -> None:
    if LEGAL.fullmatch(text):
        root = etree.fromstring(write_location_constraint(text))
        assert (root.text or "") == text


def test_error_has_its_fields_and_no_namespace() -> None:
    error = S3Error(ErrorCode.NoSuchKey, Key="a<b\ud800", Size=3)
    body = write_error(error, resource="/b/a%3Cb", request_id="R", host_id="H")
    root = etree.fromstring(body)
    assert root.tag == "Error"
    assert {child.tag: child.text for child in root} == {
        "Code": "NoSuchKey",
        "Message": "The specified key does not exist.",
        "Key": "a<b?",
        "Size": "3",
        "Resource": "/b/a%3Cb",
        "RequestId": "R",
        "HostId": "H",
    }
    assert body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<Error>')


def test_list_buckets() -> None:
    found = client_reads("ListBuckets", write_list_buckets(OWNER, [BucketEntry("b", NOON)]))
    assert moment(found["Buckets"][0].pop("CreationDate")) == "2026-03-01T12:00:00+00:00"
    assert found == {
        "Owner": {"ID": "me", "DisplayName": "Me & co"},
        "Buckets": [{"Name": "b"}],
    }


ENTRY: ObjectEntry = (b"p/a &\n", 5, b"etag", NOON, "CRC32 FULL_OBJECT")
PAGE: Page[ObjectEntry, bytes] = Page([ENTRY], [b"p/d/"])


def test_list_objects() -> None:
    request = parse_list_objects({"prefix": "p/", "delimiter": "/", "marker": "m", "max-keys": "2"})
    page: Page[ObjectEntry, bytes] = Page([ENTRY], [b"p/d/"], True, b"p/d/", b"p/d0")
    found = client_reads("ListObjects", write_list_objects("b", request, page, OWNER))
    assert moment(found["Contents"][0].pop("LastModified")) == "2026-03-01T12:00:00+00:00"
    assert found == {
        "Name": "b",
        "Prefix": "p/",
        "Marker": "m",
        "NextMarker": "p/d/",
        "MaxKeys": 2,
        "Delimiter": "/",
        "IsTruncated": True,
        "Contents": [
            {
                "Key": "p/a &\n",
                "ETag": '"etag"',
                "ChecksumAlgorithm": ["CRC32"],
                "ChecksumType": "FULL_OBJECT",
                "Size": 5,
                "StorageClass": "STANDARD",
                "Owner": {"ID": "me", "DisplayName": "Me & co"},
            }
        ],
        "CommonPrefixes": [{"Prefix": "p/d/"}],
    }


def test_next_marker_needs_a_delimiter_and_truncation() -> None:
    cut: Page[ObjectEntry, bytes] = Page([ENTRY], [], True, ENTRY[0], ENTRY[0] + b"\0")
    whole: Page[ObjectEntry, bytes] = Page([ENTRY], [])
    for query, page in (({}, cut), ({"delimiter": "/"}, whole)):
        body = write_list_objects("b", parse_list_objects(query), page, OWNER)
        assert b"NextMarker" not in body
        assert b"<Marker></Marker>" in body


def test_list_objects_v2() -> None:
    query = {"start-after": "o", "continuation-token": encode_token(b"p"), "fetch-owner": "true"}
    page: Page[ObjectEntry, bytes] = Page([ENTRY], [b"p/d/"], True, b"p/d/", b"p/d0")
    request = parse_list_objects_v2(query)
    found = client_reads("ListObjectsV2", write_list_objects_v2("b", request, page, OWNER))
    assert found["KeyCount"] == 2
    assert found["MaxKeys"] == 1000
    assert found["StartAfter"] == "o"
    assert found["ContinuationToken"] == encode_token(b"p")
    assert found["NextContinuationToken"] == encode_token(b"p/d0")
    assert found["Contents"][0]["Owner"] == {"ID": "me", "DisplayName": "Me & co"}
    assert "Delimiter" not in found


def test_list_objects_v2_says_little_by_default() -> None:
    page = Page([(*ENTRY[:4], None)], [b"p/d/"])
    body = write_list_objects_v2("b", parse_list_objects_v2({}), page, OWNER)
    for element in (b"Owner", b"Token", b"StartAfter", b"EncodingType", b"Delimiter", b"Checksum"):
        assert b"<" + element not in body


def test_names_are_percent_encoded_on_demand() -> None:
    query = {"encoding-type": "url", "prefix": "p/é", "delimiter": " ", "start-after": "+"}
    body = write_list_objects_v2("b", parse_list_objects_v2(query), PAGE, OWNER)
    for element in (
        "<EncodingType>url</EncodingType>",
        "<Key>p/a%20%26%0A</Key>",
        "<Prefix>p/%C3%A9</Prefix>",
        "<Delimiter>%20</Delimiter>",
        "<StartAfter>%2B</StartAfter>",
        "<CommonPrefixes><Prefix>p/d/</Prefix></CommonPrefixes>",
    ):
        assert element.encode() in body


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8))
def test_key_without_special_characters_is_written_as_any_other(key: str) -> None:
    page: Page[ObjectEntry, bytes] = Page(
        [(key.encode(), 5, b"etag", NOON, "CRC32 FULL_OBJECT")], []
    )
    for query, shown in (({}, escape(key)), ({"encoding-type": "url"}, quote(key.encode()))):
        body = write_list_objects_v2("b", parse_list_objects_v2(query), page, OWNER)
        assert f"<Contents><Key>{shown}</Key>".encode() in body


def test_initiate_multipart_upload() -> None:
    body = write_initiate_multipart_upload("b", b"a\tb", "u")
    found = client_reads("CreateMultipartUpload", body)
    assert found == {"Bucket": "b", "Key": "a\tb", "UploadId": "u"}


def test_complete_multipart_upload() -> None:
    checksums = (("ChecksumCRC32", "AA=="), ("ChecksumType", "COMPOSITE"))
    upload = CompletedUpload("http://h/s3/b/k", "b", b"k", "e-2", checksums)
    body = write_complete_multipart_upload(upload)
    expected = {
        "Location": "http://h/s3/b/k",
        "Bucket": "b",
        "Key": "k",
        "ETag": '"e-2"',
        "ChecksumCRC32": "AA==",
        "ChecksumType": "COMPOSITE",
    }
    assert client_reads("CompleteMultipartUpload", body) == expected
    late = DECLARATION + b"   \n" + body.removeprefix(DECLARATION)
    assert client_reads("CompleteMultipartUpload", late) == expected


def test_list_parts() -> None:
    parts = [PartEntry(3, 9, "e", NOON, (("ChecksumSHA1", "s="),))]
    request = parse_list_parts({"part-number-marker": "2", "max-parts": "1"})
    body = write_list_parts("b", b"k", "u", request, PartsPage(parts, True, 3), OWNER)
    found = client_reads("ListParts", body)
    assert moment(found["Parts"][0].pop("LastModified")) == "2026-03-01T12:00:00+00:00"
    assert found == {
        "Bucket": "b",
        "Key": "k",
        "UploadId": "u",
        "Initiator": {"ID": "me", "DisplayName": "Me & co"},
        "Owner": {"ID": "me", "DisplayName": "Me & co"},
        "StorageClass": "STANDARD",
        "PartNumberMarker": 2,
        "NextPartNumberMarker": 3,
        "MaxParts": 1,
        "IsTruncated": True,
        "Parts": [{"PartNumber": 3, "ETag": '"e"', "Size": 9, "ChecksumSHA1": "s="}],
    }


@pytest.mark.parametrize(
    ("last", "upload_id_marker"), [(b"k", "u"), (b"x/", "")], ids=["upload", "prefix"]
)
def test_list_multipart_uploads(last: bytes, upload_id_marker: str) -> None:
    query = {"key-marker": "a", "upload-id-marker": "t", "prefix": "", "delimiter": "/"}
    position = UploadPosition(b"z", "")
    page = Page([UploadEntry(b"k", "u", NOON)], [b"x/"], True, last, position)
    body = write_list_multipart_uploads("b", parse_list_uploads(query), page, OWNER)
    found = client_reads("ListMultipartUploads", body)
    assert moment(found["Uploads"][0].pop("Initiated")) == "2026-03-01T12:00:00+00:00"
    assert found == {
        "Bucket": "b",
        "KeyMarker": "a",
        "UploadIdMarker": "t",
        "NextKeyMarker": last.decode(),
        "NextUploadIdMarker": upload_id_marker,
        "Prefix": "",
        "Delimiter": "/",
        "MaxUploads": 1000,
        "IsTruncated": True,
        "Uploads": [
            {
                "Key": "k",
                "UploadId": "u",
                "Initiator": {"ID": "me", "DisplayName": "Me & co"},
                "Owner": {"ID": "me", "DisplayName": "Me & co"},
                "StorageClass": "STANDARD",
            }
        ],
        "CommonPrefixes": [{"Prefix": "x/"}],
    }


def test_location_and_versioning() -> None:
    root = etree.fromstring(write_location_constraint("eu-west-1"))
    assert root.text == "eu-west-1"
    assert etree.fromstring(write_location_constraint("")).text is None
    assert client_reads("GetBucketVersioning", write_versioning_configuration(enabled=False)) == {}
    enabled = client_reads("GetBucketVersioning", write_versioning_configuration(enabled=True))
    assert enabled == {"Status": "Enabled"}


def test_delete_result_keeps_order_and_hushes_success() -> None:
    items: list[DeletedItem | FailedItem] = [
        DeletedItem(b"a", delete_marker=True, delete_marker_version_id="m"),
        FailedItem("é".encode(), "AccessDenied", "no", "v"),
    ]
    failed = [{"Key": "é", "VersionId": "v", "Code": "AccessDenied", "Message": "no"}]
    found = client_reads("DeleteObjects", write_delete_result(items, quiet=False))
    assert found == {
        "Deleted": [{"Key": "a", "DeleteMarker": True, "DeleteMarkerVersionId": "m"}],
        "Errors": failed,
    }
    assert client_reads("DeleteObjects", write_delete_result(items, quiet=True)) == {
        "Errors": failed
    }
