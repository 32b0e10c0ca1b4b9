package recover

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/helmrecord"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/platform"
)

const (
	namespace  = "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}\n"
	recordPath = "/api/v1/namespaces/nap/secrets/sh.helm.release.v1.neutree.v2"
)

// revision is a record as Helm stores it, with a field that only a newer Helm knows.
func revision(t *testing.T, number int, status string) string {
	t.Helper()
	r := record{"name": "neutree", "version": number, "unheard_of": map[string]any{"large": 9007199254740993}, "info": map[string]any{"status": status, "description": "Preparing upgrade"}}
	packed, err := helmrecord.Encode(r, kube.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
type: helm.sh/release.v1
metadata:
  name: sh.helm.release.v1.neutree.v%d
  namespace: nap
  creationTimestamp: "2026-11-23T14:00:00Z"
  labels: {owner: helm, name: neutree, version: %q, status: %s}
  managedFields: [{manager: Helm, operation: Update, time: "2026-11-23T14:05:00Z"}]
data: {release: %q}
`, number, fmt.Sprint(number), status, packed)
}

func hookJob(component, status string) string {
	return fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-%[1]s, namespace: nap, labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/instance: neutree, app.kubernetes.io/component: %[1]s}}\nstatus: %[2]s\n", component, status)
}

func find(t *testing.T, server *kubetest.Server) *Operation {
	t.Helper()
	found, err := Find(t.Context(), server.Client(), "nap", "neutree")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestPendingRevisionIsMarkedFailed(t *testing.T) {
	server := kubetest.New(t, namespace, revision(t, 1, "deployed"), revision(t, 2, "pending-upgrade"),
		hookJob("prepare", `{conditions: [{type: Failed, status: "True"}]}`), hookJob("bootstrap", `{active: 1}`))
	found := find(t, server)
	if !found.Pending() || found.Revision != 2 || found.Deployed != 1 || found.Running != nil {
		t.Fatalf("found %+v", found)
	}
	var said strings.Builder
	if err := found.Explain(&said, found.Since.Add(3*time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"pending-upgrade", "revision 2 was begun by Helm", "3m0s ago", "2026-11-23T14:05:00Z"} {
		if !strings.Contains(said.String(), words) {
			t.Errorf("the explanation does not say %q: %s", words, said.String())
		}
	}
	if err := found.MarkFailed(t.Context(), server.Client()); err != nil {
		t.Fatal(err)
	}
	fixed := find(t, server)
	if fixed.Status != "failed" || fixed.Pending() {
		t.Errorf("afterwards it is %s", fixed.Status)
	}
	r := record{}
	if err := helmrecord.Decode(fixed.object, fixed.kind, &r); err != nil {
		t.Fatal(err)
	}
	if r.info("status") != "failed" || !strings.Contains(r.info("description"), "pending-upgrade") {
		t.Errorf("its record says %v", r["info"])
	}
	if kept := fmt.Sprint(r["unheard_of"]); kept != "map[large:9007199254740993]" {
		t.Errorf("what this program does not know became %s", kept)
	}
	if next := found.Next(); !strings.Contains(next, "helm rollback neutree 1 --namespace nap") {
		t.Errorf("the way on is %s", next)
	}
}

func TestEveryJobThatAHelmClientWaitsForIsSeen(t *testing.T) {
	for _, component := range platform.HookComponents() {
		server := kubetest.New(t, namespace, revision(t, 2, "pending-upgrade"), hookJob(component, `{active: 1}`))
		if got, want := find(t, server).Running, []string{"nap-" + component}; !slices.Equal(got, want) {
			t.Errorf("while Job nap-%s runs, the running ones are %v", component, got)
		}
	}
}

func TestHookOfANewerChartIsSeen(t *testing.T) {
	annotated := func(hooks string) string {
		job := hookJob("unheard-of", `{active: 1}`)
		return strings.Replace(job, "namespace: nap,", "namespace: nap, annotations: {helm.sh/hook: "+hooks+"},", 1)
	}
	for hooks, want := range map[string][]string{
		`"pre-upgrade, pre-rollback"`: {"nap-unheard-of"}, `"test,post-upgrade"`: {"nap-unheard-of"},
		"test": nil, `"test,test-success"`: nil,
	} {
		server := kubetest.New(t, namespace, revision(t, 2, "pending-upgrade"), annotated(hooks))
		if got := find(t, server).Running; !slices.Equal(got, want) {
			t.Errorf("while a Job runs for %s, the running ones are %v, want %v", hooks, got, want)
		}
	}
}

func TestNothingChangesWhileAHookRuns(t *testing.T) {
	server := kubetest.New(t, namespace, revision(t, 2, "pending-upgrade"), hookJob("migrate", `{active: 1}`))
	err := find(t, server).MarkFailed(t.Context(), server.Client())
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "helm neutree recover neutree --namespace nap --stop") {
		t.Errorf("error %v", err)
	}
	if got := server.Object(recordPath).GetLabels()["status"]; got != "pending-upgrade" {
		t.Errorf("the revision is %s", got)
	}
}

func TestHooksThatStillRunAreStopped(t *testing.T) {
	prepare := strings.Replace(hookJob("prepare", `{active: 1}`), "namespace: nap,",
		"namespace: nap, annotations: {helm.sh/hook: pre-upgrade},", 1)
	server := kubetest.New(t, namespace, revision(t, 2, "pending-upgrade"), hookJob("migrate", `{active: 1}`), prepare)
	found := find(t, server)
	if err := found.Stop(t.Context(), slog.New(slog.DiscardHandler), server.Client()); err != nil {
		t.Fatal(err)
	}
	if err := found.MarkFailed(t.Context(), server.Client()); err != nil {
		t.Fatal(err)
	}
	if server.Object("/apis/batch/v1/namespaces/nap/jobs/nap-migrate") != nil {
		t.Error("Job nap-migrate is still there")
	}
	// One that Helm waits for would count as done if it was deleted.
	if prepare := server.Object("/apis/batch/v1/namespaces/nap/jobs/nap-prepare"); prepare == nil ||
		fmt.Sprint(prepare.Object["spec"]) != "map[activeDeadlineSeconds:1]" {
		t.Errorf("Job nap-prepare is %v, which does not make it fail", prepare)
	}
}

// The backup of an upgrade is stopped with it; one that a person started is not.
func TestBackupOfAPersonIsNotStopped(t *testing.T) {
	named := func(name string) string {
		return strings.Replace(hookJob("backup", `{active: 1}`), "name: nap-backup,", "name: "+name+",", 1)
	}
	for _, name := range []string{"nap-backup-before-the-move", "nap-restore"} {
		server := kubetest.New(t, namespace, revision(t, 2, "pending-upgrade"), hookJob("migrate", `{active: 1}`),
			named(name))
		err := find(t, server).Stop(t.Context(), slog.New(slog.DiscardHandler), server.Client())
		if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(),
			"Job "+name+" is a backup or a restore that a person started") {
			t.Errorf("%s: error %v", name, err)
		}
		if changes := server.Changes(); len(changes) > 0 {
			t.Errorf("%s: it changed %v", name, changes)
		}
	}
	server := kubetest.New(t, namespace, revision(t, 2, "pending-upgrade"), named("nap-backup"))
	if err := find(t, server).Stop(t.Context(), slog.New(slog.DiscardHandler), server.Client()); err != nil {
		t.Error(err)
	}
}

func TestNoRelease(t *testing.T) {
	server := kubetest.New(t, namespace)
	if _, err := Find(t.Context(), server.Client(), "nap", "neutree"); err == nil || !strings.Contains(err.Error(), "there is no release neutree in namespace nap") {
		t.Errorf("error %v", err)
	}
}
