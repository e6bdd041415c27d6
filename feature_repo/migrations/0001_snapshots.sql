-- What the monthly exports say, and since when it is known. A correction is a new row with a later created_at;
-- a row with tombstone = true takes back the one before it. NULL: does not apply or is unknown.

CREATE TABLE users_profile_snapshots (
    user_id         text        NOT NULL,
    as_of           timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    tombstone       boolean     NOT NULL DEFAULT false,
    signup_date     date,
    user_gender     text,
    user_is_senior  boolean,
    has_family      boolean,
    has_dependents  boolean,
    PRIMARY KEY (user_id, as_of, created_at)
);

CREATE TABLE subscriptions_profile_snapshots (
    user_id            text        NOT NULL,
    as_of              timestamptz NOT NULL,
    created_at         timestamptz NOT NULL,
    tombstone          boolean     NOT NULL DEFAULT false,
    months_active      bigint,
    plan_stream_tv     boolean,
    plan_stream_movies boolean,
    contract_type      text,
    paperless_billing  boolean,
    monthly_fee        double precision,
    total_paid         double precision,
    net_service        text,
    PRIMARY KEY (user_id, as_of, created_at)
);

CREATE TABLE usage_agg_30d_snapshots (
    user_id             text        NOT NULL,
    as_of               timestamptz NOT NULL,
    created_at          timestamptz NOT NULL,
    tombstone           boolean     NOT NULL DEFAULT false,
    watch_hours_30d     double precision,
    avg_session_mins_7d double precision,
    unique_devices_30d  bigint,
    skips_7d            bigint,
    rebuffer_events_7d  bigint,
    PRIMARY KEY (user_id, as_of, created_at)
);

CREATE TABLE payments_agg_90d_snapshots (
    user_id             text        NOT NULL,
    as_of               timestamptz NOT NULL,
    created_at          timestamptz NOT NULL,
    tombstone           boolean     NOT NULL DEFAULT false,
    failed_payments_90d bigint,
    PRIMARY KEY (user_id, as_of, created_at)
);

CREATE TABLE support_agg_90d_snapshots (
    user_id                       text        NOT NULL,
    as_of                         timestamptz NOT NULL,
    created_at                    timestamptz NOT NULL,
    tombstone                     boolean     NOT NULL DEFAULT false,
    support_tickets_90d           bigint,
    ticket_avg_resolution_hrs_90d double precision,
    PRIMARY KEY (user_id, as_of, created_at)
);

CREATE TABLE churn_labels (
    user_id     text        NOT NULL,
    label_at    timestamptz NOT NULL,
    created_at  timestamptz NOT NULL,
    tombstone   boolean     NOT NULL DEFAULT false,
    churn_label boolean,
    PRIMARY KEY (user_id, label_at, created_at)
);

-- The newest as_of, and all of one as_of, without reading the others.
CREATE INDEX ON users_profile_snapshots (as_of, created_at);
CREATE INDEX ON subscriptions_profile_snapshots (as_of, created_at);
CREATE INDEX ON usage_agg_30d_snapshots (as_of, created_at);
CREATE INDEX ON payments_agg_90d_snapshots (as_of, created_at);
CREATE INDEX ON support_agg_90d_snapshots (as_of, created_at);
CREATE INDEX ON churn_labels (label_at, created_at);
