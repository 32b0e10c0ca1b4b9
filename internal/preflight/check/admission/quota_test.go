package admission

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// installed is what the chart installs with the values, and a cluster with the objects that knows all of its kinds.
func installed(t *testing.T, upgrade bool, values []string, objects ...string) *preflight.Subject {
	t.Helper()
	set := requirementtest.Load(t, values...)
	api := kubetest.New(t, append(objects, namespace("nap", ""), namespace("nap-workspaces", ""),
		"{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast, annotations: "+
			"{storageclass.kubernetes.io/is-default-class: \"true\"}}, provisioner: example.com/files}")...)
	for _, object := range slices.Concat(set.Objects, set.Later) {
		api.Know(object.GroupVersionKind())
	}
	api.Know(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "ReplicaSet"})
	s := checktest.Subject(t, api, set)
	s.Options.Upgrade = upgrade
	return s
}

func quotaOf(name, namespace, hard, used string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: ResourceQuota, metadata: {name: %s, namespace: %s}, "+
		"status: {hard: {%s}, used: {%s}}}", name, namespace, hard, used)
}

// A quota that counts objects stops an install half-way: it is named, with what is left and what would be created.
func TestQuotasThatCountObjects(t *testing.T) {
	const takes = "quota q leaves %s of %s in namespace %s, and the install takes %s"
	for name, tc := range map[string]struct {
		values     []string
		namespace  string
		hard, used string
		words      []string
	}{
		"the case of the report": {
			namespace: "nap",
			hard:      `count/jobs.batch: "0", count/networkpolicies.networking.k8s.io: "0", count/deployments.apps: "3", count/secrets: "1"`,
			words: []string{
				fmt.Sprintf(takes, "3", "count/deployments.apps", "nap", "8"),
				fmt.Sprintf(takes, "0", "count/jobs.batch", "nap", "2"),
				fmt.Sprintf(takes, "0", "count/networkpolicies.networking.k8s.io", "nap", "10"),
				fmt.Sprintf(takes, "1", "count/secrets", "nap", "8") + " -> kubectl --namespace nap patch resourcequota q --type merge " +
					`--patch '{"spec":{"hard":{"count/secrets":"8"}}}'`,
			},
		},
		"room for all": {
			namespace: "nap",
			hard: `count/jobs.batch: "2", count/deployments.apps: "8", count/secrets: "9", secrets: "9", configmaps: "20", ` +
				`count/configmaps: "20", services: "8", pods: "12", persistentvolumeclaims: "3", count/replicasets.apps: "8"`,
			used: `count/secrets: "1", secrets: "1"`,
		},
		"other names for the same": {
			namespace: "nap", hard: `configmaps: "1", services: "1", persistentvolumeclaims: "1", count/replicasets.apps: "1"`,
			words: []string{
				fmt.Sprintf(takes, "1", "configmaps", "nap", "8"), fmt.Sprintf(takes, "1", "count/replicasets.apps", "nap", "8"),
				fmt.Sprintf(takes, "1", "persistentvolumeclaims", "nap", "3"), fmt.Sprintf(takes, "1", "services", "nap", "8"),
			},
		},
		"ports": {
			namespace: "nap", hard: `services.nodeports: "0", services.loadbalancers: "0"`,
			words: []string{fmt.Sprintf(takes, "0", "services.nodeports", "nap", "1")},
		},
		"volumes of one class": {
			namespace: "nap",
			hard: `fast.storageclass.storage.k8s.io/requests.storage: "20Gi", slow.storageclass.storage.k8s.io/requests.storage: "0", ` +
				`fast.storageclass.storage.k8s.io/persistentvolumeclaims: "3", requests.storage: "20Gi"`,
			words: []string{
				fmt.Sprintf(takes, "20Gi", "fast.storageclass.storage.k8s.io/requests.storage", "nap", "21Gi"),
				fmt.Sprintf(takes, "20Gi", "requests.storage", "nap", "21Gi"),
			},
		},
		"pods, and room for a Job": {
			namespace: "nap", hard: `pods: "9"`,
			words: []string{fmt.Sprintf(takes, "9", "pods", "nap", "10")},
		},
		"workspaces": {
			namespace: "nap-workspaces", hard: `count/deployments.apps: "0", persistentvolumeclaims: "1", count/secrets: "0"`,
			words: []string{
				fmt.Sprintf(takes, "0", "count/deployments.apps", "nap-workspaces", "1"),
				fmt.Sprintf(takes, "0", "count/secrets", "nap-workspaces", "1"),
				fmt.Sprintf(takes, "1", "persistentvolumeclaims", "nap-workspaces", "2"),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := installed(t, false, tc.values, quotaOf("q", tc.namespace, tc.hard, tc.used))
			checktest.Want(t, checktest.Run(t, Checks(), "admission.quota", s), tc.words...)
		})
	}
}

// existing are the objects of a release that is installed.
func existing(t *testing.T, set *requirement.Set) []string {
	t.Helper()
	var documents []string
	for _, object := range slices.Concat(set.Objects, set.Later) {
		if object.Hook != nil || object.By == requirement.Runner {
			continue
		}
		document, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(document))
		if object.GetKind() == "Deployment" {
			documents = append(documents, fmt.Sprintf("{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: %[2]s-x, "+
				"namespace: %[1]s, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: %[2]s, controller: true}]}}",
				object.GetNamespace(), object.GetName()))
		}
	}
	documents = append(documents, "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: nap-pg-1, namespace: nap, labels: "+
		"{cnpg.io/cluster: nap-pg, cnpg.io/pvcRole: PG_DATA}}, spec: {resources: {requests: {storage: 10Gi}}}}",
		"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: nap-backups, namespace: nap}, "+
			"spec: {resources: {requests: {storage: 20Gi}}}}",
		"{apiVersion: v1, kind: Secret, metadata: {name: sh.helm.release.v1.neutree.v1, namespace: nap, "+
			"labels: {owner: helm, name: neutree}}}")
	for _, secret := range set.Secrets {
		documents = append(documents, fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: %s, namespace: nap}}", secret.Name))
	}
	return documents
}

// An upgrade needs room for what it adds: what exists counts already.
func TestQuotasOfAnUpgrade(t *testing.T) {
	before := requirementtest.Load(t)
	const takes = "quota q leaves 0 of %s in namespace nap, and the upgrade takes %s more"
	for name, tc := range map[string]struct {
		values     []string
		hard, used string
		words      []string
	}{
		"nothing is added but a revision and a Secret of a hook": {
			hard: `count/secrets: "9", secrets: "9", count/deployments.apps: "8", persistentvolumeclaims: "3", services: "8", ` +
				`requests.storage: "31Gi", services.nodeports: "2"`,
			used: `count/secrets: "7", secrets: "7", count/deployments.apps: "8", persistentvolumeclaims: "3", services: "8", ` +
				`requests.storage: "31Gi", services.nodeports: "2"`,
		},
		"no room for the revision, the Jobs and their pods": {
			hard: `count/secrets: "7", count/jobs.batch: "1", pods: "9", count/replicasets.apps: "8"`,
			used: `count/secrets: "7", count/jobs.batch: "1", pods: "9", count/replicasets.apps: "8"`,
			words: []string{
				fmt.Sprintf(takes, "count/jobs.batch", "5"), fmt.Sprintf(takes, "count/replicasets.apps", "1"),
				fmt.Sprintf(takes, "count/secrets", "2"), fmt.Sprintf(takes, "pods", "2"),
			},
		},
		"what is added": {
			values: []string{"global.database.cnpg.instances=3", "global.storage.afsController.size=4Gi",
				"global.modules.sandbox.enabled=true", "sandbox.openSandbox.url=http://opensandbox:8080"},
			hard: `count/deployments.apps: "8", persistentvolumeclaims: "3", requests.storage: "31Gi", pods: "9"`,
			used: `count/deployments.apps: "8", persistentvolumeclaims: "3", requests.storage: "31Gi", pods: "9"`,
			words: []string{
				fmt.Sprintf(takes, "count/deployments.apps", "1"), fmt.Sprintf(takes, "persistentvolumeclaims", "2"),
				fmt.Sprintf(takes, "pods", "5"), fmt.Sprintf(takes, "requests.storage", "23Gi"),
			},
		},
		"a quota that was lowered below what is used": {
			hard: `persistentvolumeclaims: "1"`, used: `persistentvolumeclaims: "3"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := installed(t, true, tc.values, append(existing(t, before), quotaOf("q", "nap", tc.hard, tc.used))...)
			checktest.Want(t, checktest.Run(t, Checks(), "admission.quota", s), tc.words...)
		})
	}
}

// The shared volume of an earlier version is smaller than the default of this one. Bootstrap leaves it so until the
// values name a size.
func TestQuotasOfASharedVolumeThatExists(t *testing.T) {
	const pvc = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: afs-shared-storage, " +
		"namespace: nap-workspaces}, spec: {accessModes: [ReadWriteMany], storageClassName: fast, " +
		"resources: {requests: {storage: 50Gi}}}}"
	const all, class = "requests.storage", "fast.storageclass.storage.k8s.io/requests.storage"
	quota := quotaOf("q", "nap-workspaces", all+`: "100Gi", `+class+`: "100Gi"`, all+`: "50Gi", `+class+`: "50Gi"`)
	const takes = "quota q leaves 50Gi of %s in namespace nap-workspaces, and the upgrade takes %s more"
	const fast, size = "global.storage.shared.storageClass=fast", "global.storage.shared.size="
	for name, tc := range map[string]struct {
		values []string
		words  []string
	}{
		"no size is set":       {values: []string{fast}},
		"the size that it has": {values: []string{fast, size + "50Gi"}},
		"a size that fits":     {values: []string{fast, size + "100Gi"}},
		"a size that does not fit": {
			values: []string{fast, size + "200Gi"},
			words:  []string{fmt.Sprintf(takes, class, "150Gi"), fmt.Sprintf(takes, all, "150Gi")},
		},
		"a volume of an NFS export": {
			values: []string{"global.storage.shared.nfs.server=nfs.example.com", "global.storage.shared.nfs.path=/shared",
				"global.storage.shared.nfs.csi=true"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := installed(t, true, tc.values, pvc, quota)
			checktest.Want(t, checktest.Run(t, Checks(), "admission.quota", s), tc.words...)
		})
	}
}

// A quota with scopes counts some pods only: that it was not compared is said.
func TestQuotaWithScopes(t *testing.T) {
	quota := "{apiVersion: v1, kind: ResourceQuota, metadata: {name: q, namespace: work}, spec: {scopes: [NotTerminating]}, " +
		"status: {hard: {pods: \"0\"}}}"
	s := checktest.Subject(t, kubetest.New(t, namespace("work", ""), quota), work())
	checktest.Want(t, checktest.Run(t, Checks(), "admission.quota", s),
		"note: quota q in namespace work counts only pods of its scopes: whether all of them fit together was not checked")
}

// A pod or an object that a quota refuses by itself is not named besides the quota that leaves too little for all.
func TestQuotaIsNamedOnce(t *testing.T) {
	api := kubetest.New(t, namespace("work", ""), quotaOf("small", "work", `pods: "1"`, `pods: "1"`))
	api.Refuse(-1, "POST", "/api/v1/namespaces/work/pods", kubetest.Status(403, metav1.StatusReasonForbidden, overQuota))
	checktest.Want(t, checktest.Run(t, Checks(), "admission.quota", checktest.Subject(t, api, work())),
		"quota small leaves 0 of pods in namespace work, and the install takes 1")
}
