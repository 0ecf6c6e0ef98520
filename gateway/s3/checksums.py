"""The additional checksums of S3: which there are, which a request announces, how parts combine.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Protocol

from awscrt import checksums as crt

from gateway.s3.errors import ErrorCode, S3Error

MD5_BYTES = 16


class Hasher(Protocol):
    """A checksum in the making, with the interface of hashlib."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Adds bytes."""

    def digest(self) -> bytes:
        """The checksum of everything added so far; CRCs are big-endian."""


class ChecksumType(Enum):
    """What the checksum of a multipart object covers: the digests of its parts, or its bytes."""

    COMPOSITE = "COMPOSITE"
    FULL_OBJECT = "FULL_OBJECT"


class ChecksumAlgorithm(Enum):
    """The checksum algorithms; a member's name is the name that S3 gives it.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Checksum.html
    """

    digest_bytes: int
    new: Callable[[], Hasher]
    # (CRC of the first, CRC of the second, length of the second in bytes) → CRC of both.
    combine: Callable[[int, int, int], int] | None

    CRC32 = 4, lambda: _Crc(zlib.crc32, 4), crt.combine_crc32
    CRC32C = 4, lambda: _Crc(crt.crc32c, 4), crt.combine_crc32c
    CRC64NVME = 8, lambda: _Crc(crt.crc64nvme, 8), crt.combine_crc64nvme
    SHA1 = 20, hashlib.sha1, None
    SHA256 = 32, hashlib.sha256, None
    SHA512 = 64, hashlib.sha512, None
    MD5 = MD5_BYTES, partial(hashlib.md5, usedforsecurity=False), None
    XXHASH64 = 8, lambda: _XxHash(crt.XXHash.new_xxhash64()), None
    XXHASH3 = 8, lambda: _XxHash(crt.XXHash.new_xxhash3_64()), None
    XXHASH128 = 16, lambda: _XxHash(crt.XXHash.new_xxhash3_128()), None

    def __init__(
        self,
        digest_bytes: int,
        new: Callable[[], Hasher],
        combine: Callable[[int, int, int], int] | None,
    ) -> None:
        self.digest_bytes = digest_bytes
        self.new = new
        self.combine = combine

    @property
    def header(self) -> str:
        """The header, and trailer, that carries the value: `x-amz-checksum-crc32`."""
        return f"x-amz-checksum-{self.name.lower()}"

    @property
    def types(self) -> tuple[ChecksumType, ...]:
        """The types a multipart object may have with this algorithm, the default one first.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
        """
        if self.combine is None:
            return (ChecksumType.COMPOSITE,)
        if self is ChecksumAlgorithm.CRC64NVME:
            return (ChecksumType.FULL_OBJECT,)
        return (ChecksumType.COMPOSITE, ChecksumType.FULL_OBJECT)


BY_HEADER = {algorithm.header: algorithm for algorithm in ChecksumAlgorithm}


@dataclass(frozen=True, slots=True)
class ExpectedChecksum:
    """The checksum a request announces for its body; `digest` is None until the trailer came."""

    algorithm: ChecksumAlgorithm
    digest: bytes | None

    def with_trailers(self, trailers: Mapping[str, str]) -> ExpectedChecksum:
        """Itself with the digest that the trailers bring, if it still lacks one.

        Raises S3Error: MalformedTrailerError if they bring none, InvalidRequest if its value is
        malformed.
        """
        if self.digest is not None:
            return self
        value = trailers.get(self.algorithm.header)
        if value is None:
            raise S3Error(ErrorCode.MalformedTrailerError)
        return replace(self, digest=_parse_digest(self.algorithm, value))

    def check(self, digest: bytes) -> None:
        """Raises S3Error BadDigest unless `digest`, that of the body, is the expected one."""
        if digest != self.digest:
            raise S3Error(
                ErrorCode.BadDigest,
                f"The {self.algorithm.name} you specified did not match the calculated checksum.",
                CalculatedDigest=encode_digest(digest),
                ExpectedDigest=encode_digest(self.digest or b""),
            )


@dataclass(frozen=True, slots=True)
class UploadChecksum:
    """The checksum that CreateMultipartUpload asks for."""

    algorithm: ChecksumAlgorithm
    type: ChecksumType


@dataclass(frozen=True, slots=True)
class ObjectChecksum:
    """The checksum of a whole object; `parts` counts the part digests of a COMPOSITE one."""

    algorithm: ChecksumAlgorithm
    digest: bytes
    parts: int | None = None

    @property
    def type(self) -> ChecksumType:
        """COMPOSITE if it is made from the digests of parts, else FULL_OBJECT."""
        return ChecksumType.FULL_OBJECT if self.parts is None else ChecksumType.COMPOSITE

    @property
    def value(self) -> str:
        """The text of the header and of the XML element: base64, `-N` behind a COMPOSITE one."""
        text = encode_digest(self.digest)
        return text if self.parts is None else f"{text}-{self.parts}"


def expected_checksum(headers: Mapping[str, str]) -> ExpectedChecksum | None:
    """The checksum that a PutObject, UploadPart or other request with a body announces, if any.

    `headers` has lower-case names, repeated ones joined by `,`.

    Raises S3Error InvalidRequest: for more than one checksum, header and trailer together, an
    unknown algorithm, a malformed value, and an x-amz-sdk-checksum-algorithm that names no
    algorithm, another one or one without a value.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
    """
    sent = _single_checksum_header(headers)
    in_trailer = _checksum_in_trailer(headers)
    if sent and in_trailer:
        raise _invalid("Expecting a single x-amz-checksum- header or trailer, not both.")
    expected: ExpectedChecksum | None = None
    if in_trailer:
        expected = ExpectedChecksum(in_trailer, None)
    elif sent:
        expected = ExpectedChecksum(sent[0], _parse_digest(*sent))
    named = headers.get("x-amz-sdk-checksum-algorithm")
    if named is not None:
        algorithm = _algorithm_named(named, "x-amz-sdk-checksum-algorithm")
        if expected is None:
            raise _invalid(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or "
                "x-amz-trailer headers were found."
            )
        if expected.algorithm is not algorithm:
            raise _invalid(
                "Value for x-amz-sdk-checksum-algorithm header contradicts the checksum sent."
            )
    return expected


def expected_object_checksum(headers: Mapping[str, str]) -> ObjectChecksum | None:
    """The checksum of the whole object that CompleteMultipartUpload announces, if any.

    A COMPOSITE one has the form `base64-N`. Compare it with `combine_parts` by equality.

    Raises S3Error InvalidRequest: for more than one, an unknown algorithm, a malformed value and
    an x-amz-checksum-type that contradicts the value.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    """
    sent = _single_checksum_header(headers)
    declared = declared_type(headers)
    if sent is None:
        return None
    algorithm, value = sent
    text, dash, count = value.partition("-")
    if dash and not (count.isascii() and count.isdigit() and len(count) <= 5):
        raise _invalid_value(algorithm)
    checksum = ObjectChecksum(
        algorithm, _parse_digest(algorithm, text), int(count) if dash else None
    )
    if declared is not None and (
        declared not in algorithm.types
        or (declared is ChecksumType.FULL_OBJECT and checksum.parts is not None)
    ):
        raise _invalid(f"The x-amz-checksum-type {declared.name} does not fit {algorithm.header}.")
    return checksum


def upload_checksum(headers: Mapping[str, str]) -> UploadChecksum | None:
    """What CreateMultipartUpload asks for in x-amz-checksum-algorithm and x-amz-checksum-type.

    Without a type it is COMPOSITE, but FULL_OBJECT for CRC64NVME.

    Raises S3Error InvalidRequest: for an unknown algorithm or type, a type without an algorithm,
    COMPOSITE with CRC64NVME, and FULL_OBJECT with a SHA.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html
    """
    algorithm_name = headers.get("x-amz-checksum-algorithm")
    type_name = headers.get("x-amz-checksum-type")
    if algorithm_name is None:
        if type_name is not None:
            raise _invalid(
                "The x-amz-checksum-type header can only be used with the "
                "x-amz-checksum-algorithm header."
            )
        return None
    algorithm = _algorithm_named(algorithm_name, "x-amz-checksum-algorithm")
    if type_name is None:
        return UploadChecksum(algorithm, algorithm.types[0])
    chosen = _type_named(type_name)
    if chosen not in algorithm.types:
        raise _invalid(
            f"The {chosen.name} checksum type cannot be used with the {algorithm.name} checksum "
            "algorithm."
        )
    return UploadChecksum(algorithm, chosen)


def copied_checksum(headers: Mapping[str, str]) -> ChecksumAlgorithm | None:
    """The algorithm that CopyObject asks for in x-amz-checksum-algorithm, if it does.

    Raises S3Error InvalidRequest for an unknown one.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """
    name = headers.get("x-amz-checksum-algorithm")
    return None if name is None else _algorithm_named(name, "x-amz-checksum-algorithm")


def expected_md5(headers: Mapping[str, str]) -> bytes | None:
    """The 16 bytes of Content-MD5, if it was sent.

    Raises S3Error InvalidDigest unless it is the base64 of 16 bytes.

    https://www.rfc-editor.org/rfc/rfc1864
    """
    value = headers.get("content-md5")
    if value is None:
        return None
    digest = decode_digest(value, MD5_BYTES)
    if digest is None:
        raise S3Error(ErrorCode.InvalidDigest)
    return digest


def combine_parts(upload: UploadChecksum, parts: Iterable[tuple[bytes, int]]) -> ObjectChecksum:
    """The checksum of an object from the (digest, length in bytes) of its parts, in order.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/tutorial-s3-mpu-additional-checksums.html
    """
    algorithm = upload.algorithm
    if upload.type is ChecksumType.COMPOSITE:
        hasher = algorithm.new()
        count = 0
        for digest, _ in parts:
            hasher.update(digest)
            count += 1
        return ObjectChecksum(algorithm, hasher.digest(), count)
    if algorithm.combine is None:
        raise ValueError(f"{algorithm.name} has no FULL_OBJECT checksum of parts")
    value = 0
    for digest, length in parts:
        value = algorithm.combine(value, int.from_bytes(digest, "big"), length)
    return ObjectChecksum(algorithm, value.to_bytes(algorithm.digest_bytes, "big"))


def completed_checksum(
    upload: UploadChecksum | None,
    parts: Sequence[tuple[tuple[str, str] | None, int]],
    expected: ObjectChecksum | None,
    declared: ChecksumType | None = None,
) -> ObjectChecksum | None:
    """The checksum of an object that is completed from `parts`; None where it has none.

    `parts` are ((algorithm, base64) or None, length in bytes), `expected` and `declared` what the
    request announces. An upload that was created without an algorithm may still be completed with
    a checksum that all its parts have.

    Raises S3Error: InvalidRequest for another algorithm or type than the upload's, BadDigest for
    another checksum.
    """
    if upload is None:
        if expected is None:
            return None
        upload = UploadChecksum(expected.algorithm, expected.type)
        if any(checksum is None or checksum[0] != upload.algorithm.name for checksum, _ in parts):
            raise checksum_mismatch(None, expected.algorithm)
    if expected is not None and expected.algorithm is not upload.algorithm:
        raise checksum_mismatch(upload.algorithm, expected.algorithm)
    if declared not in (None, upload.type):
        raise _invalid(
            f"The upload was created using the {upload.type.name} checksum mode. The complete "
            "request must use the same checksum mode."
        )
    digests = []
    for checksum, length in parts:
        digest = decode_digest(checksum[1] if checksum else "", upload.algorithm.digest_bytes)
        if digest is None:
            return None
        digests.append((digest, length))
    whole = combine_parts(upload, digests)
    if expected not in (None, whole):
        raise S3Error(ErrorCode.BadDigest)
    return whole


def checksum_mismatch(expected: ChecksumAlgorithm | None, actual: ChecksumAlgorithm) -> S3Error:
    """InvalidRequest for a checksum of another algorithm than the upload's."""
    name = expected.name.lower() if expected is not None else "null"
    return _invalid(
        f"Checksum Type mismatch occurred, expected checksum Type: {name}, "
        f"actual checksum Type: {actual.name.lower()}"
    )


def declared_type(headers: Mapping[str, str]) -> ChecksumType | None:
    """The type in x-amz-checksum-type, if it was sent. Raises S3Error InvalidRequest."""
    named = headers.get("x-amz-checksum-type")
    return _type_named(named) if named is not None else None


def encode_digest(digest: bytes) -> str:
    """A digest as headers and XML carry it: base64 with padding."""
    return b64encode(digest).decode("ascii")


def decode_digest(value: str, digest_bytes: int) -> bytes | None:
    """The digest behind its base64, or None unless it is the one spelling of that many bytes."""
    try:
        digest = b64decode(value, validate=True)
    except ValueError:
        return None
    return digest if len(digest) == digest_bytes and encode_digest(digest) == value else None


class _Crc:
    """Gives a CRC function the interface of hashlib."""

    __slots__ = ("_bytes", "_step", "_value")

    def __init__(self, step: Callable[..., int], digest_bytes: int) -> None:
        self._step = step
        self._value = 0
        self._bytes = digest_bytes

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._bytes, "big")


class _XxHash:
    """Gives an XXHash of awscrt the interface of hashlib; its digests are big-endian."""

    __slots__ = ("_hash",)

    def __init__(self, new: crt.XXHash) -> None:
        self._hash = new

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        # It takes nothing but bytes; the copy costs a fraction of what the MD5 of them does.
        self._hash.update(bytes(data))

    def digest(self) -> bytes:
        return bytes(self._hash.finalize())


# Headers that share the prefix of the values but carry none.
_SETTINGS = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"})


def _single_checksum_header(headers: Mapping[str, str]) -> tuple[ChecksumAlgorithm, str] | None:
    names = [
        name for name in headers if name.startswith("x-amz-checksum-") and name not in _SETTINGS
    ]
    if not names:
        return None
    if len(names) > 1:
        raise _invalid("Expecting a single x-amz-checksum- header. Multiple were found.")
    return _algorithm_of(names[0]), headers[names[0]]


def _checksum_in_trailer(headers: Mapping[str, str]) -> ChecksumAlgorithm | None:
    names = headers.get("x-amz-trailer")
    # One checksum is all that may come in a trailer, so a list is as wrong as an unknown name.
    return None if names is None else _algorithm_of(names.strip().lower())


def _algorithm_of(header: str) -> ChecksumAlgorithm:
    algorithm = BY_HEADER.get(header)
    if algorithm is None:
        raise _invalid(
            "The checksum header or trailer is unsupported. Use one of " + ", ".join(BY_HEADER)
        )
    return algorithm


def _algorithm_named(name: str, header: str) -> ChecksumAlgorithm:
    algorithm = ChecksumAlgorithm.__members__.get(name.upper())
    if algorithm is None:
        raise _invalid(
            f"Value for {header} header is invalid. Use one of "
            + ", ".join(ChecksumAlgorithm.__members__)
        )
    return algorithm


def _type_named(name: str) -> ChecksumType:
    chosen = ChecksumType.__members__.get(name.upper())
    if chosen is None:
        raise _invalid("Value for x-amz-checksum-type header is invalid.")
    return chosen


def _parse_digest(algorithm: ChecksumAlgorithm, value: str) -> bytes:
    digest = decode_digest(value, algorithm.digest_bytes)
    if digest is None:
        raise _invalid_value(algorithm)
    return digest


def _invalid_value(algorithm: ChecksumAlgorithm) -> S3Error:
    return _invalid(f"Value for {algorithm.header} header is invalid.")


def _invalid(message: str) -> S3Error:
    return S3Error(ErrorCode.InvalidRequest, message)
