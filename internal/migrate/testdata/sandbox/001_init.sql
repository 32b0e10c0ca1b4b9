CREATE TABLE sandbox.sandboxes (id text PRIMARY KEY);
