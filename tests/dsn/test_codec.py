from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsn.cid import NODE_CID_PREFIX
from dsn.codec import (
    FULL_LEAF_PREFIX,
    LINK_PREFIX,
    decode_links,
    decode_node,
    encode_links,
    encode_node,
    leaf_bytes,
    leaf_payload,
    leaf_prefix,
)
from dsn.errors import InvalidNodeError
from dsn.node import CHUNK_BYTES, Compression, Encryption, Node, NodeType, UploadOptions
from dsn.varint import UVARINT_MAX

int32s = st.integers(0, (1 << 31) - 1)
compressions = st.builds(Compression, level=st.none() | int32s, chunk_size=st.none() | int32s)
encryptions = st.builds(Encryption, chunk_size=st.none() | int32s)
nodes = st.builds(
    Node,
    type=st.sampled_from(NodeType),
    link_depth=int32s,
    size=st.none() | st.integers(0, UVARINT_MAX),
    name=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    data=st.none() | st.binary(max_size=200),
    upload_options=st.none()
    | st.builds(UploadOptions, st.none() | compressions, st.none() | encryptions),
    links=st.lists(st.binary(min_size=32, max_size=32), max_size=5).map(tuple),
)

A, B = bytes(32), bytes(range(32))
LINK = (LINK_PREFIX + B).hex()


@given(nodes)
def test_a_node_reads_as_it_was_written(node: Node) -> None:
    block = encode_node(node)
    assert decode_node(block) == node
    assert decode_node(memoryview(block)) == node
    assert decode_links(block) == node.links


@given(nodes, st.data())
def test_a_changed_block_is_refused_or_is_another_node(node: Node, data: st.DataObject) -> None:
    block = bytearray(encode_node(node))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(block)))
        cut = data.draw(st.integers(0, 3))
        block[at : at + cut] = data.draw(st.binary(max_size=3))
    check_strict(bytes(block))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_are_a_node(block: bytes) -> None:
    check_strict(block)
    check_strict(b"\x0a" + bytes((len(block),)) + block)


def check_strict(block: bytes) -> None:
    try:
        node = decode_node(block)
    except InvalidNodeError:
        with pytest.raises(InvalidNodeError):
            leaf_payload(block)
        return
    assert encode_node(node) == block
    try:
        payload = leaf_payload(block)
    except InvalidNodeError:
        return
    assert bytes(payload) == node.data


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("", "no data field"),
        (LINK, "no data field"),
        ("0a00" + LINK, "unexpected bytes"),
        ("0a0000", "unexpected bytes"),
        ("0a020802" + "0a00", "unexpected bytes"),
        ("0a05", "longer than what holds it"),
        ("0a8000", "padded"),
        ("0a020800", "is 0"),
        ("0a021000", "is 0"),
        ("0a020808", "unknown node type"),
        ("0a0318ff00", "padded"),
        ("0a0418010802", "unexpected bytes"),  # size before type
        ("0a0418011801", "unexpected bytes"),  # size twice
        ("0a023801", "unexpected bytes"),  # field 7
        ("0a020901", "unexpected bytes"),  # type as a fixed64
        ("0a042202c328", "not UTF-8"),
        ("0a052203eda080", "not UTF-8"),  # a surrogate
        ("0a0622068061", "longer than what holds it"),
        ("0a0610ffffffff0f", "out of range"),
        ("0a0432020a01", "longer than what holds it"),
        ("0a0632040a020800", "unexpected bytes"),  # an algorithm that proto3 would not write
        ("0a0632040a020801", "unexpected bytes"),  # an algorithm that nobody knows
        ("0a0832061200" + "0a021001", "unexpected bytes"),  # encryption before compression
        ("12260a24" + (b"\x01\x55\x1e\x20" + B).hex() + "0a00", "bare CID"),
        ("12260a24" + (b"\x01\x70\x1f\x20" + B).hex() + "0a00", "bare CID"),
        ("12280a24" + (NODE_CID_PREFIX + B).hex() + "12000a00", "a link is"),  # with a name
        (LINK[:-2], "cut short"),
        (LINK[:-2] + "0a00", "no data field"),
        (LINK + LINK[:40], "cut short"),
    ],
)
def test_a_block_that_is_not_canonical_is_refused(block: str, reason: str) -> None:
    with pytest.raises(InvalidNodeError, match=reason):
        decode_node(bytes.fromhex(block))


@pytest.mark.parametrize(
    "node",
    [
        Node(NodeType.File, size=UVARINT_MAX + 1),
        Node(NodeType.File, size=-1),
        Node(NodeType.File, link_depth=1 << 31),
        Node(NodeType.File, name="\ud800"),
        Node(NodeType.File, links=(bytes(31),)),
    ],
)
def test_a_node_that_no_block_can_hold_is_refused(node: Node) -> None:
    with pytest.raises(ValueError):
        encode_node(node)


@pytest.mark.parametrize("size", [(1 << 31) - 1, 1 << 31, 3_000_000_000, (1 << 32) - 1, 1 << 32])
def test_a_size_between_2_and_4_gib_is_an_ordinary_varint(size: int) -> None:
    assert decode_node(encode_node(Node(NodeType.File, size=size))).size == size


@pytest.mark.parametrize("payload_bytes", [1, 120, 127, 128, 16_370, 16_384, CHUNK_BYTES])
def test_a_leaf_is_its_prefix_and_the_payload(payload_bytes: int) -> None:
    payload = b"\x12" * payload_bytes
    block = leaf_prefix(payload_bytes) + payload
    assert block == encode_node(Node(NodeType.FileChunk, size=payload_bytes, data=payload))
    assert len(block) == leaf_bytes(payload_bytes)
    assert leaf_payload(block) == payload
    assert leaf_payload(memoryview(block)) == payload


def test_the_prefix_of_a_full_leaf() -> None:
    assert FULL_LEAF_PREFIX.hex() == "0ab4fc03080218aafc032aaafc03"


def test_the_payload_of_a_full_leaf_is_not_copied() -> None:
    block = bytearray(FULL_LEAF_PREFIX + bytes(CHUNK_BYTES))
    payload = leaf_payload(memoryview(block))
    block[-1] = 7
    assert payload[-1] == 7


@pytest.mark.parametrize(
    "node",
    [
        Node(NodeType.File, size=0),
        Node(NodeType.File, size=1, data=b"x", links=(A,)),
        Node(NodeType.FileChunk, size=2, data=b"x"),
        Node(NodeType.FileChunk, data=b"x"),
    ],
)
def test_a_node_without_a_payload_of_its_size_is_no_leaf(node: Node) -> None:
    with pytest.raises(InvalidNodeError):
        leaf_payload(encode_node(node))


def test_a_link_that_is_cut_short_is_refused() -> None:
    with pytest.raises(InvalidNodeError):
        decode_links((LINK_PREFIX + B)[:-1])


def test_links_that_repeat_are_kept_in_order() -> None:
    links = encode_links([B, A, B, B])
    assert decode_links(links + b"\x0a\x00") == (B, A, B, B)
    assert encode_links([]) == b""
