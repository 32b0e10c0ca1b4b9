-- The control plane keeps only the hash of the token that a workspace proves itself with.
CREATE TABLE workspace_tokens (
    workspace_id text PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    token_hash text NOT NULL UNIQUE,
    minted_at timestamptz NOT NULL DEFAULT now()
);
