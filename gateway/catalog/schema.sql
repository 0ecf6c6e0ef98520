-- The catalog: a view over the records in the log segments. Keys are BLOBs, so that order is byte order.

CREATE TABLE buckets (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    sequence INTEGER NOT NULL,      -- of the first record that names it
    made INTEGER NOT NULL DEFAULT 0,     -- of the last record that made it, and of the last that
    removed INTEGER NOT NULL DEFAULT 0,  -- removed it: the row stays, so that its id means it for ever
    objects INTEGER NOT NULL DEFAULT 0,  -- versions in it, delete markers not counted,
    bytes INTEGER NOT NULL DEFAULT 0,    -- and their sizes; kept by triggers, for quotas
    UNIQUE (account, name)
);

-- A browser asks for the CORS rules of a bucket before the account is known.
CREATE INDEX buckets_by_name ON buckets (name);

-- Every version ever committed, by its sequence number; a delete marker is a version without bytes.
CREATE TABLE versions (
    sequence INTEGER PRIMARY KEY,
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    root BLOB NOT NULL,             -- 32-byte digest; empty for a delete marker
    size INTEGER NOT NULL,          -- bytes
    etag BLOB NOT NULL,             -- 16 bytes of MD5
    part_sizes BLOB,                -- JSON: [[size, count], ...]; NULL for a single PUT
    checksum TEXT,                  -- JSON: [algorithm, type, value]
    part_checksums BLOB,            -- the digests of the parts, side by side
    metadata BLOB NOT NULL,         -- JSON object
    layout BLOB NOT NULL,
    log INTEGER NOT NULL,           -- where its record lies
    log_offset INTEGER NOT NULL
);
-- The newest first, as ListObjectVersions has them.
CREATE INDEX versions_by_key ON versions (bucket, key, sequence DESC);
CREATE TRIGGER version_added AFTER INSERT ON versions WHEN NEW.root <> x'' BEGIN
    UPDATE buckets SET objects = objects + 1, bytes = bytes + NEW.size WHERE id = NEW.bucket;
END;
CREATE TRIGGER version_removed AFTER DELETE ON versions WHEN OLD.root <> x'' BEGIN
    UPDATE buckets SET objects = objects - 1, bytes = bytes - OLD.size WHERE id = OLD.bucket;
END;
CREATE INDEX markers ON versions (sequence) WHERE root = x'';

-- Versions that were removed, delete markers and what was scratch: their records may be read later.
CREATE TABLE removals (
    version INTEGER PRIMARY KEY
);

-- What each key shows now, if it shows anything; narrow, because listings walk it.
CREATE TABLE objects (
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag BLOB NOT NULL,
    part_count INTEGER NOT NULL,
    checksum TEXT,                  -- algorithm and type: 'CRC32 FULL_OBJECT'
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;

-- Open multipart uploads and their parts.
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,            -- grows with time
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    metadata BLOB NOT NULL,
    checksum TEXT,                  -- JSON: [algorithm, type]
    notes BLOB NOT NULL,            -- JSON object
    opener TEXT                     -- the name of the access key that opened it
) WITHOUT ROWID;
CREATE INDEX uploads_by_key ON uploads (bucket, key, id);

CREATE TABLE parts (
    upload_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    size INTEGER NOT NULL,
    md5 BLOB NOT NULL,
    start INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    runs BLOB NOT NULL,
    digests_offset INTEGER NOT NULL,
    digests_bytes INTEGER NOT NULL,
    head_offset INTEGER NOT NULL,
    head_bytes INTEGER NOT NULL,
    tail_offset INTEGER NOT NULL,
    tail_bytes INTEGER NOT NULL,
    checksum TEXT,                  -- JSON: [algorithm, value]
    PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;

-- How buckets are configured. One that was removed keeps its row, for its sequence number.
CREATE TABLE settings (
    bucket INTEGER NOT NULL,
    name TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    document TEXT,                  -- NULL: removed
    PRIMARY KEY (bucket, name)
) WITHOUT ROWID;

-- What may change about a version. One that was removed keeps its row, too.
CREATE TABLE notes (
    version INTEGER NOT NULL,       -- sequence number of the version
    name TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    document TEXT,                  -- NULL: removed
    PRIMARY KEY (version, name)
) WITHOUT ROWID;

-- Which version a completed upload became, so that Complete can be repeated; 0 for an aborted one.
CREATE TABLE finished_uploads (
    id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL
) WITHOUT ROWID;

-- Segments that are here to stay; `applied` is up to where a log's records are in this catalog.
CREATE TABLE segments (
    id INTEGER PRIMARY KEY,
    applied INTEGER NOT NULL
);

-- Stretches of logs that could not be read. What their records named is not known, so that no file
-- is taken for an orphan any more.
CREATE TABLE unread (
    log INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    PRIMARY KEY (log, start)
) WITHOUT ROWID;

-- The highest sequence number of all records applied, in one row: workers go on behind it.
CREATE TABLE clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sequence INTEGER NOT NULL
);
