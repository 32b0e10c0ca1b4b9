package existing

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

var set = &requirement.Set{Release: "neutree", Namespace: "nap", Prefix: "nap"}

func record(version, status string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: sh.helm.release.v1.neutree.v" + version + ", namespace: nap, labels: {owner: helm, name: neutree, version: \"" + version + "\", status: " + status + "}}"
}

func TestRelease(t *testing.T) {
	for _, tc := range []struct {
		name    string
		records []string
		words   []string
	}{
		{name: "none"},
		{name: "installed", records: []string{record("9", "superseded"), record("10", "deployed")}, words: []string{"note: release neutree is installed, revision 10"}},
		{name: "failed", records: []string{record("1", "failed")}, words: []string{"note: revision 1 of release neutree failed"}},
		{name: "under way", records: []string{record("1", "deployed"), record("2", "pending-upgrade")}, words: []string{"revision 2 of release neutree is pending-upgrade: another helm runs, or one was killed -> wait for it, or if nobody runs it: helm neutree recover neutree --namespace nap"}},
		{name: "going", records: []string{record("1", "uninstalling")}, words: []string{"release neutree is being uninstalled"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checktest.Want(t, checktest.Run(t, Checks(), "existing.release", checktest.Subject(t, kubetest.New(t, tc.records...), set)), tc.words...)
		})
	}
}

func TestInstall(t *testing.T) {
	const old = `apiVersion: apps/v1
kind: Deployment
metadata: {name: tos-cp, namespace: nap}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tos-scheduler, namespace: nap}
---
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: tos-pg, namespace: nap}`
	const ours = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: nap-cp, namespace: nap, labels: {app.kubernetes.io/managed-by: Helm}}"
	checktest.Want(t, checktest.Run(t, Checks(), "existing.install", checktest.Subject(t, kubetest.New(t, ours), set)))
	checktest.Want(t, checktest.Run(t, Checks(), "existing.install", checktest.Subject(t, kubetest.New(t, old), set)),
		"namespace nap holds an installation of the platform that Helm does not manage: Deployment tos-cp, PostgreSQL cluster tos-pg -> install into another namespace, or take it over")
}

func TestForeign(t *testing.T) {
	object := func(kind, name string) requirement.Object {
		return requirement.Object{By: requirement.Helm, Unstructured: &unstructured.Unstructured{Object: map[string]any{"kind": kind, "metadata": map[string]any{"name": name}}}}
	}
	live := func(labels, annotations map[string]string) []metav1.PartialObjectMetadata {
		return []metav1.PartialObjectMetadata{{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: labels, Annotations: annotations}}}
	}
	helm := map[string]string{"app.kubernetes.io/managed-by": "Helm"}
	of := func(release string) map[string]string {
		return map[string]string{"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": "nap"}
	}
	wanted := []requirement.Object{object("ClusterRole", "x")}
	checktest.Want(t, foreign(wanted, nil, set))
	checktest.Want(t, foreign(wanted, live(helm, of("neutree")), set))
	checktest.Want(t, foreign(wanted, live(helm, of("other")), set), "ClusterRole x exists already, made by release other in namespace nap -> choose another global.namePrefix")
	checktest.Want(t, foreign(wanted, live(nil, nil), set), "made by something other than Helm")
	checktest.Want(t, foreign([]requirement.Object{object("Namespace", "x")}, live(nil, nil), set), "Namespace x exists already, made by something other than Helm -> to use it as it is, set global.workspaces.createNamespace=false")
}
