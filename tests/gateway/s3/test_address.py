from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.address import (
    Address,
    check_bucket_name,
    flat_address,
    host_bucket,
    order_base_paths,
    order_domains,
    parse_address,
    parse_host_address,
)
from gateway.s3.errors import ErrorCode, S3Error

S3 = order_base_paths(["/s3"])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/s3", Address(None, None, "/s3")),
        ("/s3/", Address(None, None, "/s3")),
        ("/s3/b", Address("b", None, "/s3")),
        ("/s3/b/", Address("b", None, "/s3", bucket_slash=True)),
        ("/s3/b/k", Address("b", b"k", "/s3")),
        ("/s3/b/k/", Address("b", b"k/", "/s3")),
        ("/s3/b//", Address("b", b"/", "/s3")),
        ("/s3/b//k", Address("b", b"/k", "/s3")),
        ("/s3/b/../k", Address("b", b"../k", "/s3")),
        ("/s3/b/./k", Address("b", b"./k", "/s3")),
        ("/s3/b/%2e%2e/k", Address("b", b"../k", "/s3")),
        ("/s3/b/a%2Fb", Address("b", b"a/b", "/s3")),
        ("/s3/b/a%2fb", Address("b", b"a/b", "/s3")),
        ("/s3/b/a%252Fb", Address("b", b"a%2Fb", "/s3")),
        ("/s3/b/a+b%20c%2Bd", Address("b", b"a+b c+d", "/s3")),
        ("/s3/b/%0a%09%7f", Address("b", b"\n\t\x7f", "/s3")),
        ("/s3/b/%F0%9F%98%80", Address("b", "😀".encode(), "/s3")),
        ("/s3/b/😀", Address("b", "😀".encode(), "/s3")),
        ("/s3/b/e%CC%81", Address("b", "e\u0301".encode(), "/s3")),
        ("/s3/%62", Address("b", None, "/s3")),
        ("/s3x", None),
        ("/s3x/b", None),
        ("/S3/b", None),
        ("/", None),
        ("", None),
        ("*", None),
        ("/api/objects", None),
    ],
)
def test_path_names_what_it_says(path: str, expected: Address | None) -> None:
    assert parse_address(path, S3) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", Address(None, None, "")),
        ("", Address(None, None, "")),
        ("/b", Address("b", None, "")),
        ("/s3", Address(None, None, "/s3")),
        ("/s3/b/k", Address("b", b"k", "/s3")),
        ("/s3/v2/b/k", Address("b", b"k", "/s3/v2")),
        ("/s3/v2b/k", Address("v2b", b"k", "/s3")),
    ],
)
def test_longest_base_path_wins(path: str, expected: Address) -> None:
    assert parse_address(path, order_base_paths(["/", "/s3", "/s3/v2/"])) == expected


def test_base_path_starts_with_a_slash() -> None:
    with pytest.raises(ValueError, match="s3"):
        order_base_paths(["s3"])


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/s3/b/%ff", ErrorCode.InvalidURI),
        ("/s3/b/\udcff", ErrorCode.InvalidURI),
        ("/s3/b/%ED%A0%80", ErrorCode.InvalidURI),
        ("/s3/b/%C0%AF", ErrorCode.InvalidURI),
        ("/s3/%ff/k", ErrorCode.InvalidURI),
        ("/s3/b/%", ErrorCode.InvalidURI),
        ("/s3/b/%4", ErrorCode.InvalidURI),
        ("/s3/b/%zz", ErrorCode.InvalidURI),
        ("/s3/b/a%00b", ErrorCode.InvalidURI),
        ("/s3/b/a\0b", ErrorCode.InvalidURI),
        ("/s3/b%00", ErrorCode.InvalidURI),
        ("/s3//k", ErrorCode.InvalidBucketName),
        ("/s3//", ErrorCode.InvalidBucketName),
    ],
)
def test_broken_path_is_refused(path: str, code: ErrorCode) -> None:
    with pytest.raises(S3Error) as caught:
        parse_address(path, S3)
    assert caught.value.code is code


@pytest.mark.parametrize("piece", ["k", "%6b", "%C3%A9"])
def test_key_has_at_most_1024_decoded_bytes(piece: str) -> None:
    piece_bytes = 2 if piece == "%C3%A9" else 1
    longest = piece * (1024 // piece_bytes)
    found = parse_address(f"/s3/b/{longest}", S3)
    assert found is not None and found.key is not None and len(found.key) == 1024
    with pytest.raises(S3Error) as caught:
        parse_address(f"/s3/b/{longest}k", S3)
    assert caught.value.code is ErrorCode.KeyTooLongError
    assert caught.value.fields == {"Size": 1025, "MaxSizeAllowed": 1024}


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_every_key_survives_quoting_once(key: str) -> None:
    if len(key.encode()) <= 1024:
        assert parse_address("/s3/b/" + quote(key), S3) == Address("b", key.encode(), "/s3")
        assert parse_address("/s3/b/" + quote(key, safe=""), S3) == Address(
            "b", key.encode(), "/s3"
        )


def test_one_segment_read_as_a_flat_key() -> None:
    address = parse_address("/s3/na%C3%AFve%2Fx.txt", S3)
    assert address is not None
    assert flat_address(address) == Address("default", "naïve/x.txt".encode(), "/s3")


def test_flat_key_keeps_its_slash() -> None:
    address = parse_address("/s3/dir/", S3)
    assert address is not None
    assert flat_address(address).key == b"dir/"


def test_flat_key_has_the_same_limit() -> None:
    with pytest.raises(S3Error) as caught:
        flat_address(Address("n" * 1025, None, "/s3"))
    assert caught.value.code is ErrorCode.KeyTooLongError


def test_only_a_bucket_can_be_read_as_a_flat_key() -> None:
    with pytest.raises(ValueError, match="bucket"):
        flat_address(Address("b", b"k", "/s3"))


@pytest.mark.parametrize(
    "name", ["abc", "a.b", "a-b", "a--b", "0ab", "a" * 63, "my.bucket-1", "1.2.3", "default"]
)
def test_good_bucket_names(name: str) -> None:
    check_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "a", "ab", "a" * 64, "Abc", "a_b", "a b", "a/b", "abc\n", "äbc"),
        *("-ab", "ab-", ".ab", "ab.", "a..b", "a.-b", "a-.b", "192.168.5.4", "999.1.1.1"),
    ],
)
def test_bad_bucket_names(name: str) -> None:
    with pytest.raises(S3Error) as caught:
        check_bucket_name(name)
    assert caught.value.code is ErrorCode.InvalidBucketName


DOMAINS = order_domains(["example.org", "s3.example.org", "localhost"])


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("b.s3.example.org", "b"),
        ("b.s3.example.org:3000", "b"),
        ("B.S3.Example.Org", "b"),
        ("b.s3.example.org.", "b"),
        ("a.b.c.s3.example.org", "a.b.c"),
        ("b.localhost:80", "b"),
        ("b.example.org", "b"),
        ("s3.example.org", None),
        ("s3.example.org:3000", None),
        ("localhost", None),
        ("bs3.example.com", None),
        ("blocalhost", None),
        (".localhost", None),
        ("127.0.0.1:3000", None),
        ("[::1]:3000", None),
        ("", None),
    ],
)
def test_host_names_a_bucket_below_a_domain(host: str, bucket: str | None) -> None:
    assert host_bucket(host, DOMAINS) == bucket
    assert host_bucket(host, ()) is None


@pytest.mark.parametrize(
    ("path", "base_paths", "key", "base_path"),
    [
        ("/", ["/"], None, ""),
        ("/k", ["/"], b"k", ""),
        ("/a/b/", ["/"], b"a/b/", ""),
        ("//", ["/"], b"/", ""),
        ("//a", ["/"], b"/a", ""),
        ("/../a", ["/"], b"../a", ""),
        ("/a%2Fb+%0a", ["/"], b"a/b+\n", ""),
        ("/livez", ["/"], b"livez", ""),
        ("/s3/k", ["/s3"], b"k", "/s3"),
        ("/s3", ["/s3"], None, "/s3"),
        ("/s3/", ["/s3"], None, "/s3"),
        # At the root all of the path is the key, as on AWS.
        ("/s3/k", ["/", "/s3"], b"s3/k", ""),
        ("/s3", ["/", "/s3"], b"s3", ""),
    ],
)
def test_path_is_the_key_where_the_host_names_the_bucket(
    path: str, base_paths: list[str], key: bytes | None, base_path: str
) -> None:
    address = parse_host_address(path, "b", order_base_paths(base_paths))
    assert address == Address("b", key, base_path, bucket_slash=key is None, by_host=True)


def test_other_paths_of_a_bucket_host_are_nowhere() -> None:
    assert parse_host_address("/k", "b", S3) is None
    assert parse_host_address("/s3x", "b", S3) is None
