ALTER TABLE workspaces ADD CONSTRAINT note_length CHECK (length(note) <= 4000);
