package kube

import "k8s.io/apimachinery/pkg/runtime/schema"

// The resources that nap-hooks reads or writes.
var (
	ConfigMaps      = core("configmaps")
	Events          = core("events")
	Claims          = core("persistentvolumeclaims")
	Namespaces      = core("namespaces")
	Nodes           = core("nodes")
	Pods            = core("pods")
	ResourceQuotas  = core("resourcequotas")
	Secrets         = core("secrets")
	ServiceAccounts = core("serviceaccounts")
	Services        = core("services")
	Volumes         = core("persistentvolumes")

	DaemonSets   = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}
	Deployments  = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	StatefulSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}

	IngressClasses  = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingressclasses"}
	NetworkPolicies = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}

	CronJobs = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "cronjobs"}
	Jobs     = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}

	Leases = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}

	StorageClasses = schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"}
	CRDs           = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

	// Clusters are CloudNativePG's PostgreSQL clusters.
	Clusters = schema.GroupVersionResource{Group: "postgresql.cnpg.io", Version: "v1", Resource: "clusters"}
	// Backups are CloudNativePG's backups of them.
	Backups = schema.GroupVersionResource{Group: "postgresql.cnpg.io", Version: "v1", Resource: "backups"}
)

func core(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: resource}
}
