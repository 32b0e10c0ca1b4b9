ALTER TABLE sessions ADD COLUMN pinned boolean NOT NULL DEFAULT false;
CREATE INDEX sessions_pinned_idx ON sessions (workspace_id) WHERE pinned;
