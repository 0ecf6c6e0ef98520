from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.metadata import (
    ObjectMetadata,
    copied_metadata,
    parse_metadata,
    response_overrides,
    upload_algorithms,
)


def user(*headers: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return parse_metadata(headers, "x-amz-meta-cid").user


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], ()),
        ([("X-Amz-Meta-MTime", "1.5")], (("mtime", "1.5"),)),
        ([("x-amz-meta-a", "  b \t")], (("a", "b"),)),
        ([("x-amz-meta-a", "")], (("a", ""),)),
        ([("x-amz-meta-a", "1"), ("X-AMZ-META-A", "2")], (("a", "1,2"),)),
        ([("x-amz-meta-b", "1"), ("x-amz-meta-a", "2")], (("b", "1"), ("a", "2"))),
        ([("x-amz-meta-é", "ü 😀")], (("é", "ü 😀"),)),
        ([("x-amz-meta-a", "caf\udce9")], (("a", "caf\udce9"),)),
        ([("x-amz-meta-cid", "bafk"), ("X-Amz-Meta-CID", "x")], ()),
        ([("x-amz-meta-cid2", "x")], (("cid2", "x"),)),
        ([("x-amz-acl", "private"), ("Host", "h"), ("x-amz-date", "d")], ()),
    ],
)
def test_user_metadata(
    headers: list[tuple[str, str]], expected: tuple[tuple[str, str], ...]
) -> None:
    assert user(*headers) == expected


def test_user_metadata_has_at_most_2048_bytes() -> None:
    assert len(user(("x-amz-meta-é", "a" * 2046))) == 1
    for headers in (
        [("x-amz-meta-é", "a" * 2047)],
        [("x-amz-meta-a", "é" * 1024)],
        [("x-amz-meta-a", "\udce9" * 2048)],
        [("x-amz-meta-a", "x" * 1023), ("x-amz-meta-b", "x" * 1024)],
    ):
        with pytest.raises(S3Error) as caught:
            user(*headers)
        assert caught.value.code is ErrorCode.MetadataTooLarge
        assert caught.value.fields == {"Size": 2049, "MaxSizeAllowed": 2048}


def test_a_dropped_cid_takes_no_room() -> None:
    assert user(("x-amz-meta-cid", "x" * 3000)) == ()


def test_system_headers_come_back_as_sent() -> None:
    sent = {
        "Content-Type": "text/plain; charset=utf-8",
        "Cache-Control": "no-cache",
        "Content-Disposition": 'attachment; filename="a b"',
        "Content-Encoding": "gzip",
        "Content-Language": "de",
        "Expires": "whenever",
    }
    metadata = parse_metadata([*sent.items(), ("x-amz-meta-a", "b")])
    assert metadata.response_headers() == {**sent, "x-amz-meta-a": "b"}


@pytest.mark.parametrize("headers", [[], [("Content-Type", "")], [("Content-Type", " ")]])
def test_content_type_has_a_default(headers: list[tuple[str, str]]) -> None:
    assert parse_metadata(headers).response_headers() == {"Content-Type": "binary/octet-stream"}


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (["aws-chunked"], None),
        (["AWS-Chunked"], None),
        (["aws-chunked, aws-chunked"], None),
        (["aws-chunked,gzip"], "gzip"),
        (["gzip, aws-chunked"], "gzip"),
        (["gzip", "aws-chunked"], "gzip"),
        (["aws-chunked", "gzip, br"], "gzip,br"),
        (["gzip,  br"], "gzip,  br"),
        ([""], None),
        (["aws-chunked,"], None),
    ],
)
def test_framing_is_no_encoding_of_the_object(sent: list[str], stored: str | None) -> None:
    headers = [("Content-Encoding", value) for value in sent]
    assert parse_metadata(headers).content_encoding == stored


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("x-amz-server-side-encryption", "AES256", "NotImplemented"),
        ("X-Amz-Server-Side-Encryption-Customer-Key", "x", "InvalidArgument"),
        ("x-amz-website-redirect-location", "elsewhere", "InvalidRedirectLocation"),
        ("x-amz-website-redirect-location", "/" + 2048 * "x", "InvalidRedirectLocation"),
        ("x-amz-website-redirect-location", "/" + 2048 * "\udce9", "InvalidRedirectLocation"),
        ("x-amz-storage-class", "COLD", "InvalidStorageClass"),
        ("x-amz-meta-", "x", "InvalidArgument"),
        ("x-amz-meta-a", "x\r\nSet-Cookie: y", "InvalidArgument"),
        ("x-amz-meta-a", "x\0", "InvalidArgument"),
        ("Content-Type", "text/html\x7f", "InvalidArgument"),
    ],
)
def test_what_cannot_be_kept_is_refused(name: str, value: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_metadata([(name, value)])
    assert caught.value.code is ErrorCode[code]


@pytest.mark.parametrize("location", ["/other", "http://x/", "https://x/"])
def test_redirect_is_kept_as_it_was_sent(location: str) -> None:
    header = ("x-amz-website-redirect-location", location)
    assert dict([header]).items() <= parse_metadata([header]).response_headers().items()
    assert response_overrides({f"response-{header[0]}": location}) == {}


@pytest.mark.parametrize("location", ["/a", "/\udce9"])
@pytest.mark.parametrize("given", [None, "/b", "/\udcfc"])
def test_a_copy_redirects_where_it_is_told_to(location: str, given: str | None) -> None:
    header = "x-amz-website-redirect-location"
    source = parse_metadata([(header, location), ("x-amz-meta-a", "\udce9")]).to_record()
    asked = parse_metadata([(header, given)] if given else []).to_record()
    copied = ObjectMetadata.from_record(copied_metadata(source, asked))
    assert copied == ObjectMetadata((("a", "\udce9"),), website_redirect=given)


@pytest.mark.parametrize("name", ["STANDARD", "REDUCED_REDUNDANCY", "GLACIER"])
def test_known_storage_classes_are_accepted(name: str) -> None:
    assert parse_metadata([("x-amz-storage-class", name)]) == ObjectMetadata()


NAMES = st.text("abcdef-", min_size=1, max_size=8).filter(lambda name: name != "cid")
TEXTS = st.text(st.characters(min_codepoint=0x21, exclude_categories=["Cs", "Cc"]), max_size=9)
BYTES = st.lists(st.integers(0x21, 0xFF).filter(lambda byte: byte != 0x7F), max_size=9).map(bytes)
VALUES = TEXTS | BYTES.map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(st.sampled_from(["Expires"]), VALUES))
def test_metadata_survives_its_record_and_its_headers(
    user_headers: dict[str, str], system: dict[str, str]
) -> None:
    headers = {f"x-amz-meta-{name}": value for name, value in user_headers.items()} | system
    metadata = parse_metadata(headers.items())
    record = orjson.loads(orjson.dumps(metadata.to_record()))
    assert ObjectMetadata.from_record(record) == metadata
    assert parse_metadata(metadata.response_headers().items()) == metadata


def test_record_is_lower_case() -> None:
    metadata = parse_metadata([("Expires", "0"), ("x-amz-meta-A", "b")])
    assert metadata.to_record() == {
        "content-type": "binary/octet-stream",
        "expires": "0",
        "x-amz-meta-a": "b",
    }


def test_no_control_byte_leaves() -> None:
    metadata = ObjectMetadata((("a", "x\r\ny"),), content_type="a\0b")
    assert metadata.response_headers() == {"Content-Type": "a b", "x-amz-meta-a": "x  y"}


def test_query_overrides_response_headers() -> None:
    query = {
        "response-content-type": "text/css",
        "response-content-disposition": "attachment",
        "response-expires": "",
        "response-etag": "x",
    }
    assert response_overrides(query) == {
        "Content-Type": "text/css",
        "Content-Disposition": "attachment",
    }


def test_query_cannot_split_the_response() -> None:
    with pytest.raises(S3Error) as caught:
        response_overrides({"response-content-type": "a\r\nb: c"})
    assert caught.value.code is ErrorCode.InvalidArgument


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (None, None)),
        ({"compression": "ZLIB"}, ("ZLIB", None)),
        ({"encryption": "AES_256_GCM"}, (None, "AES_256_GCM")),
        ({"compression": "ZLIB", "encryption": "AES_256_GCM"}, ("ZLIB", "AES_256_GCM")),
        ({"compression": "zlib", "encryption": "AES"}, (None, None)),
    ],
)
def test_upload_algorithms_are_recognised_and_kept(
    headers: dict[str, str], expected: tuple[str | None, str | None]
) -> None:
    metadata = parse_metadata([(f"x-amz-meta-{name}", value) for name, value in headers.items()])
    assert upload_algorithms(metadata) == expected
    assert dict(metadata.user) == headers


@pytest.mark.parametrize("name", ["a: b", "a\r\nSet-Cookie", "a b", "a\t", "a\x7f"])
def test_a_name_that_is_no_header_is_refused(name: str) -> None:
    # Queries and forms can carry what no header could.
    with pytest.raises(S3Error) as caught:
        user((f"x-amz-meta-{name}", "x"))
    assert caught.value.code is ErrorCode.InvalidArgument
