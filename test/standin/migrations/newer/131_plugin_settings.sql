CREATE TABLE plugin_settings (
    plugin text PRIMARY KEY,
    settings jsonb NOT NULL DEFAULT '{}'
);
