CREATE FUNCTION touch_workspace_budget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workspace_budgets (workspace_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    RETURN NEW;
END $$;
CREATE TRIGGER touch_workspace_budget AFTER INSERT ON workspaces FOR EACH ROW EXECUTE FUNCTION touch_workspace_budget();
