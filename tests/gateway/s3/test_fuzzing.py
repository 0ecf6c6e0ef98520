"""Whatever a client sends, a reader of the protocol gives a value or an S3Error: no other exception
and no hang. Inputs are well-formed ones with a few things wrong, where faults hide."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.s3.acl import read_acl, wished_acl
from gateway.s3.actions import GET_OBJECT
from gateway.s3.address import order_base_paths, parse_address
from gateway.s3.aws_chunked import AwsChunkedDecoder
from gateway.s3.bucket_listing import parse_list_buckets
from gateway.s3.bucket_policy import Requester, parse_policy, read_policy
from gateway.s3.bucket_settings import read_ownership_controls, read_public_access_block
from gateway.s3.checksums import expected_checksum, expected_md5, upload_checksum
from gateway.s3.conditions import parse_conditions, parse_delete_conditions
from gateway.s3.copy_source import copy_span, parse_copy_source, parse_copy_wish
from gateway.s3.cors import check_preflight, read_cors
from gateway.s3.credentials import RequestHead, find_claim, parse_authorization
from gateway.s3.errors import S3Error
from gateway.s3.etags import parse_etags
from gateway.s3.form_data import FormDecoder, form_boundary
from gateway.s3.lifecycle import read_lifecycle
from gateway.s3.listing import parse_list_objects, parse_list_objects_v2
from gateway.s3.metadata import parse_metadata, response_overrides
from gateway.s3.object_lock import read_legal_hold, read_lock_configuration, read_retention
from gateway.s3.part_list import parse_part_number
from gateway.s3.policy_conditions import KEYS
from gateway.s3.post_policy import check_policy
from gateway.s3.query import parse_query
from gateway.s3.ranges import resolve_range
from gateway.s3.tagging import parse_tagging_header, read_tagging
from gateway.s3.timestamps import parse_http_date, parse_iso_seconds
from gateway.s3.upload_listing import parse_list_parts, parse_list_uploads
from gateway.s3.version_ids import parse_version_id
from gateway.s3.version_listing import parse_list_versions
from gateway.s3.xml_reader import (
    read_complete_multipart_upload,
    read_create_bucket,
    read_delete,
    read_versioning_configuration,
)
from tests.support.damage import damaged


def query(reader: Callable[[dict[str, str]], Any]) -> Callable[[str], Any]:
    """Reads a query string as a request has it."""
    return lambda text: reader(parse_query(text))


def xml(reader: Callable[..., Any], **options: Any) -> Callable[[str], Any]:
    """Reads a document, also of bytes that are no UTF-8."""
    return lambda text: reader(text.encode("utf-8", "surrogatepass"), **options)


def header(name: str, reader: Callable[[dict[str, str]], Any]) -> Callable[[str], Any]:
    """Reads a request with this one header."""
    return lambda text: reader({name: text})


AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=" + "0" * 64
)
PRESIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20260101%2Fr%2Fs3%2Faws4_request"
    "&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
)
DATED = {"x-amz-date": "20260101T000000Z", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
LISTINGS = [
    "prefix=a%2Fb&delimiter=/&max-keys=5&encoding-type=url&marker=k&fetch-owner=true&list-type=2",
    "continuation-token=AWE%3D&start-after=x&max-keys=0",
    "uploads&key-marker=k&upload-id-marker=u&max-uploads=3",
    "versions&key-marker=k&version-id-marker=0000000000000001&max-keys=1",
    "uploadId=u&max-parts=1&part-number-marker=4",
    "max-buckets=5&bucket-region=eu&prefix=p&continuation-token=AWE=",
]
RANGES = ["bytes=0-4", "bytes=5-", "bytes=-5", "bytes=1-2,3-4", "items=1-2"]
TIMES = ["Sun, 06 Nov 1994 08:49:37 GMT", "2026-01-01T00:00:00Z", "20260101T000000Z", "0"]
DOCUMENTS = [
    "<CompleteMultipartUpload xmlns='u'><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>"
    "</CompleteMultipartUpload>",
    "<Delete><Quiet>true</Quiet><Object><Key>k</Key><VersionId>v</VersionId></Object></Delete>",
    "<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint>"
    "</CreateBucketConfiguration>",
    "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
    "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>"
    "</Retention>",
    "<LegalHold><Status>ON</Status></LegalHold>",
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>"
    "<DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>"
    "</ObjectLockConfiguration>",
    "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>"
    "<MaxAgeSeconds>5</MaxAgeSeconds></CORSRule></CORSConfiguration>",
    "<LifecycleConfiguration><Rule><ID>i</ID><Status>Enabled</Status><Filter><Prefix>p</Prefix>"
    "</Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>"
    "</AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>",
    "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls>"
    "</PublicAccessBlockConfiguration>",
    "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>"
    "</OwnershipControls>",
    "<AccessControlPolicy><Owner><ID>me</ID></Owner><AccessControlList><Grant><Grantee "
    "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type='CanonicalUser'><ID>me</ID>"
    "</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>"
    "</AccessControlPolicy>",
]

POLICIES = [
    '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": '
    '"s3:Get*", "Resource": "arn:aws:s3:::b/*"}}',
    '{"Statement": [{"Sid": "1", "Effect": "Deny", "NotPrincipal": {"AWS": ["me", '
    '"arn:aws:iam::you:user/k"]}, "NotAction": "s3:PutObject", "Resource": "arn:aws:s3:::*", '
    '"Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}, "Null": {"s3:prefix": '
    '"true"}, "ForAnyValue:StringLike": {"s3:RequestObjectTagKeys": ["a*", "b?"]}, '
    '"DateLessThanIfExists": {"aws:CurrentTime": "2030-01-01T00:00:00Z"}, '
    '"NumericLessThan": {"s3:max-keys": 10}, "Bool": {"aws:SecureTransport": false}}}]}',
]

POLICY = (
    '{"expiration": "2030-01-01T00:00:00Z", "conditions": [{"bucket": "bucket"}, '
    '["starts-with", "$key", "k"], ["content-length-range", 1, 10]]}'
)


def policy_form(policy: str) -> dict[str, str]:
    """The fields of a form with this policy."""
    encoded = base64.b64encode(policy.encode("utf-8", "surrogatepass")).decode()
    return {"key": "k", "policy": encoded, "bucket": "bucket"}


READERS: dict[str, tuple[Callable[[str], Any], list[str]]] = {
    "address": (
        lambda text: parse_address(text, order_base_paths(["/s3", "/"])),
        ["/s3/bucket/a%20b//../k", "/b", "/", "/s3/"],
    ),
    "query": (parse_query, LISTINGS),
    "ListObjects": (query(parse_list_objects), LISTINGS),
    "ListObjectsV2": (query(parse_list_objects_v2), LISTINGS),
    "ListMultipartUploads": (query(parse_list_uploads), LISTINGS),
    "ListParts": (query(parse_list_parts), LISTINGS),
    "ListObjectVersions": (query(parse_list_versions), LISTINGS),
    "ListBuckets": (query(parse_list_buckets), LISTINGS),
    "overrides": (query(response_overrides), ["response-content-type=a/b&response-expires=x"]),
    "range": (lambda text: resolve_range(text, 10), RANGES),
    "copy range": (lambda text: copy_span(text, 10), RANGES),
    "copy source": (parse_copy_source, ["/bucket/k%20?versionId=0000000000000001", "bucket/k"]),
    "copy directives": (header("x-amz-metadata-directive", parse_copy_wish), ["COPY", "REPLACE"]),
    "entity tags": (parse_etags, ['"a", W/"b"', "*", "a"]),
    "If-Match": (header("if-match", parse_conditions), ['"a", W/"b"', "*"]),
    "If-Modified-Since": (header("if-modified-since", parse_conditions), TIMES),
    "delete size": (header("x-amz-if-match-size", parse_delete_conditions), ["10"]),
    "delete time": (
        header("x-amz-if-match-last-modified-time", parse_delete_conditions),
        TIMES,
    ),
    "HTTP date": (parse_http_date, TIMES),
    "ISO time": (parse_iso_seconds, TIMES),
    "part number": (parse_part_number, ["1", "10000"]),
    "version id": (parse_version_id, ["0000000000000001", "null"]),
    "Content-MD5": (header("content-md5", expected_md5), ["1B2M2Y8AsgTpgAmY7PhCfg=="]),
    "checksum": (header("x-amz-checksum-crc32", expected_checksum), ["AAAAAA=="]),
    "checksum algorithm": (header("x-amz-checksum-algorithm", upload_checksum), ["CRC32"]),
    "metadata": (
        lambda text: parse_metadata([("x-amz-meta-a", text), ("Content-Type", text)]),
        ["text", "=?UTF-8?B?w6k=?="],
    ),
    "canned ACL": (
        lambda text: wished_acl({"x-amz-acl": text}, "me", "you", "me".__eq__),
        ["private", "public-read", "bucket-owner-read"],
    ),
    "header grants": (
        lambda text: wished_acl({"x-amz-grant-read": text}, "me", "you", "me".__eq__),
        ['id="me"', "uri=http://acs.amazonaws.com/groups/global/AllUsers, id=me"],
    ),
    "bucket policy": (lambda text: decide(text), POLICIES),
    "tagging header": (parse_tagging_header, ["a=b&c=d", "a", "a=%20+"]),
    "preflight": (
        lambda text: check_preflight({"origin": text, "access-control-request-method": text}),
        ["https://a.example", "GET"],
    ),
    "boundary": (form_boundary, ['multipart/form-data; boundary="x"', "multipart/form-data"]),
    "Authorization": (
        lambda text: parse_authorization(head(text, "")),
        [AUTHORIZATION, "AWS key:c2ln", "Basic a"],
    ),
    "claim": (lambda text: find_claim(head(text, "")), [AUTHORIZATION, "AWS key:c2ln", ""]),
    "presigned": (lambda text: parse_authorization(head(None, text)), [PRESIGNED]),
    "presigned claim": (lambda text: find_claim(head(None, text)), [PRESIGNED]),
    "CompleteMultipartUpload": (xml(read_complete_multipart_upload), DOCUMENTS),
    "Delete": (xml(read_delete), DOCUMENTS),
    "CreateBucketConfiguration": (xml(read_create_bucket), DOCUMENTS),
    "VersioningConfiguration": (xml(read_versioning_configuration), DOCUMENTS),
    "Tagging": (xml(read_tagging, tags_max=10), DOCUMENTS),
    "Retention": (xml(read_retention, now_seconds=0), DOCUMENTS),
    "LegalHold": (xml(read_legal_hold), DOCUMENTS),
    "ObjectLockConfiguration": (xml(read_lock_configuration), DOCUMENTS),
    "CORSConfiguration": (xml(read_cors), DOCUMENTS),
    "LifecycleConfiguration": (xml(read_lifecycle, new_id=str), DOCUMENTS),
    "PublicAccessBlock": (xml(read_public_access_block), DOCUMENTS),
    "OwnershipControls": (xml(read_ownership_controls, has_lists=True), DOCUMENTS),
    "AccessControlPolicy": (xml(read_acl, owner="me", is_account="me".__eq__), DOCUMENTS),
    "policy of a form": (
        lambda text: check_policy(policy_form(text), "bucket", datetime(2026, 1, 1, tzinfo=UTC)),
        [POLICY],
    ),
}


def decide(text: str) -> None:
    """Reads a bucket policy and asks it something, of a request that says the same everywhere."""
    document = read_policy(text.encode("utf-8", "surrogatepass"), "b")
    context = {key: [text] for key in KEYS}
    parse_policy(document).decide(Requester("me", "k"), GET_OBJECT, text, context)


def head(authorization: str | None, raw_query: str) -> RequestHead:
    """A request that says who it is by header or by query."""
    headers = {**DATED, "host": "h"}
    if authorization is not None:
        headers["authorization"] = authorization
    return RequestHead("GET", "/b/k", raw_query, headers)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=30, deadline=2000)
def test_readers_read_or_refuse(name: str, data: st.DataObject) -> None:
    reader, specimens = READERS[name]
    try:
        reader(data.draw(damaged(specimens)))
    except S3Error as error:
        assert 400 <= error.status < 500 or error.status == 501


@pytest.mark.parametrize("name", READERS)
def test_some_specimen_is_read(name: str) -> None:
    # Else the damaged ones would never get past the first check.
    reader, specimens = READERS[name]

    def reads(text: str) -> bool:
        try:
            reader(text)
        except S3Error:
            return False
        return True

    assert any(map(reads, specimens))


CHUNKED = (
    "5;chunk-signature=" + "0" * 64 + "\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
)
FORM = (
    '--x\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--x\r\nContent-Disposition: '
    'form-data; name="file"; filename="f"\r\n\r\ncontent\r\n--x--\r\n'
)


@given(damaged([CHUNKED]), st.lists(st.integers(0, 200), max_size=5))
@settings(deadline=2000)
def test_chunked_bodies_decode_or_are_refused(text: str, cuts: list[int]) -> None:
    decoder = AwsChunkedDecoder(None, 5, ["x-amz-checksum-crc32"])
    feed_in_pieces(decoder, text, cuts)


@given(damaged([FORM]), st.lists(st.integers(0, 200), max_size=5))
@settings(deadline=2000)
def test_forms_decode_or_are_refused(text: str, cuts: list[int]) -> None:
    feed_in_pieces(FormDecoder(b"x"), text, cuts)


def feed_in_pieces(decoder: Any, text: str, cuts: list[int]) -> None:
    """Feeds the text cut at these places; refusals are fine."""
    body = text.encode("utf-8", "surrogatepass")
    bounds = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    try:
        for start, stop in pairwise(bounds):
            decoder.feed(body[start:stop])
        decoder.finish()
    except S3Error as error:
        assert 400 <= error.status < 500
