-- What `apply` has brought the database to, newest last: a new row whenever that is not what the row before says.
-- Every job reads it, so that none of a new release starts on the database of the one before.
CREATE TABLE ledger.applied (
    number     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project    text        NOT NULL,
    -- Of the release, its migrations and the repository's folder.
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
