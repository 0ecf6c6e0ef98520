from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.form_data import FIELD_BYTES_MAX, FormDecoder, form_boundary

BOUNDARY = b"--x-y"


def part(name: str, value: bytes, extra: str = "") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return b"--" + BOUNDARY + b"\r\n" + disposition.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def decode(body: bytes, step: int | None = None) -> tuple[dict[str, str], str, bytes]:
    decoder = FormDecoder(BOUNDARY)
    pieces: list[memoryview] = []
    for at in range(0, len(body), step or len(body)):
        pieces += decoder.feed(body[at : at + (step or len(body))])
    assert decoder.finish() == {}
    return decoder.fields, decoder.filename, b"".join(pieces)


def code_of(body: bytes, step: int | None = None) -> ErrorCode:
    with pytest.raises(S3Error) as raised:
        decode(body, step)
    return raised.value.code


FILES = [
    b"",
    b"bar",
    b"\r\n",
    b"\r",
    b"\r\n--",
    b"\r\n--" + BOUNDARY[:-1] + b"\r\n\r\n--" + BOUNDARY[:3],
    b"a\r\n--" + BOUNDARY[:-1] + b"z" * 5000,
    b"--" + BOUNDARY + b" in the middle of a line",
]


@pytest.mark.parametrize("step", [None, 1, 2, 3, 7])
@pytest.mark.parametrize("content", FILES)
def test_fields_and_file_come_apart(content: bytes, step: int | None) -> None:
    extra = '; filename="a \\"b\\".txt"\r\nContent-Type: text/plain'
    body = form(part("Key", "ü".encode()), part("acl", b""), part("file", content, extra))
    assert decode(body, step) == ({"key": "ü", "acl": ""}, 'a "b".txt', content)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_file_comes_out_as_it_went_in(content: bytes, step: int) -> None:
    if b"\r\n--" + BOUNDARY not in b"\r\n" + content:
        body = form(part("key", b"k"), part("file", content))
        assert decode(body, step) == ({"key": "k"}, "", content)


@given(st.lists(st.sampled_from([part("a", b"1"), b"\r\n", b"--", BOUNDARY, b"\r\n\r\n", b"x"])))
def test_nothing_but_an_s3_error_escapes(pieces: list[bytes]) -> None:
    try:
        decode(b"".join(pieces) or b"x", 3)
    except S3Error as error:
        assert error.status == 400


def test_what_follows_the_file_is_ignored() -> None:
    body = form(part("key", b"k"), part("file", b"1"), part("key", b"other"), part("file", b"2"))
    assert decode(body) == ({"key": "k"}, "", b"1")


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"nonsense", ErrorCode.MalformedPOSTRequest),
        (b"--other\r\n", ErrorCode.MalformedPOSTRequest),
        (form(part("file", b"x"))[:-30], ErrorCode.MalformedPOSTRequest),
        (part("key", b"x"), ErrorCode.MalformedPOSTRequest),
        (part("key", b"\xff") + part("file", b""), ErrorCode.MalformedPOSTRequest),
        (b"--" + BOUNDARY + b"\r\nX: y\r\n\r\nz\r\n", ErrorCode.MalformedPOSTRequest),
        (form(part("key", b"x")), ErrorCode.InvalidArgument),
        (form(part("key", b"x"), part("Key", b"y")), ErrorCode.InvalidArgument),
        (part("a", b"x" * FIELD_BYTES_MAX), ErrorCode.MaxPostPreDataLengthExceeded),
        (b"--" + BOUNDARY + b"\r\n" + b"x" * 30_000, ErrorCode.MaxPostPreDataLengthExceeded),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, code: ErrorCode, step: int | None) -> None:
    assert code_of(body, step) is code


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data;charset=utf-8; BOUNDARY="a b"', b"a b"),
        ("application/xml", None),
        ("", None),
    ],
)
def test_the_boundary_is_found(content_type: str, boundary: bytes | None) -> None:
    assert form_boundary(content_type) == boundary


@pytest.mark.parametrize("rest", ["", "; boundary=", '; boundary=""', "; boundary=" + "x" * 71])
def test_a_form_without_a_boundary_is_refused(rest: str) -> None:
    with pytest.raises(S3Error) as raised:
        form_boundary("multipart/form-data" + rest)
    assert raised.value.code is ErrorCode.MalformedPOSTRequest
