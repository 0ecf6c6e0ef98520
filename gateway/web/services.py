"""What handlers work with: the gateway's parts and the limits that they enforce."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.buckets import Buckets
from gateway.copies import Copies
from gateway.deletes import Deletes
from gateway.ingest import Ingest
from gateway.objects import Objects
from gateway.quotas import WARNING_HEADER
from gateway.s3.lifecycle_rules import DAY_US
from gateway.sharing import Sharing
from gateway.uploads import Uploads
from gateway.web.bodies import VerifiedBody
from gateway.web.downloads import Downloads
from gateway.web.requests import S3Request

XML_BYTES_MAX = 2 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes and times in seconds that a request may take."""

    object_bytes_max: int
    put_bytes_max: int
    body_idle_seconds_max: float


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one worker. `now_seconds` is whole seconds since 1970.

    `cid_header` is the name, in lower case, of the header that carries an object's CID.

    `sharing` is None where every account has buckets of its own.
    `day_us` is how long a day is to lifecycle rules, in microseconds.

    `check_room` raises S3Error(InsufficientStorage) when so many bytes more do not fit the disk.
    """

    buckets: Buckets
    objects: Objects
    deletes: Deletes
    uploads: Uploads
    copies: Copies
    ingest: Ingest
    downloads: Downloads
    limits: Limits
    region: str
    cid_header: str
    now_seconds: Callable[[], int]
    check_room: Callable[[int], None]
    sharing: Sharing | None = None
    day_us: int = DAY_US

    def payload(self, request: S3Request) -> VerifiedBody:
        """The body of an object or part, refused at once where it cannot be taken."""
        body = VerifiedBody(
            request,
            bytes_max=min(self.limits.put_bytes_max, self.limits.object_bytes_max),
            idle_seconds_max=self.limits.body_idle_seconds_max,
        )
        self.check_room(body.body.length or 0)
        return body

    def notices(self, request: S3Request) -> dict[str, str]:
        """Headers that tell who has written of quotas of their own that are nearly used up."""
        if request.identity.account != request.account:
            return {}
        warning = self.buckets.quotas.warning(request.account, request.bucket)
        return {} if warning is None else {WARNING_HEADER: warning}

    async def document(self, request: S3Request, *, has_checksum: bool = True) -> bytes:
        """The body of a request that carries XML; see VerifiedBody for `has_checksum`."""
        body = VerifiedBody(
            request,
            bytes_max=XML_BYTES_MAX,
            idle_seconds_max=self.limits.body_idle_seconds_max,
            has_checksum=has_checksum,
        )
        return await body.read_document(XML_BYTES_MAX)
