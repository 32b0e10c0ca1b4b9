package guard

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const (
	growing = `
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: growing}
provisioner: csi.example.org
allowVolumeExpansion: true
`
	growingClaim = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: nap-pg-1, namespace: nap, labels: {cnpg.io/cluster: nap-pg}}
spec: {storageClassName: growing, resources: {requests: {storage: 10Gi}}}
`
	fixedClaim = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: afs-controller-db, namespace: nap}
spec: {storageClassName: local-path, resources: {requests: {storage: 1Gi}}}
`
	handMadeClaim = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: afs-shared-storage, namespace: nap-workspaces}
spec: {storageClassName: "", volumeName: nap-nap-shared, resources: {requests: {storage: 50Gi}}}
`
	controlPlane = `
apiVersion: v1
kind: Node
metadata: {name: a, labels: {kubernetes.io/hostname: a, node-role.kubernetes.io/control-plane: ""}}
`
	anotherControlPlane = `
apiVersion: v1
kind: Node
metadata: {name: b, labels: {kubernetes.io/hostname: b, node-role.kubernetes.io/control-plane: ""}}
`
)

func TestClaims(t *testing.T) {
	controller := hook.ClaimCheck{Namespace: "nap", Name: "afs-controller-db", Value: "global.storage.afsController.size"}
	sized := func(check hook.ClaimCheck, size string) hook.ClaimCheck { check.Size = size; return check }
	classed := func(class string, kept bool) hook.ClaimCheck {
		return hook.ClaimCheck{Namespace: "nap", Name: "afs-controller-db", StorageClass: class, ClassValue: "global.storage.afsController.storageClass", Kept: kept}
	}
	shared := hook.ClaimCheck{Namespace: "nap-workspaces", Name: "afs-shared-storage", Value: "global.storage.shared.size"}
	inVolume := func(volume string) hook.ClaimCheck {
		return hook.ClaimCheck{Namespace: "nap-workspaces", Name: "afs-shared-storage", Volume: volume,
			ClassValue: "global.storage.shared"}
	}
	for name, test := range map[string]struct {
		objects []string
		check   hook.ClaimCheck
		want    string
	}{
		"not made yet":            {nil, sized(controller, "5Gi"), ""},
		"as large as before":      {[]string{localPath, fixedClaim}, sized(controller, "1024Mi"), ""},
		"smaller":                 {[]string{localPath, fixedClaim}, sized(controller, "512Mi"), "claim afs-controller-db in namespace nap has 1Gi and can't shrink to 512Mi: set global.storage.afsController.size to 1Gi or more"},
		"smaller, and left so":    {[]string{localPath, fixedClaim}, hook.ClaimCheck{Namespace: "nap", Name: "afs-controller-db", Size: "512Mi", Kept: true}, ""},
		"grows":                   {[]string{growing, growingClaim}, hook.ClaimCheck{Namespace: "nap", Selector: "cnpg.io/cluster=nap-pg", Size: "20Gi", Value: "v"}, ""},
		"its class does not":      {[]string{localPath, fixedClaim}, sized(controller, "5Gi"), "claim afs-controller-db in namespace nap can't grow from 1Gi to 5Gi, since its StorageClass local-path does not allow expansion: leave global.storage.afsController.size at 1Gi, or move the data to another volume"},
		"its class is gone":       {[]string{fixedClaim}, sized(controller, "5Gi"), "since its StorageClass local-path is gone"},
		"of its class":            {[]string{localPath, fixedClaim}, classed("local-path", false), ""},
		"of another class":        {[]string{localPath, fixedClaim}, classed("fast", false), `claim afs-controller-db in namespace nap has StorageClass "local-path", and a claim can't change it to "fast": set global.storage.afsController.storageClass back to "local-path", or move the data to another volume`},
		"of another, and left so": {[]string{localPath, fixedClaim}, classed("fast", true), ""},
		"of its volume":           {[]string{handMadeClaim}, inVolume("nap-nap-shared"), ""},
		"of another volume": {[]string{strings.Replace(handMadeClaim, "nap-nap-shared", "pvc-1", 1)},
			inVolume("nap-nap-shared"), "claim afs-shared-storage in namespace nap-workspaces uses PersistentVolume pvc-1, " +
				"and a claim can't change it to nap-nap-shared: set global.storage.shared back, or move the data to another volume"},
		"not bound yet": {[]string{strings.Replace(handMadeClaim, "nap-nap-shared", `""`, 1)},
			inVolume("nap-nap-shared"), ""},
		"made by hand":             {[]string{handMadeClaim}, sized(shared, "100Gi"), "since its volume was made by hand: leave global.storage.shared.size at 50Gi"},
		"the user's own":           {[]string{fixedClaim}, hook.ClaimCheck{Namespace: "nap", Name: "afs-controller-db", Required: true, Value: "v"}, ""},
		"the user's own, not made": {nil, hook.ClaimCheck{Namespace: "nap", Name: "mine", Required: true, Value: "global.storage.afsController.existingClaim"}, "claim mine in namespace nap, named by global.storage.afsController.existingClaim, does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			wantOutcome(t, hook.GuardSpec{Namespace: "nap", Claims: []hook.ClaimCheck{test.check}}, test.objects, test.want)
		})
	}
}

// A StorageClass that does not exist any more stops an upgrade only where a PVC would be created.
func TestClassThatIsGone(t *testing.T) {
	const (
		missing  = `StorageClass "local-path" for PostgreSQL does not exist: set global.x to one of growing (csi.example.org)`
		data     = ", labels: {cnpg.io/cluster: nap-pg, cnpg.io/pvcRole: PG_DATA}"
		chosen   = "{apiVersion: v1, kind: ConfigMap, metadata: {name: nap-storage, namespace: nap}, data: {workspaces: local-path}}"
		deleting = ", deletionTimestamp: \"2026-01-01T00:00:00Z\", finalizers: [kubernetes.io/pvc-protection]"
	)
	pvc := func(name, more string) string {
		return "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: " + name + ", namespace: nap" + more + "}"
	}
	named := &hook.PVCs{Namespace: "nap", Name: "afs-controller-db"}
	labelled := &hook.PVCs{Namespace: "nap", Selector: "cnpg.io/cluster=nap-pg,cnpg.io/pvcRole=PG_DATA", Count: 2}
	both, other := []string{pvc("nap-pg-1", data), pvc("nap-pg-2", data)}, []string{strings.Replace(chosen, "local-path", "growing", 1)}
	noted := &hook.ChosenClass{ConfigMap: "nap-storage", Key: "workspaces"}
	for name, test := range map[string]struct {
		objects []string
		class   string
		pvc     *hook.PVCs
		chosen  *hook.ChosenClass
		want    string
	}{
		"its PVC exists":                          {[]string{pvc("afs-controller-db", "")}, "local-path", named, nil, ""},
		"its PVC does not":                        {nil, "local-path", named, nil, missing},
		"its PVC is being deleted":                {[]string{pvc("afs-controller-db", deleting)}, "local-path", named, nil, missing},
		"its PVC exists, and the default is gone": {[]string{pvc("afs-controller-db", "")}, "", named, nil, ""},
		"all instances have theirs":               {both, "local-path", labelled, nil, ""},
		"an instance is added":                    {[]string{pvc("nap-pg-1", data)}, "local-path", labelled, nil, missing},
		"chosen by an earlier install":            {[]string{chosen}, "local-path", nil, noted, ""},
		"chosen, and none is named":               {[]string{chosen}, "", nil, noted, ""},
		"another was chosen":                      {other, "local-path", nil, noted, missing},
		"nothing was chosen yet":                  {nil, "local-path", nil, noted, missing},
		"nothing is known of PVCs":                {nil, "local-path", nil, nil, missing},
	} {
		t.Run(name, func(t *testing.T) {
			check := hook.StorageClassCheck{Purpose: "PostgreSQL", Value: "global.x", Name: test.class, AccessMode: "ReadWriteOnce",
				PVC: test.pvc, Chosen: test.chosen}
			wantOutcome(t, hook.GuardSpec{Namespace: "nap", StorageClasses: []hook.StorageClassCheck{check}},
				append(test.objects, growing), test.want)
		})
	}
}

// The right to read a PVC in the workspaces' namespace comes with that namespace, which this release may create.
func TestClassOfAPVCThatCannotBeRead(t *testing.T) {
	check := hook.StorageClassCheck{Purpose: "the shared volume", Value: "global.x", Name: "gone",
		AccessMode: "ReadWriteMany", PVC: &hook.PVCs{Namespace: "nap-workspaces", Name: "afs-shared-storage"}}
	for name, test := range map[string]struct {
		objects string
		want    string
	}{
		"no namespace yet": {"apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}",
			`StorageClass "gone" for the shared volume does not exist`},
		"a namespace, no right": {namespaces, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := kubetest.New(t, test.objects, growing)
			server.Refuse(-1, "GET", "/api/v1/namespaces/nap-workspaces/persistentvolumeclaims/*", forbidden(
				`persistentvolumeclaims "afs-shared-storage" is forbidden: User "system:serviceaccount:nap:nap-pre-install" `+
					`cannot get resource "persistentvolumeclaims" in API group "" in the namespace "nap-workspaces"`))
			err := Run(t.Context(), slog.New(slog.DiscardHandler), server.Client(),
				hook.GuardSpec{Namespace: "nap", StorageClasses: []hook.StorageClassCheck{check}})
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v\nwant a refusal that says %s", err, test.want)
			}
		})
	}
}

func TestNodes(t *testing.T) {
	check := hook.NodeCheck{Selector: "node-role.kubernetes.io/control-plane", Value: "global.storage.shared.nodeLocal.node"}
	for name, test := range map[string]struct {
		objects []string
		want    string
	}{
		"one":  {[]string{controlPlane}, ""},
		"none": {nil, "no node has the label node-role.kubernetes.io/control-plane"},
		"two":  {[]string{controlPlane, anotherControlPlane}, "2 nodes have the label node-role.kubernetes.io/control-plane, a and b among them, and the folder that all workspaces share can be on one only: set global.storage.shared.nodeLocal.node to"},
	} {
		t.Run(name, func(t *testing.T) {
			wantOutcome(t, hook.GuardSpec{Namespace: "nap", Nodes: []hook.NodeCheck{check}}, test.objects, test.want)
		})
	}
}

// wantOutcome runs guard and wants it to be refused with words that hold want, or to find nothing if that is empty.
func wantOutcome(t *testing.T, spec hook.GuardSpec, objects []string, want string) {
	t.Helper()
	server := kubetest.New(t, append([]string{namespaces}, objects...)...)
	err := Run(t.Context(), slog.New(slog.DiscardHandler), server.Client(), spec)
	if want == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), want) {
		t.Errorf("exit code %d: %v\nwant a refusal that says %s", hook.CodeOf(err), err, want)
	}
}
