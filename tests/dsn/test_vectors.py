"""Every golden case that the official packages gave: same bytes in, same blocks and CIDs out."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import chain, repeat
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dsn.cid import cid_text, digest_of, node_cid, parse_cid
from dsn.codec import decode_node, encode_node, leaf_payload
from dsn.dag_builder import (
    Block,
    FileDagBuilder,
    build_file,
    build_folder,
    build_metadata,
    checked_upload_options,
)
from dsn.node import CHUNK_BYTES, Compression, Encryption, Node, NodeType, UploadOptions
from dsn.shape import FileShape
from tests.support.vectors import (
    cid_vectors,
    cid_vectors_of,
    content_pieces,
    limits_of,
    options_of,
    vector_bytes,
)

Vector = dict[str, Any]


def table(
    kind: str, where: Callable[[Vector], object] = lambda vector: True
) -> pytest.MarkDecorator:
    vectors = [vector for vector in cid_vectors_of(kind) if where(vector)]
    return pytest.mark.parametrize("vector", vectors, ids=[vector["id"] for vector in vectors])


def test_every_vector_belongs_to_a_kind_that_is_tested() -> None:
    tested = {"file", "chunklist", "node", "folder", "metadata", "compress", "encrypt"}
    assert {vector["kind"] for vector in cid_vectors()} == tested


@table("file", lambda vector: "error" not in vector)
def test_a_file(vector: Vector) -> None:
    content = vector["content"]
    limits = limits_of(vector.get("limits"))
    head = next(content_pieces(content), b"")[:2]
    options = checked_upload_options(options_of(vector.get("uploadOptions")), head)
    assert_dag(vector, build_file(content_pieces(content), vector["name"], options, limits))
    shape = FileShape.of(content["size"], limits)
    assert shape.node_count == vector["totalNodes"]
    assert shape.depth == vector["headLinkDepth"]


@table("file", lambda vector: "error" in vector)
def test_a_file_that_is_refused(vector: Vector) -> None:
    with pytest.raises(ValueError, match=f"^{vector['error']}$"):
        list(build_file(content_pieces(vector["content"]), vector["name"]))


@table("file", lambda vector: vector.get("published_1_6_10", "same") != "same")
def test_a_file_whose_compression_flag_nobody_checks(vector: Vector) -> None:
    options = options_of(vector["uploadOptions"])
    root = root_of(build_file(content_pieces(vector["content"]), vector["name"], options))
    assert cid_text(root) == vector["published_1_6_10"]


@table("file", lambda vector: "md5" in vector and vector["content"]["size"] < 10_000_000)
def test_the_input_of_a_file_is_what_the_vector_means(vector: Vector) -> None:
    content = b"".join(content_pieces(vector["content"]))
    assert hashlib.sha256(content).hexdigest() == vector["sha256"]
    assert hashlib.md5(content).hexdigest() == vector["md5"]


@table("chunklist")
def test_a_list_of_chunks(vector: Vector) -> None:
    size = vector["content"]["size"]
    full, rest = divmod(size, CHUNK_BYTES)
    chunk = chunk_digest(bytes(CHUNK_BYTES))
    last = [chunk_digest(bytes(rest))] if rest else []
    builder = FileDagBuilder()
    nodes = builder.add_leaves(chain(repeat(chunk, full), last))
    remaining, root = builder.finish(size, vector["name"])
    nodes = sorted(nodes + remaining, key=lambda node: (node.level, node.index))

    written = hashlib.sha256(node_cid(chunk) * full)
    for digest in (*last, *(node.digest for node in nodes), root.digest):
        written.update(node_cid(digest))
    assert cid_text(root.digest) == vector["cid"]
    assert cid_text(chunk) == vector["firstChunkCid"]
    assert cid_text((last or [chunk])[0]) == vector["lastChunkCid"]
    assert builder.leaf_count == vector["chunks"]
    assert len(nodes) == vector["inlinks"]
    assert builder.leaf_count + len(nodes) + 1 == vector["totalNodes"]
    assert len(decode_node(root.block).links) == vector["headLinks"]
    assert len(root.block) == vector["headBytes"]
    assert vector.get("headHex", root.block.hex()) == root.block.hex()
    assert written.hexdigest() == vector["nodesSha256"]
    counts = FileShape.of(size).level_counts
    assert [sum(node.level == level for node in nodes) for level in range(1, len(counts))] == list(
        counts[:-1]
    )


@table("node")
def test_a_node(vector: Vector) -> None:
    if vector["nodeType"] == "FileChunk":
        data = vector_bytes(vector["content"]["seed"], vector["content"]["size"])
        node = Node(NodeType.FileChunk, size=len(data), data=data)
    else:
        node = Node(
            NodeType[vector["nodeType"]],
            link_depth=vector["linkDepth"],
            size=int(vector["sizeField"]),
            name=vector["name"],
            upload_options=options_of(vector["uploadOptions"]),
            links=tuple(parse_cid(text) for text in vector["links"]),
        )
    block = encode_node(node)
    assert block.hex() == vector["nodeHex"]
    assert cid_text(digest_of(block)) == vector["cid"]
    assert decode_node(block) == node


@table("folder")
def test_a_folder(vector: Vector) -> None:
    options = vector.get("options")
    children = folder_children(vector)
    if "childrenSha256" in vector:
        listed = b"".join(node_cid(child) for child in children)
        assert hashlib.sha256(listed).hexdigest() == vector["childrenSha256"]
    blocks = build_folder(
        children, vector["name"], int(vector["size"]), options_of(options), limits_of(options)
    )
    assert_dag(vector, blocks)


@table("metadata")
def test_a_metadata_object(vector: Vector) -> None:
    text = vector["json"] if "json" in vector else file_metadata_json(vector)
    json_bytes = text.encode()
    assert hashlib.sha256(json_bytes).hexdigest() == vector["jsonSha256"]
    limits = limits_of(vector.get("limits"))
    assert_dag(vector, build_metadata(json_bytes, vector["name"], limits))


@table("compress")
def test_a_compressed_file(vector: Vector) -> None:
    compressed = bytes.fromhex(vector["compressedHex"])
    assert zlib.decompress(compressed).hex() == vector["plainHex"]
    for options, expected in (
        (UploadOptions(Compression()), "cidServerOptions"),
        (UploadOptions(Compression(level=vector["level"])), "cidWithLevel"),
    ):
        options = checked_upload_options(options, compressed[:2])
        assert (
            cid_text(root_of(build_file(compressed, vector["name"], options))) == vector[expected]
        )


@table("encrypt")
def test_an_encrypted_file(vector: Vector) -> None:
    cipher = bytes.fromhex(vector["cipherHex"])
    chunk_size = vector.get("chunkSize", 1 << 20)
    assert decrypt(cipher, vector["password"], chunk_size).hex() == vector["plainHex"]
    if "cid" in vector:
        options = checked_upload_options(UploadOptions(encryption=Encryption()), cipher[:2])
        *_, (root, block) = build_file(cipher, vector["name"], options)
        assert cid_text(root) == vector["cid"]
        assert leaf_payload(block) == cipher


def assert_dag(vector: Vector, blocks: Iterable[Block]) -> None:
    """Compare all that a vector says with blocks in the order in which they are written."""
    written = hashlib.sha256()
    lengths: list[int] = []
    unique = set()
    chunks: list[bytes] = []
    inlinks = 0
    for digest, block in blocks:
        written.update(node_cid(digest))
        lengths.append(len(block))
        unique.add(digest)
        last = (digest, block)
        if block[0] == 0x12:
            inlinks += 1
        else:
            chunks.append(digest)
    digest, block = last
    root = decode_node(block)
    if root.links:
        inlinks -= 1
    else:
        chunks.pop()
    assert cid_text(digest) == vector["cid"]
    assert len(lengths) == vector["totalNodes"]
    assert len(unique) == vector["uniqueNodes"]
    assert sum(lengths) == vector["encodedBytes"]
    assert inlinks == vector["inlinks"]
    assert len(root.links) == vector["headLinks"]
    assert root.link_depth == vector["headLinkDepth"]
    assert str(root.size) == vector["headSizeField"]
    assert len(block) == vector["headBytes"]
    assert vector.get("headHex", block.hex()) == block.hex()
    head_sha256 = hashlib.sha256(block).hexdigest()
    assert vector.get("headSha256", head_sha256) == head_sha256
    assert written.hexdigest() == vector["nodesSha256"]
    if "chunks" in vector:
        assert len(chunks) == vector["chunks"]
        ends = [cid_text(chunks[0]), cid_text(chunks[-1])] if chunks else [None, None]
        assert ends == [vector["firstChunkCid"], vector["lastChunkCid"]]


def chunk_digest(data: bytes) -> bytes:
    return digest_of(encode_node(Node(NodeType.FileChunk, size=len(data), data=data)))


def folder_children(vector: Vector) -> list[bytes]:
    if "children" in vector:
        return [parse_cid(text) for text in vector["children"]]
    return [child(i) for i in range(vector["childCount"])]


@cache
def child(i: int) -> bytes:
    return root_of(build_file(vector_bytes(f"k{i}", 10), f"f{i}"))


def root_of(blocks: Iterator[Block]) -> bytes:
    *_, (root, _) = blocks
    return root


def file_metadata_json(vector: Vector) -> str:
    """The metadata of a file of n children; the README of the vectors has the rule."""
    n, mime = (20, {}) if "limits" in vector else (1627, {"mimeType": "application/octet-stream"})
    metadata = {
        "type": "file",
        "dataCid": cid_text(root_of(build_file(vector_bytes("s", 100), "a.txt"))),
        "name": "m.bin",
        **mime,
        "totalSize": str(10 * n),
        "totalChunks": n,
        "chunks": [{"size": "10", "cid": cid_text(child(i))} for i in range(n)],
        "uploadOptions": {},
    }
    return json.dumps(metadata, separators=(",", ":"), ensure_ascii=False)


def decrypt(cipher: bytes, password: str, chunk_size: int) -> bytes:
    """salt 32 | for each chunk: IV 16, ciphertext, tag 16; key by PBKDF2."""
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), cipher[:32], 100_000, 32)
    plain = b""
    for start in range(32, len(cipher), chunk_size + 32):
        sealed = cipher[start : start + chunk_size + 32]
        plain += AESGCM(key).decrypt(sealed[:16], sealed[16:], None)
    return plain
