-- What each coordinator has signed of its chain, so that the others can prove it while that one is
-- away: its latest root, and every entry under it.
CREATE TABLE chains_seals (
    coordinator_key text PRIMARY KEY DEFAULT current_setting('dispatchd.coordinator')
        REFERENCES chains,
    size bigint NOT NULL,
    root text NOT NULL,
    signature text NOT NULL
);

CREATE TABLE chains_signatures (
    coordinator_key text NOT NULL DEFAULT current_setting('dispatchd.coordinator'),
    sequence bigint NOT NULL,
    signature text NOT NULL,
    PRIMARY KEY (coordinator_key, sequence),
    FOREIGN KEY (coordinator_key, sequence) REFERENCES chains_entries
);
