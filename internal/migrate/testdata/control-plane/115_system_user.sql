-- Unqualified names: they work only where the search path of the dump did not stay.
INSERT INTO users (id, username) VALUES ('sys00000', 'system') ON CONFLICT DO NOTHING;
ALTER TABLE users ADD COLUMN role text NOT NULL DEFAULT 'user';
