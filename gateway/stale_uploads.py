"""Aborts multipart uploads that were left behind, where a bucket's lifecycle rules say so.

Nothing of such an upload was ever an object.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpu-abort-incomplete-mpu-lifecycle-config.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import structlog

from gateway.catalog.database import Database
from gateway.catalog.queries import UploadRow, buckets_with_setting, seek_uploads
from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.lifecycle import SETTING, abort_rules
from gateway.s3.lifecycle_rules import DAY_US, AbortRule
from gateway.s3.listing import successor
from gateway.uploads import Uploads

log = structlog.get_logger()

_PAGE = 1000


class StaleUploads:
    """The uploads of all accounts that their buckets' rules want aborted.

    `day_us` is how long a day is to the rules, in microseconds.
    """

    def __init__(self, database: Database, uploads: Uploads, day_us: int = DAY_US) -> None:
        self._database = database
        self._uploads = uploads
        self._day_us = day_us

    async def abort_due(self, now_us: int) -> int:
        """Abort every upload that is due, as of microseconds since 1970; how many there were."""
        aborted = 0
        configured = await self._database.scan(partial(buckets_with_setting, setting=SETTING))
        for bucket in configured:
            for rule in abort_rules(bucket.document, self._day_us):
                async for upload in self._due(bucket.id, rule, now_us):
                    aborted += await self._abort(upload)
        if aborted:
            log.info("stale uploads aborted", uploads=aborted)
        return aborted

    async def _due(self, bucket: int, rule: AbortRule, now_us: int) -> AsyncIterator[UploadRow]:
        created_us_max = rule.created_us_max(now_us)
        stop = successor(rule.prefix) if rule.prefix else None
        after = (rule.prefix, "")
        while True:
            page = await self._database.scan(
                partial(seek_uploads, bucket=bucket, after=after, stop=stop, limit=_PAGE)
            )
            for upload in page:
                if upload.created_us <= created_us_max:
                    yield upload
            if len(page) < _PAGE:
                return
            after = (page[-1].key, page[-1].upload_id)

    async def _abort(self, upload: UploadRow) -> bool:
        try:
            await self._uploads.abort(upload)
        except S3Error as error:
            if error.code is not ErrorCode.NoSuchUpload:
                raise
            return False  # finished meanwhile
        return True
