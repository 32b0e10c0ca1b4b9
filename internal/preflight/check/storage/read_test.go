package storage

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
	"github.com/neutree-ai/packaging/internal/storage"
)

func class(name, provisioner string, change ...func(*storagev1.StorageClass)) storagev1.StorageClass {
	c := storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}, Provisioner: provisioner}
	for _, f := range change {
		f(&c)
	}
	return c
}

func isDefault(c *storagev1.StorageClass) {
	c.Annotations["storageclass.kubernetes.io/is-default-class"] = "true"
}

func grows(c *storagev1.StorageClass) { yes := true; c.AllowVolumeExpansion = &yes }

func retains(c *storagev1.StorageClass) {
	policy := corev1.PersistentVolumeReclaimRetain
	c.ReclaimPolicy = &policy
}

func waits(c *storagev1.StorageClass) {
	mode := storagev1.VolumeBindingWaitForFirstConsumer
	c.VolumeBindingMode = &mode
}

func claim(class string, mode corev1.PersistentVolumeAccessMode) requirement.Claim {
	return requirement.Claim{
		Name: "data", Namespace: "nap", Class: class, AccessMode: mode, Size: resource.MustParse("10Gi"), Count: 1, Grows: true,
		Why: "PostgreSQL", Value: "global.class",
	}
}

func TestClasses(t *testing.T) {
	nfs, local := class("nfs", "nfs.csi.k8s.io"), class("local", "rancher.io/local-path", isDefault)
	both := []storagev1.StorageClass{nfs, local}
	for _, tc := range []struct {
		name    string
		classes []storagev1.StorageClass
		claim   requirement.Claim
		words   []string
	}{
		{name: "named and there", classes: both, claim: claim("nfs", corev1.ReadWriteMany)},
		{name: "left to the default", classes: both, claim: claim("", corev1.ReadWriteOnce)},
		{name: "not there", classes: both, claim: claim("gone", corev1.ReadWriteOnce), words: []string{`StorageClass "gone" for PostgreSQL does not exist -> set global.class to one of`}},
		{name: "no default", classes: []storagev1.StorageClass{nfs}, claim: claim("", corev1.ReadWriteOnce), words: []string{"PostgreSQL needs a StorageClass, and the cluster has no default class"}},
		{name: "no class at all", claim: claim("", corev1.ReadWriteOnce), words: []string{"the cluster has none"}},
		{name: "the default serves one node", classes: both, claim: claim("", corev1.ReadWriteMany), words: []string{`the default class "local" (rancher.io/local-path) serves one node only`}},
		{name: "the named one serves one node", classes: both, claim: claim("local", corev1.ReadWriteMany), words: []string{"StorageClass local for PostgreSQL is served by rancher.io/local-path, whose volumes only one node can mount"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var objects []string
			for _, class := range tc.classes {
				objects = append(objects, fmt.Sprintf("apiVersion: storage.k8s.io/v1\nkind: StorageClass\n"+
					"metadata: {name: %s, annotations: {storageclass.kubernetes.io/is-default-class: %q}}\nprovisioner: %s",
					class.Name, fmt.Sprint(storage.IsDefaultClass(&class)), class.Provisioner))
			}
			set := &requirement.Set{Namespace: "nap", Claims: []requirement.Claim{tc.claim}}
			s := checktest.Subject(t, kubetest.New(t, objects...), set)
			checktest.Want(t, checktest.Run(t, Checks(), "storage.class", s), tc.words...)
		})
	}
}

// A StorageClass that does not exist any more stops an upgrade only where a PVC would be created.
func TestClassThatIsGone(t *testing.T) {
	set := requirementtest.Load(t, "global.database.cnpg.instances=2", "global.workspaces.storageClass=fast",
		"global.database.cnpg.storage.storageClass=fast", "global.storage.shared.storageClass=fast",
		"global.storage.afsController.storageClass=fast", "global.backup.storageClass=fast")
	pvc := func(namespace, name, labels string) string {
		return fmt.Sprintf(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: %s, namespace: %s, labels: {%s}}}`,
			name, namespace, labels)
	}
	const data = "cnpg.io/cluster: nap-pg, cnpg.io/pvcRole: PG_DATA"
	chosen := `{apiVersion: v1, kind: ConfigMap, metadata: {name: nap-storage, namespace: nap}, data: {workspaces: fast}}`
	all := []string{
		pvc("nap", "afs-controller-db", ""), pvc(set.Workspaces, "afs-shared-storage", ""), pvc("nap", "nap-backups", ""),
		pvc("nap", "nap-pg-1", data), pvc("nap", "nap-pg-2", data), chosen,
	}
	const missing = `StorageClass "fast" for %s does not exist -> set %s to one of other (example.com/files)`
	for name, tc := range map[string]struct {
		objects []string
		words   []string
	}{
		"nothing exists": {words: []string{
			fmt.Sprintf(missing, "the AFS controller's database", "global.storage.afsController.storageClass"),
			fmt.Sprintf(missing, "the volume that all workspaces share", "global.storage.shared.storageClass"),
			fmt.Sprintf(missing, "the backups", "global.backup.storageClass"),
			fmt.Sprintf(missing, "PostgreSQL", "global.database.cnpg.storage.storageClass"),
			fmt.Sprintf(missing, "the volume of each workspace", "global.workspaces.storageClass"),
		}},
		"everything exists": {objects: all, words: []string{
			"warning: " + `StorageClass "fast" for the AFS controller's database does not exist`,
			"warning: " + `StorageClass "fast" for the volume that all workspaces share does not exist`,
			"warning: " + `StorageClass "fast" for the backups does not exist`,
			"warning: " + `StorageClass "fast" for PostgreSQL does not exist`,
			"warning: " + `StorageClass "fast" for the volume of each workspace does not exist`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := append([]string{"{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: other}, " +
				"provisioner: example.com/files}"}, tc.objects...)
			s := checktest.Subject(t, kubetest.New(t, objects...), set)
			checktest.Want(t, checktest.Run(t, Checks(), "storage.class", s), tc.words...)
		})
	}
}

func TestClassSettings(t *testing.T) {
	claims := []requirement.Claim{claim("", corev1.ReadWriteOnce)}
	one := []storagev1.StorageClass{class("good", "x", isDefault, grows, retains, waits)}
	two := []storagev1.StorageClass{class("a", "x", isDefault), class("b", "y", isDefault)}
	checktest.Want(t, defaults(one, claims))
	checktest.Want(t, defaults(two, claims), "2 StorageClasses are marked as the default: a, b -> kubectl annotate storageclass a storageclass.kubernetes.io/is-default-class-, or name the classes in global.class")
	checktest.Want(t, expansion(one, claims))
	checktest.Want(t, expansion(two[:1], claims), "StorageClass a for PostgreSQL does not let volumes grow")
	checktest.Want(t, reclaim(one, claims))
	checktest.Want(t, reclaim(two[:1], claims), "note: StorageClass a deletes a volume with its claim")
	checktest.Want(t, immediate(one, claims, 3))
	checktest.Want(t, immediate(two[:1], claims, 1))
	checktest.Want(t, immediate(two[:1], claims, 3), "StorageClass a for PostgreSQL makes volumes at once, in any of 3 zones")
}

func TestClaims(t *testing.T) {
	live := func(name, class, mode, size, phase string) string {
		return fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s, namespace: nap}
spec: {storageClassName: %q, accessModes: [%s], resources: {requests: {storage: %s}}, volumeName: pv1}
status: {phase: %s}`, name, class, mode, size, phase)
	}
	const local = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: local}\nprovisioner: csi.example.com\n"
	for _, tc := range []struct {
		name    string
		objects []string
		set     []string
		words   []string
	}{
		{name: "none yet"},
		{name: "fits", objects: []string{live("afs-controller-db", "local", "ReadWriteOnce", "1Gi", "Bound")}},
		{name: "differs in everything", objects: []string{local, live("afs-controller-db", "local", "ReadWriteMany", "2Gi", "Lost")},
			set: []string{"global.storage.afsController.storageClass=nfs"},
			words: []string{
				"claim afs-controller-db in namespace nap has 2Gi and can't shrink to 1Gi -> set global.storage.afsController.size to 2Gi or more",
				`claim afs-controller-db in namespace nap has StorageClass "local", and a claim can't change it to "nfs" -> set global.storage.afsController.storageClass back to "local"`,
				"has the access modes [ReadWriteMany], and a claim can't change them to ReadWriteOnce",
				"has lost its volume pv1",
			}},
		{name: "can't grow", objects: []string{local, live("afs-controller-db", "local", "ReadWriteOnce", "1Gi", "Bound")},
			set:   []string{"global.storage.afsController.size=5Gi"},
			words: []string{"can't grow from 1Gi to 5Gi, since its StorageClass local does not allow expansion -> leave global.storage.afsController.size at 1Gi"}},
		{name: "the user's own is missing", set: []string{"global.storage.afsController.existingClaim=mine"},
			words: []string{"claim mine in namespace nap, named by global.storage.afsController.existingClaim, does not exist -> make it, or name another"}},
		{name: "backups of another class", objects: []string{live("nap-backups", "local", "ReadWriteOnce", "10Gi", "Bound")},
			set:   []string{"global.backup.storageClass=nfs"},
			words: []string{`claim nap-backups in namespace nap has StorageClass "local", and a claim can't change it to "nfs" -> set global.backup.storageClass back to "local"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			subject := checktest.Subject(t, kubetest.New(t, tc.objects...), requirementtest.Load(t, tc.set...))
			checktest.Want(t, checktest.Run(t, Checks(), "storage.claims", subject), tc.words...)
		})
	}
}

func TestFolderOfOneNode(t *testing.T) {
	const node = "apiVersion: v1\nkind: Node\nmetadata: {name: %[1]s, labels: {kubernetes.io/hostname: %[1]s}}\n"
	if ok, why := onNode(&preflight.Subject{Requirements: requirementtest.Load(t)}); ok || why == "" {
		t.Errorf("with a class: applies %v, %s", ok, why)
	}
	set := requirementtest.Load(t, "global.storage.shared.nodeLocal.enabled=true", "global.storage.shared.nodeLocal.node=a", "global.workspaces.nodeSelector.kubernetes\\.io/hostname=a")
	if ok, _ := onNode(&preflight.Subject{Requirements: set}); !ok {
		t.Fatal("it does not apply")
	}
	checktest.Want(t, checktest.Run(t, Checks(), "storage.node", checktest.Subject(t, kubetest.New(t, fmt.Sprintf(node, "a")), set)))
	checktest.Want(t, checktest.Run(t, Checks(), "storage.node", checktest.Subject(t, kubetest.New(t, fmt.Sprintf(node, "b")), set)),
		"no node has the label kubernetes.io/hostname=a, and the folder that all workspaces share is to be on one -> set global.storage.shared.nodeLocal.node to the kubernetes.io/hostname of that node")
}

func TestSnapshotClasses(t *testing.T) {
	const (
		storage  = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: block}\nprovisioner: csi.example.com\n"
		snapshot = "apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshotClass\nmetadata: {name: %s}\ndriver: %s\n"
	)
	if ok, why := snapshots(&preflight.Subject{Requirements: requirementtest.Load(t)}); ok || why != "global.backup.volumeSnapshotClass is empty: backups are dumps" {
		t.Errorf("without a class for snapshots: applies %v, %s", ok, why)
	}
	set := requirementtest.Load(t, "global.backup.volumeSnapshotClass=fast", "global.database.cnpg.storage.storageClass=block")
	if ok, _ := snapshots(&preflight.Subject{Requirements: set}); !ok {
		t.Fatal("the check does not apply")
	}
	for _, tc := range []struct {
		name    string
		objects []string
		words   []string
	}{
		{name: "of the driver", objects: []string{storage, fmt.Sprintf(snapshot, "fast", "csi.example.com")}},
		{name: "of another driver", objects: []string{storage, fmt.Sprintf(snapshot, "fast", "other.example.com"), fmt.Sprintf(snapshot, "fits", "csi.example.com")},
			words: []string{"VolumeSnapshotClass fast is of the driver other.example.com, and the volumes for PostgreSQL are of csi.example.com (StorageClass block) -> name a VolumeSnapshotClass of the driver csi.example.com, or empty global.backup.volumeSnapshotClass"}},
		{name: "of another name", objects: []string{storage, fmt.Sprintf(snapshot, "slow", "csi.example.com")},
			words: []string{`VolumeSnapshotClass "fast" does not exist -> make it, or empty global.backup.volumeSnapshotClass`}},
		{name: "none at all", objects: []string{storage}, words: []string{`VolumeSnapshotClass "fast" does not exist`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checktest.Want(t, checktest.Run(t, Checks(), "storage.snapshot", checktest.Subject(t, kubetest.New(t, tc.objects...), set)), tc.words...)
		})
	}
}
