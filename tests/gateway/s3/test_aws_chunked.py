"""Tests of gateway.s3.aws_chunked."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.aws_chunked import HEADER_LINE_BYTES_MAX, TRAILER_BYTES_MAX, AwsChunkedDecoder
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.sigv4 import ChunkSigner, signing_key
from tests.support.chunked_bodies import ClientSigner, encode

KEY = bytes(32)
TIMESTAMP, SCOPE, SEED = "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", "5" * 64
TRAILERS = {"x-amz-checksum-crc32": "AAAAAA=="}


def client_signer() -> ClientSigner:
    return ClientSigner(KEY, TIMESTAMP, SCOPE, SEED)


def server_signer() -> ChunkSigner:
    return ChunkSigner(KEY, TIMESTAMP, SCOPE, SEED)


def decode(
    pieces: list[bytes],
    length: int,
    signer: ChunkSigner | None = None,
    trailers: dict[str, str] | None = None,
) -> tuple[bytes, dict[str, str]]:
    decoder = AwsChunkedDecoder(signer, length, (trailers or {}).keys())
    data = b"".join(b"".join(decoder.feed(piece)) for piece in pieces)
    return data, decoder.finish()


def code_of(
    body: bytes, length: int, signed: bool = False, trailers: dict[str, str] | None = None
) -> ErrorCode:
    """The error of a body, which must be the same whole and one byte at a time."""
    codes = set()
    for pieces in ([body], [body[at : at + 1] for at in range(len(body))]):
        with pytest.raises(S3Error) as raised:
            decode(pieces, length, server_signer() if signed else None, trailers)
        codes.add(raised.value.code)
    assert len(codes) == 1
    return codes.pop()


FORMS = [
    pytest.param(signed, trailers, line_end, id=f"signed={signed} trailers={bool(trailers)} {end}")
    for signed in (False, True)
    for trailers in ({}, TRAILERS)
    for end, line_end in (("crlf", b"\r\n"), ("minio", b"\n\r\n"))
]


@pytest.mark.parametrize(("signed", "trailers", "line_end"), FORMS)
@pytest.mark.parametrize("chunks", [[], [b"a"], [b"hello", b"w" * 300, b"!"]])
def test_a_body_cut_in_two_anywhere_is_decoded(
    signed: bool, trailers: dict[str, str], line_end: bytes, chunks: list[bytes]
) -> None:
    body = encode(chunks, client_signer() if signed else None, trailers, line_end)
    data = b"".join(chunks)
    for cut in range(len(body) + 1):
        signer = server_signer() if signed else None
        pieces = [body[:cut], body[cut:]]
        assert decode(pieces, len(data), signer, trailers) == (data, trailers)


@pytest.mark.parametrize(("signed", "trailers", "line_end"), FORMS)
def test_a_body_one_byte_at_a_time_is_decoded(
    signed: bool, trailers: dict[str, str], line_end: bytes
) -> None:
    chunks = [b"\r\n0\r\n\r\n", b"x" * 70]
    body = encode(chunks, client_signer() if signed else None, trailers, line_end)
    pieces = [body[at : at + 1] for at in range(len(body))]
    signer = server_signer() if signed else None
    assert decode(pieces, 77, signer, trailers) == (b"".join(chunks), trailers)


@pytest.mark.parametrize(("signed", "trailers", "line_end"), FORMS)
def test_a_body_cut_short_anywhere_is_incomplete(
    signed: bool, trailers: dict[str, str], line_end: bytes
) -> None:
    body = encode([b"hello", b"world"], client_signer() if signed else None, trailers, line_end)
    for cut in range(len(body)):
        with pytest.raises(S3Error) as raised:
            decode([body[:cut]], 10, server_signer() if signed else None, trailers)
        assert raised.value.code is ErrorCode.IncompleteBody


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=50), max_size=6),
    cuts=st.lists(st.integers(0, 1000), max_size=20),
    signed=st.booleans(),
    trailers=st.sampled_from([{}, TRAILERS]),
)
def test_the_cuts_do_not_matter(
    chunks: list[bytes], cuts: list[int], signed: bool, trailers: dict[str, str]
) -> None:
    body = encode(chunks, client_signer() if signed else None, trailers)
    bounds = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[a:b] for a, b in pairwise(bounds)]
    data = b"".join(chunks)
    signer = server_signer() if signed else None
    assert decode(pieces, len(data), signer, trailers) == (data, trailers)


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_signed_body_changed_anywhere_is_refused(at: int, flip: int) -> None:
    body = bytearray(encode([b"hello", b"world"], client_signer(), TRAILERS))
    at %= len(body)
    body[at] ^= flip
    try:
        result = decode([bytes(body)], 10, server_signer(), TRAILERS)
    except S3Error as error:
        assert error.status in {400, 403}
    else:
        # Case of a hex length or of a trailer's name, and white space around a trailer's value.
        assert result == (b"helloworld", TRAILERS)


def test_slices_are_not_copies() -> None:
    body = encode([b"a" * 65_536, b"b" * 65_536])
    pieces = AwsChunkedDecoder(None, 131_072).feed(body)
    assert [len(piece) for piece in pieces] == [65_536, 65_536]
    assert all(piece.obj is body for piece in pieces)


def test_a_memoryview_is_as_good_as_bytes() -> None:
    decoder = AwsChunkedDecoder(None, 5)
    assert decoder.feed(memoryview(bytearray(b"5\r\nhello\r\n0\r\n\r\n"))) == [b"hello"]
    assert decoder.finish() == {}


def test_without_a_signer_signatures_are_ignored() -> None:
    body = encode([b"hello"], client_signer(), TRAILERS)
    assert decode([body], 5, None, TRAILERS) == (b"hello", TRAILERS)
    assert decode([body.replace(b"signature=", b"signature=x")], 5, None, TRAILERS)


@pytest.mark.parametrize("size", [0, 1, 70_000, (2 << 20) + 1])
def test_the_body_of_botocore_is_decoded(size: int) -> None:
    data = bytes(size)
    wrapper = AwsChunkedWrapper(
        io.BytesIO(data), checksum_cls=Crc32Checksum, checksum_name="x-amz-checksum-crc32"
    )
    pieces = list(iter(lambda: wrapper.read(9000), b""))
    checksum = Crc32Checksum()
    checksum.update(data)
    trailers = {"x-amz-checksum-crc32": checksum.b64digest()}
    assert decode(pieces, size, None, trailers) == (data, trailers)


SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EXAMPLE_KEY = signing_key(SECRET, "20130524", "us-east-1", "s3")


def test_the_example_of_signed_chunks_in_the_documentation() -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
    body = b"".join(
        b"%x;chunk-signature=%s\r\n%s\r\n" % (len(data), signature, data)
        for data, signature in [
            (b"a" * 65536, b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (b"a" * 1024, b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (b"", b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ]
    )
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    signer = ChunkSigner(EXAMPLE_KEY, TIMESTAMP, SCOPE, seed)
    assert decode([body], 66_560, signer) == (b"a" * 66_560, {})


def test_the_example_of_signed_trailers_in_the_documentation() -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
    body = b"".join(
        b"%x;chunk-signature=%s\r\n%s%s" % (len(data), signature, data, end)
        for data, signature, end in [
            (
                b"a" * 65536,
                b"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
                b"\r\n",
            ),
            (
                b"a" * 1024,
                b"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
                b"\r\n",
            ),
            (b"", b"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992", b""),
        ]
    )
    trailers = {"x-amz-checksum-crc32c": "sOO8/Q=="}
    body += (
        b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
        b"x-amz-trailer-signature:"
        b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
    )
    seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    signer = ChunkSigner(EXAMPLE_KEY, TIMESTAMP, SCOPE, seed)
    assert decode([body], 66_560, signer, trailers) == (b"a" * 66_560, trailers)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"5\rhello\r0\r\r",
        b"5;other=1\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"6\r\nhello\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"4\r\nhell\r\n0\r\n\r\n",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\nx",
        b"5\r\nhello\r\n0\r\n\r\n0\r\n\r\n",
        b"5;chunk-signature=" + b"0" * HEADER_LINE_BYTES_MAX + b"\r\nhello\r\n0\r\n\r\n",
        b"5;" + b"0" * 100_000,
    ],
)
def test_wrong_framing_is_incomplete(body: bytes) -> None:
    assert code_of(body, 5) is ErrorCode.IncompleteBody


def test_more_than_announced_is_refused_before_it_is_read() -> None:
    with pytest.raises(S3Error):
        AwsChunkedDecoder(None, 5).feed(b"6\r\n")


def test_an_unsigned_chunk_in_a_signed_body_is_incomplete() -> None:
    assert code_of(encode([b"hello"]), 5, signed=True) is ErrorCode.IncompleteBody


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"hello", b"hellO"),
        (b"chunk-signature=", b"chunk-signature=0"),
        (b"x-amz-checksum-crc32:AAAAAA==", b"x-amz-checksum-crc32:AAAAAB=="),
        (b"trailer-signature:", b"trailer-signature:\xff"),
    ],
)
def test_a_wrong_signature_is_refused(old: bytes, new: bytes) -> None:
    body = encode([b"hello"], client_signer(), TRAILERS)
    assert old in body
    code = code_of(body.replace(old, new), 5, signed=True, trailers=TRAILERS)
    assert code is ErrorCode.SignatureDoesNotMatch


def test_an_upper_case_signature_is_refused() -> None:
    signer = client_signer()
    body = b"0;chunk-signature=" + signer.chunk(b"").upper().encode() + b"\r\n\r\n"
    assert code_of(body, 0, signed=True) is ErrorCode.SignatureDoesNotMatch


def test_signed_chunks_in_another_order_are_refused() -> None:
    body = encode([b"a" * 9, b"b" * 9], client_signer())
    chunk_bytes = len("9;chunk-signature=") + 64 + len("\r\n") + 9 + len("\r\n")
    swapped = body[chunk_bytes : 2 * chunk_bytes] + body[:chunk_bytes] + body[2 * chunk_bytes :]
    assert code_of(swapped, 18, signed=True) is ErrorCode.SignatureDoesNotMatch


@pytest.mark.parametrize(
    "section",
    [
        b"\r\n",
        b"x-amz-checksum-crc32c:AAAAAA==\r\n\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\r\nx-other:1\r\n\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        b"x-amz-checksum-crc32\r\n\r\n",
        b":AAAAAA==\r\n\r\n",
        b"x-amz-checksum-crc32:" + b"A" * TRAILER_BYTES_MAX + b"\r\n\r\n",
        b"x-amz-checksum-crc32:" + b"A" * 100_000,
    ],
)
def test_trailers_other_than_announced_are_malformed(section: bytes) -> None:
    code = code_of(b"0\r\n" + section, 0, trailers=TRAILERS)
    assert code is ErrorCode.MalformedTrailerError


def test_an_unannounced_trailer_is_malformed() -> None:
    assert code_of(encode([], None, TRAILERS), 0) is ErrorCode.MalformedTrailerError


def test_a_missing_trailer_signature_is_malformed() -> None:
    signature = client_signer().chunk(b"").encode()
    body = b"0;chunk-signature=" + signature + b"\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    code = code_of(body, 0, signed=True, trailers=TRAILERS)
    assert code is ErrorCode.MalformedTrailerError


def test_names_of_trailers_are_case_insensitive_and_values_are_trimmed() -> None:
    body = b"0\r\nX-Amz-Checksum-CRC32:  AAAAAA== \r\n\r\n"
    assert decode([body], 0, None, TRAILERS) == (b"", TRAILERS)
