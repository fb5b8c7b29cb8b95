-- Who sits where, a row each, so that coordinators read of one another only what has changed. A row
-- has the version in which it last changed, and stays for a while without its sitting once the
-- worker has left. A coordinator's versions grow, even where it has been away.

DROP TRIGGER sittings_change ON coordinators;
DROP TRIGGER pairings_change ON pairings;
DROP TRIGGER users_change ON users;
DROP TRIGGER coordinators_come ON coordinators;
DELETE FROM coordinators;

ALTER TABLE coordinators
    DROP COLUMN sittings,
    ADD COLUMN version bigint NOT NULL DEFAULT 0,
    -- Who knows an older version than this must read all rows.
    ADD COLUMN whole_since bigint NOT NULL DEFAULT 0;

CREATE SEQUENCE sitting_versions;

CREATE TABLE sittings (
    coordinator_key text NOT NULL REFERENCES coordinators ON DELETE CASCADE,
    provider_pubkey text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    sitting text,
    PRIMARY KEY (coordinator_key, provider_pubkey)
);

CREATE INDEX sittings_by_version ON sittings (coordinator_key, version);

-- For each row: for a statement a trigger fires also where it has inserted nothing, as those do that
-- say that a coordinator lives.
CREATE TRIGGER coordinators_come AFTER INSERT OR DELETE ON coordinators FOR EACH ROW
EXECUTE FUNCTION ring('dispatchd_people');
CREATE TRIGGER coordinators_change AFTER UPDATE OF version, url ON coordinators FOR EACH ROW
WHEN (old.version <> new.version OR old.url <> new.url)
EXECUTE FUNCTION ring('dispatchd_people');
CREATE TRIGGER pairings_change AFTER INSERT OR UPDATE OR DELETE ON pairings
EXECUTE FUNCTION ring('dispatchd_trust');
CREATE TRIGGER users_change AFTER INSERT OR UPDATE OR DELETE ON users
EXECUTE FUNCTION ring('dispatchd_trust');

-- The bells are rung by the coordinator once its transaction is on disk, which hears of them by a
-- notice, once each: a transaction that calls NOTIFY keeps all others that do waiting for its disk.
CREATE OR REPLACE FUNCTION ring() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    heard CONSTANT text := 'dispatchd.heard_' || TG_ARGV[0];
BEGIN
    IF coalesce(current_setting(heard, true), '') = '' THEN
        PERFORM set_config(heard, 'yes', true);
        RAISE NOTICE USING MESSAGE = TG_ARGV[0];
    END IF;
    RETURN NULL;
END $$;
