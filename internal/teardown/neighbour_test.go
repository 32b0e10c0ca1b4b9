package teardown

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

// A namespace for workspaces, with the volumes of some, that an owner made: it has the name that this release would
// use.
func workspacesOf(release, namespace string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata:
  name: ws
  labels: {app.kubernetes.io/managed-by: Helm}
  annotations: {meta.helm.sh/release-name: %s, meta.helm.sh/release-namespace: %s}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv-theirs}
spec: {persistentVolumeReclaimPolicy: Delete, claimRef: {namespace: ws, name: tos-1-workspace}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv-theirs-too}
spec: {persistentVolumeReclaimPolicy: Retain, claimRef: {namespace: ws, name: tos-2-workspace}}
`, release, namespace)
}

// Release names are unique in a namespace only, so an owner is a name and a namespace. Of what another owner has,
// nothing is deleted, waited for, or named as something to delete by hand.
func TestDeleteLeavesTheWorkspacesOfAnotherOwner(t *testing.T) {
	for name, owner := range map[string]struct{ release, namespace string }{
		"the same name in another namespace": {"neutree", "other"},
		"another name in the same namespace": {"other", "nap"},
		"no release":                         {`""`, `""`},
		"a name that begins alike":           {"neutree-2", "nap"},
	} {
		t.Run(name, func(t *testing.T) {
			server := kubetest.New(t, data, workspacesOf(owner.release, owner.namespace), uninstalling)
			controllers(server)
			summary, log, err := runDelete(t, server, deleteSpec(), 10*time.Second)
			if err != nil || !strings.HasPrefix(summary, "deleted: Cluster nap/nap-pg") || strings.Contains(summary,
				"Namespace") {
				t.Errorf("%q, %v", summary, err)
			}
			if !strings.Contains(log, "the namespace of the workspaces is not this release's: it stays") {
				t.Errorf("nobody is told of it:\n%s", log)
			}
			if strings.Contains(summary, "pv-theirs") {
				t.Errorf("it names the volumes of another owner: %s", summary)
			}
			for _, at := range []string{"/api/v1/namespaces/ws", volumePath + "pv-theirs", volumePath + "pv-theirs-too",
				"/api/v1/namespaces/ws/persistentvolumeclaims/tos-1-workspace"} {
				if server.Object(at) == nil {
					t.Errorf("%s is gone", at)
				}
			}
		})
	}
}

// Objects of the same names in another namespace belong to another release.
func TestDeleteStaysInItsNamespace(t *testing.T) {
	theirs := strings.NewReplacer("namespace: nap", "namespace: other", "name: pv-", "name: other-pv-").Replace(data)
	server := kubetest.New(t, data, theirs, uninstalling)
	controllers(server)
	if _, _, err := runDelete(t, server, deleteSpec(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"persistentvolumeclaims/afs-controller-db", "persistentvolumeclaims/nap-pg-1",
		"secrets/nap-cp-secret", "configmaps/nap-storage"} {
		if server.Object("/api/v1/namespaces/other/"+at) == nil {
			t.Errorf("%s of another release is gone", at)
		}
	}
	if server.Object("/apis/postgresql.cnpg.io/v1/namespaces/other/clusters/nap-pg") == nil {
		t.Error("the database of another release is gone")
	}
	if server.Object(volumePath+"other-pv-pg") == nil {
		t.Error("the volume of another release is gone")
	}
}
