from __future__ import annotations

from pathlib import Path

import pytest

from gateway.quotas import CHECK_SECONDS, Quota, QuotaFileError, QuotaStore, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("5B", 5),
        ("2kb", 2000),
        ("2 KiB", 2048),
        ("3G", 3 * 10**9),
        ("500GiB", 500 << 30),
        ("1PiB", 1 << 50),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5GiB", "1EiB", "1 0"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="500GiB"):
        parse_size(text)


def test_quotas_are_kept_replaced_and_removed(tmp_path: Path) -> None:
    now = [0.0]
    store, other = (QuotaStore(tmp_path, clock=lambda: now[0]) for _ in range(2))
    assert other.applying("main", "b") == ()
    whole, part = Quota("main", bytes_max=10), Quota("main", "b", objects_warn=2)
    store.set(part)
    store.set(whole)
    assert store.listed() == [whole, part]
    now[0] += CHECK_SECONDS
    assert other.applying("main", "b") == (whole, part)
    assert other.applying("main", "c") == (whole,)
    assert other.applying("other", "b") == ()
    store.set(Quota("main", objects_max=3))
    store.set(Quota("main", "b"))
    now[0] += CHECK_SECONDS
    assert other.applying("main", "b") == (Quota("main", objects_max=3),)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"quotas": [{"account": "a", "wings": 2}]}'])
def test_a_damaged_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "quotas.json").write_text(text)
    with pytest.raises(QuotaFileError, match=r"quotas\.json"):
        QuotaStore(tmp_path).applying("a", "b")
