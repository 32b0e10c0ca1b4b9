// Package standintest gives the stand-ins' tests a migrated database and a check of the rights they use.
package standintest

import (
	"context"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	k8stesting "k8s.io/client-go/testing"

	"github.com/neutree-ai/packaging/internal/pgtest"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

// Database returns the URL of an empty database that is reached over TCP, as services reach theirs.
func Database(t testing.TB) string {
	t.Helper()
	local, err := url.Parse(pgtest.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(local.Query().Get("host"), ".s.PGSQL.5432")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go forward(listener, socket)
	remote := url.URL{
		Scheme: "postgresql", User: url.UserPassword("nap", "a/b@c"), Host: listener.Addr().String(),
		Path: local.Path, RawQuery: "sslmode=disable",
	}
	return remote.String()
}

func forward(listener net.Listener, socket string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("unix", socket)
			if err != nil {
				return
			}
			defer server.Close()
			go func() {
				_, _ = io.Copy(server, client)
				server.Close()
			}()
			_, _ = io.Copy(client, server)
		}()
	}
}

// Migrated returns the URL of a database with the whole schema.
func Migrated(t testing.TB) string {
	t.Helper()
	database := Database(t)
	for _, source := range platform.MigrationSources() {
		migrate(t, database, source)
	}
	return database
}

// migrate applies a source of the stand-ins' migrations the way the platform does: one connection and one
// transaction a file, each file as a single query of many statements.
func migrate(t testing.TB, database string, source platform.MigrationSource) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(Root(t), "migrations", source.Name, "*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no migrations of %s: %v", source.Name, err)
	}
	slices.Sort(files)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		id := source.IDPrefix + strings.TrimSuffix(filepath.Base(file), ".sql")
		if err := apply(t.Context(), database, source, id, string(content)); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
}

func apply(ctx context.Context, database string, source platform.MigrationSource, id, sql string) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	ledger := `CREATE SCHEMA IF NOT EXISTS ` + source.Schema + `; CREATE TABLE IF NOT EXISTS ` + source.Ledger() +
		` (id text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())`
	for _, statement := range []string{ledger, "BEGIN", sql, "RESET search_path"} {
		if _, err := conn.PgConn().Exec(ctx, statement).ReadAll(); err != nil {
			return err
		}
	}
	if _, err := conn.Exec(ctx, `INSERT INTO `+source.Ledger()+` (id) VALUES ($1)`, id); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "COMMIT")
	return err
}

// Pool opens a database.
func Pool(t testing.TB, database string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Root is the folder of the stand-ins' source.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "images.yaml")); err == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("images.yaml is in no folder above")
		}
		dir = filepath.Dir(dir)
	}
}

// CheckRights fails the test if a workload did anything in Kubernetes that its rules do not grant.
func CheckRights(t testing.TB, name string, actions []k8stesting.Action) {
	t.Helper()
	workloads := contract.Workloads()
	i := slices.IndexFunc(workloads, func(w contract.Workload) bool { return w.Name == name })
	if i < 0 {
		t.Fatalf("%s is no workload", name)
	}
	for _, action := range actions {
		resource := action.GetResource().Resource
		if action.GetSubresource() != "" {
			resource += "/" + action.GetSubresource()
		}
		granted := slices.ContainsFunc(workloads[i].Rules, func(r contract.Rule) bool {
			return r.Group == action.GetResource().Group && r.Resource == resource &&
				slices.Contains(slices.Concat(r.Verbs, r.MultiReplica), action.GetVerb())
		})
		if !granted {
			t.Errorf("%s used a right it does not have: %s %s", name, action.GetVerb(), resource)
		}
	}
}
