from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.catalog.queries import find_notes
from gateway.s3.errors import ErrorCode, S3Error
from tests.support.parts import Parts


async def test_what_was_removed_meanwhile_takes_no_note(tmp_path: Path) -> None:
    async with Parts(tmp_path / "data") as parts:
        await parts.put("k", b"x")
        version = await parts.objects.find("main", "bucket", b"k")
        assert version is not None
        removed = replace(version, sequence=version.sequence - 1)
        with pytest.raises(S3Error) as caught:
            await parts.objects.annotate("main", "bucket", removed, "tagging", "a=1")
        assert caught.value.code is ErrorCode.NoSuchVersion
        notes = await parts.database.read(lambda c: find_notes(c, removed.sequence))
        assert notes == {}


async def test_of_two_changes_each_sees_the_other(tmp_path: Path) -> None:
    """The condition is given the notes as of the commit, not as of the look before."""
    async with Parts(tmp_path / "data") as parts:
        await parts.put("k", b"x")
        version = await parts.objects.find("main", "bucket", b"k")
        assert version is not None
        seen: list[dict[str, str]] = []
        for document in ("a=1", "a=2"):
            await parts.objects.annotate(
                "main", "bucket", version, "tagging", document, lambda _, n: seen.append(dict(n))
            )
        assert seen == [{}, {"tagging": "a=1"}]


@pytest.mark.parametrize(("length", "remembered"), [(100, True), (5000, False)])
async def test_versions_with_little_metadata_are_remembered(
    tmp_path: Path, length: int, remembered: bool
) -> None:
    async with Parts(tmp_path / "data") as parts:
        await parts.put("k", b"x", metadata={"content-disposition": "x" * length})
        first, second = [await parts.objects.find("main", "bucket", b"k") for _ in range(2)]
        assert first == second
        assert (first is second) is remembered


async def test_a_key_that_is_not_there_costs_one_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Parts(tmp_path) as parts:
        await parts.put("k", b"x")
        assert await parts.get("k") == b"x"
        looks = []
        real = parts.database.read
        monkeypatch.setattr(
            parts.database, "read", lambda query: looks.append(query) or real(query)
        )
        for key, content in (("k", b"x"), ("missing", None)):
            assert await parts.get(key) == content
        assert len(looks) == 2
