"""What lifecycle rules do to uploads that were left behind."""

from __future__ import annotations

import time
from pathlib import Path

from gateway.s3.lifecycle import SETTING, read_lifecycle
from gateway.s3.lifecycle_rules import DAY_US
from gateway.stale_uploads import StaleUploads
from tests.support.parts import Parts, etag, recover, tables, target

RULES = (
    "<LifecycleConfiguration><Rule><Filter><Prefix>tmp/</Prefix></Filter>"
    "<Status>{}</Status><AbortIncompleteMultipartUpload>"
    "<DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>"
    "</LifecycleConfiguration>"
)
LATER_US = time.time_ns() // 1000 + 4 * DAY_US


async def configure(parts: Parts, status: str) -> None:
    document = read_lifecycle(RULES.format(status).encode(), lambda: "rule")
    await parts.buckets.configure("main", "bucket", SETTING, document)


async def open_uploads(parts: Parts) -> set[str]:
    return {row[0] for row in await parts.database.read(_uploads)}


def _uploads(connection):
    return connection.execute("SELECT id FROM uploads").fetchall()


async def test_only_what_is_due_is_aborted(tmp_path: Path) -> None:
    async with Parts(tmp_path / "data") as parts:
        stale = StaleUploads(parts.database, parts.uploads)
        due = {await parts.create_upload(key) for key in ("tmp/", "tmp/a", "tmp/b", "tmp/b")}
        kept = {await parts.create_upload(key) for key in ("tmp", "tmp0", "a", "z")}
        await parts.put_part("tmp/a", sorted(due)[1], 1, b"x" * 100_000)
        assert await stale.abort_due(LATER_US) == 0
        await configure(parts, "Disabled")
        assert await stale.abort_due(LATER_US) == 0
        await configure(parts, "Enabled")
        assert await stale.abort_due(LATER_US - 3 * DAY_US) == 0
        assert await open_uploads(parts) == due | kept
        assert await stale.abort_due(LATER_US) == len(due)
        assert await open_uploads(parts) == kept
        assert await stale.abort_due(LATER_US) == 0
    before = tables(tmp_path / "data")
    for path in (tmp_path / "data").glob("catalog.db*"):
        path.unlink()
    recover(tmp_path / "data")
    assert tables(tmp_path / "data") == before


async def test_more_than_a_page(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("gateway.stale_uploads._PAGE", 2)
    async with Parts(tmp_path / "data") as parts:
        for number in range(7):
            await parts.create_upload(f"tmp/{number // 2}")
        await configure(parts, "Enabled")
        assert await StaleUploads(parts.database, parts.uploads).abort_due(LATER_US) == 7


async def test_what_was_completed_meanwhile_stays(tmp_path: Path, monkeypatch) -> None:
    async with Parts(tmp_path / "data") as parts:
        upload_id = await parts.create_upload("tmp/k")
        await parts.put_part("tmp/k", upload_id, 1, b"x")
        await configure(parts, "Enabled")
        abort = parts.uploads.abort

        async def complete_first(upload) -> None:
            await parts.complete("tmp/k", upload_id, {1: etag(b"x")})
            await abort(upload)

        monkeypatch.setattr(parts.uploads, "abort", complete_first)
        assert await StaleUploads(parts.database, parts.uploads).abort_due(LATER_US) == 0
        assert await parts.get("tmp/k") == b"x"
        assert await parts.uploads.completed(target("tmp/k", upload_id)) is not None
