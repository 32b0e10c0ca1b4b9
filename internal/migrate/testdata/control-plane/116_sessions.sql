CREATE TABLE sessions (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id text REFERENCES users (id));
CREATE INDEX sessions_user ON sessions (user_id);
REINDEX TABLE public.sessions;
