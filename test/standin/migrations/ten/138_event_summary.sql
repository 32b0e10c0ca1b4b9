CREATE VIEW workspace_event_counts AS SELECT workspace_id, kind, count(*) AS events FROM workspace_events GROUP BY workspace_id, kind;
