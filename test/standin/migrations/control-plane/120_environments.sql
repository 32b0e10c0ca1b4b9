-- Where workspaces run is an environment, and a runner gives signs of life for it.
CREATE TABLE environments (
    id text PRIMARY KEY,
    name text NOT NULL,
    owner_id text NOT NULL REFERENCES users (id),
    last_heartbeat_at timestamptz,
    settings jsonb
);

INSERT INTO users (id, username, display_name, role)
VALUES ('system', 'system', 'System', 'system')
ON CONFLICT (id) DO NOTHING;

INSERT INTO environments (id, name, owner_id)
VALUES ('builtin', 'Built-in', 'system')
ON CONFLICT (id) DO NOTHING;
