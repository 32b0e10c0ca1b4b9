-- Its schema is made with its ledger.
CREATE TABLE browser.pool (
    id text PRIMARY KEY,
    sandbox_id text NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
