package migrate_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// A view that no statement has filled can't be read: the first page that does would fail.
func TestMaterializedViewsCanBeReadAfterMigrations(t *testing.T) {
	url := pgtest.Start(t)
	pgtest.Exec(t, url,
		`CREATE SCHEMA elsewhere; CREATE MATERIALIZED VIEW elsewhere.of_another_role AS SELECT 1 WITH NO DATA`)
	views := folder(t, "control-plane", files{
		"117_views.sql": `CREATE TABLE interactions (id int); INSERT INTO interactions VALUES (7);
			CREATE MATERIALIZED VIEW user_daily_interactions AS SELECT id FROM interactions WITH NO DATA;
			CREATE MATERIALIZED VIEW "A sum" AS SELECT sum(id) FROM user_daily_interactions WITH NO DATA;
			CREATE MATERIALIZED VIEW kept AS SELECT id FROM interactions;
			INSERT INTO interactions VALUES (8);`,
	})
	apply(t, url, views)
	conn := open(t, url, "test")
	if diff := cmp.Diff([]int{7, 8}, query[int](t, conn, "SELECT id FROM user_daily_interactions ORDER BY "+
		"id")); diff != "" {
		t.Errorf("rows of the view (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{15}, query[int](t, conn, `SELECT sum::int FROM "A sum"`)); diff != "" {
		t.Errorf("rows of the view that reads it (-want +got):\n%s", diff)
	}
	// What has data is the services' to refresh.
	if diff := cmp.Diff([]int{7}, query[int](t, conn, "SELECT id FROM kept")); diff != "" {
		t.Errorf("rows of a view with data (-want +got):\n%s", diff)
	}
	const empty = "SELECT matviewname FROM pg_matviews WHERE NOT ispopulated"
	if diff := cmp.Diff([]string{"of_another_role"}, query[string](t, conn, empty)); diff != "" {
		t.Errorf("views without data (-want +got):\n%s", diff)
	}
}

// The schema is there all the same, and the scheduler refreshes views later.
func TestAViewThatCannotBeFilledIsAWarning(t *testing.T) {
	url := pgtest.Start(t)
	views := folder(t, "control-plane", files{
		"117_views.sql": `CREATE MATERIALIZED VIEW broken AS SELECT 1 / (SELECT 0) AS none WITH NO DATA;`,
	})
	var log bytes.Buffer
	m := migrate.Migrator{URL: url, Log: slog.New(slog.NewTextHandler(&log, nil))}
	if _, err := m.Apply(t.Context(), testSet, []hook.Migration{views}); err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"level=WARN", "public.broken", "division by zero"} {
		if !strings.Contains(log.String(), words) {
			t.Errorf("the log does not say %q:\n%s", words, &log)
		}
	}
}
