package bootstrap

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

func TestStorageClassIsSticky(t *testing.T) {
	w := newWorld(t, cluster+`---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: fast}
provisioner: example.com/disks
---
apiVersion: v1
kind: ConfigMap
metadata: {name: nap-storage, namespace: nap}
data: {workspaces: chosen-before}
`)
	w.mustRun(t)
	if got := w.server.Object(configPath).Object["data"]; !cmp.Equal(got, map[string]any{"workspaces": "chosen-before"}) {
		t.Errorf("the class changed to %v though none is named", got)
	}
	if line := "the StorageClass that an earlier install chose does not exist any more, so PVCs of new workspaces stay " +
		"Pending: create it again, or name another in global.workspaces.storageClass"; !strings.Contains(w.log.String(), line) {
		t.Errorf("the log lacks %q:\n%s", line, w.log)
	}
	// The same class by name stops no upgrade either, although it does not exist.
	w.spec.Storage.Classes[0].Name = "chosen-before"
	w.mustRun(t)
	if got := w.server.Object(configPath).Object["data"]; !cmp.Equal(got, map[string]any{"workspaces": "chosen-before"}) {
		t.Errorf("the class changed to %v though chosen-before is named", got)
	}
	w.spec.Storage.Classes[0].Name = "fast"
	w.mustRun(t)
	if got := w.server.Object(configPath).Object["data"]; !cmp.Equal(got, map[string]any{"workspaces": "fast"}) {
		t.Errorf("the class is %v though fast is named", got)
	}
	if line := `was=chosen-before now=fast`; !strings.Contains(w.log.String(), line) {
		t.Errorf("the log lacks %s:\n%s", line, w.log)
	}
}

func TestClaimKeepsWhatCannotChange(t *testing.T) {
	w := newWorld(t, cluster+`---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: afs-shared-storage, namespace: ws}
spec: {accessModes: [ReadWriteOnce], storageClassName: old, volumeName: pv-1, volumeMode: Filesystem, resources: {requests: {storage: 100Gi}}}
`)
	w.mustRun(t)
	want := map[string]any{
		"accessModes": []any{"ReadWriteOnce"}, "storageClassName": "old", "volumeName": "pv-1", "volumeMode": "Filesystem",
		"resources": map[string]any{"requests": map[string]any{"storage": "100Gi"}},
	}
	if diff := cmp.Diff(want, w.server.Object(claimPath).Object["spec"]); diff != "" {
		t.Errorf("claim (-want +got):\n%s", diff)
	}
	for _, line := range []string{
		"accessModes of the shared claim stays [ReadWriteOnce], not [ReadWriteMany]: it can't change once the claim exists",
		"the shared claim stays 100Gi, not 50Gi: a volume can't shrink",
	} {
		if !strings.Contains(w.log.String(), line) {
			t.Errorf("the log lacks %q:\n%s", line, w.log)
		}
	}
	if strings.Contains(w.log.String(), "storageClassName of the shared claim") {
		t.Errorf("the log complains of a class that nobody named:\n%s", w.log)
	}
}

// Without a size in the values a volume that exists keeps its own, whatever the default of this version is, and a new
// one gets the default.
func TestClaimKeepsItsSizeWithoutAValue(t *testing.T) {
	for _, was := range []string{"", "10Gi", "100Gi"} {
		objects, want := cluster, "50Gi"
		if was != "" {
			want = was
			objects += fmt.Sprintf(`---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: afs-shared-storage, namespace: ws}
spec: {accessModes: [ReadWriteMany], storageClassName: old, resources: {requests: {storage: %s}}}
`, was)
		}
		w := newWorld(t, objects)
		w.spec.SharedClaim.DefaultSize = true
		w.mustRun(t)
		got, _, _ := unstructured.NestedString(w.server.Object(claimPath).Object, "spec", "resources", "requests", "storage")
		if got != want {
			t.Errorf("a volume of %q gets %s, want %s", was, got, want)
		}
		if strings.Contains(w.log.String(), "the shared claim stays") {
			t.Errorf("the log complains of a size that no value names:\n%s", w.log)
		}
	}
}

func TestClaimThatCannotGrowIsNoFailure(t *testing.T) {
	w := newWorld(t, cluster+`---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: afs-shared-storage, namespace: ws}
spec: {accessModes: [ReadWriteMany], storageClassName: standard, resources: {requests: {storage: 10Gi}}}
`)
	w.server.Refuse(-1, "PATCH", claimPath, kubetest.Status(403, metav1.StatusReasonForbidden,
		`persistentvolumeclaims "afs-shared-storage" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize`))
	w.mustRun(t)
	if line := `msg="the shared claim stays as it is"`; !strings.Contains(w.log.String(), line) {
		t.Errorf("the log lacks %s:\n%s", line, w.log)
	}
}

func TestPullSecretOfSomebodyElseStays(t *testing.T) {
	w := newWorld(t, cluster+`---
apiVersion: v1
kind: Secret
metadata: {name: regcred, namespace: ws}
type: kubernetes.io/dockerconfigjson
data: {.dockerconfigjson: b3du}
`)
	w.mustRun(t)
	if got := w.server.Object(secretPath).Object["data"]; !cmp.Equal(got, map[string]any{".dockerconfigjson": "b3du"}) {
		t.Errorf("the Secret was changed to %v", got)
	}
}

func TestClaimThatIsBeingDeleted(t *testing.T) {
	w := newWorld(t, cluster+`---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: afs-shared-storage, namespace: ws, deletionTimestamp: "2026-01-01T00:00:00Z"}
spec: {accessModes: [ReadWriteMany], storageClassName: old, resources: {requests: {storage: 50Gi}}}
`)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := w.run(ctx)
	want := "gave up waiting for the claim ws/afs-shared-storage of before to go after 5s: somebody deleted it, and it stays until no pod uses it"
	if hook.CodeOf(err) != hook.Deadline || !strings.Contains(err.Error(), want) {
		t.Errorf("exit code %d, want %d\n%v\nlacks\n%s", hook.CodeOf(err), hook.Deadline, err, want)
	}
	w.server.Delete(claimPath)
	w.mustRun(t)
	if got := w.server.Object(claimPath).Object["spec"].(map[string]any)["storageClassName"]; got != "standard" {
		t.Errorf("the new claim's class is %v", got)
	}
}
