package storage

import (
	"fmt"
	"testing"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// The backup Job mounts the backups and AFS's database: in different zones it would never be scheduled.
func TestVolumesOfOnePodInDifferentZones(t *testing.T) {
	const (
		classYAML = "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: %s}, provisioner: example.com/disks, " +
			"allowVolumeExpansion: true, volumeBindingMode: %s, allowedTopologies: [%s]}"
		topology = "{matchLabelExpressions: [{key: topology.example.com/zone, values: [%s]}]}"
		node     = "{apiVersion: v1, kind: Node, metadata: {name: n%[1]s, labels: {topology.kubernetes.io/zone: %[1]s}}}"
		pvc      = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: %s, namespace: nap}, spec: {volumeName: %s}}"
		pv       = "{apiVersion: v1, kind: PersistentVolume, metadata: {name: %s}, spec: {nodeAffinity: {required: {nodeSelectorTerms: " +
			"[{matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [%s]}]}]}}}}"
		mayDiffer = "the volume for the backups is created at once in any of the zones a, b, and may be in another one than that " +
			"for the AFS controller's database -> name in global.backup.storageClass a class with volumeBindingMode WaitForFirstConsumer"
		immediately = "makes volumes at once, in any of 2 zones"
	)
	class := func(name, mode, allowed string) string { return fmt.Sprintf(classYAML, name, mode, allowed) }
	late := class("late", "WaitForFirstConsumer", "")
	early := class("early", "Immediate", "")
	in := func(afs, backups string) []string {
		return []string{fmt.Sprintf(pvc, "afs-controller-db", "pv-afs"), fmt.Sprintf(pv, "pv-afs", afs),
			fmt.Sprintf(pvc, "nap-backups", "pv-backups"), fmt.Sprintf(pv, "pv-backups", backups)}
	}
	values := func(afs, backups string, more ...string) []string {
		return append([]string{"global.storage.afsController.storageClass=" + afs, "global.backup.storageClass=" + backups,
			"global.database.cnpg.storage.storageClass=late", "global.workspaces.storageClass=late",
			"global.storage.shared.storageClass=late"}, more...)
	}
	for name, tc := range map[string]struct {
		values, objects []string
		zones           []string
		words           []string
	}{
		"both are created where their pod runs": {values: values("late", "late"), objects: []string{late}},
		"both are created at once": {values: values("early", "early"), objects: []string{late, early},
			words: []string{immediately, mayDiffer}},
		"the later one is": {values: values("late", "early"), objects: []string{late, early}, words: []string{immediately, mayDiffer}},
		"the first one is": {values: values("early", "late"), objects: []string{late, early}, words: []string{immediately}},
		"one zone":         {values: values("early", "early"), objects: []string{late, early}, zones: []string{"a"}},
		"a class of one zone": {values: values("one", "one"), objects: []string{late, class("one", "Immediate", fmt.Sprintf(topology, "a"))},
			words: []string{immediately}},
		"classes of different zones": {values: values("one", "other"), objects: []string{late,
			class("one", "WaitForFirstConsumer", fmt.Sprintf(topology, "a")), class("other", "WaitForFirstConsumer", fmt.Sprintf(topology, "b"))},
			words: []string{"the volume for the backups is in zone b, and that for the AFS controller's database in zone a"}},
		"a shared class of some zones": {values: values("late", "early", "global.backup.accessMode=ReadWriteMany"), objects: []string{late,
			class("early", "Immediate", fmt.Sprintf(topology, "a, b"))}, words: []string{mayDiffer}},
		"a shared class": {values: values("late", "early", "global.backup.accessMode=ReadWriteMany"), objects: []string{late, early}},
		"volumes that exist in different zones": {values: values("late", "late"), objects: append(in("a", "b"), late),
			words: []string{"the volume for the backups is in zone b, and that for the AFS controller's database in zone a -> " +
				"copy what PVC nap-backups in namespace nap contains, delete it, and name in global.backup.storageClass a class"}},
		"volumes that exist in one zone": {values: values("early", "early"), objects: append(in("a", "a"), late, early),
			words: []string{immediately}},
		"no backups": {values: values("early", "early", "global.backup.enabled=false"), objects: []string{late, early},
			words: []string{immediately}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.zones == nil {
				tc.zones = []string{"a", "b"}
			}
			for _, zone := range tc.zones {
				tc.objects = append(tc.objects, fmt.Sprintf(node, zone))
			}
			s := checktest.Subject(t, kubetest.New(t, tc.objects...), requirementtest.Load(t, tc.values...))
			checktest.Want(t, checktest.Run(t, Checks(), "storage.binding", s), tc.words...)
		})
	}
}
