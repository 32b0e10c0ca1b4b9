--
-- Baseline in the form that pg_dump writes: it changes settings of the whole session and empties the
-- search path, so whatever runs it must put both right afterwards.
--

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET client_min_messages = warning;
SET row_security = off;

CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;

COMMENT ON EXTENSION pgcrypto IS 'cryptographic functions';

SET default_table_access_method = heap;

CREATE FUNCTION public.touch_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.updated_at := pg_catalog.now();
    RETURN NEW; -- a semicolon inside a body; a splitter at semicolons would break here
END;
$$;

CREATE TABLE public.users (
    id text NOT NULL,
    username text NOT NULL,
    display_name text DEFAULT ''::text NOT NULL,
    email text DEFAULT ''::text NOT NULL,
    role text DEFAULT 'user'::text NOT NULL,
    password_hash text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT users_role_check CHECK ((role = ANY (ARRAY['admin'::text, 'user'::text, 'system'::text])))
);

CREATE TABLE public.system_settings (
    id integer NOT NULL,
    settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT system_settings_single CHECK ((id = 1))
);

CREATE TABLE public.user_credentials (
    id text NOT NULL,
    user_id text NOT NULL,
    provider text NOT NULL,
    secret bytea NOT NULL
);

CREATE TABLE public.oauth_clients (
    id text NOT NULL,
    name text NOT NULL,
    secret_hash text,
    redirect_uris text[] DEFAULT '{}'::text[] NOT NULL,
    created_by text NOT NULL
);

CREATE TABLE public.mcp_catalog (
    id text NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    required boolean DEFAULT false NOT NULL
);

CREATE TABLE public.workspaces (
    id text NOT NULL,
    owner_id text NOT NULL,
    name text NOT NULL,
    agent_type text NOT NULL,
    storage_size text,
    status text DEFAULT 'stopped'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.sessions (
    id text NOT NULL,
    workspace_id text NOT NULL,
    state text DEFAULT 'idle'::text NOT NULL,
    title text,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.session_messages (
    id bigint NOT NULL,
    session_id text NOT NULL,
    body jsonb NOT NULL
);

CREATE SEQUENCE public.session_messages_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.session_messages_id_seq OWNED BY public.session_messages.id;

ALTER TABLE ONLY public.session_messages ALTER COLUMN id SET DEFAULT nextval('public.session_messages_id_seq'::regclass);

CREATE TABLE public.ws_concurrency_slots (
    workspace_id text NOT NULL,
    slot integer NOT NULL,
    taken_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.skill_sources (
    id text NOT NULL,
    url text NOT NULL,
    content text
);

CREATE TABLE public.skill_versions (
    source_id text NOT NULL,
    version integer NOT NULL,
    content text
);

CREATE MATERIALIZED VIEW public.admin_workspace_totals AS
 SELECT agent_type,
    count(*) AS total
   FROM public.workspaces
  GROUP BY agent_type
  WITH NO DATA;

CREATE MATERIALIZED VIEW public.admin_daily_sessions AS
 SELECT date_trunc('day'::text, updated_at) AS day,
    count(*) AS total
   FROM public.sessions
  GROUP BY (date_trunc('day'::text, updated_at))
  WITH NO DATA;

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_username_key UNIQUE (username);

ALTER TABLE ONLY public.system_settings
    ADD CONSTRAINT system_settings_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.user_credentials
    ADD CONSTRAINT user_credentials_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.oauth_clients
    ADD CONSTRAINT oauth_clients_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.mcp_catalog
    ADD CONSTRAINT mcp_catalog_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.session_messages
    ADD CONSTRAINT session_messages_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.ws_concurrency_slots
    ADD CONSTRAINT ws_concurrency_slots_pkey PRIMARY KEY (workspace_id, slot);

ALTER TABLE ONLY public.skill_sources
    ADD CONSTRAINT skill_sources_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.skill_versions
    ADD CONSTRAINT skill_versions_pkey PRIMARY KEY (source_id, version);

CREATE INDEX sessions_workspace_idx ON public.sessions USING btree (workspace_id);

CREATE UNIQUE INDEX admin_workspace_totals_idx ON public.admin_workspace_totals USING btree (agent_type);

CREATE TRIGGER sessions_touch BEFORE UPDATE ON public.sessions FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();

ALTER TABLE ONLY public.user_credentials
    ADD CONSTRAINT user_credentials_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.oauth_clients
    ADD CONSTRAINT oauth_clients_created_by_fkey FOREIGN KEY (created_by) REFERENCES public.users(id);

ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_owner_fkey FOREIGN KEY (owner_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_workspace_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspaces(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.session_messages
    ADD CONSTRAINT session_messages_session_fkey FOREIGN KEY (session_id) REFERENCES public.sessions(id) ON DELETE CASCADE;

REFRESH MATERIALIZED VIEW public.admin_workspace_totals;

REFRESH MATERIALIZED VIEW public.admin_daily_sessions;
