-- What is wanted of a workspace moves from the workspace into its placement. From here on the runner acts
-- on placements, so the control plane that writes them must start before the runner.
CREATE TABLE workspace_placements (
    workspace_id text PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    environment_id text NOT NULL REFERENCES environments (id),
    desired_state text NOT NULL CHECK (desired_state IN ('running', 'stopped', 'destroyed')),
    generation bigint NOT NULL DEFAULT 1,
    observed_generation bigint NOT NULL DEFAULT 0,
    message text,
    updated_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO workspace_placements (workspace_id, environment_id, desired_state, observed_generation)
SELECT id, 'builtin', CASE status WHEN 'running' THEN 'running' ELSE 'stopped' END, 1
FROM workspaces
ON CONFLICT (workspace_id) DO NOTHING;
