package bootstrap

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/neutree-ai/packaging/internal/hook"
)

const asleep = `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, namespace: nap, annotations: {cnpg.io/hibernation: "on"}}
spec: {instances: 1, imageName: "pg:17.10", storage: {size: 10Gi}}
`

const plan = `
apiVersion: v1
kind: ConfigMap
metadata: {name: nap-backup, namespace: nap}
data:
  backup-plan.yaml: |
    release: neutree
    revision: 2
    cluster: nap-pg
    claim: {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: nap-backups}, spec: {resources: {requests: {storage: 1Gi}}}}
    create: &job {apiVersion: batch/v1, kind: Job, metadata: {name: nap-backup}, spec: {template: {spec: {containers: [{name: backup, image: "registry.test/other:1"}]}}}}
    restore: *job
    writers: [nap-cp]
`

// backups plays the Job that saves the database.
type backups struct {
	*testing.T
	w *world
	// saved are the numbers of tables called second that the backups hold.
	saved []int64
	fails error
}

func (b *backups) Run(ctx context.Context, job *batchv1.Job) (string, error) {
	args := strings.Join(job.Spec.Template.Spec.Containers[0].Args, " ")
	if job.Name != "nap-backup-bootstrap" || !strings.HasPrefix(args, "create --name=before-r2-") {
		b.Errorf("it ran %s %s", job.Name, args)
	}
	if b.fails != nil {
		return "", b.fails
	}
	conn, err := pgx.Connect(ctx, b.w.dsn)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var tables int64
	err = conn.QueryRow(ctx, "SELECT count(*) FROM pg_tables WHERE tablename = 'second'").Scan(&tables)
	b.saved = append(b.saved, tables)
	return "saved", err
}

// A database with data is saved before it is migrated, also where no hook could do that: it was stopped, or the hook was
// left out. So a reinstall of a newer release over a database that was kept converges in one go.
func TestADatabaseWithDataIsSavedBeforeItIsMigrated(t *testing.T) {
	for name, before := range map[string]func(*world){
		"an uninstall kept it":    func(w *world) { w.server.Put(asleep) },
		"a tool leaves hooks out": func(*world) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cluster)
			jobs := &backups{T: t, w: w}
			w.spec.Backup, w.jobs = "nap-backup", jobs
			w.mustRun(t)
			before(w)
			w.mustRun(t)
			if len(jobs.saved) > 0 {
				t.Fatalf("nothing was to be migrated, and it was saved: %v", jobs.saved)
			}
			w.write(t, "control-plane/002_second.sql", "CREATE TABLE second (id int);")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			before(w)
			err := w.run(ctx)
			if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(),
				"ConfigMap nap-backup, which says how, does not exist in namespace nap") ||
				!strings.Contains(err.Error(), "needs 1 migrations (the first one is control-plane/002_second.sql)") {
				t.Errorf("without a plan: exit %d: %v", hook.CodeOf(err), err)
			}
			w.server.Put(plan)
			jobs.fails = hook.Errorf(hook.Refused, "the volume is full")
			if err := w.run(ctx); hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "nothing was migrated") ||
				!strings.Contains(err.Error(), "the volume is full") || !strings.Contains(err.Error(), "global.backup.skip=true") {
				t.Errorf("a backup that fails: exit %d: %v", hook.CodeOf(err), err)
			}
			if tables := query(t, w.dsn, "SELECT count(*) FROM pg_tables WHERE tablename = 'second'"); tables != 0 {
				t.Error("it was migrated without a backup")
			}
			jobs.fails = nil
			w.mustRun(t)
			if len(jobs.saved) != 1 || jobs.saved[0] != 0 {
				t.Errorf("the backups hold %v tables, want one from before the migration", jobs.saved)
			}
			if tables := query(t, w.dsn, "SELECT count(*) FROM pg_tables WHERE tablename = 'second'"); tables != 1 {
				t.Error("it was not migrated")
			}
			w.mustRun(t)
			if len(jobs.saved) != 1 {
				t.Error("it was saved again")
			}
		})
	}
}

// What runs without a hook is held to the same as with one.
func TestADatabaseThatRunsIsExamined(t *testing.T) {
	w := newWorld(t, cluster)
	w.key, w.spec.EncryptionKey = "the-first-key-of-all", hook.SecretRef{Secret: "nap-cp-secret",
		Key: "CREDENTIAL_ENCRYPTION_KEY"}
	w.spec.Migrations[0].Set = "set-1"
	w.mustRun(t)
	refused := func(why string, words ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := w.run(ctx)
		if hook.CodeOf(err) != hook.Refused {
			t.Fatalf("%s: exit %d: %v", why, hook.CodeOf(err), err)
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the reason does not say %q: %v", why, word, err)
			}
		}
	}
	w.key = "quite-another-key"
	refused("another key", "Secret nap-cp-secret in namespace nap holds another CREDENTIAL_ENCRYPTION_KEY")
	w.key = "the-first-key-of-all"
	exec(t, w.dsn, "INSERT INTO public.schema_migrations (id) VALUES ('201_of_a_newer_release')")
	// A rollback comes with images that have run here before.
	w.mustRun(t)
	w.spec.Migrations[0].Set = "set-0"
	refused("images that never ran here", "older than the database", "201_of_a_newer_release")
	w.spec.Allow.OlderImages = true
	w.mustRun(t)
	w.spec.Release = "other"
	refused("another release", "the database belongs to release neutree in namespace nap",
		"global.upgrade.adoptDatabase=nap/neutree")
	w.spec.Allow.AdoptDatabase = "nap/neutree"
	w.mustRun(t)
}

// A backup has its own time.
func TestTimeOfAllSteps(t *testing.T) {
	w := newWorld(t, cluster)
	w.server.Delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusters.postgresql.cnpg.io")
	w.spec.Seconds = 1
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.run(ctx); hook.CodeOf(err) != hook.Deadline || !strings.Contains(err.Error(),
		"the CRD clusters.postgresql.cnpg.io") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
}

// A database that an uninstall kept is held to the same as one that runs: it could not be asked before.
func TestDatabaseThatWasKept(t *testing.T) {
	w := newWorld(t, cluster)
	w.spec.EncryptionKey = hook.SecretRef{Secret: "nap-cp-secret", Key: "CREDENTIAL_ENCRYPTION_KEY"}
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

	exec(t, w.dsn, "INSERT INTO public.schema_migrations (id) VALUES ('201_of_a_newer_release')")
	refused("older images", "older than the database", "201_of_a_newer_release", "global.upgrade.allowOlderImages=true")
	w.spec.Allow.OlderImages = true
	passes()
}

func query(t *testing.T, dsn, statement string) (value int64) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(t.Context(), statement).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
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
