from __future__ import annotations

import pytest

from dsn.errors import NameTooLongError
from dsn.node import CHUNK_BYTES, LINKS_MAX, DagLimits, check_name


def test_the_limits_are_those_of_the_network() -> None:
    assert CHUNK_BYTES == 65_066
    assert LINKS_MAX == 1_626
    assert DagLimits(569, 3).chunk_bytes == 100


@pytest.mark.parametrize(("node_bytes_max", "links_max"), [(469, 3), (65535, 1)])
def test_limits_that_no_tree_can_keep_are_refused(node_bytes_max: int, links_max: int) -> None:
    with pytest.raises(ValueError, match="no DAG"):
        DagLimits(node_bytes_max, links_max)


@pytest.mark.parametrize("name", [None, "", "a" * 255, "文" * 255, "😀" * 127, "\0"])
def test_a_name_of_255_utf16_units_is_taken(name: str | None) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "units"), [("a" * 256, 256), ("文" * 300, 300), ("😀" * 128, 256)]
)
def test_a_longer_name_is_refused(name: str, units: int) -> None:
    with pytest.raises(NameTooLongError, match=f"^Filename is too long: {units} > 255$"):
        check_name(name)
