package stop

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const (
	namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}\n"
	jobs      = "/apis/batch/v1/namespaces/nap/jobs/"
	active    = "{active: 1}"
	failed    = `{conditions: [{type: Failed, status: "True"}]}`
)

func job(name, component, revision, status string) string {
	return fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata:
  name: %s
  namespace: nap
  labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/instance: neutree, app.kubernetes.io/component: %s}
  annotations: {neutree.ai/revision: %q}
spec: {activeDeadlineSeconds: 4000}
status: %s
`, name, component, revision, status)
}

func pod(job, phase string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %[1]s-x, namespace: nap, labels: "+
		"{batch.kubernetes.io/job-name: %[1]s}}\n"+
		"spec: {nodeName: node2}\nstatus: {phase: %[2]s}\n", job, phase)
}

func stopper(server *kubetest.Server) *Stopper {
	return &Stopper{Log: slog.New(slog.DiscardHandler), Client: server.Client(), Namespace: "nap", Wait: 10 * time.Second}
}

// all stops everything that an upgrade may have left.
func all(t *testing.T, s *Stopper) ([]string, error) {
	t.Helper()
	found, err := s.Of(t.Context(), "neutree", "nap")
	if err != nil {
		t.Fatal(err)
	}
	return s.Stop(t.Context(), found...)
}

func TestStopsWhatAnUpgradeLeftAndNothingElse(t *testing.T) {
	server := kubetest.New(t, namespace,
		job("nap-prepare", "prepare", "", active), job("nap-migrate", "migrate", "", active), job("nap-backup", "backup",
			"", active),
		job("nap-bootstrap-0123456789", "bootstrap", "", active), job("nap-seed", "seed", "", failed),
		job("nap-backup-mine", "backup", "", active), job("nap-restore", "backup", "", active), job("nap-rollback",
			"rollback", "", active),
		strings.ReplaceAll(job("nap-bootstrap-other", "bootstrap", "", active), "instance: neutree", "instance: other"))
	stopped, err := all(t, stopper(server))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(stopped)
	if want := []string{"nap-backup", "nap-bootstrap-0123456789", "nap-migrate", "nap-prepare"}; !slices.Equal(stopped,
		want) {
		t.Errorf("stopped %v, want %v", stopped, want)
	}
	for _, name := range []string{"nap-backup", "nap-bootstrap-0123456789", "nap-migrate"} {
		if server.Object(jobs+name) != nil {
			t.Errorf("Job %s is still there", name)
		}
	}
	for _, name := range []string{"nap-seed", "nap-backup-mine", "nap-restore", "nap-rollback", "nap-bootstrap-other"} {
		if server.Object(jobs+name) == nil {
			t.Errorf("Job %s was deleted", name)
		}
	}
	// Helm 3 takes a hook that was deleted for one that succeeded.
	prepare := server.Object(jobs + "nap-prepare")
	if prepare == nil || fmt.Sprint(prepare.Object["spec"]) != "map[activeDeadlineSeconds:1]" {
		t.Errorf("Job nap-prepare is %v, which does not make it fail", prepare)
	}
	if first := server.Changes()[0]; first.Path != jobs+"nap-prepare" {
		t.Errorf("the first to be stopped was %s: what starts the others must come first", first.Path)
	}
}

// Jobs of a CronJob are none of an upgrade's, and are stopped by name too.
func TestStopsScheduledBackups(t *testing.T) {
	server := kubetest.New(t, namespace, job("nap-scheduled-backup-1", "scheduled-backup", "", active),
		job("mine", "scheduled-backup", "", active), job("nap-scheduled-backup-0", "scheduled-backup", "", failed),
		job("nap-backup-x", "backup", "", active), strings.ReplaceAll(job("other", "scheduled-backup", "", active),
			"instance: neutree", "instance: other"))
	s := stopper(server)
	if stopped, err := all(t, s); err != nil || len(stopped) > 0 {
		t.Errorf("stopped %v with what an upgrade left, error %v", stopped, err)
	}
	scheduled, err := s.Scheduled(t.Context(), "neutree")
	if err != nil {
		t.Fatal(err)
	}
	stopped, err := s.Stop(t.Context(), scheduled...)
	slices.Sort(stopped)
	if want := []string{"mine", "nap-scheduled-backup-1"}; err != nil || !slices.Equal(stopped, want) {
		t.Errorf("stopped %v, error %v, want %v", stopped, err, want)
	}
	for _, name := range []string{"nap-scheduled-backup-0", "nap-backup-x", "other"} {
		if server.Object(jobs+name) == nil {
			t.Errorf("Job %s was deleted", name)
		}
	}
}

func TestWaitsForThePods(t *testing.T) {
	server := kubetest.New(t, namespace, job("nap-migrate", "migrate", "", active), pod("nap-migrate", "Running"),
		pod("nap-pull", "Succeeded"))
	gone := make(chan struct{})
	server.OnChange(func(int) {
		go func() {
			server.Delete("/api/v1/namespaces/nap/pods/nap-migrate-x")
			close(gone)
		}()
	})
	if _, err := all(t, stopper(server)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	default:
		t.Error("it returned while a pod was still there")
	}
}

// Its Job may have been deleted by Helm a moment ago.
func TestPodOnALostNodeIsNamed(t *testing.T) {
	lost := strings.Replace(pod("nap-migrate", "Running"), "namespace: nap,",
		`namespace: nap, deletionTimestamp: "2026-01-01T00:00:00Z",`, 1)
	s := stopper(kubetest.New(t, namespace, lost))
	s.Wait = 100 * time.Millisecond
	_, err := all(t, s)
	if hook.CodeOf(err) != hook.Deadline {
		t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
	}
	if words := "pod nap-migrate-x is still there on node node2, which should have ended it by now: is that node " +
		"lost?"; !strings.Contains(err.Error(), words) {
		t.Errorf("the error does not say %q: %v", words, err)
	}
}

func TestOwnJobsAreLeft(t *testing.T) {
	server := kubetest.New(t, namespace, job("nap-migrate", "migrate", "nap/neutree/7", active), pod("nap-migrate",
		"Running"),
		job("nap-pull", "pull", "nap/neutree/6", active))
	s := stopper(server)
	s.Revision = "nap/neutree/7"
	stopped, err := all(t, s)
	if err != nil || !slices.Equal(stopped, []string{"nap-pull"}) || server.Object(jobs+"nap-migrate") == nil {
		t.Errorf("stopped %v, error %v", stopped, err)
	}
}

func TestWhatMayNotBeStoppedIsNamed(t *testing.T) {
	server := kubetest.New(t, namespace, job("nap-migrate", "migrate", "", active), job("nap-pull", "pull", "", active))
	server.Refuse(-1, http.MethodDelete, jobs+"nap-migrate", kubetest.Status(http.StatusForbidden,
		metav1.StatusReasonForbidden,
		`jobs.batch "nap-migrate" is forbidden: User "system:serviceaccount:nap:nap-rollback" cannot delete resource "jobs" in API group "batch" in the namespace "nap"`))
	stopped, err := all(t, stopper(server))
	if !slices.Equal(stopped, []string{"nap-pull"}) {
		t.Errorf("stopped %v", stopped)
	}
	if words := "stop Job nap-migrate in namespace nap: system:serviceaccount:nap:nap-rollback may not delete " +
		"jobs.batch in namespace nap"; err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("the error does not say %q: %v", words, err)
	}
}
