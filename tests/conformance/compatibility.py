"""Writes docs/s3-compatibility.md out of the code: `python -m tests.conformance.compatibility`.

Operations come from the table of handlers, errors from the table of codes, numbers from what is
expected of ceph/s3-tests. Only what differs from AWS, and why, is written here.
"""

from __future__ import annotations

import inspect
from collections import Counter
from pathlib import Path

from gateway.s3.errors import ErrorCode
from gateway.s3.operations import Operation
from gateway.web.dispatch import HANDLERS
from tests.conformance.s3_tests import DAY_SECONDS, MODES, expected_outcomes

PAGE = Path(__file__).parents[2] / "docs/s3-compatibility.md"

UNSUPPORTED = (
    *("SelectObjectContent", "RestoreObject", "GetObjectTorrent"),
    *("WriteGetObjectResponse", "CreateSession", "ListDirectoryBuckets"),
    *("PutBucketEncryption", "UpdateObjectEncryption", "PutBucketReplication", "PutBucketWebsite"),
    *("PutBucketAnalyticsConfiguration", "DeleteBucketAnalyticsConfiguration"),
    *("PutBucketIntelligentTieringConfiguration", "DeleteBucketIntelligentTieringConfiguration"),
    *("PutBucketInventoryConfiguration", "DeleteBucketInventoryConfiguration"),
    *("PutBucketMetricsConfiguration", "DeleteBucketMetricsConfiguration"),
    *("GetBucketAbac", "PutBucketAbac"),
    *("CreateBucketMetadataConfiguration", "GetBucketMetadataConfiguration"),
    "DeleteBucketMetadataConfiguration",
)
"""Operations of S3 that are recognised, change nothing and answer 501 NotImplemented."""

NOTES = {
    "DeleteBucketTagging": "Removes them.",
    "GetBucketCors": "The rules of the bucket; 404 NoSuchCORSConfiguration without.",
    "PutBucketCors": "Replaces the rules; preflights and reads follow them.",
    "DeleteBucketCors": "Removes them.",
    "GetBucketLifecycleConfiguration": "404 NoSuchLifecycleConfiguration without.",
    "DeleteBucketLifecycle": "Removes the rules.",
    "PutObjectLockConfiguration": "Object lock is on in every bucket; a default rule is kept and "
    "given back.",
    "GetPublicAccessBlock": "404 NoSuchPublicAccessBlockConfiguration without.",
    "PutPublicAccessBlock": "Kept and heeded; without `global_buckets` nothing is public anyway.",
    "DeletePublicAccessBlock": "Removes it.",
    "DeleteBucketPolicy": "Removes it.",
    "GetBucketEncryption": "404 ServerSideEncryptionConfigurationNotFoundError.",
    "GetBucketWebsite": "404 NoSuchWebsiteConfiguration.",
    "GetBucketReplication": "404 ReplicationConfigurationNotFoundError.",
    "GetBucketLogging": "Off.",
    "PutBucketLogging": "Off is accepted, anything else is 501.",
    "GetBucketNotificationConfiguration": "None.",
    "PutBucketNotificationConfiguration": "None is accepted, anything else is 501.",
    "GetBucketAccelerateConfiguration": "Not set.",
    "PutBucketAccelerateConfiguration": "Suspended is accepted, anything else is 501.",
    "GetBucketRequestPayment": "BucketOwner.",
    "PutBucketRequestPayment": "BucketOwner is accepted, anything else is 501.",
    "GetBucketAnalyticsConfiguration": "404 NoSuchConfiguration.",
    "ListBucketAnalyticsConfigurations": "None.",
    "GetBucketIntelligentTieringConfiguration": "404 NoSuchConfiguration.",
    "ListBucketIntelligentTieringConfigurations": "None.",
    "GetBucketInventoryConfiguration": "404 NoSuchConfiguration.",
    "ListBucketInventoryConfigurations": "None.",
    "GetBucketMetricsConfiguration": "404 NoSuchConfiguration.",
    "ListBucketMetricsConfigurations": "None.",
    "PostObject": "Uploads by HTML forms, with or without a policy of conditions.",
}
"""What the table says where a handler has no sentence of its own."""

DIFFERENCES = (
    (
        "Deleting",
        "403 AccessDenied by default; a delete marker where a policy says so; never a version "
        "outside of scratch keys",
        "storage is permanent; see [deleting](deleting.md)",
    ),
    (
        "Versioning",
        "always Enabled, every PUT keeps the past; suspending it is 409 InvalidBucketState; no "
        "null versions",
        "nothing that was stored is forgotten",
    ),
    (
        "Lifecycle",
        "Expiration hides what a key shows, and is 501 unless the delete policy allows that for "
        "all keys below its prefix; NoncurrentVersionExpiration and transitions are 501; "
        "x-amz-expiration is not told of a version by its id",
        "a rule that is accepted and not kept would be a silent yes; see [deleting](deleting.md)",
    ),
    (
        "Object lock",
        "on in every bucket; requests are kept and returned, shortening is refused; a version that "
        "nobody locked reports COMPLIANCE for 100 years, and a bucket no default retention unless "
        "it was given one, which adds nothing to that",
        "permanence is intrinsic and does not end",
    ),
    (
        "Buckets that nobody made",
        "the first write makes one, and ?location answers for it; `implicit_buckets = false` "
        "gives 404 NoSuchBucket as on AWS",
        "Auto Drive has no CreateBucket",
    ),
    (
        "Names of buckets",
        "each account has its own; another account's bucket is 404; `global_buckets = true` gives "
        "all accounts one name, as on AWS",
        "as on Auto Drive",
    ),
    (
        "x-amz-meta-cid",
        "in every answer about an object; a client's own header of this name is dropped; "
        '`cid_header = "x-dsn-cid"` leaves the metadata to clients, as on AWS',
        "as on Auto Drive: it is how a reader finds the content on the network",
    ),
    (
        "ACLs",
        "private forms are accepted, others are 400 AccessControlListNotSupported, unless, with "
        "`global_buckets`, the bucket has another ownership than BucketOwnerEnforced; grantees by "
        "e-mail are refused; what is put without a key belongs to the bucket",
        "as on AWS since April 2023, but that `private` is accepted too: many clients send it",
    ),
    (
        "Owner in listings of objects",
        "the bucket's account, whoever owns the object; GetObjectAcl says who does",
        "a page is read without the notes of each version",
    ),
    (
        "WRITE on a bucket by its list",
        "also to hide and to supersede what others have put; on AWS new objects and one's own",
        "versions stay, and only the owner reaches them",
    ),
    (
        "Bucket policies",
        "501 without `global_buckets`; with it all but variables, s3:RequestObjectTag for "
        "PutObjectTagging and some condition keys, which are 501, see "
        "[access keys](access-keys.md); an Allow never gives a key more than its own rights",
        "what would not be evaluated is not accepted",
    ),
    (
        "GetBucketPolicyStatus without a policy",
        "404 NoSuchBucketPolicy",
        "as on AWS; s3-tests wants a status that counts lists",
    ),
    (
        "Encryption by the server",
        "SSE-C, SSE-KMS and SSE-S3 are 501",
        "content addresses are of the bytes as sent; encrypt before sending",
    ),
    (
        "partNumber beyond the last",
        "416 InvalidPartNumber",
        "as on AWS; s3-tests wants 400 InvalidPart",
    ),
    (
        "CopyObject of a multipart object",
        "keeps ETag (`…-N`), parts and a COMPOSITE checksum; AWS computes new ones",
        "no byte is read; an MD5 that was not computed is not claimed",
    ),
    (
        "CopyObject of more than 5 GiB",
        "done; AWS refuses with 400 InvalidRequest",
        "a copy costs the same whatever its size",
    ),
    (
        "The CID of a copy",
        "that of its source, whose name its root carries",
        "the bytes are the same file; Auto Drive does so",
    ),
    (
        "UploadPartCopy beyond the end of its source",
        "416 InvalidRange",
        "as s3-tests; AWS answers 400 InvalidArgument",
    ),
    (
        "RenameObject",
        "a copy and a delete marker, where deletes may hide; in any bucket",
        "AWS has it for directory buckets only",
    ),
    (
        "Objects uploaded without a checksum",
        "have none; AWS adds a CRC64NVME",
        "every read is verified against the CID anyway",
    ),
    (
        "Malformed checksum values",
        "400 InvalidRequest",
        "as on AWS; s3-tests wants 400 BadDigest",
    ),
    (
        "Region of a signature",
        "any; the one given is used to derive the key",
        "clients of other stores come with theirs",
    ),
    (
        "GetObject with several ranges",
        "200 with the whole object",
        "as on AWS",
    ),
    (
        "Metadata outside ASCII",
        "given back as the bytes that were sent, be they UTF-8, Latin-1 or RFC 2047",
        "a client reads what it wrote; AWS encodes it anew by RFC 2047, which few clients decode",
    ),
)
"""What, how it is here, and why."""


def page() -> str:
    """The page as the code is now."""
    return "\n".join(
        [
            "# S3 compatibility",
            "",
            "Written from the code by `make docs`; do not edit. What is not named here behaves as "
            "the S3 API reference says.",
            "",
            *_suite(),
            *_operations(),
            *_differences(),
            *_errors(),
        ]
    )


def _suite() -> list[str]:
    lines = [
        "## ceph/s3-tests",
        "",
        "`make s3-tests S3_TESTS=<checkout>` runs the files of the suite that are about S3 itself. "
        "Each failure has a reason; an unexpected failure and an unexpected pass both fail the "
        "run. `deny` is the gateway with all defaults; `aws` has `implicit_buckets = false`, "
        '`cid_header = "x-dsn-cid"`, `global_buckets = true` and `object_ownership = '
        '"ObjectWriter"`; `hide` has `delete_policy = "hide"` and `lifecycle_day_seconds = '
        f"{DAY_SECONDS}` besides. Skipped is what the suite itself leaves out: Ceph's own "
        "extensions, tiers in a cloud, several storage classes. The core are the tests whose names "
        "say nothing of what goes beyond objects, parts and listings (`BEYOND` in "
        "`tests/conformance/s3_tests.py`): no deletes, versions, tags, policies, encryption, …",
        "",
        "| mode | tests | passed | failed on purpose | skipped | core | passed of the core |",
        "|---|---|---|---|---|---|---|",
    ]
    reasons: dict[str, Counter[str]] = {}
    for mode in MODES:
        expected = expected_outcomes(mode)
        failed = len(expected.failures)
        passed = expected.tests - expected.skipped - failed
        lines.append(
            f"| {mode} | {expected.tests} | {passed} | {failed} | {expected.skipped} "
            f"| {expected.core} | {expected.core_passed} |"
        )
        for reason, count in Counter(expected.failures.values()).items():
            reasons.setdefault(reason, Counter())[mode] = count
    lines += [
        "",
        "| why a test fails | " + " | ".join(MODES) + " |",
        "|---" * (1 + len(MODES)) + "|",
    ]
    ordered = sorted(reasons.items(), key=lambda item: (-max(item[1].values()), item[0]))
    for reason, counts in ordered:
        lines.append(f"| {reason} | " + " | ".join(str(counts[mode]) for mode in MODES) + " |")
    return [*lines, ""]


def _operations() -> list[str]:
    lines = ["## Operations", "", "| operation | answer |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in sorted(described_operations().items())]
    others = ", ".join(sorted(UNSUPPORTED))
    return [
        *lines,
        "",
        "Recognised, without effect and answered with 501 NotImplemented: " + others + ". So is "
        "any sub-resource that is not known, and any unknown parameter of a write.",
        "",
    ]


def described_operations() -> dict[str, str]:
    """What each operation that has a handler answers, in a sentence."""
    return {operation.name: _sentence(operation) for operation in HANDLERS}


def _sentence(operation: Operation) -> str:
    if operation.name in NOTES:
        return NOTES[operation.name]
    return (inspect.getdoc(HANDLERS[operation]) or "").partition("\n")[0]


def _differences() -> list[str]:
    lines = ["## Where it differs from AWS, or from other suites", "", "| what | here | why |"]
    return [*lines, "|---|---|---|", *(f"| {' | '.join(row)} |" for row in DIFFERENCES), ""]


def _errors() -> list[str]:
    lines = ["## Errors", "", "| code | status | message |", "|---|---|---|"]
    rows = sorted((code.name, code.status, code.message) for code in ErrorCode)
    return [*lines, *(f"| {name} | {status} | {text} |" for name, status, text in rows), ""]


if __name__ == "__main__":
    PAGE.write_text(page())
