package postgres

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/neutree-ai/packaging/test/standin/internal/standintest"
)

func TestCapacity(t *testing.T) {
	if err := capacity(100, 3); err == nil || !strings.Contains(err.Error(), "raise max_connections") {
		t.Errorf("100 connections: %v", err)
	}
	if err := capacity(200, 3); err != nil {
		t.Errorf("200 connections: %v", err)
	}
}

func TestOpen(t *testing.T) {
	pool, err := Open(t.Context(), standintest.Database(t), 12)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if got := pool.Stat().TotalConns(); got != 4 {
		t.Errorf("%d connections are open after the start, want a third of the pool", got)
	}
	_, err = Open(t.Context(), "postgresql://nap:topsecret@127.0.0.1:1/nap", 3)
	if err == nil || !strings.Contains(err.Error(), "open database nap on 127.0.0.1:1") {
		t.Errorf("unreachable: %v", err)
	}
	if err != nil && strings.Contains(err.Error(), "topsecret") {
		t.Errorf("%v shows the password", err)
	}
}

func TestCheckSchema(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"001_init.sql", "115_more.sql", "README.md"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := standintest.Pool(t, standintest.Database(t))
	check := func(source, want string) {
		t.Helper()
		err := CheckSchema(t.Context(), pool, dir, source)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), "migration "+want+" of this image")) {
			t.Errorf("%s: %v, want %q to be missing", source, err, want)
		}
	}
	check("control-plane", "001_init")
	exec := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE public.schema_migrations (id text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())`)
	exec(`INSERT INTO public.schema_migrations (id) VALUES ('001_init'), ('002_squashed'), ('channel_001_init')`)
	check("control-plane", "115_more")
	check("gateway", "channel_115_more")
	exec(`INSERT INTO public.schema_migrations (id) VALUES ('115_more'), ('999_newer')`)
	check("control-plane", "")
	if err := CheckSchema(t.Context(), pool, filepath.Join(dir, "none"), "control-plane"); err == nil || !strings.Contains(err.Error(), "working directory") {
		t.Errorf("no folder: %v", err)
	}
}

func TestStartQueueAtOnce(t *testing.T) {
	pool := standintest.Pool(t, standintest.Database(t))
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if err := StartQueue(context.Background(), pool, "tasks"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	var queues int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pgboss.queue`).Scan(&queues); err != nil || queues != 1 {
		t.Errorf("%d queues, %v, want 1", queues, err)
	}
}
