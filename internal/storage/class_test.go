package storage

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func class(name, provisioner string, annotations ...string) storagev1.StorageClass {
	c := storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}, Provisioner: provisioner}
	for _, a := range annotations {
		c.Annotations[a] = "true"
	}
	return c
}

func TestResolveStorageClass(t *testing.T) {
	local := class("local-path", "rancher.io/local-path", defaultClassAnnotation)
	nfs := class("nfs", "nfs.csi.k8s.io")
	newer := class("newer", "ebs.csi.aws.com", defaultClassAnnotation)
	newer.CreationTimestamp = metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))

	for _, tc := range []struct {
		name        string
		classes     []storagev1.StorageClass
		named       string
		mode        corev1.PersistentVolumeAccessMode
		want        string
		wantFinding string
	}{
		{name: "named", classes: []storagev1.StorageClass{local, nfs}, named: "nfs", mode: corev1.ReadWriteOnce, want: "nfs"},
		{name: "named, for ReadWriteMany, is taken at its word", classes: []storagev1.StorageClass{local}, named: "local-path", mode: corev1.ReadWriteMany, want: "local-path",
			wantFinding: `StorageClass local-path for PostgreSQL is served by rancher.io/local-path, whose volumes only one node can mount: set global.class to a class that all nodes can mount (NFS, CephFS and the like), or on a cluster of one node ask for ReadWriteOnce`},
		{name: "default", classes: []storagev1.StorageClass{nfs, local}, mode: corev1.ReadWriteOnce, want: "local-path"},
		{name: "default by the old annotation", classes: []storagev1.StorageClass{class("old", "x", betaDefaultClassAnnotation)}, mode: corev1.ReadWriteOnce, want: "old"},
		{name: "newest of two defaults", classes: []storagev1.StorageClass{local, newer}, mode: corev1.ReadWriteOnce, want: "newer"},
		{name: "first by name of two defaults of one age", classes: []storagev1.StorageClass{class("b", "x", defaultClassAnnotation), class("a", "x", defaultClassAnnotation)}, mode: corev1.ReadWriteOnce, want: "a"},
		{name: "marked for ReadWriteMany", classes: []storagev1.StorageClass{local, class("shared", "x", DefaultRWXClassAnnotation)}, mode: corev1.ReadWriteMany, want: "shared"},
		{name: "the mark does not count for ReadWriteOnce", classes: []storagev1.StorageClass{local, class("shared", "x", DefaultRWXClassAnnotation)}, mode: corev1.ReadWriteOnce, want: "local-path"},
		{name: "default that serves all nodes", classes: []storagev1.StorageClass{class("nfs", "nfs.csi.k8s.io", defaultClassAnnotation)}, mode: corev1.ReadWriteMany, want: "nfs"},
		{
			name: "no class at all", mode: corev1.ReadWriteOnce,
			wantFinding: `PostgreSQL needs a StorageClass and the cluster has none: install a storage provisioner, then set global.class or mark its class as the default`,
		},
		{
			name: "named class is missing", classes: []storagev1.StorageClass{nfs, local}, named: "nfs-nap", mode: corev1.ReadWriteMany,
			wantFinding: `StorageClass "nfs-nap" for PostgreSQL does not exist: set global.class to one of local-path (rancher.io/local-path), nfs (nfs.csi.k8s.io)`,
		},
		{
			name: "no default", classes: []storagev1.StorageClass{nfs}, mode: corev1.ReadWriteOnce,
			wantFinding: "PostgreSQL needs a StorageClass, and the cluster has no default class: set global.class to one of nfs (nfs.csi.k8s.io), or mark one with `kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class=true`",
		},
		{
			name: "no default for ReadWriteMany", classes: []storagev1.StorageClass{nfs}, mode: corev1.ReadWriteMany,
			wantFinding: `PostgreSQL needs a StorageClass that serves ReadWriteMany, and the cluster has no default class: set global.class to one of nfs (nfs.csi.k8s.io)`,
		},
		{
			name: "default serves one node", classes: []storagev1.StorageClass{local}, mode: corev1.ReadWriteMany,
			wantFinding: `PostgreSQL needs a StorageClass that serves ReadWriteMany, and the default class "local-path" (rancher.io/local-path) serves one node only: set global.class to a class that all nodes can mount (there is: local-path (rancher.io/local-path)), or on a cluster of one node ask for ReadWriteOnce`,
		},
		{
			name: "Rook's block driver serves one node", classes: []storagev1.StorageClass{class("rbd", "rook-ceph.rbd.csi.ceph.com", defaultClassAnnotation)}, mode: corev1.ReadWriteMany,
			wantFinding: `PostgreSQL needs a StorageClass that serves ReadWriteMany, and the default class "rbd" (rook-ceph.rbd.csi.ceph.com) serves one node only: set global.class to a class that all nodes can mount (there is: rbd (rook-ceph.rbd.csi.ceph.com)), or on a cluster of one node ask for ReadWriteOnce`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			class, problem := Resolve(tc.classes, ClassRequest{Purpose: "PostgreSQL", Value: "global.class", Name: tc.named, AccessMode: tc.mode})
			got, message := "", ""
			if class != nil {
				got = class.Name
			}
			if got != tc.want {
				t.Errorf("class %q, want %q", got, tc.want)
			}
			if problem != nil {
				message = problem.Sentence()
			}
			if message != tc.wantFinding {
				t.Errorf("finding\n%s\nwant\n%s", message, tc.wantFinding)
			}
		})
	}
}
