-- Users who have an API key; of the key its SHA-256 alone.

CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    key_hash BLOB NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Codes are found by a hash under this secret. What takes how long then says nothing of them; of a
-- plain hash of 24 bits it would. Open codes, which live for an hour, are dropped.
CREATE TABLE pairing_secret (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    secret BLOB NOT NULL
) STRICT;

INSERT INTO pairing_secret VALUES (1, randomblob(32));

DROP TABLE pairing_codes;

CREATE TABLE pairing_codes (
    code_hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    claimed_at INTEGER
) STRICT, WITHOUT ROWID;
