CREATE TABLE session_activity (
    session_id text PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    active_at timestamptz NOT NULL
);

DO $$
BEGIN
    INSERT INTO session_activity (session_id, active_at)
    SELECT id, updated_at FROM sessions;
END
$$;
