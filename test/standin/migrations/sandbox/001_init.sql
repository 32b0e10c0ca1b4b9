-- Its schema is made with its ledger.
CREATE TABLE sandbox.sandboxes (
    id text PRIMARY KEY,
    owner text NOT NULL,
    image text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
