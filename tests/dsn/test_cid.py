from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID, multibase

from dsn.cid import (
    NODE_CID_PREFIX,
    RAW_CID_PREFIX,
    RECORD_CID_PREFIX,
    cid_text,
    digest_of,
    node_cid,
    parse_cid,
)
from dsn.errors import BlockMismatchError, BlockNotFoundError, InvalidCidError

digests = st.binary(min_size=32, max_size=32)

HELLO = "bafkr6idbftayihbd3gc4ig7iajype6ltflxmwiw7jp43sfyjfp5z3z6nh4"


def test_a_digest_is_plain_blake3() -> None:
    # https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json
    empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert digest_of(b"").hex() == empty
    assert digest_of(memoryview(bytearray())).hex() == empty


@given(digests)
def test_a_cid_reads_as_it_was_written(digest: bytes) -> None:
    text = cid_text(digest)
    assert text.startswith("bafkr6i")
    assert len(text) == 59
    assert parse_cid(text) == digest
    assert node_cid(digest) == NODE_CID_PREFIX + digest


@given(digests, st.sampled_from(["raw", "dag-pb"]))
def test_registered_blake3_spellings_are_accepted(digest: bytes, codec: str) -> None:
    oracle = CID("base32", 1, codec, ("blake3", digest))
    assert parse_cid(str(oracle)) == digest


def test_prefixes_are_what_multiformats_says() -> None:
    digest = bytes(range(32))
    assert bytes(CID("base32", 1, "raw", ("blake3", digest))) == RAW_CID_PREFIX + digest
    assert bytes(CID("base32", 1, "dag-cbor", ("blake3", digest))) == RECORD_CID_PREFIX + digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        HELLO[1:],
        HELLO[:-1],
        HELLO + "a",
        HELLO + "======",
        "b" + HELLO[1:].upper(),
        "z" + HELLO[1:],
        HELLO[:-1] + "5",  # the last character has two unused bits
        HELLO[:-1] + "é",
        HELLO[:20] + "1" + HELLO[21:],
        HELLO[:20] + " " + HELLO[20:],
        str(CID("base32", 1, "dag-cbor", ("blake3", bytes(32)))),
        str(CID("base32", 1, "raw", ("sha2-256", bytes(32)))),
        str(CID("base58btc", 1, "dag-cbor", ("blake3", bytes(32)))),
        str(CID("base58btc", 0, "dag-pb", ("sha2-256", bytes(32)))),
        "bafkqaaa",
    ],
)
def test_what_is_no_cid_of_a_node_is_refused(text: str) -> None:
    with pytest.raises(InvalidCidError) as refused:
        parse_cid(text)
    assert refused.value.text == text


@given(st.text(max_size=80))
def test_any_text_is_refused_or_read(text: str) -> None:
    with pytest.raises(InvalidCidError):
        parse_cid(text)


@pytest.mark.parametrize("error", [BlockNotFoundError(bytes(32)), BlockMismatchError(bytes(32))])
def test_errors_name_the_cid_and_pass_between_processes(
    error: BlockNotFoundError | BlockMismatchError,
) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert again.digest == bytes(32)
    assert cid_text(bytes(32)) in str(again)


@pytest.mark.parametrize("base", ["base16", "base58btc", "base64url", "base32upper", "base36"])
def test_a_cid_in_another_multibase_is_read(base: str) -> None:
    digest = digest_of(b"any")
    assert parse_cid(multibase.encode(node_cid(digest), base)) == digest


@pytest.mark.parametrize("text", ["", "z", "zz!", "f0155", "?abc", "z" * 1000, "9123"])
def test_nonsense_in_another_multibase_is_refused(text: str) -> None:
    with pytest.raises(InvalidCidError):
        parse_cid(text)
