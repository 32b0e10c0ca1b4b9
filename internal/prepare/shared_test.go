package prepare

import (
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
)

const (
	nfsVolume = `apiVersion: v1
kind: PersistentVolume
metadata: {name: nap-nap-shared}
spec: {nfs: {server: 10.0.0.5, path: /exports/nap}}
status: {phase: Bound}
`
	folderVolume = `apiVersion: v1
kind: PersistentVolume
metadata: {name: nap-nap-shared}
spec:
  hostPath: {path: /var/lib/neutree/shared, type: DirectoryOrCreate}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n1]}]}]}}
status: {phase: Bound}
`
	csiClass = `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: nap-nap-nfs}
provisioner: nfs.csi.k8s.io
parameters: {server: 10.0.0.5, share: /exports/nap, mountPermissions: "0777"}
`
)

func TestSharedVolumeStaysWhereItIs(t *testing.T) {
	nfs := func(server, path string) hook.SharedSource {
		return hook.SharedSource{NFS: &hook.NFSExport{Server: server, Path: path}}
	}
	csi := func(server, path string) hook.SharedSource {
		return hook.SharedSource{CSI: &hook.NFSExport{Server: server, Path: path}}
	}
	folder := func(path, node string) hook.SharedSource {
		return hook.SharedSource{Folder: &hook.NodeFolder{Path: path, Node: node}}
	}
	anyNode := strings.Replace(folderVolume, "key: kubernetes.io/hostname, operator: In, values: [n1]",
		"key: node-role.kubernetes.io/control-plane, operator: Exists", 1)
	for name, tc := range map[string]struct {
		live    string
		source  hook.SharedSource
		refused []string
	}{
		"first install":          {"", nfs("10.0.0.5", "/exports/nap"), nil},
		"first install with CSI": {"", csi("10.0.0.5", "/exports/nap"), nil},
		"the same export":        {nfsVolume, nfs("10.0.0.5", "/exports/nap"), nil},
		"another server": {nfsVolume, nfs("10.0.0.6", "/exports/nap"),
			[]string{"NFS export 10.0.0.5:/exports/nap (PersistentVolume nap-nap-shared)",
				"would become NFS export 10.0.0.6:/exports/nap"}},
		"another path": {nfsVolume, nfs("10.0.0.5", "/exports/other"),
			[]string{"would become NFS export 10.0.0.5:/exports/other"}},
		"NFS to a folder": {nfsVolume, folder("/var/lib/neutree/shared", ""),
			[]string{"would become folder /var/lib/neutree/shared of the control plane's node"}},
		"NFS to CSI": {nfsVolume, csi("10.0.0.5", "/exports/nap"),
			[]string{"would become a folder that csi-driver-nfs makes in 10.0.0.5:/exports/nap"}},
		"NFS to a class":  {nfsVolume, hook.SharedSource{}, []string{"would become a volume of a StorageClass"}},
		"the same folder": {folderVolume, folder("/var/lib/neutree/shared", "n1"), nil},
		"another folder": {folderVolume, folder("/srv/shared", "n1"),
			[]string{"folder /var/lib/neutree/shared of node n1", "would become folder /srv/shared of node n1"}},
		"another node": {folderVolume, folder("/var/lib/neutree/shared", "n2"),
			[]string{"would become folder /var/lib/neutree/shared of node n2"}},
		"no node is named": {anyNode, folder("/var/lib/neutree/shared", ""), nil},
		"a node is named": {anyNode, folder("/var/lib/neutree/shared", "n1"),
			[]string{"of the control plane's node (PersistentVolume"}},
		"the same CSI export": {csiClass, csi("10.0.0.5", "/exports/nap"), nil},
		"another CSI server": {csiClass, csi("10.0.0.6", "/exports/nap"), []string{"(StorageClass nap-nap-nfs)",
			"would become a folder that csi-driver-nfs makes in 10.0.0.6:/exports/nap"}},
		"a volume that was let go": {strings.Replace(nfsVolume, "Bound", "Released", 1), hook.SharedSource{}, nil},
		"another volume under the same name": {"apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: " +
			"nap-nap-shared}\nspec: {csi: {driver: x, volumeHandle: v1}}\n",
			nfs("10.0.0.5", "/exports/nap"), []string{"is a volume of another kind"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, "")
			if tc.live != "" {
				s.server.Put(tc.live)
			}
			s.spec.Gate.SharedVolume = &hook.SharedVolume{
				Claim: hook.NamespacedName{Namespace: "nap-workspaces",
					Name: "afs-shared-storage"}, Volume: "nap-nap-shared", Class: "nap-nap-nfs", Source: tc.source,
			}
			if tc.refused == nil {
				s.wantDone()
				return
			}
			s.wantRefused(append(tc.refused, "the upgrade would stop half-way",
				"delete PersistentVolumeClaim afs-shared-storage in namespace nap-workspaces and ",
				"docs/upgrade.md", "storage.shared-source")...)
			if len(s.server.Changes()) > 0 {
				t.Errorf("refused, and yet it changed %v", s.server.Changes())
			}
		})
	}
}
