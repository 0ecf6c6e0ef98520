from __future__ import annotations

from dataclasses import replace

import pytest

from dsn.cid import digest_of
from dsn.codec import decode_node, encode_node
from dsn.dag_builder import build_file, build_folder, build_metadata
from dsn.errors import BlockNotFoundError
from dsn.node import DagLimits, Node
from dsn.shape import FileShape
from dsn.verify import Damage, DamageKind, walk
from tests.support.vectors import vector_bytes

TINY = DagLimits(469 + 10, 3)
SIZE = 95
SHAPE = FileShape.of(SIZE, TINY)


class Blocks:
    """The blocks of a file, to be damaged."""

    def __init__(self) -> None:
        built = list(build_file(vector_bytes("s", SIZE), "n", limits=TINY))
        self.all = dict(built)
        self.root = built[-1][0]
        places = [
            (level, index) for level in range(SHAPE.depth) for index in range(SHAPE.count_at(level))
        ]
        self.at = dict(zip(places, (digest for digest, _ in built), strict=False))

    def get(self, digest: bytes) -> bytes:
        if digest not in self.all:
            raise BlockNotFoundError(digest)
        return self.all[digest]

    def damage(self) -> list[tuple[DamageKind, bytes, int, int | None]]:
        found = list(walk(self.get, self.root, limits=TINY))
        assert all(damage.root == self.root and damage.reason for damage in found)
        return [(d.kind, d.digest, d.start, d.stop) for d in found]


PLACES = [(level, index) for level in range(SHAPE.depth) for index in range(SHAPE.count_at(level))]


def test_a_sound_file_has_no_damage() -> None:
    assert Blocks().damage() == []


@pytest.mark.parametrize("place", PLACES)
def test_a_missing_node_is_reported_with_the_bytes_below_it(place: tuple[int, int]) -> None:
    blocks = Blocks()
    digest = blocks.at[place]
    del blocks.all[digest]
    assert blocks.damage() == [(DamageKind.MISSING, digest, *SHAPE.bytes_below(*place))]


@pytest.mark.parametrize("place", PLACES)
def test_a_rotten_node_is_reported_with_the_bytes_below_it(place: tuple[int, int]) -> None:
    blocks = Blocks()
    digest = blocks.at[place]
    blocks.all[digest] = b"rotten"
    assert blocks.damage() == [(DamageKind.ROTTEN, digest, *SHAPE.bytes_below(*place))]


def test_the_walk_goes_on_beside_every_damage() -> None:
    blocks = Blocks()
    missing, rotten, cut = blocks.at[0, 0], blocks.at[0, 4], blocks.at[1, 2]
    del blocks.all[missing]
    blocks.all[rotten] = b""
    del blocks.all[cut]
    assert blocks.damage() == [
        (DamageKind.MISSING, missing, 0, 10),
        (DamageKind.ROTTEN, rotten, 40, 50),
        (DamageKind.MISSING, cut, 60, 90),
    ]


def test_a_node_of_another_shape_is_reported() -> None:
    blocks = Blocks()
    root = decode_node(blocks.all[blocks.root])
    left, right = root.links
    wrong = replace(decode_node(blocks.all[left]), size=2)
    left = put(blocks, wrong)
    blocks.root = put(blocks, replace(root, links=(left, right)))
    assert blocks.damage() == [(DamageKind.MISSHAPEN, left, 0, 90)]


@pytest.mark.parametrize("kind", DamageKind)
def test_a_damaged_root_costs_the_whole_file(kind: DamageKind) -> None:
    blocks = Blocks()
    if kind is DamageKind.MISSING:
        del blocks.all[blocks.root]
    elif kind is DamageKind.ROTTEN:
        blocks.all[blocks.root] = b"rotten"
    else:
        blocks.root = blocks.at[0, 0]
    assert blocks.damage() == [(kind, blocks.root, 0, None)]


def test_a_block_that_is_no_node_is_reported() -> None:
    blocks = Blocks()
    blocks.root = digest_of(b"no node")
    blocks.all[blocks.root] = b"no node"
    assert blocks.damage() == [(DamageKind.MISSHAPEN, blocks.root, 0, None)]


def test_a_node_that_stands_twice_is_reported_twice() -> None:
    built = dict(build_file(bytes(30), "n", limits=TINY))
    leaf, root = built
    del built[leaf]
    found = list(walk(lambda digest: lookup(built, digest), root, limits=TINY))
    assert [(damage.start, damage.stop) for damage in found] == [(0, 10), (10, 20), (20, 30)]


def test_a_folder_is_walked_with_all_its_files() -> None:
    blocks = Blocks()
    single = list(build_file(b"single", "single", limits=TINY))
    meta = list(build_metadata(vector_bytes("m", 31), "meta", TINY))
    children = [blocks.root, single[-1][0], meta[-1][0], blocks.root]
    folder = list(build_folder(children, "dir", 0, limits=TINY))
    blocks.all |= dict(single) | dict(meta) | dict(folder)
    top = folder[-1][0]
    assert list(walk(blocks.get, top, limits=TINY)) == []

    leaf = blocks.at[0, 1]
    del blocks.all[leaf]
    blocks.all[meta[0][0]] = b""
    found = list(walk(blocks.get, top, limits=TINY))
    of_file = Damage(DamageKind.MISSING, blocks.root, leaf, 10, 20, str(BlockNotFoundError(leaf)))
    assert found[0] == of_file
    assert (found[1].kind, found[1].root, found[1].start) == (
        DamageKind.ROTTEN,
        meta[-1][0],
        0,
    )
    assert found[2] == of_file

    inlink = folder[0][0]
    del blocks.all[inlink]
    found = list(walk(blocks.get, top, limits=TINY))
    assert [(damage.root, damage.digest) for damage in found] == [
        (top, inlink),
        (blocks.root, leaf),
    ]


def put(blocks: Blocks, node: Node) -> bytes:
    block = encode_node(node)
    digest = digest_of(block)
    blocks.all[digest] = block
    return digest


def lookup(blocks: dict[bytes, bytes], digest: bytes) -> bytes:
    if digest not in blocks:
        raise BlockNotFoundError(digest)
    return blocks[digest]
