CREATE TABLE workspace_labels (workspace_id text NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE, label text NOT NULL);
ALTER TABLE workspace_labels ADD PRIMARY KEY (workspace_id, label);
