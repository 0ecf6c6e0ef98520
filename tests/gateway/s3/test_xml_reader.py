from __future__ import annotations

from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.part_list import RequestedPart
from gateway.s3.xml_reader import (
    DeleteItem,
    DeleteRequest,
    read_complete_multipart_upload,
    read_create_bucket,
    read_delete,
)

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
PART = "<Part><PartNumber>1</PartNumber><ETag>&quot;aa&quot;</ETag></Part>"
ONE = (RequestedPart(1, '"aa"'),)


@pytest.mark.parametrize(
    "document",
    [
        f"<CompleteMultipartUpload>{PART}</CompleteMultipartUpload>",
        f'<CompleteMultipartUpload xmlns="{NAMESPACE}">{PART}</CompleteMultipartUpload>',
        f'<CompleteMultipartUpload xmlns="urn:other">{PART}</CompleteMultipartUpload>',
        f"<?xml version='1.0' encoding='UTF-8'?>\n<CompleteMultipartUpload>{PART}"
        "</CompleteMultipartUpload>",
        f"\ufeff<CompleteMultipartUpload>{PART}</CompleteMultipartUpload>",
        f"<CompleteMultipartUpload>\n  <!-- one -->\n {PART}\n</CompleteMultipartUpload>\n",
        '<s3:CompleteMultipartUpload xmlns:s3="urn:x"><s3:Part><s3:ETag>"aa"</s3:ETag>'
        "<s3:PartNumber> 1 </s3:PartNumber></s3:Part></s3:CompleteMultipartUpload>",
        '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag><![CDATA["aa"]]></ETag>'
        "</Part></CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&#34;a<!-- -->a&#x22;"
        "</ETag></Part></CompleteMultipartUpload>",
    ],
)
def test_part_list_in_every_dress(document: str) -> None:
    assert read_complete_multipart_upload(document.encode()) == ONE


def test_part_list_keeps_order_and_checksums() -> None:
    body = (
        b"<CompleteMultipartUpload>"
        b"<Part><PartNumber>7</PartNumber><ETag>b</ETag><ChecksumCRC32>x=</ChecksumCRC32></Part>"
        b"<Part><PartNumber>2</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>"
    )
    assert read_complete_multipart_upload(body) == (
        RequestedPart(7, "b", (("ChecksumCRC32", "x="),)),
        RequestedPart(2, "a"),
    )


def complete(content: str) -> bytes:
    return f"<CompleteMultipartUpload>{content}</CompleteMultipartUpload>".encode()


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&b;</ETag></Part>{PART}"
    "</CompleteMultipartUpload>"
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"garbage",
        b"<CompleteMultipartUpload>",
        b"<CompleteMultipartUpload/>",
        b"<Delete/>",
        complete("text" + PART),
        complete(PART + "text"),
        complete("<Part/>"),
        complete("<Part><PartNumber>1</PartNumber></Part>"),
        complete("<Part><ETag>a</ETag></Part>"),
        complete("<Part><PartNumber>1</PartNumber><ETag/></Part>"),
        complete("<Part><PartNumber>x</PartNumber><ETag>a</ETag></Part>"),
        complete("<Part><PartNumber>1.5</PartNumber><ETag>a</ETag></Part>"),
        complete("<Part><PartNumber>1</PartNumber><PartNumber>2</PartNumber><ETag>a</ETag></Part>"),
        complete("<Part><PartNumber>1</PartNumber><ETag><b>a</b></ETag></Part>"),
        complete("<Part><PartNumber>1</PartNumber><ETag>a</ETag><Odd/></Part>"),
        complete(PART + "<Odd/>"),
        complete("<Part>" * 300),
        complete("<Part>" * 200 + "</Part>" * 200),
        complete("<Part><PartNumber>1</PartNumber><ETag>&nbsp;</ETag></Part>"),
        complete("<Part><PartNumber>1</PartNumber><ETag>&#0;</ETag></Part>"),
        complete(PART * 10001),
        complete(PART).replace(b"aa", b"\xff"),
        complete(PART).decode().encode("utf-16"),
        b'<?xml version="1.0" encoding="ISO-8859-1"?>' + complete(PART),
        b'<?xml version="1.0" encoding="UTF-7"?>' + complete(PART),
        b"<!DOCTYPE CompleteMultipartUpload>" + complete(PART),
        b'<!DOCTYPE x SYSTEM "file:///etc/hostname">' + complete(PART),
        BOMB.encode(),
    ],
)
def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(S3Error) as caught:
        read_complete_multipart_upload(body)
    assert caught.value.code is ErrorCode.MalformedXML


@pytest.mark.parametrize("number", ["0", "-1", "10001"])
def test_part_numbers_are_1_to_10000(number: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_complete_multipart_upload(complete(PART.replace(">1<", f">{number}<")))
    assert caught.value.code is ErrorCode.InvalidArgument


def test_size_is_capped_before_parsing() -> None:
    body = complete(PART)
    assert read_complete_multipart_upload(body, bytes_max=len(body)) == ONE
    with pytest.raises(S3Error) as caught:
        read_complete_multipart_upload(body, bytes_max=len(body) - 1)
    assert caught.value.code is ErrorCode.MaxMessageLengthExceeded


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<Object><Key>a</Key></Object>", DeleteRequest((DeleteItem(b"a"),), False)),
        (
            "<Quiet>true</Quiet><Object><Key>a</Key><VersionId>null</VersionId></Object>",
            DeleteRequest((DeleteItem(b"a", "null"),), True),
        ),
        (
            "<Object><Key>a</Key></Object><Object><Key>a</Key></Object><Quiet>False</Quiet>",
            DeleteRequest((DeleteItem(b"a"), DeleteItem(b"a")), False),
        ),
        (
            "<Object><Key> é&lt;&#x9;&#13;\n</Key><VersionId/><ETag>x</ETag></Object>",
            DeleteRequest((DeleteItem(" é<\t\r\n".encode(), etag="x"),), False),
        ),
    ],
)
def test_delete_names_keys(content: str, expected: DeleteRequest) -> None:
    assert read_delete(f"<Delete>{content}</Delete>".encode()) == expected


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<Quiet>true</Quiet>",
        "<Quiet>maybe</Quiet><Object><Key>a</Key></Object>",
        "<Object/>",
        "<Object><Key/></Object>",
        "<Object><Key>a</Key><Key>b</Key></Object>",
        "<Object><Key>a</Key><Odd>b</Odd></Object>",
        "<Object>text<Key>a</Key></Object>",
        "<Object><Key>a</Key></Object>" * 1001,
    ],
)
def test_delete_without_keys_is_malformed(content: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_delete(f"<Delete>{content}</Delete>".encode())
    assert caught.value.code is ErrorCode.MalformedXML


XML_TEXT = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"),
    min_size=1,
)


@given(XML_TEXT)
def test_every_key_that_xml_can_hold_is_read_back(key: str) -> None:
    body = f"<Delete><Object><Key>{escape(key)}</Key></Object></Delete>".encode()
    assert read_delete(body).items == (DeleteItem(key.encode()),)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_malformed(body: bytes) -> None:
    for content in (body, b"<Delete>" + body + b"</Delete>"):
        with pytest.raises(S3Error):
            read_delete(content)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", ""),
        ("<CreateBucketConfiguration/>", ""),
        (f'<CreateBucketConfiguration xmlns="{NAMESPACE}"/>', ""),
        (
            "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>"
            "</CreateBucketConfiguration>",
            "eu-west-1",
        ),
        (
            "<CreateBucketConfiguration><LocationConstraint/></CreateBucketConfiguration>",
            "",
        ),
    ],
)
def test_create_bucket_has_a_location(body: str, expected: str) -> None:
    assert read_create_bucket(body.encode()) == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("x", ErrorCode.MalformedXML),
        ("<Delete/>", ErrorCode.MalformedXML),
        ("<CreateBucketConfiguration><A/></CreateBucketConfiguration>", ErrorCode.MalformedXML),
        (
            "<CreateBucketConfiguration><Bucket/></CreateBucketConfiguration>",
            ErrorCode.NotImplemented,
        ),
    ],
)
def test_create_bucket_refuses_what_it_cannot_do(body: str, code: ErrorCode) -> None:
    with pytest.raises(S3Error) as caught:
        read_create_bucket(body.encode())
    assert caught.value.code is code
