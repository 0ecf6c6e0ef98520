"""GetObjectAttributes."""

from __future__ import annotations

from aiohttp import web

from gateway.objects import etag_text
from gateway.s3.attributes import (
    Attribute,
    AttributedParts,
    attributed_parts,
    parse_attributes,
)
from gateway.s3.checksums import ChecksumAlgorithm
from gateway.s3.timestamps import http_date
from gateway.s3.version_ids import version_id
from gateway.s3.xml_writer import ObjectAttributes, write_object_attributes
from gateway.web.handlers.objects import VERSION_HEADER, checksum_elements, find_version
from gateway.web.requests import S3Request
from gateway.web.responses import xml_response
from gateway.web.services import Services


async def get_object_attributes(services: Services, request: S3Request) -> web.StreamResponse:
    """What is known of an object besides its metadata, its parts page by page."""
    wanted = parse_attributes(request.headers)
    version = await find_version(services, request)
    parts: AttributedParts | None = None
    if Attribute.PARTS in wanted.attributes and version.part_sizes:
        algorithm = ChecksumAlgorithm[version.checksum[0]] if version.checksum else None
        digests = await services.objects.part_checksums(version)
        parts = attributed_parts(wanted, version.part_sizes, algorithm, digests)
    document = write_object_attributes(
        ObjectAttributes(
            etag_text(version) if Attribute.ETAG in wanted.attributes else None,
            checksum_elements(version.checksum) if Attribute.CHECKSUM in wanted.attributes else (),
            parts,
            Attribute.STORAGE_CLASS in wanted.attributes,
            version.size if Attribute.SIZE in wanted.attributes else None,
            wanted.max_parts,
            wanted.part_marker,
        )
    )
    headers = {
        "Last-Modified": http_date(version.modified_us),
        VERSION_HEADER: version_id(version.sequence),
    }
    return xml_response(document, headers=headers)
