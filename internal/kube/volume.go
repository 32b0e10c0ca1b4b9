package kube

import corev1 "k8s.io/api/core/v1"

// Volume is what is read of a PersistentVolume for Each: a cluster has one for every workspace of every release.
type Volume struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		ClaimRef struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"claimRef"`
		ReclaimPolicy corev1.PersistentVolumeReclaimPolicy `json:"persistentVolumeReclaimPolicy"`
	} `json:"spec"`
}
