-- The shape of a dump: it changes settings for the whole session.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);

CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;
COMMENT ON EXTENSION pgcrypto IS 'cryptographic functions; with a semicolon';

CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at = now(); -- a statement inside a statement
  RETURN NEW;
END;
$$;

CREATE TABLE public.users (
  id text PRIMARY KEY,
  username text NOT NULL UNIQUE,
  updated_at timestamptz DEFAULT now() NOT NULL
);
CREATE TRIGGER users_touch BEFORE UPDATE ON public.users FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE MATERIALIZED VIEW public.user_count AS SELECT count(*) AS n FROM public.users WITH DATA;
