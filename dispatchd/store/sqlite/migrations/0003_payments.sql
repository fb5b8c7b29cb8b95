-- What pays for the jobs. A row is the lock against using an authorization twice, and stays.

CREATE TABLE payments (
    network TEXT NOT NULL,
    token TEXT NOT NULL,
    payer TEXT NOT NULL,
    nonce TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN (
        'verifying', 'authorized', 'capturing', 'captured', 'released', 'failed', 'refund_due'
    )),
    job_id TEXT NOT NULL UNIQUE,
    offer TEXT NOT NULL,
    digest TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    text TEXT,
    transaction_id TEXT,
    reason TEXT,
    tries INTEGER NOT NULL DEFAULT 0,
    next_try INTEGER,
    PRIMARY KEY (network, token, payer, nonce),
    -- What can be settled is kept for exactly as long as it may be.
    CHECK ((text IS NOT NULL) = (state IN ('verifying', 'authorized', 'capturing'))),
    CHECK ((next_try IS NOT NULL) = (state = 'capturing'))
) STRICT, WITHOUT ROWID;

CREATE INDEX payments_of_payer ON payments (payer, state);
CREATE INDEX payments_open ON payments (state)
    WHERE state IN ('verifying', 'authorized', 'capturing');
CREATE INDEX payments_due ON payments (next_try) WHERE state = 'capturing';

-- A job that has failed is not paid for, however it failed.
CREATE TRIGGER payments_released AFTER UPDATE OF status ON jobs
WHEN new.status = 'failed' AND new.payment_ref IS NOT NULL
BEGIN
    UPDATE payments SET state = 'released', text = NULL
    WHERE job_id = new.id AND state = 'authorized';
    UPDATE payments SET state = 'refund_due' WHERE job_id = new.id AND state = 'captured';
END;

-- A job that has run is paid for, by the same transaction that stores its result.
CREATE TRIGGER payments_owed AFTER UPDATE OF status ON jobs WHEN new.status = 'capturing'
BEGIN
    UPDATE payments SET state = 'capturing', next_try = 0
    WHERE job_id = new.id AND state = 'authorized';
END;
