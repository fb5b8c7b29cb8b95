-- What has happened of late and may not happen too often, such as wrong pairing codes: from which
-- address, and when.

CREATE TABLE rate_events (
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    at INTEGER NOT NULL
);

CREATE INDEX rate_events_in_all ON rate_events (name, at);
CREATE INDEX rate_events_by_address ON rate_events (name, address, at);
