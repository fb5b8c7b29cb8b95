-- The chain of receipts, and the Merkle tree over its entries. Hashes are 32 bytes.

CREATE TABLE chain_entries (
    sequence INTEGER PRIMARY KEY,
    job_seq INTEGER NOT NULL UNIQUE REFERENCES jobs (seq),
    receipt_hash BLOB NOT NULL,
    request_hash BLOB NOT NULL,
    completed_at INTEGER NOT NULL,
    leaf BLOB NOT NULL
) STRICT;

-- The complete subtrees above the leaves.
CREATE TABLE chain_nodes (
    level INTEGER NOT NULL,
    place INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, place)
) STRICT, WITHOUT ROWID;

-- One row: whose chain it is, and what the next entry is put on. `peaks` are hashes in a row.
CREATE TABLE chain_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    coordinator_key TEXT,
    size INTEGER NOT NULL,
    last BLOB NOT NULL,
    peaks BLOB NOT NULL
) STRICT;

INSERT INTO chain_head VALUES (1, NULL, 0, zeroblob(32), x'');
