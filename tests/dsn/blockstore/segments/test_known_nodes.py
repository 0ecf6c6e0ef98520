from __future__ import annotations

from dsn.blockstore.segments.known_nodes import KnownNodes
from dsn.node import Node, NodeType


def node(links: int, data: bytes | None = None) -> Node:
    return Node(type=NodeType.File, link_depth=1, size=1, data=data, links=(bytes(32),) * links)


def test_a_node_is_found_by_its_digest() -> None:
    known = KnownNodes()
    one = node(3)
    known.add(b"one", one)
    assert known.get(b"one") is one
    assert known.get(b"two") is None


def test_what_was_used_longest_ago_goes_first() -> None:
    known = KnownNodes(links_max=10)
    for name in (b"a", b"b", b"c"):
        known.add(name, node(3))
    assert known.get(b"a") is not None
    known.add(b"d", node(3))
    assert [known.get(name) is not None for name in (b"a", b"b", b"c", b"d")] == [
        True,
        False,
        True,
        True,
    ]


def test_adding_twice_counts_once() -> None:
    known = KnownNodes(links_max=10)
    for _ in range(5):
        known.add(b"a", node(4))
    known.add(b"b", node(6))
    assert known.get(b"a") is not None
    assert known.get(b"b") is not None


def test_nodes_with_data_are_not_kept() -> None:
    known = KnownNodes()
    known.add(b"single", node(0, b"data"))
    known.add(b"both", node(1, b"data"))
    assert known.get(b"single") is None
    assert known.get(b"both") is None


def test_payload_spans_are_kept_within_their_bound() -> None:
    known = KnownNodes(spans_max=2)
    known.add_payload_span(b"a", slice(1, 2))
    known.add_payload_span(b"b", slice(3, 4))
    assert known.payload_span(b"a") == slice(1, 2)
    known.add_payload_span(b"c", slice(5, 6))
    found = [known.payload_span(name) for name in (b"a", b"b", b"c")]
    assert found == [slice(1, 2), None, slice(5, 6)]
