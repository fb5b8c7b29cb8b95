-- Jobs, their queue, and who trusts whom. Moments are milliseconds since 1970-01-01T00:00:00Z.

CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    job_type TEXT NOT NULL,
    tier TEXT NOT NULL,
    privacy TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    status TEXT NOT NULL
        CHECK (status IN (
            'pending', 'assigned', 'running', 'completed', 'failed',
            'unpaid',    -- pending, and waits until its payment is captured
            'capturing'  -- has run, and its result is withheld until its payment is captured
        )),
    lane TEXT NOT NULL,
    rank INTEGER NOT NULL,
    extended INTEGER NOT NULL DEFAULT 0,
    model TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    faults INTEGER NOT NULL DEFAULT 0,
    avoid TEXT NOT NULL DEFAULT '[]',
    worker_key TEXT,
    lease_until INTEGER,
    run_until INTEGER,
    completed_at INTEGER,
    error TEXT,
    receipt TEXT,
    signature TEXT,
    payment_ref TEXT,
    end_by INTEGER,
    payload TEXT NOT NULL,
    output TEXT,
    CHECK ((status IN ('completed', 'capturing')) = (receipt IS NOT NULL)),
    CHECK ((status IN ('completed', 'capturing')) = (output IS NOT NULL)),
    CHECK (status NOT IN ('unpaid', 'capturing') OR payment_ref IS NOT NULL),
    CHECK ((status = 'failed') = (error IS NOT NULL)),
    CHECK ((status IN ('assigned', 'running')) = (lease_until IS NOT NULL))
) STRICT;

-- The queue of each lane, in order.
CREATE INDEX jobs_waiting ON jobs (lane, rank, seq) WHERE status = 'pending';
-- The leases, by worker; there are never more of them than slots.
CREATE INDEX jobs_leased ON jobs (worker_key) WHERE status IN ('assigned', 'running');

-- What each user has under way.
CREATE INDEX jobs_open ON jobs (user_id)
    WHERE status IN ('pending', 'assigned', 'running', 'unpaid', 'capturing');

-- Paid jobs that wait, by when they must have ended.
CREATE INDEX jobs_end_by ON jobs (end_by) WHERE status = 'pending' AND end_by IS NOT NULL;

-- Each user's jobs in the order of commit.
CREATE INDEX jobs_by_user ON jobs (user_id, seq);

CREATE TABLE idempotency_keys (
    user_id TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    job_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE worker_records (
    provider_pubkey TEXT PRIMARY KEY,
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    rejected INTEGER NOT NULL DEFAULT 0,
    bad_receipts INTEGER NOT NULL DEFAULT 0,
    timed_out INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_done AFTER UPDATE OF status ON jobs
WHEN new.status IN ('completed', 'capturing') AND old.status IN ('assigned', 'running')
BEGIN
    INSERT INTO worker_records (provider_pubkey, completed) VALUES (new.worker_key, 1)
    ON CONFLICT DO UPDATE SET completed = completed + 1;
END;

-- One row, written now and then to see whether writing works.
CREATE TABLE write_check (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL) STRICT;

CREATE TABLE pairing_codes (
    code TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    claimed_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE pairings (
    user_id TEXT NOT NULL,
    provider_pubkey TEXT NOT NULL,
    paired_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, provider_pubkey)
) STRICT, WITHOUT ROWID;

CREATE INDEX pairings_by_worker ON pairings (provider_pubkey);
