package backupjob_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const claimPath = "/api/v1/namespaces/nap/persistentvolumeclaims/nap-backups"

func TestFirstBackupMakesTheClaim(t *testing.T) {
	c := newCluster(t)
	c.Delete(claimPath)
	listing, err := c.runner().List(within(t, 10*time.Second))
	if err != nil || len(listing.Backups) != 0 {
		t.Errorf("%v %v", listing, err)
	}
	if err := c.runner().Delete(within(t, 10*time.Second), "b1"); hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "has no claim nap-backups, so no backup was made yet") {
		t.Errorf("%v", err)
	}
	if len(c.Changes()) > 0 {
		t.Errorf("listing made something: %v", c.steps())
	}
	if _, err := c.runner().Create(within(t, 10*time.Second), "", "b1", "", ""); err != nil {
		t.Fatal(err)
	}
	if c.Object(claimPath) == nil {
		t.Error("there is no claim")
	}
}

func TestClaimGrows(t *testing.T) {
	c := newCluster(t)
	r := c.runner()
	r.Plan.Claim.Spec.Resources.Requests["storage"] = resource.MustParse("20Gi")
	if _, err := r.Create(within(t, 10*time.Second), "", "b1", "", ""); err != nil {
		t.Fatal(err)
	}
	if size, _, _ := unstructured.NestedString(c.Object(claimPath).Object, "spec", "resources", "requests", "storage"); size != "20Gi" {
		t.Errorf("the claim asks for %s", size)
	}
	r.Plan.Claim.Spec.Resources.Requests["storage"] = resource.MustParse("30Gi")
	c.Refuse(1, "PATCH", claimPath, kubetest.Status(403, "Forbidden", "only dynamically provisioned pvc can be resized"))
	_, err := r.Create(within(t, 10*time.Second), "", "b2", "", "")
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "claim nap-backups can't grow from 20Gi to 30Gi (only dynamically provisioned") {
		t.Errorf("%v", err)
	}
}

func TestListReadsTheMessage(t *testing.T) {
	c := newCluster(t)
	c.on("nap-backup-list", outcome{message: `{"backups":[{"name":"b1","schema":"131_x","bytes":2048,"databaseBytes":9437184,"chart":"0.1.0","revision":2,"reason":"by hand"}],"damaged":["backup b0 is damaged"],"more":3}`})
	listing, err := c.runner().List(within(t, 10*time.Second))
	if err != nil || len(listing.Backups) != 1 {
		t.Fatalf("%v %v", listing, err)
	}
	var out strings.Builder
	if err := listing.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"NAME", "b1", "131_x", "2.0 KiB", "9.0 MiB", "by hand"} {
		if !strings.Contains(out.String(), word) {
			t.Errorf("the table does not say %q:\n%s", word, out.String())
		}
	}
	if got := strings.Join(listing.Warnings(), "; "); got != "backup b0 is damaged; 3 older backups are not listed" {
		t.Error(got)
	}
}

func TestSnapshotIsAwaited(t *testing.T) {
	c := newCluster(t)
	r := c.runner()
	r.Plan.Snapshot = map[string]any{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "metadata": map[string]any{"name": "nap-pg-"}}
	const at = "/apis/postgresql.cnpg.io/v1/namespaces/nap/backups/nap-pg-b1"
	end := func(status string) {
		go func() {
			for c.Object(at) == nil {
				time.Sleep(2 * time.Millisecond)
			}
			c.Put("apiVersion: postgresql.cnpg.io/v1\nkind: Backup\nmetadata: {name: nap-pg-b1, namespace: nap}\nstatus: " + status)
		}()
	}
	end("{phase: completed}")
	if _, err := r.Create(within(t, 10*time.Second), "", "b1", "", ""); err != nil {
		t.Fatal(err)
	}
	c.Delete(at)
	end("{phase: failed, error: no such class}")
	_, err := r.Create(within(t, 10*time.Second), "", "b1", "", "")
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "snapshot nap-pg-b1 failed: no such class") {
		t.Errorf("%v", err)
	}
}

const config = `apiVersion: v1
kind: ConfigMap
metadata: {name: %s-backup, namespace: nap, labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/component: backup, app.kubernetes.io/instance: %s}}
data:
  backup-plan.yaml: |
    release: %s
    claim: {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: backups}}
    create: &job {apiVersion: batch/v1, kind: Job, metadata: {name: backup}, spec: {template: {spec: {containers: [{name: backup}]}}}}
    restore: *job
    writers: [cp]
`

func TestFind(t *testing.T) {
	c := newCluster(t)
	_, err := backupjob.Find(t.Context(), c.Client(), "nap", "")
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "namespace nap holds no release with backups") {
		t.Errorf("%v", err)
	}
	c.Put(strings.ReplaceAll(config, "%s", "one"))
	plan, err := backupjob.Find(t.Context(), c.Client(), "nap", "")
	if err != nil || plan.Release != "one" {
		t.Errorf("%v %v", plan.Release, err)
	}
	c.Put(strings.ReplaceAll(config, "%s", "two"))
	if _, err = backupjob.Find(t.Context(), c.Client(), "nap", ""); err == nil || !strings.Contains(err.Error(), "choose one with --release, of one, two") {
		t.Errorf("%v", err)
	}
	if plan, err = backupjob.Find(t.Context(), c.Client(), "nap", "two"); err != nil || plan.Release != "two" {
		t.Errorf("%v %v", plan.Release, err)
	}
	c.Put(strings.ReplaceAll(strings.Replace(config, "writers: [cp]", "writers: [cp]\n    later: 1", 1), "%s", "two"))
	if _, err = backupjob.Find(t.Context(), c.Client(), "nap", "two"); err == nil || !strings.Contains(err.Error(), "does not fit this version of the plugin") {
		t.Errorf("%v", err)
	}
}

func TestBackupBeforeAnUpgrade(t *testing.T) {
	c := newCluster(t)
	r := c.runner()
	r.Plan.Revision = 4
	c.on("nap-backup", outcome{message: "backup saved"})
	said, err := r.BeforeUpgrade(within(t, 10*time.Second))
	if err != nil || said != "backup saved" {
		t.Fatal(said, err)
	}
	made := c.Changes()[0]
	args, _, _ := unstructured.NestedSlice(made.Body, "spec", "template", "spec", "containers")
	if text := fmt.Sprint(args); !strings.Contains(text, "--name=before-r4-") || !strings.Contains(text, "--reason=before the upgrade to revision 4") {
		t.Error(text)
	}
}
