CREATE TABLE workspace_budgets (workspace_id text PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE, tokens bigint NOT NULL DEFAULT 0);
INSERT INTO workspace_budgets (workspace_id) SELECT id FROM workspaces;
