-- Fails where the schema exists already, like the baseline it stands for.
CREATE SCHEMA channel;

CREATE TABLE channel.connectors (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    kind text NOT NULL,
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE channel.deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connector_id text NOT NULL REFERENCES channel.connectors (id) ON DELETE CASCADE,
    received_at timestamptz NOT NULL DEFAULT now()
);
