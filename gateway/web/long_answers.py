"""Answers that take longer than a client waits for a first byte: spaces keep it waiting.

The status goes out before the outcome is known, so an error comes as a document of its own after
it, which SDKs look for in the answers that may be like this.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
from aiohttp import web

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.xml_writer import DECLARATION, write_error
from gateway.web.requests import S3Request, split_target
from gateway.web.responses import XML, S3Response, add_common_headers

log = structlog.get_logger()

SILENT_SECONDS_MAX = 10.0


async def answer_at_length(
    request: S3Request, work: Coroutine[Any, Any, S3Response]
) -> web.StreamResponse:
    """The answer that `work` makes, an XML document; spaces before it if it takes its time.

    What `work` raises before the first space is raised here.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=SILENT_SECONDS_MAX)
        if task.done():
            return task.result()
        stream = web.StreamResponse(headers={"Content-Type": XML})
        add_common_headers(stream, request.request_id)
        if request.cors:
            stream.headers.update(request.cors)
        try:
            await stream.prepare(request.http)
            await stream.write(DECLARATION)
            while not task.done():
                await stream.write(b" ")
                await asyncio.wait({task}, timeout=SILENT_SECONDS_MAX)
            await stream.write(_document(request, task).removeprefix(DECLARATION))
            await stream.write_eof()
        except ConnectionError:
            log.info("nobody waits for the answer any more", request_id=request.request_id)
        return stream
    finally:
        # The client is gone. What must not stop half-way does not.
        task.cancel()


def _document(request: S3Request, task: asyncio.Task[S3Response]) -> bytes:
    try:
        body = task.result().body
        assert isinstance(body, bytes)
        return body
    except S3Error as error:
        refused = error
    except Exception:
        log.exception("request failed", request_id=request.request_id)
        refused = S3Error(ErrorCode.InternalError)
    return write_error(
        refused,
        resource=split_target(request.http.raw_path)[0],
        request_id=request.request_id,
        host_id=request.request_id,
    )
