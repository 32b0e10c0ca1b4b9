CREATE INDEX workspace_labels_by_label ON workspace_labels (label);
