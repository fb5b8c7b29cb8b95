-- The store that several coordinators share. Moments are milliseconds since 1970-01-01T00:00:00Z.
-- Each session says by the setting `dispatchd.coordinator` for which coordinator, by its public
-- key, it speaks.

CREATE TABLE jobs (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    job_type text NOT NULL,
    tier text NOT NULL,
    privacy text NOT NULL,
    user_id text NOT NULL,
    created_at bigint NOT NULL,
    status text NOT NULL
        CHECK (status IN (
            'pending', 'assigned', 'running', 'completed', 'failed',
            'unpaid',    -- pending, and waits until its payment is captured
            'capturing'  -- has run, and its result is withheld until its payment is captured
        )),
    lane text COLLATE "C" NOT NULL,
    rank bigint NOT NULL,
    extended boolean NOT NULL DEFAULT false,
    model text,
    attempt bigint NOT NULL DEFAULT 0,
    faults bigint NOT NULL DEFAULT 0,
    avoid text NOT NULL DEFAULT '[]',
    worker_key text,
    lease_until bigint,
    run_until bigint,
    completed_at bigint,
    error text,
    receipt text,
    signature text,
    payment_ref text,
    end_by bigint,
    payload text NOT NULL,
    output text,
    CHECK ((status IN ('completed', 'capturing')) = (receipt IS NOT NULL)),
    CHECK ((status IN ('completed', 'capturing')) = (output IS NOT NULL)),
    CHECK (status NOT IN ('unpaid', 'capturing') OR payment_ref IS NOT NULL),
    CHECK ((status = 'failed') = (error IS NOT NULL)),
    CHECK ((status IN ('assigned', 'running')) = (lease_until IS NOT NULL))
);

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
    user_id text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    job_id text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (user_id, key)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE worker_records (
    provider_pubkey text COLLATE "C" PRIMARY KEY,
    completed bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    bad_receipts bigint NOT NULL DEFAULT 0,
    timed_out bigint NOT NULL DEFAULT 0,
    lost bigint NOT NULL DEFAULT 0,
    canaries_passed bigint NOT NULL DEFAULT 0,
    canaries_failed bigint NOT NULL DEFAULT 0,
    -- What stands against a worker, as of when it last failed.
    strikes bigint NOT NULL DEFAULT 0,
    struck_at bigint NOT NULL DEFAULT 0,
    completed_then bigint NOT NULL DEFAULT 0,
    suspensions bigint NOT NULL DEFAULT 0,
    suspended_until bigint NOT NULL DEFAULT 0
);

CREATE FUNCTION count_done() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO worker_records AS record (provider_pubkey, completed) VALUES (new.worker_key, 1)
    ON CONFLICT (provider_pubkey) DO UPDATE SET completed = record.completed + 1;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_done AFTER UPDATE OF status ON jobs FOR EACH ROW
WHEN (new.status IN ('completed', 'capturing') AND old.status IN ('assigned', 'running'))
EXECUTE FUNCTION count_done();

-- One row, written now and then to see whether writing works.
CREATE TABLE write_check (id integer PRIMARY KEY CHECK (id = 1), count bigint NOT NULL);

-- Codes are found by a hash under this secret. What takes how long then says nothing of them.
CREATE TABLE pairing_secret (id integer PRIMARY KEY CHECK (id = 1), secret bytea NOT NULL);

INSERT INTO pairing_secret VALUES (1, sha256(
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
));

CREATE TABLE pairing_codes (
    code_hash bytea PRIMARY KEY,
    user_id text NOT NULL,
    expires_at bigint NOT NULL,
    claimed_at bigint
);

CREATE TABLE pairings (
    user_id text NOT NULL,
    provider_pubkey text NOT NULL,
    paired_at bigint NOT NULL,
    PRIMARY KEY (user_id, provider_pubkey)
);

CREATE INDEX pairings_by_worker ON pairings (provider_pubkey);

-- Users who have an API key; of the key its SHA-256 alone.
CREATE TABLE users (
    user_id text PRIMARY KEY,
    key_hash bytea NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    created_at bigint NOT NULL
);

-- Accounts of simulated money, in whole atomic units. What has been minted stands against the zero
-- address, so that every token's rows add up to zero.
CREATE TABLE ledger_accounts (
    network text NOT NULL,
    token text NOT NULL,
    address text COLLATE "C" NOT NULL,
    balance bigint NOT NULL,
    PRIMARY KEY (network, token, address),
    CHECK (balance >= 0 OR address = '0x0000000000000000000000000000000000000000')
);

-- Authorizations that are used up, each with the one transfer that it was for.
CREATE TABLE ledger_transfers (
    network text NOT NULL,
    token text NOT NULL,
    payer text NOT NULL,
    nonce text NOT NULL,
    payee text NOT NULL,
    amount bigint NOT NULL,
    transaction_hash text NOT NULL,
    PRIMARY KEY (network, token, payer, nonce)
);

-- The coordinators, by their keys: when each was last seen, where the others reach it, and who sits
-- there, as JSON.
CREATE TABLE coordinators (
    coordinator_key text PRIMARY KEY,
    seen_at timestamptz NOT NULL,
    url text NOT NULL DEFAULT '',
    sittings text NOT NULL DEFAULT '[]'
);

-- What pays for the jobs. A row is the lock against using an authorization twice, and stays.
-- `holder` is the coordinator that verifies or captures it.
CREATE TABLE payments (
    network text NOT NULL,
    token text NOT NULL,
    payer text NOT NULL,
    nonce text NOT NULL,
    state text NOT NULL CHECK (state IN (
        'verifying', 'authorized', 'capturing', 'captured', 'released', 'failed', 'refund_due'
    )),
    job_id text NOT NULL UNIQUE,
    offer text NOT NULL,
    digest text NOT NULL,
    fingerprint text NOT NULL,
    created_at bigint NOT NULL,
    text text,
    transaction_id text,
    reason text,
    tries bigint NOT NULL DEFAULT 0,
    next_try bigint,
    holder text NOT NULL DEFAULT current_setting('dispatchd.coordinator'),
    PRIMARY KEY (network, token, payer, nonce),
    -- What can be settled is kept for exactly as long as it may be.
    CHECK ((text IS NOT NULL) = (state IN ('verifying', 'authorized', 'capturing'))),
    CHECK ((next_try IS NOT NULL) = (state = 'capturing'))
);

CREATE INDEX payments_of_payer ON payments (payer, state);
CREATE INDEX payments_open ON payments (state)
    WHERE state IN ('verifying', 'authorized', 'capturing');
CREATE INDEX payments_due ON payments (next_try) WHERE state = 'capturing';

-- A job that has failed is not paid for, however it failed.
CREATE FUNCTION release_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE payments SET state = 'released', text = NULL
    WHERE job_id = new.id AND state = 'authorized';
    UPDATE payments SET state = 'refund_due' WHERE job_id = new.id AND state = 'captured';
    RETURN NULL;
END $$;

CREATE TRIGGER payments_released AFTER UPDATE OF status ON jobs FOR EACH ROW
WHEN (new.status = 'failed' AND new.payment_ref IS NOT NULL)
EXECUTE FUNCTION release_payment();

-- A job that has run is paid for, by the same transaction that stores its result, and its money is
-- moved by the coordinator that has the result.
CREATE FUNCTION owe_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE payments SET state = 'capturing', next_try = 0,
        holder = current_setting('dispatchd.coordinator')
    WHERE job_id = new.id AND state = 'authorized';
    RETURN NULL;
END $$;

CREATE TRIGGER payments_owed AFTER UPDATE OF status ON jobs FOR EACH ROW
WHEN (new.status = 'capturing')
EXECUTE FUNCTION owe_payment();

-- The chains of receipts, one for each coordinator, and the Merkle trees over their entries. Hashes
-- are 32 bytes; `peaks` are hashes in a row.
CREATE TABLE chains (
    coordinator_key text PRIMARY KEY DEFAULT current_setting('dispatchd.coordinator'),
    size bigint NOT NULL,
    last bytea NOT NULL,
    peaks bytea NOT NULL
);

CREATE TABLE chains_entries (
    coordinator_key text NOT NULL DEFAULT current_setting('dispatchd.coordinator')
        REFERENCES chains,
    sequence bigint NOT NULL,
    job_seq bigint NOT NULL UNIQUE REFERENCES jobs (seq),
    receipt_hash bytea NOT NULL,
    request_hash bytea NOT NULL,
    completed_at bigint NOT NULL,
    leaf bytea NOT NULL,
    PRIMARY KEY (coordinator_key, sequence)
);

-- The complete subtrees above the leaves.
CREATE TABLE chains_nodes (
    coordinator_key text NOT NULL DEFAULT current_setting('dispatchd.coordinator')
        REFERENCES chains,
    level bigint NOT NULL,
    place bigint NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (coordinator_key, level, place)
);

-- The chain of the session's own coordinator, under the names that it has where there is but one.
CREATE VIEW chain_head AS
    SELECT coordinator_key, size, last, peaks FROM chains
    WHERE coordinator_key = current_setting('dispatchd.coordinator');
CREATE VIEW chain_entries AS
    SELECT sequence, job_seq, receipt_hash, request_hash, completed_at, leaf FROM chains_entries
    WHERE coordinator_key = current_setting('dispatchd.coordinator');
CREATE VIEW chain_nodes AS
    SELECT level, place, hash FROM chains_nodes
    WHERE coordinator_key = current_setting('dispatchd.coordinator');

-- The bells: something has happened that other coordinators may wait for. They say no more; what
-- several writes of one transaction ring sounds once.
CREATE FUNCTION ring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_ARGV[0], '');
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_wait AFTER INSERT ON jobs FOR EACH ROW
WHEN (new.status = 'pending')
EXECUTE FUNCTION ring('dispatchd_jobs');
CREATE TRIGGER jobs_move AFTER UPDATE OF status ON jobs FOR EACH ROW
WHEN (new.status IN ('pending', 'completed', 'failed'))
EXECUTE FUNCTION ring('dispatchd_jobs');
CREATE TRIGGER pairings_change AFTER INSERT OR UPDATE OR DELETE ON pairings
EXECUTE FUNCTION ring('dispatchd_people');
CREATE TRIGGER users_change AFTER INSERT OR UPDATE OR DELETE ON users
EXECUTE FUNCTION ring('dispatchd_people');
CREATE TRIGGER coordinators_come AFTER INSERT OR DELETE ON coordinators
EXECUTE FUNCTION ring('dispatchd_people');
CREATE TRIGGER sittings_change AFTER UPDATE OF sittings ON coordinators FOR EACH ROW
WHEN (old.sittings <> new.sittings OR old.url <> new.url)
EXECUTE FUNCTION ring('dispatchd_people');
