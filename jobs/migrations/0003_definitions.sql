-- What Feast's registry defines, as `apply` resolved it: a job that reads it here need not import Feast, which takes
-- longer than many a materialization. Good for as long as the registry's contents have this digest.
CREATE TABLE ledger.definitions (
    project         text PRIMARY KEY,
    registry_digest text  NOT NULL,
    definitions     jsonb NOT NULL
);
