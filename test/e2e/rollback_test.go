//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/neutree-ai/packaging/internal/prepare"
)

// wantTakenBack upgrades to a control plane that never gets ready, with arguments that have helm go back after that. The
// version of before serves all the while, and is what the release is in the end.
func (r *release) wantTakenBack(t *testing.T, args ...string) {
	t.Helper()
	const timeout = 25 * time.Second // of the upgrade, and once more of going back
	before := r.podIdentities(t)
	ctx, stop := context.WithTimeout(t.Context(), longestProbe)
	defer stop()
	var asked answers
	served := make(chan struct{})
	go func() {
		defer close(served)
		asked.collect(ctx, "http://"+r.nodeIP+":30080/healthz", 200*time.Millisecond)
	}()
	got := r.upgrade(t.Context(), slices.Concat(args, []string{"--timeout", timeout.String(),
		"--set", "controlPlane.cp.extraEnv[0].name=DATABASE_URL", "--set", "controlPlane.cp.extraEnv[0].value=postgresql://nobody@127.0.0.1:1/nap"})...)
	stop()
	<-served
	wantRefused(t, got, 2*timeout+time.Minute, r.name)
	if asked.failed > 0 || asked.asked == 0 {
		t.Errorf("the version of before does not serve all the while: %s", asked)
	}
	status := r.run(t.Context(), time.Minute, "history", r.name, "--namespace", r.namespace, "--max", "2")
	if !containsAll(status.output, "deployed", "Rollback to") {
		t.Errorf("the release is not taken back:\n%s", status.output)
	}
	eventually(t, time.Minute, "the pods are those of before", func(context.Context) (bool, string) {
		diff := cmp.Diff(before, r.podIdentities(t))
		return diff == "", diff
	})
	t.Logf("taken back after %s: %s\n%s", got.took, asked, status.output)
}

// wantBreakingRollbackRefused has the newest migration marked as breaking, as a newer release would. helm refuses to go
// back across it and says what to do; after that a rollback is left to do, and allowed.
func (r *release) wantBreakingRollbackRefused(t *testing.T) {
	const breaking = "133_workspace_labels"
	database := r.openDatabase(t)
	query(t, database, "INSERT INTO neutree.breaking_migrations (id) VALUES ('"+breaking+"') RETURNING id")
	r.closeDatabase(t)
	before := r.podIdentities(t)
	got := r.run(t.Context(), 2*time.Minute, "rollback", r.name, "1", "--namespace", r.namespace, "--wait", "--timeout", "90s")
	wantRefused(t, got, time.Minute, "changed for good", breaking, "helm neutree backup list", "helm neutree recover", prepare.AcrossAnnotation+"="+breaking)
	if diff := cmp.Diff(before, r.podIdentities(t)); diff != "" {
		t.Errorf("pods before and after the refused rollback:\n%s", diff)
	}
	r.recover(t)
	r.annotateInstallation(t, prepare.AcrossAnnotation, breaking)
}

// annotateInstallation sets an annotation of the ConfigMap that describes the installation: hooks read there what they are
// to allow.
func (r *release) annotateInstallation(t *testing.T, annotation, value string) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{annotation: value}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.CoreV1().ConfigMaps(r.namespace).Patch(t.Context(), "neutree-installation", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// recover fixes a release that helm has left pending, if it has, with more flags of the command if there are any.
func (r *release) recover(t *testing.T, flags ...string) {
	t.Helper()
	status := r.run(t.Context(), time.Minute, "status", r.name, "--namespace", r.namespace)
	if !strings.Contains(status.output, "STATUS: pending-") {
		return
	}
	command := exec.CommandContext(t.Context(), variable(t, "HELM_NEUTREE"),
		append([]string{"recover", r.name, "--yes"}, flags...)...)
	command.Env = append(os.Environ(), "HELM_NAMESPACE="+r.namespace)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("recover: %v\n%s", err, output)
	}
	t.Logf("recovered:\n%s", output)
}
