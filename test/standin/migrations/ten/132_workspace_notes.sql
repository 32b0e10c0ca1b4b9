ALTER TABLE workspaces ADD COLUMN note text;
