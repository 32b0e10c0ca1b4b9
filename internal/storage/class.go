// Package storage has the rules for the volumes of a release: which StorageClass serves one, and what a PVC that exists
// can become.
package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/kube"
)

const (
	defaultClassAnnotation     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultClassAnnotation = "storageclass.beta.kubernetes.io/is-default-class"
	// DefaultRWXClassAnnotation marks the class to use for ReadWriteMany claims that name none.
	DefaultRWXClassAnnotation = "storageclass.neutree.ai/is-default-rwx-class"
)

// oneNodeProvisioners serve volumes that only one node can mount at a time. A claim for
// ReadWriteMany on such a class stays Pending for ever, or binds and fails on the second node.
var oneNodeProvisioners = []string{
	"blockstorage.csi.ibm.com",
	"block.csi.vultr.com",
	"cinder.csi.openstack.org",
	"csi.hetzner.cloud",
	"disk.csi.azure.com",
	"diskplugin.csi.alibabacloud.com",
	"dobs.csi.digitalocean.com",
	"docker.io/hostpath",
	"ebs.csi.aws.com",
	"ebs.csi.eks.amazonaws.com",
	"hostpath.csi.k8s.io",
	"k8s.io/minikube-hostpath",
	"kubernetes.io/aws-ebs",
	"kubernetes.io/azure-disk",
	"kubernetes.io/cinder",
	"kubernetes.io/gce-pd",
	"kubernetes.io/no-provisioner",
	"linodebs.csi.linode.com",
	"local.csi.openebs.io",
	"microk8s.io/hostpath",
	"openebs.io/local",
	"pd.csi.storage.gke.io",
	"rancher.io/local-path",
	"rbd.csi.ceph.com",
	"topolvm.cybozu.com",
	"topolvm.io",
	"zfs.csi.openebs.io",
}

// ClassRequest asks for the class that a claim shall use.
type ClassRequest struct {
	// Purpose says in words what the claim is for.
	Purpose string
	// Value is the chart value that names the class.
	Value string
	// Name is the class that the value names; empty to let the cluster choose.
	Name string
	// AccessMode is what the claim asks for.
	AccessMode corev1.PersistentVolumeAccessMode
}

// ListClasses reads all StorageClasses of the cluster.
func ListClasses(ctx context.Context, c *kube.Client) ([]storagev1.StorageClass, error) {
	classes, err := kube.List[storagev1.StorageClass](ctx, c, kube.StorageClasses, "", metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the StorageClasses: %w", err)
	}
	return classes, nil
}

// Resolve picks the class for a request: the one it names, else the cluster's default. ReadWriteMany prefers the class
// that carries DefaultRWXClassAnnotation and never takes a default class that is known to serve one node only. There is
// a finding where no class will do. With a class, it says that the one which was named is known not to be shared: hooks
// believe the person and warn, preflight reports it.
func Resolve(classes []storagev1.StorageClass, r ClassRequest) (*storagev1.StorageClass, *finding.Finding) {
	none := func(fix, format string, args ...any) (*storagev1.StorageClass, *finding.Finding) {
		return nil, &finding.Finding{ID: finding.StorageClass, Severity: finding.Error, Value: r.Value, Found: fmt.Sprintf(format, args...), Fix: fix}
	}
	shared := r.AccessMode == corev1.ReadWriteMany
	choose := fmt.Sprintf("set %s to one of %s", r.Value, describeClasses(classes))
	if len(classes) == 0 {
		return none(fmt.Sprintf("install a storage provisioner, then set %s or mark its class as the default", r.Value),
			"%s needs a StorageClass and the cluster has none", r.Purpose)
	}
	if r.Name != "" {
		i := slices.IndexFunc(classes, func(c storagev1.StorageClass) bool { return c.Name == r.Name })
		switch {
		case i < 0:
			return none(choose, "StorageClass %q for %s does not exist", r.Name, r.Purpose)
		case shared && ServesOneNode(classes[i].Provisioner):
			return &classes[i], &finding.Finding{
				ID: finding.StorageClass, Severity: finding.Error, Value: r.Value,
				Found: fmt.Sprintf("StorageClass %s for %s is served by %s, whose volumes only one node can mount", r.Name, r.Purpose, classes[i].Provisioner),
				Fix: fmt.Sprintf("set %s to a class that all nodes can mount (NFS, CephFS and the like), or on a cluster of one node ask for "+
					"ReadWriteOnce", r.Value),
			}
		}
		return &classes[i], nil
	}
	if shared {
		if c := newest(classes, DefaultRWXClassAnnotation); c != nil {
			return c, nil
		}
	}
	def := newest(classes, defaultClassAnnotation, betaDefaultClassAnnotation)
	switch {
	case def == nil && shared:
		return none(choose, "%s needs a StorageClass that serves ReadWriteMany, and the cluster has no default class", r.Purpose)
	case def == nil:
		return none(fmt.Sprintf("%s, or mark one with `kubectl annotate storageclass NAME %s=true`", choose, defaultClassAnnotation),
			"%s needs a StorageClass, and the cluster has no default class", r.Purpose)
	case shared && ServesOneNode(def.Provisioner):
		return none(fmt.Sprintf("set %s to a class that all nodes can mount (there is: %s), or on a cluster of one node ask for ReadWriteOnce",
			r.Value, describeClasses(classes)),
			"%s needs a StorageClass that serves ReadWriteMany, and the default class %q (%s) serves one node only", r.Purpose, def.Name, def.Provisioner)
	}
	return def, nil
}

// StaysChosen says whether the class that an earlier install chose for PVCs which are created later stays the one,
// although it may not exist any more: no value names another.
func StaysChosen(chosen, named string) bool { return chosen != "" && (named == "" || named == chosen) }

// ServesOneNode says whether only one node at a time can mount a provisioner's volumes.
func ServesOneNode(provisioner string) bool {
	return slices.ContainsFunc(oneNodeProvisioners, func(known string) bool {
		// Rook puts its namespace before the driver's name.
		return provisioner == known || strings.HasSuffix(provisioner, "."+known)
	})
}

// IsDefaultClass says whether claims without a class may get this one.
func IsDefaultClass(c *storagev1.StorageClass) bool {
	return c.Annotations[defaultClassAnnotation] == "true" || c.Annotations[betaDefaultClassAnnotation] == "true"
}

// newest finds the class that carries one of the annotations. Of several Kubernetes takes the
// newest, then the first by name.
func newest(classes []storagev1.StorageClass, annotations ...string) *storagev1.StorageClass {
	var found *storagev1.StorageClass
	for i := range classes {
		c := &classes[i]
		if !slices.ContainsFunc(annotations, func(a string) bool { return c.Annotations[a] == "true" }) {
			continue
		}
		if found == nil || found.CreationTimestamp.Before(&c.CreationTimestamp) ||
			found.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < found.Name {
			found = c
		}
	}
	return found
}

func describeClasses(classes []storagev1.StorageClass) string {
	names := make([]string, 0, len(classes))
	for _, c := range classes {
		names = append(names, fmt.Sprintf("%s (%s)", c.Name, c.Provisioner))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
