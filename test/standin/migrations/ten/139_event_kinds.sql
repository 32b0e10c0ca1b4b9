CREATE TYPE workspace_event_kind AS ENUM ('created', 'started', 'stopped', 'deleted');
ALTER TABLE workspace_events ADD COLUMN state workspace_event_kind;
