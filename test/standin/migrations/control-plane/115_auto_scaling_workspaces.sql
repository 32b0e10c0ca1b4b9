-- Names here have no schema: they need the search path that the baseline emptied.
ALTER TABLE workspaces ADD COLUMN auto_scaling boolean NOT NULL DEFAULT false;
