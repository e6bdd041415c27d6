-- One row per execution of a job; a run that is still `running` holds the advisory lock (LEDGER_LOCK_CLASS, run_id).
CREATE TABLE ledger.runs (
    run_id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job         text        NOT NULL,
    state       text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'succeeded', 'failed', 'lost')),
    arguments   jsonb       NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    exit_code   integer,
    summary     text,
    details     jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX runs_by_job ON ledger.runs (job, run_id);
