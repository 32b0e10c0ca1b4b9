package prepare

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

func TestRollback(t *testing.T) {
	url := pgtest.Start(t)
	s := newStage(t, url, running, installation)
	s.wantDone("1 migrations applied")
	back := func() (string, error) {
		spec := hook.RollbackSpec{Namespace: "nap", Release: "neutree", Prefix: "nap", ConfigMap: "neutree-installation",
			Database: s.spec.Migrate, Manifest: s.spec.Gate.Manifest}
		return (&Rollback{Log: slog.New(slog.DiscardHandler), Client: s.server.Client(), Spec: spec}).Run(t.Context())
	}
	want := func(words string) {
		t.Helper()
		if summary, err := back(); err != nil || !strings.Contains(summary, words) {
			t.Errorf("summary %q, error %v, want %q", summary, err, words)
		}
	}
	want("the database fits this revision")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("INSERT INTO public.schema_migrations (id) VALUES ('133_add')")
	want("the database stays ahead by public.schema_migrations 133_add")
	exec("INSERT INTO public.schema_migrations (id) VALUES ('134_drop')")
	exec("INSERT INTO neutree.breaking_migrations (id) VALUES ('134_drop')")
	_, err = back()
	if hook.CodeOf(err) != hook.Refused {
		t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
	}
	for _, words := range []string{"134_drop", "helm upgrade", "helm neutree backup list", "kubectl annotate --overwrite configmap neutree-installation --namespace nap neutree.ai/rollback-across=134_drop", "helm neutree recover neutree"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("the refusal does not say %q: %v", words, err)
		}
	}
	s.wants(`{imageName: "registry.test/postgresql:17.10", storage: {size: 20Gi}}`)
	if _, err := back(); hook.CodeOf(err) != hook.Refused || s.clusterField("spec", "storage", "size") != "10Gi" {
		t.Errorf("a refused rollback: %v, with a Cluster of %s", err, s.clusterField("spec", "storage", "size"))
	}
	annotated := strings.Replace(installation, "namespace: nap}", "namespace: nap, annotations: {neutree.ai/rollback-across: %s}}", 1)
	s.server.Put(strings.Replace(annotated, "%s", "120_other", 1))
	if _, err := back(); hook.CodeOf(err) != hook.Refused {
		t.Errorf("an annotation for another migration lets it pass: %v", err)
	}
	s.server.Put(strings.Replace(annotated, "%s", "134_drop", 1))
	want("stays ahead by public.schema_migrations 133_add, public.schema_migrations 134_drop; the database has its " +
		"new values (storage)")
	if size := s.clusterField("spec", "storage", "size"); size != "20Gi" {
		t.Errorf("the Cluster of the older revision has %s, want 20Gi", size)
	}
	// Bootstrap applies them too, so going back does not fail for it.
	s.wants(`{imageName: "registry.test/postgresql:17.10", storage: {size: 30Gi}}`)
	s.server.Refuse(1, "PATCH", clusterPath, kubetest.Status(422, metav1.StatusReasonInvalid, "no"))
	want("stays ahead")
	s.server.Put(stopped)
	want("no running database")
	s.server.Put(running)
	s.server.Put(secretYAML("nap-database", "url", "mysql://x"))
	want("could not be asked")
}

// Helm 3 can't go back over a bootstrap Job that an upgrade which failed in its hooks has left in place.
func TestRollbackMakesWayForTheBootstrapJob(t *testing.T) {
	done := strings.Replace(failedJob, "type: Failed", "type: Complete", 1)
	for name, tc := range map[string]struct {
		job     string
		refuse  bool
		deleted bool
	}{"done": {done, false, true}, "failed": {failedJob, false, true}, "at work": {activeJob, false, false},
		"may not be deleted": {done, true, false}} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, "", tc.job)
			if tc.refuse {
				s.server.Refuse(-1, http.MethodDelete, jobPath, kubetest.Status(http.StatusForbidden,
					metav1.StatusReasonForbidden, "no"))
			}
			var log bytes.Buffer
			spec := hook.RollbackSpec{Namespace: "nap", Release: "neutree", Prefix: "nap", ConfigMap: "neutree-installation",
				Database: s.spec.Migrate, BootstrapJob: "nap-bootstrap-1"}
			r := &Rollback{Log: slog.New(slog.NewTextHandler(&log, nil)), Client: s.server.Client(), Spec: spec}
			if _, err := r.Run(t.Context()); err != nil {
				t.Fatalf("going back fails: %v", err)
			}
			if gone := s.server.Object(jobPath) == nil; gone != tc.deleted {
				t.Errorf("Job deleted: %v, want %v", gone, tc.deleted)
			}
			if said := strings.Contains(log.String(), "delete that Job and roll back again"); said != tc.refuse {
				t.Errorf("the way out is said: %v, want %v:\n%s", said, tc.refuse, log.String())
			}
		})
	}
}

// An upgrade that was cancelled is rolled back while its Jobs still run: what they do until they end is compared too.
func TestRollbackStopsTheUpgradeFirst(t *testing.T) {
	url := pgtest.Start(t)
	s := newStage(t, url, running, installation)
	s.wantDone("1 migrations applied")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	s.server.Put(earlierJob("nap-migrate", "nap/neutree/2"))
	s.server.Put(earlierJob("nap-prepare", ""))
	const scheduled = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-scheduled-backup-1, namespace: nap, " +
		"labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/instance: neutree, " +
		"app.kubernetes.io/component: scheduled-backup}}\nstatus: {active: 1}\n"
	s.server.Put(scheduled)
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: nap-migrate-x, namespace: nap, labels: " +
		"{batch.kubernetes.io/job-name: nap-migrate}}\nstatus: {phase: Running}\n"
	s.server.Put(pod)
	migrated := make(chan error, 1)
	before := len(s.server.Changes())
	s.server.OnChange(func(number int) {
		// What Helm waits for is stopped before the Job that migrates.
		if number == before+2 {
			go func() {
				_, err := conn.Exec(t.Context(), "INSERT INTO public.schema_migrations (id) VALUES ('133_add')")
				migrated <- err
				s.server.Delete("/api/v1/namespaces/nap/pods/nap-migrate-x")
			}()
		}
	})
	back := func() (string, error) {
		spec := hook.RollbackSpec{Namespace: "nap", Release: "neutree", Prefix: "nap", ConfigMap: "neutree-installation",
			Database: s.spec.Migrate}
		return (&Rollback{Log: slog.New(slog.DiscardHandler), Client: s.server.Client(), Spec: spec,
			StopTime: 10 * time.Second}).Run(t.Context())
	}
	summary, err := back()
	if want := "stopped what was still running (Job nap-prepare, nap-migrate, nap-scheduled-backup-1); " +
		"the database stays ahead by public.schema_migrations 133_add"; err != nil || summary != want {
		t.Errorf("summary %q, error %v, want %q", summary, err, want)
	}
	if err := <-migrated; err != nil {
		t.Fatal(err)
	}
	// A rollback in an incident is not held up by rights that it lacks.
	s.server.Put(earlierJob("nap-migrate", "nap/neutree/2"))
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		s.server.Refuse(-1, method, "/apis/batch/v1/namespaces/nap/jobs*", kubetest.Status(http.StatusForbidden,
			metav1.StatusReasonForbidden, "jobs.batch is forbidden"))
		s.server.Refuse(-1, method, "/apis/batch/v1/namespaces/nap/jobs/*", kubetest.Status(http.StatusForbidden,
			metav1.StatusReasonForbidden, "jobs.batch is forbidden"))
	}
	if summary, err := back(); err != nil || !strings.HasPrefix(summary, "the database stays ahead") {
		t.Errorf("without rights: %q, %v", summary, err)
	}
}
