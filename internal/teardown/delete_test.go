package teardown

import (
	"bytes"
	"context"
	"log/slog"
	"path"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const data = `
apiVersion: v1
kind: Namespace
metadata:
  name: ws
  labels: {app.kubernetes.io/managed-by: Helm}
  annotations: {meta.helm.sh/release-name: neutree, meta.helm.sh/release-namespace: nap}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: afs-controller-db, namespace: nap}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: nap-pg-1, namespace: nap, labels: {cnpg.io/cluster: nap-pg}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: strangers, namespace: nap}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: tos-1-workspace, namespace: ws, labels: {app: tos}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv-pg}
spec: {persistentVolumeReclaimPolicy: Delete, claimRef: {namespace: nap, name: nap-pg-1}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv-afs}
spec: {persistentVolumeReclaimPolicy: Retain, claimRef: {namespace: nap, name: afs-controller-db}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv-strangers}
spec: {persistentVolumeReclaimPolicy: Delete, claimRef: {namespace: nap, name: strangers}}
---
apiVersion: v1
kind: Secret
metadata: {name: nap-cp-secret, namespace: nap, labels: {app.kubernetes.io/managed-by: nap-hooks}}
data: {KEY: c2VjcmV0}
---
apiVersion: v1
kind: Secret
metadata: {name: nap-ldap, namespace: nap, labels: {app.kubernetes.io/managed-by: nap-hooks}}
---
apiVersion: v1
kind: Secret
metadata: {name: nap-admin, namespace: nap}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: nap-storage, namespace: nap}
---
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, namespace: nap}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clusters.postgresql.cnpg.io}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
`

const (
	claimPath  = "/api/v1/namespaces/nap/persistentvolumeclaims/"
	secretPath = "/api/v1/namespaces/nap/secrets/"
	volumePath = "/api/v1/persistentvolumes/"
)

func deleteSpec() hook.DeleteSpec {
	return hook.DeleteSpec{
		Namespace: "nap", Release: "neutree", Revision: 3, Cluster: "nap-pg",
		Secrets: []string{"nap-cp-secret", "nap-admin", "nap-pg-user"}, GivenSecrets: []string{"ldap-bind"},
		ConfigMaps: []string{"nap-storage"}, Jobs: []string{"nap-migrate"}, Leases: []string{"db9c8771.cnpg.io"},
		Claims:     []hook.NamespacedName{{Namespace: "nap", Name: "nap-backups"}, {Namespace: "nap", Name: "afs-controller-db"}},
		Workspaces: hook.DeleteWorkspaces{Namespace: "ws", Created: true},
		CRDGroup:   "postgresql.cnpg.io",
	}
}

// controllers removes what belongs to an object that is deleted, as a cluster's own would.
func controllers(server *kubetest.Server) {
	owned := map[string][]string{
		"nap-pg": {claimPath + "nap-pg-1", volumePath + "pv-pg"},
		"ws":     {"/api/v1/namespaces/ws/persistentvolumeclaims/tos-1-workspace"},
	}
	server.OnChange(func(int) {
		go func() {
			for _, change := range server.Changes() {
				for _, at := range owned[path.Base(change.Path)] {
					server.Delete(at)
				}
			}
		}()
	})
}

func runDelete(t *testing.T, server *kubetest.Server, spec hook.DeleteSpec, limit time.Duration) (summary, log string, err error) {
	t.Helper()
	var b bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	d := &Delete{Log: slog.New(slog.NewTextHandler(&b, nil)), Client: server.Client(), Spec: spec}
	summary, err = d.Run(ctx)
	return summary, b.String(), err
}

// The hooks of an older revision are back after a rollback: what was asked for then does not count.
func TestAnotherRevisionKeepsItsData(t *testing.T) {
	server := kubetest.New(t, data, uninstalling)
	old := deleteSpec()
	old.Revision = 2
	summary, _, err := runDelete(t, server, old, 10*time.Second)
	want := "all data is kept: uninstall.deleteData was set for revision 2 of release neutree, and revision 3 is " +
		"being uninstalled"
	if err != nil || summary != want {
		t.Errorf("%q, %v, want %q", summary, err, want)
	}
	if changes := server.Changes(); len(changes) > 0 {
		t.Errorf("changes: %v", changes)
	}
}

func TestDelete(t *testing.T) {
	server := kubetest.New(t, data, uninstalling)
	controllers(server)
	summary, log, err := runDelete(t, server, deleteSpec(), 30*time.Second)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	want := "deleted: Cluster nap/nap-pg, PersistentVolumeClaim nap/afs-controller-db, Secret nap/nap-cp-secret, ConfigMap nap/nap-storage, Namespace ws; stays: " +
		"PersistentVolume pv-afs, whose policy is Retain: kubectl delete persistentvolume pv-afs; " +
		"Secret nap/ldap-bind, which you gave: kubectl delete secret ldap-bind -n nap; " +
		"Secret nap/nap-ldap, made under other values: kubectl delete secret nap-ldap -n nap; " +
		"CustomResourceDefinitions, which all databases of the cluster need: kubectl delete customresourcedefinition clusters.postgresql.cnpg.io"
	if summary != want {
		t.Errorf("summary\n%s\nwant\n%s", summary, want)
	}
	for _, at := range []string{claimPath + "nap-pg-1", claimPath + "afs-controller-db", secretPath + "nap-cp-secret", volumePath + "pv-pg"} {
		if server.Object(at) != nil {
			t.Errorf("%s is there", at)
		}
	}
	if want := "what Helm lists next as kept due to the resource policy was deleted too"; !strings.Contains(log, want) {
		t.Errorf("the log lacks %q:\n%s", want, log)
	}
	// nap-admin bears a name that nap-hooks would use, and somebody else made it.
	for _, at := range []string{claimPath + "strangers", volumePath + "pv-strangers", volumePath + "pv-afs", secretPath + "nap-admin", secretPath + "nap-ldap"} {
		if server.Object(at) == nil {
			t.Errorf("%s is gone", at)
		}
	}
	if strings.Contains(log+summary, "c2VjcmV0") {
		t.Error("a secret value was shown")
	}
	again, _, err := runDelete(t, server, deleteSpec(), 30*time.Second)
	if err != nil || !strings.HasPrefix(again, "no data was there; stays: ") {
		t.Errorf("the next run: %q, %v", again, err)
	}
}

func TestDeleteOnlyWhatIsAskedFor(t *testing.T) {
	const strange = `
apiVersion: v1
kind: Namespace
metadata:
  name: ws
  labels: {app.kubernetes.io/managed-by: Helm}
  annotations: {meta.helm.sh/release-name: other, meta.helm.sh/release-namespace: nap}
`
	t.Run("the release is not being uninstalled", func(t *testing.T) {
		server := kubetest.New(t, data, deployed)
		summary, _, err := runDelete(t, server, deleteSpec(), 30*time.Second)
		if want := "nothing to do: the release is not being uninstalled"; err != nil || summary != want {
			t.Errorf("%q, %v, want %q", summary, err, want)
		}
		if changes := server.Changes(); len(changes) > 0 {
			t.Errorf("changes: %v", changes)
		}
	})
	t.Run("the namespace is another release's", func(t *testing.T) {
		server := kubetest.New(t, data, strange, uninstalling)
		controllers(server)
		summary, log, err := runDelete(t, server, deleteSpec(), 30*time.Second)
		if err != nil || strings.Contains(summary, "Namespace") || !strings.Contains(log, "is not this release's: it stays") {
			t.Errorf("%q, %v\n%s", summary, err, log)
		}
		if server.Object("/api/v1/namespaces/ws") == nil {
			t.Error("the namespace is gone")
		}
	})
	t.Run("the namespace is the user's", func(t *testing.T) {
		server := kubetest.New(t, data, uninstalling)
		controllers(server)
		spec := deleteSpec()
		spec.Workspaces.Created = false
		summary, _, err := runDelete(t, server, spec, 30*time.Second)
		want := "1 volumes of workspaces in a namespace that this release did not make: kubectl delete deployments,statefulsets,services,secrets,persistentvolumeclaims -l app=tos -n ws"
		if err != nil || !strings.Contains(summary, want) {
			t.Errorf("%q, %v, lacks %q", summary, err, want)
		}
	})
}

func TestDeleteFails(t *testing.T) {
	t.Run("one object can't be deleted", func(t *testing.T) {
		server := kubetest.New(t, data, uninstalling)
		controllers(server)
		server.Refuse(1, "DELETE", secretPath+"nap-cp-secret", kubetest.Status(500, metav1.StatusReasonInternalError, "no quorum"))
		_, _, err := runDelete(t, server, deleteSpec(), 30*time.Second)
		if want := "not all data could be deleted: Secret nap/nap-cp-secret: no quorum"; err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if server.Object(claimPath+"afs-controller-db") != nil {
			t.Error("the rest was not deleted")
		}
		summary, _, err := runDelete(t, server, deleteSpec(), 30*time.Second)
		if err != nil || !strings.HasPrefix(summary, "deleted: Secret nap/nap-cp-secret; ") {
			t.Errorf("the next run: %q, %v", summary, err)
		}
	})
	t.Run("a volume does not go", func(t *testing.T) {
		server := kubetest.New(t, data, uninstalling)
		_, _, err := runDelete(t, server, deleteSpec(), 300*time.Millisecond)
		want := "gave up waiting for the data to be gone after 0s: there is still PersistentVolumeClaim nap/nap-pg-1, " +
			"PersistentVolume pv-pg" +
			"; Kubernetes continues to delete it: wait for it with kubectl wait --for=delete namespace/ws --timeout=1h"
		if err == nil || err.Error() != want || hook.CodeOf(err) != hook.Deadline {
			t.Errorf("error %v, want %s", err, want)
		}
	})
}
