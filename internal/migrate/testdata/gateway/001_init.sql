SET lock_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);
CREATE SCHEMA channel;
CREATE TABLE channel.connectors (id text PRIMARY KEY);
