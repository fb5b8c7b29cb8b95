-- What stands against a worker, as of when it last failed, and the canaries that it was given.

ALTER TABLE worker_records ADD COLUMN canaries_passed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE worker_records ADD COLUMN canaries_failed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE worker_records ADD COLUMN strikes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE worker_records ADD COLUMN struck_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE worker_records ADD COLUMN completed_then INTEGER NOT NULL DEFAULT 0;
ALTER TABLE worker_records ADD COLUMN suspensions INTEGER NOT NULL DEFAULT 0;
ALTER TABLE worker_records ADD COLUMN suspended_until INTEGER NOT NULL DEFAULT 0;
