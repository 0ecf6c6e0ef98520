"""The records: one durable catalog change each, a deterministic DAG-CBOR block in a log segment.

The catalog is a view over the records: applied in the order of their sequence numbers they give
every bucket, key, version and open upload back. What they say is never changed, so a field is
only ever added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from libipld import decode_dag_cbor, encode_dag_cbor

from dsn.errors import InvalidRecordError

RECORD_FORMAT = 1


@dataclass(frozen=True, slots=True)
class BucketRecord:
    """A bucket came to be, by CreateBucket or by the first write after its removal.

    The first write ever makes it by itself.
    """

    sequence: int
    account: str
    bucket: str


@dataclass(frozen=True, slots=True)
class BucketRemovalRecord:
    """An empty bucket was removed, and its settings; a later BucketRecord makes it anew."""

    sequence: int
    account: str
    bucket: str


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """A version of an object was committed.

    `etag` is the MD5 of the bytes or, where `part_sizes` is given, of the parts' MD5s.
    `part_sizes` are (size in bytes, how many parts in a row). `checksum` is the algorithm, the
    type (FULL_OBJECT or COMPOSITE) and the value as sent; `part_checksums` are the parts' digests
    of that algorithm, side by side. `layout` is an encoded Layout. `notes`
    are those that came with the version itself, as if a NoteRecord for each were in this record.
    """

    sequence: int
    account: str
    bucket: str
    key: bytes
    root: bytes
    size: int
    etag: bytes
    layout: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)
    part_sizes: tuple[tuple[int, int], ...] = ()
    checksum: tuple[str, str, str] | None = None
    upload_id: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    part_checksums: bytes | None = None

    @property
    def part_count(self) -> int:
        """How many parts the object was completed from; 0 for a single PUT."""
        return sum(count for _, count in self.part_sizes)


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """A multipart upload was created. `checksum` is the algorithm and the type asked for.

    `notes` are those of the version to be; `opener` is the name of the access key that opened it.
    """

    sequence: int
    account: str
    bucket: str
    key: bytes
    upload_id: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    checksum: tuple[str, str] | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    opener: str | None = None


@dataclass(frozen=True, slots=True)
class PartRecord:
    """A part was stored: whole leaves where its predicted offset puts them, ragged ends beside.

    `start` is the offset in the object that the cutting assumed, `segment` the part's own segment,
    `runs` an encoded Layout of the whole leaves. `digests` (of those leaves, 32 bytes each), `head`
    and `tail` (the fragments before and behind them) are blocks of that segment: the offset of the
    section and the length in bytes, (0, 0) for nothing.
    """

    sequence: int
    upload_id: str
    number: int
    size: int
    md5: bytes
    start: int
    segment: int
    runs: bytes
    digests: tuple[int, int]
    head: tuple[int, int]
    tail: tuple[int, int]
    checksum: tuple[str, str] | None = None

    @property
    def etag(self) -> str:
        """The part's ETag without its quotes: its MD5 in hex."""
        return self.md5.hex()

    @property
    def checksums(self) -> tuple[tuple[str, str], ...]:
        """The checksum as XML elements: `(("ChecksumCRC32", "…"),)`."""
        return ((f"Checksum{self.checksum[0]}", self.checksum[1]),) if self.checksum else ()


@dataclass(frozen=True, slots=True)
class AbortRecord:
    """A multipart upload was aborted; its parts are void."""

    sequence: int
    upload_id: str


@dataclass(frozen=True, slots=True)
class SettingRecord:
    """What a bucket is configured to, under a name of S3 ("cors", "lifecycle", "tagging").

    `document` is what its readers make of it, None for a configuration that was removed.
    """

    sequence: int
    account: str
    bucket: str
    name: str
    document: str | None = None


@dataclass(frozen=True, slots=True)
class NoteRecord:
    """What may change about one version while its bytes stay ("tagging", "retention").

    `version` is the sequence number of the version, `document` None for a note that was removed.
    """

    sequence: int
    account: str
    bucket: str
    key: bytes
    version: int
    name: str
    document: str | None = None


@dataclass(frozen=True, slots=True)
class MarkerRecord:
    """A delete marker was put on a key: it is hidden until a later version, or its undeletion."""

    sequence: int
    account: str
    bucket: str
    key: bytes


@dataclass(frozen=True, slots=True)
class RemovalRecord:
    """A delete marker was removed, or versions of a scratch key: their ids lead nowhere now.

    `versions` are the sequence numbers of what was removed; they are never given again.
    """

    sequence: int
    account: str
    bucket: str
    key: bytes
    versions: tuple[int, ...]


Record = (
    BucketRecord
    | BucketRemovalRecord
    | ObjectRecord
    | UploadRecord
    | PartRecord
    | AbortRecord
    | SettingRecord
    | NoteRecord
    | MarkerRecord
    | RemovalRecord
)

_KINDS: dict[str, type[Record]] = {
    "bucket": BucketRecord,
    "bucket-removal": BucketRemovalRecord,
    "object": ObjectRecord,
    "upload": UploadRecord,
    "part": PartRecord,
    "abort": AbortRecord,
    "setting": SettingRecord,
    "note": NoteRecord,
    "marker": MarkerRecord,
    "removal": RemovalRecord,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}

# Short on disk: every small object pays for its record.
_SHORT = {
    "sequence": "q", "account": "a", "bucket": "b", "key": "k", "root": "r", "size": "s",
    "etag": "e", "layout": "l", "metadata": "m", "part_sizes": "p", "checksum": "c",
    "upload_id": "u", "number": "n", "md5": "d", "start": "o", "runs": "x",
    "digests": "g", "head": "h", "tail": "v", "segment": "z", "notes": "y", "name": "j",
    "document": "D", "version": "V", "part_checksums": "C", "versions": "R",
    "opener": "O",
}  # fmt: skip
_LONG = {short: name for name, short in _SHORT.items()}
assert len(_LONG) == len(_SHORT)
assert not _LONG.keys() & {"f", "i", "t", "w"}, "format, log, type and durable end"


def encode_record(record: Record, durable_end: int, log: int) -> bytes:
    """The record as a block of the log segment with this id.

    `durable_end` is up to where its log was durable when it was written: damage below is rot,
    damage at or above it may be an unsynced group that was torn.
    """
    fields: dict[str, Any] = {
        "f": RECORD_FORMAT,
        "i": log,
        "t": _NAMES[type(record)],
        "w": durable_end,
    }
    for name in record.__dataclass_fields__:
        value = getattr(record, name)
        if value is None or value == () or value == {}:
            continue
        fields[_SHORT[name]] = _plain(value)
    return encode_dag_cbor(fields)


def decode_record(block: bytes, log: int) -> tuple[Record, int] | None:
    """The record in a block of a log, and its `durable_end`; None for what is no record of it.

    That is a segment's descriptor, or bytes that look like a record although the gateway did not
    write them there: behind damage a log is searched within the bytes of clients, too.
    Raises InvalidRecordError for a record that this program does not understand.
    """
    try:
        fields = decode_dag_cbor(block)
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.pop("i", None) != log:
        return None
    try:
        if fields.pop("f") != RECORD_FORMAT:
            raise InvalidRecordError("unknown format")
        kind = _KINDS[fields.pop("t")]
        durable_end = fields.pop("w")
        values = {_LONG[short]: _tupled(value) for short, value in fields.items()}
        return kind(**values), durable_end
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRecordError(str(error)) from error


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    return value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
