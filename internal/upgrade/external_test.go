package upgrade

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// A database from outside is there before the first install, and is looked at before anything is migrated.
func TestExternalDatabase(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "001_first.sql"), []byte("CREATE TABLE first (id int);"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, url := slog.New(slog.DiscardHandler), pgtest.Start(t)
	u := &Upgrade{
		Log: log, Client: kubetest.New(t, namespace).Client(), Migrator: migrate.Migrator{URL: url, Log: log},
		Spec: hook.MigrateSpec{
			Namespace: "nap", External: &hook.ExternalDatabase{Connections: 10}, Set: "a-set",
			Migrations: []hook.Migration{{Source: "control-plane", Dir: dir}},
		},
	}
	if _, err := u.Run(t.Context()); err != nil || !tableExists(t, url) {
		t.Fatalf("the database was not migrated: %v", err)
	}
	u.Migrator.URL = strings.Replace(url, "/test", "/nothing", 1)
	if _, err := u.Run(t.Context()); hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "the external database refuses the connection") {
		t.Errorf("exit code %d: %v", hook.CodeOf(err), err)
	}
}
