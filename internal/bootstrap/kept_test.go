package bootstrap

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
)

const asleep = `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, namespace: nap, annotations: {cnpg.io/hibernation: "on"}}
spec: {instances: 1, imageName: "pg:17.10", storage: {size: 10Gi}}
`

// A database that an uninstall kept is held to the same as one that runs: nobody could ask it before.
func TestDatabaseThatWasKept(t *testing.T) {
	w := newWorld(t, cluster)
	w.spec.SaveFirst = true
	w.key = "the-first-key-of-all"
	w.mustRun(t)
	refused := func(why string, words ...string) {
		t.Helper()
		w.server.Put(asleep)
		// The second run finds it awake.
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err := w.run(ctx)
			cancel()
			if hook.CodeOf(err) != hook.Refused {
				t.Fatalf("%s: exit %d: %v", why, hook.CodeOf(err), err)
			}
			for _, word := range words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: the reason does not say %q: %v", why, word, err)
				}
			}
		}
	}
	passes := func() {
		t.Helper()
		w.server.Put(asleep)
		w.mustRun(t)
		if annotations := w.server.Object(pgPath).GetAnnotations(); annotations["neutree.ai/unexamined"] != "" {
			t.Errorf("the Cluster is still to be examined: %v", annotations)
		}
	}
	passes()

	w.key = "quite-another-key"
	refused("another key", "holds another CREDENTIAL_ENCRYPTION_KEY", "global.upgrade.allowSecretChanges=true")
	w.spec.Allow.SecretChanges = true
	passes()
	w.spec.Allow.SecretChanges = false
	passes()

	w.write(t, "control-plane/002_second.sql", "CREATE TABLE second (id int);")
	refused("newer images", "needs 1 migrations", "002_second", "upgrade --install")
	w.spec.SaveFirst = false
	passes()
	w.spec.SaveFirst = true

	exec(t, w.dsn, "INSERT INTO public.schema_migrations (id) VALUES ('201_of_a_newer_release')")
	refused("older images", "older than the database", "201_of_a_newer_release", "global.upgrade.allowOlderImages=true")
	w.spec.Allow.OlderImages = true
	passes()
}

func exec(t *testing.T, dsn, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
