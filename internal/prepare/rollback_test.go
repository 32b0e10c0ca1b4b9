package prepare

import (
	"bytes"
	"fmt"
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

// A rollback ends an upgrade of the data to a newer major version that was cut off, at whatever moment that was.
func TestRollbackEndsAMajorUpgrade(t *testing.T) {
	const (
		old, newer = "registry.test/postgresql:17.10", "registry.test/postgresql:18.1"
		ended      = "ended an upgrade of PostgreSQL that was cut off, and started its services; "
		upgrade    = "apiVersion: v1\nkind: Pod\nmetadata: {name: nap-pg-1-major-upgrade-x, namespace: nap, labels: " +
			"{cnpg.io/cluster: nap-pg, cnpg.io/jobRole: major-upgrade}}\nstatus: {phase: %s}\n"
	)
	started := half(`{"replicas":{"nap-cp":2}}`)
	noted := strings.Replace(started, newer, old, 1)
	done := strings.Replace(started, oldData, newData, 1)
	for name, tc := range map[string]struct {
		cluster, pod, replicas string
		// later is what becomes of the Cluster while the hook waits.
		later, image, said string
		noteStays          bool
	}{
		"before the services stop":       {cluster: noted, replicas: "2", image: old, said: ended},
		"before the data is touched":     {cluster: noted, replicas: "0", image: old, said: ended},
		"before the operator acts":       {cluster: started, replicas: "0", image: old, said: ended},
		"before the upgrade's pod works": {cluster: started, pod: "Pending", replicas: "0", image: old, said: ended},
		"after the upgrade failed":       {cluster: started, pod: "Failed", replicas: "0", image: old, said: ended},
		"while it works, and ends":       {cluster: started, pod: "Running", replicas: "0", later: done, image: newer, said: ended},
		"while the operator notes it":    {cluster: started, pod: "Succeeded", replicas: "0", later: done, image: newer, said: ended},
		"while it works, and does not end": {cluster: started, pod: "Running", replicas: "0", image: newer,
			said: "PostgreSQL's data is still being upgraded; ", noteStays: true},
		"after it is done":    {cluster: done, replicas: "0", image: newer, said: ended},
		"where there is none": {cluster: running, replicas: "0", image: old},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, "", tc.cluster, strings.Replace(writer, "replicas: 2", "replicas: "+tc.replicas, 1))
			if tc.pod != "" {
				s.server.Put(fmt.Sprintf(upgrade, tc.pod))
			}
			if tc.later != "" {
				time.AfterFunc(300*time.Millisecond, func() { s.server.Put(tc.later) })
			}
			spec := hook.RollbackSpec{Namespace: "nap", Release: "neutree", Prefix: "nap", ConfigMap: "neutree-installation",
				Database: s.spec.Migrate}
			patience := 20 * time.Second
			if tc.noteStays {
				patience = 200 * time.Millisecond
			}
			summary, err := (&Rollback{Log: slog.New(slog.DiscardHandler), Client: s.server.Client(), Spec: spec,
				MajorTime: patience}).Run(t.Context())
			if want := tc.said + "there is no running database"; err != nil || summary != want {
				t.Errorf("summary %q, error %v, want %q", summary, err, want)
			}
			if image := s.clusterField("spec", "imageName"); image != tc.image {
				t.Errorf("the image is %s, want %s", image, tc.image)
			}
			wantReplicas := "2"
			if tc.said == "" {
				wantReplicas = "0"
			}
			if s.replicas() != wantReplicas {
				t.Errorf("nap-cp has %s pods, want %s", s.replicas(), wantReplicas)
			}
			if noted := strings.Contains(s.clusterField("metadata", "annotations"), "stopped-services"); noted != tc.noteStays {
				t.Errorf("the Cluster has the note: %v, want %v", noted, tc.noteStays)
			}
		})
	}
	t.Run("without the rights", func(t *testing.T) {
		s := newStage(t, "", started, strings.Replace(writer, "replicas: 2", "replicas: 0", 1))
		s.server.Refuse(-1, http.MethodPatch, "/apis/apps/v1/namespaces/nap/deployments/*/scale", kubetest.Status(
			http.StatusForbidden, metav1.StatusReasonForbidden, "no"))
		var log bytes.Buffer
		spec := hook.RollbackSpec{Namespace: "nap", Release: "neutree", Prefix: "nap", ConfigMap: "neutree-installation",
			Database: s.spec.Migrate}
		_, err := (&Rollback{Log: slog.New(slog.NewTextHandler(&log, nil)), Client: s.server.Client(), Spec: spec}).
			Run(t.Context())
		if err != nil || !strings.Contains(log.String(), "docs/upgrade.md, A new major version of PostgreSQL") ||
			!strings.Contains(s.clusterField("metadata", "annotations"), "stopped-services") {
			t.Errorf("%v:\n%s", err, log.String())
		}
	})
}
