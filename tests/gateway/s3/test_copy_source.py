from __future__ import annotations

import pytest

from gateway.s3.checksums import ChecksumAlgorithm
from gateway.s3.conditions import COPY_PREFIX, NO_CONDITIONS, check_source, parse_source_conditions
from gateway.s3.copy_source import CopySource, copy_span, parse_copy_source, parse_copy_wish
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.ranges import ByteSpan

NOON = "Fri, 20 Nov 2026 12:00:00 GMT"
NOON_SECONDS = 1_795_176_000
NOW = NOON_SECONDS + 86_400


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("/src/key", CopySource("src", b"key")),
        ("src/key", CopySource("src", b"key")),
        ("src/a/b//c/", CopySource("src", b"a/b//c/")),
        ("src%2Fa%2Fb", CopySource("src", b"a/b")),
        ("%2Fsrc/a", CopySource("src", b"a")),
        ("src//a", CopySource("src", b"/a")),
        ("src/100%25", CopySource("src", b"100%")),
        ("src/%2525", CopySource("src", b"%25")),
        ("src/a+b", CopySource("src", b"a+b")),
        ("src/a%2Bb%20c", CopySource("src", b"a+b c")),
        ("src/%E6%97%A5", CopySource("src", "日".encode())),
        ("src/日", CopySource("src", "日".encode())),
        ("src/../x", CopySource("src", b"../x")),
        ("src/k?versionId=v1", CopySource("src", b"k", "v1")),
        ("src/k%3FversionId%3Dv1", CopySource("src", b"k?versionId=v1")),
        ("src/k%3FversionId%3Dv1?versionId=v2", CopySource("src", b"k?versionId=v1", "v2")),
        ("src/k?x=y", CopySource("src", b"k?x=y")),
        ("src/" + "k" * 1024, CopySource("src", b"k" * 1024)),
    ],
)
def test_source_is_decoded_once(value: str, source: CopySource) -> None:
    assert parse_copy_source(value) == source


@pytest.mark.parametrize(
    "value",
    [
        *("", "/", "src", "src/", "/src", "//key", "/?versionId=v", "src/?versionId=v"),
        *("src/%", "src/%zz", "src/%ff", "src/%00", "src/\udcff", "src/" + "k" * 1025),
        *("Upper/key", "a/key", "src..x/key", "arn:aws:s3:::src/key"),
    ],
)
def test_other_source_is_an_invalid_argument(value: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_copy_source(value)
    assert caught.value.code is ErrorCode.InvalidArgument
    assert caught.value.fields["ArgumentName"] == "x-amz-copy-source"


@pytest.mark.parametrize(
    ("headers", "replaces", "changes"),
    [
        ({}, False, False),
        ({"x-amz-metadata-directive": "COPY"}, False, False),
        ({"x-amz-metadata-directive": "REPLACE"}, True, True),
        ({"x-amz-storage-class": "STANDARD"}, False, True),
        ({"x-amz-checksum-algorithm": "sha256"}, False, True),
        ({"x-amz-website-redirect-location": "/x"}, False, True),
        ({"x-amz-meta-a": "b"}, False, False),
    ],
)
def test_wish(headers: dict[str, str], replaces: bool, changes: bool) -> None:
    wish = parse_copy_wish(headers)
    assert (wish.replaces_metadata, wish.changes) == (replaces, changes)
    assert wish.conditions is NO_CONDITIONS


def test_wish_names_the_checksum() -> None:
    assert (
        parse_copy_wish({"x-amz-checksum-algorithm": "CRC32"}).checksum is ChecksumAlgorithm.CRC32
    )


@pytest.mark.parametrize("directive", ["", "copy", "KEEP", "REPLACE,COPY"])
def test_unknown_directive_is_an_invalid_argument(directive: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_copy_wish({"x-amz-metadata-directive": directive})
    assert caught.value.code is ErrorCode.InvalidArgument


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, ByteSpan(0, 10)),
        ("bytes=0-9", ByteSpan(0, 10)),
        ("bytes=0-0", ByteSpan(0, 1)),
        ("bytes=9-9", ByteSpan(9, 10)),
        ("bytes=003-4", ByteSpan(3, 5)),
    ],
)
def test_span_of_a_part(header: str | None, span: ByteSpan) -> None:
    assert copy_span(header, 10) == span


@pytest.mark.parametrize(
    ("header", "code"),
    [
        *((header, "InvalidArgument") for header in ("", "0-2", "bytes=0", "bytes=hello-world")),
        *((header, "InvalidArgument") for header in ("bytes=0-bar", "bytes=hello-", "bytes=-5")),
        *((header, "InvalidArgument") for header in ("bytes=0-2,3-5", "bytes=5-", "bytes=5-4")),
        *((header, "InvalidArgument") for header in ("octets=0-2", "bytes=" + "9" * 99 + "-0")),
        *((header, "InvalidRange") for header in ("bytes=0-10", "bytes=10-10", "bytes=99-100")),
    ],
)
def test_other_span_is_refused(header: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        copy_span(header, 10)
    assert caught.value.code is ErrorCode[code]


def test_a_span_of_an_empty_source() -> None:
    assert copy_span(None, 0) == ByteSpan(0, 0)
    with pytest.raises(S3Error):
        copy_span("bytes=0-0", 0)


@pytest.mark.parametrize(
    ("headers", "failed"),
    [
        ({}, None),
        ({"if-match": '"e"'}, None),
        ({"if-match": "e"}, None),
        ({"if-match": "f"}, "If-Match"),
        ({"if-none-match": "f"}, None),
        ({"if-none-match": "e"}, "If-None-Match"),
        ({"if-none-match": "*"}, "If-None-Match"),
        ({"if-modified-since": NOON}, "If-Modified-Since"),
        ({"if-modified-since": "Thu, 19 Nov 2026 12:00:00 GMT"}, None),
        ({"if-unmodified-since": NOON}, None),
        ({"if-unmodified-since": "Thu, 19 Nov 2026 12:00:00 GMT"}, "If-Unmodified-Since"),
        ({"if-match": "e", "if-unmodified-since": "Thu, 19 Nov 2026 12:00:00 GMT"}, None),
        (
            {"if-none-match": "e", "if-modified-since": "Thu, 19 Nov 2026 12:00:00 GMT"},
            "If-None-Match",
        ),
    ],
)
def test_conditions_on_the_source(headers: dict[str, str], failed: str | None) -> None:
    conditions = parse_source_conditions(
        {f"x-amz-copy-source-{name}": value for name, value in headers.items()}, COPY_PREFIX
    )
    try:
        check_source(conditions, "e", NOON_SECONDS, now_seconds=NOW, prefix=COPY_PREFIX)
    except S3Error as error:
        assert error.code is ErrorCode.PreconditionFailed
        assert error.fields["Condition"] == f"x-amz-copy-source-{failed}"
    else:
        assert failed is None


def test_conditions_on_the_destination_are_not_those_on_the_source() -> None:
    assert parse_source_conditions({"if-match": "e"}, COPY_PREFIX) is NO_CONDITIONS
