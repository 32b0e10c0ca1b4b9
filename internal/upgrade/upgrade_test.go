package upgrade

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

const (
	namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}\n"
	running   = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-pg, namespace: nap, annotations: {cnpg.io/hibernation: \"off\"}}\n"
	stopped   = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-pg, namespace: nap, annotations: {cnpg.io/hibernation: \"on\"}}\n"
	jobPath   = "/apis/batch/v1/namespaces/nap/jobs/nap-bootstrap-1"
	activeJob = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-bootstrap-1, namespace: nap}\nstatus: {active: 1}\n"
	failedJob = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-bootstrap-1, namespace: nap}\nstatus: {conditions: [{type: Failed, status: \"True\"}]}\n"
)

// run upgrades a database of its own with the one migration in sql.
func run(t *testing.T, sql, url string, objects ...string) (server *kubetest.Server, summary string, err error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "001_first.sql"), []byte(sql), 0o600); err != nil {
		t.Fatal(err)
	}
	server = kubetest.New(t, append([]string{namespace}, objects...)...)
	log := slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil))
	u := &Upgrade{
		Log: log, Client: server.Client(), Migrator: migrate.Migrator{URL: url, Log: log},
		Spec: hook.MigrateSpec{
			Namespace: "nap", Cluster: "nap-pg", FailedJob: "nap-bootstrap-1", Set: "a-set",
			Migrations: []hook.Migration{{Source: "control-plane", Dir: dir}},
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	summary, err = u.Run(ctx)
	return server, summary, err
}

func tableExists(t *testing.T, url string) bool {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var exists bool
	if err := conn.QueryRow(t.Context(), "SELECT to_regclass('public.first') IS NOT NULL").Scan(&exists); err != nil {
		t.Fatal(err)
	}
	return exists
}

func TestMigratesADatabaseThatRuns(t *testing.T) {
	url := pgtest.Start(t)
	_, summary, err := run(t, "CREATE TABLE first (id int);", url, running)
	if err != nil || summary != "1 migrations applied, the last one 001_first of control-plane" {
		t.Fatalf("summary %q, error %v", summary, err)
	}
	if !tableExists(t, url) {
		t.Error("the migration was not applied")
	}
}

func TestLeavesADatabaseAloneThatDoesNotRun(t *testing.T) {
	for name, objects := range map[string][]string{"none yet": nil, "hibernated": {stopped}} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Start(t)
			_, summary, err := run(t, "CREATE TABLE first (id int);", url, objects...)
			if err != nil || !strings.Contains(summary, "no running database yet") {
				t.Fatalf("summary %q, error %v", summary, err)
			}
			if tableExists(t, url) {
				t.Error("a migration was applied")
			}
		})
	}
}

func TestFailingMigrationIsPermanent(t *testing.T) {
	_, _, err := run(t, "CREATE TABLE first (id int);\nSELECT nonsense;", pgtest.Start(t), running)
	if hook.CodeOf(err) != hook.MigrationFailed || !strings.Contains(err.Error(), "001_first") || !strings.Contains(err.Error(), "nonsense") {
		t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
	}
}

func TestOnlyAFailedJobIsDeleted(t *testing.T) {
	for name, tc := range map[string]struct {
		job     string
		deleted bool
	}{"failed": {failedJob, true}, "at work": {activeJob, false}} {
		t.Run(name, func(t *testing.T) {
			server, _, err := run(t, "SELECT 1;", pgtest.Start(t), tc.job)
			if err != nil {
				t.Fatal(err)
			}
			if gone := server.Object(jobPath) == nil; gone != tc.deleted {
				t.Errorf("Job deleted: %v, want %v", gone, tc.deleted)
			}
		})
	}
}
