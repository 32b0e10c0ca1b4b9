// Package requirement holds what an installation would need of a cluster. All of it is derived from the
// rendered chart, so that what is checked is what would be installed.
package requirement

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Set is what one installation needs.
type Set struct {
	// Release and Namespace are what `helm install RELEASE -n NAMESPACE` is given.
	Release   string
	Namespace string
	// Workspaces is the namespace that workspaces run in. It may be the release's own.
	Workspaces string
	// WorkspacesCreated says that the release makes that namespace.
	WorkspacesCreated bool
	// Prefix is the first part of all names.
	Prefix string
	Chart  Chart
	// Values are the user's values over the chart's defaults.
	Values map[string]any
	// Refusal is what the chart itself says against an install on this cluster, empty where it has no objection.
	Refusal string
	// KeptNulls are the paths of values that the user set to null and that keep their defaults all the same.
	KeptNulls []string

	// Objects are all objects: the release's, its hooks, and what is made of them at run time. Those that live
	// in a namespace name it.
	Objects []Object
	// Later are what hooks and the operator create besides, known by kind and name alone, HookJobs the Jobs that the
	// hook before an upgrade runs, and Backup the one that makes a backup, nil where backups are off.
	Later    []Object
	HookJobs []Pod
	Backup   *Pod

	Pods   []Pod
	Images []Image
	// ImageValues are the chart values that name images, by the image's reference. Not all of these are pulled.
	ImageValues map[string][]string
	Claims      []Claim
	NodePorts   []NodePort
	HostPorts   []HostPort
	PodSecurity []PodSecurity
	APIs        []API
	Secrets     []Secret
	// Prepare is what the chart's own hook proves before an install and an upgrade: it knows which value each requirement
	// comes from, and what must not change.
	Prepare hook.PrepareSpec
	// Lookups tells what the templates ask the cluster for; it renders the chart twice more. It may be nil.
	Lookups func() ([]chart.Lookup, error)

	Exposure  Exposure
	Database  Database
	Operator  Operator
	Workspace Workspace
	Egress    Egress
	// Directory is nil where log-in by a directory is off.
	Directory *Directory
	// Relay is nil where no browser is watched through a relay.
	Relay *Relay
}

// Chart is what would be installed.
type Chart struct {
	Path        string
	Name        string
	Version     string
	KubeVersion string
}

// Maker is who makes an object.
type Maker string

// The makers. Helm makes the release's objects and the hooks, with the installer's rights; the others act with the
// rights that the release gives them.
const (
	Helm          Maker = "helm"
	Bootstrap     Maker = "bootstrap"
	CloudNativePG Maker = "cloudnative-pg"
	Runner        Maker = "runner"
)

// Object is one object that an installation makes.
type Object struct {
	*unstructured.Unstructured
	// Source is the template it comes from, or what it is made of at run time.
	Source string
	By     Maker
	// Hook is nil for what is no hook.
	Hook *chart.Hook
	// KeepsSize says of a PVC that the values name no size for it: one that exists keeps its own.
	KeepsSize bool
}

// Pod is one kind of pod that an installation runs.
type Pod struct {
	// Owner is the object whose pod it is, e.g. "Deployment nap-cp".
	Owner     string
	Namespace string
	Labels    map[string]string
	Spec      corev1.PodSpec
	// Replicas are how many there are at once while nothing changes; 0 for Jobs, which end.
	Replicas int32
	// Surge is how many more there are while a rollout replaces them; for Jobs how many run at once.
	Surge int32
	// EveryNode is set for DaemonSets: one on each node that the pod fits.
	EveryNode bool
	// Job is set for what ends by itself.
	Job bool
	By  Maker
	// Why says in words what it is for, e.g. "the control plane".
	Why string
	// Value is the chart value that changes what it asks for, where one does.
	Value string
}

// Image is one image that nodes must be able to pull.
type Image struct {
	Ref         string
	PullPolicy  corev1.PullPolicy
	PullSecrets []string
	Namespace   string
	// Owners are the objects whose pods run it.
	Owners []string
	// Why says in words what it is for.
	Why string
	// Value is the chart value that names it.
	Value string
	// Runtime is set for images that no pod of the release runs, such as those of workspaces.
	Runtime bool
	// NodeSelector and Tolerations decide which nodes pull it. One image of several pods is listed once for each
	// different set of them.
	NodeSelector map[string]string
	Affinity     *corev1.Affinity
	Tolerations  []corev1.Toleration
}

// Claim is one volume that is asked for.
type Claim struct {
	Name      string
	Namespace string
	// Class is empty to let the cluster choose.
	Class      string
	AccessMode corev1.PersistentVolumeAccessMode
	Size       resource.Quantity
	// KeepsSize says that Size is a default: a PVC that exists keeps its own.
	KeepsSize bool
	// Count is how many there are, at least. Selector finds those that others name.
	Count    int32
	Selector string
	// Grows is set where the class must allow an expansion later.
	Grows bool
	// User and Group are whom files in it must belong to or be writable for; nil where any will do.
	User, Group *int64
	By          Maker
	// Why says in words what it is for, as it reads after "for": "PostgreSQL", "the volume that all workspaces share".
	Why string
	// Value is the chart value that names its class.
	Value string
}

// NodePort is a port that a Service takes on every node.
type NodePort struct {
	Service   string
	Namespace string
	// Port is 0 where the cluster chooses.
	Port     int32
	Protocol corev1.Protocol
	Value    string
	// Before are other Services of the release that may have it until then.
	Before []string
}

// HostPort is a port that a pod takes on its node, up to and including Last.
type HostPort struct {
	Owner     string
	Namespace string
	Port      int32
	Last      int32
	Protocol  corev1.Protocol
	Value     string
}

// PodSecurity is a namespace and the level that it must admit.
type PodSecurity struct {
	Namespace string
	// Level is privileged, baseline or restricted: the strictest that lets every pod of it in.
	Level string
	// Pods are the owners of the pods that need it.
	Pods []string
	// Created is set where the release makes the namespace, with the labels that it needs.
	Created bool
	Value   string
}

// API is a kind of object that an installation makes.
type API struct {
	schema.GroupVersionKind
	// Brought is set where the release brings its CustomResourceDefinition.
	Brought bool
	// Source is where it is used first.
	Source string
	Value  string
}

// Secret is one that the chart makes, or that the user must have made.
type Secret struct {
	hook.Secret
	Namespace string
}

// Exposure is how users reach the platform.
type Exposure struct {
	// Type is nodePort, clusterIP, ingress or gateway.
	Type string
	// Host is global.host.
	Host string
	// URLs are the public origins by name: web, files, sandbox, browser.
	URLs map[string]string
	// Ingress is used with type ingress, Gateways with type gateway.
	Ingress  Ingress
	Gateways []Gateway
	// TLS says that users come by https.
	TLS bool
	// OpenPaths says that a node port leads to all paths of the control plane.
	OpenPaths bool
}

// Ingress is what an ingress controller is asked for.
type Ingress struct {
	Class string
	// Hosts are the names by the Secret with their certificate, which may be empty.
	Hosts []IngressHost
	// Issued is set where an annotation asks cert-manager for the certificate.
	Issued bool
}

// IngressHost is a name and the Secret with its certificate.
type IngressHost struct {
	Host      string
	TLSSecret string
	Value     string
}

// Gateway is one that routes attach to.
type Gateway struct {
	Namespace, Name, Section string
	Hosts                    []string
}

// Database is where data is kept.
type Database struct {
	// Mode is cnpg or external.
	Mode string
	Name string
	User string
	// Connections is how many the services open at most.
	Connections int
	// Cluster is the name of the CloudNativePG Cluster, Instances how many pods it has, for mode cnpg.
	Cluster   string
	Instances int32
	// SnapshotClass is the VolumeSnapshotClass that backups use beside dumps; mostly empty.
	SnapshotClass string
	// External is for mode external.
	External ExternalDatabase
}

// ExternalDatabase is a database that exists already.
type ExternalDatabase struct {
	Host     string
	Port     int32
	SSLMode  string
	Secret   string
	UserKey  string
	PassKey  string
	URLKey   string
	CASecret string
	CAKey    string
}

// Operator is CloudNativePG's.
type Operator struct {
	// Bundled says that the release brings it, CRDs that it brings its CustomResourceDefinitions.
	Bundled bool
	CRDs    bool
	// Image is that of the bundled one.
	Image string
}

// Workspace is how workspaces are made.
type Workspace struct {
	NodeSelector map[string]string
	MultiReplica bool
	PullSecrets  []string
	// ControlPlaneURL and AFSAddress are what workspaces call.
	ControlPlaneURL string
	AFSAddress      string
}

// Egress is what workspaces may connect to.
type Egress struct {
	// Mode is global.networkPolicies.workspaceEgress.mode, one of package egress.
	Mode string
	// Policy limits them. It is nil where the release has none.
	Policy *networkingv1.NetworkPolicy
}

// Directory is where users log in by.
type Directory struct {
	URL                  string
	BindDN               string
	Secret, SecretKey    string
	SearchBase           string
	SearchFilter         string
	Username, Name, Mail string
	// CASecret and CAKey hold the authorities that are trusted beside the public ones; they may be empty.
	CASecret, CAKey string
}

// Relay is what browsers are watched through.
type Relay struct {
	// Own says that the release runs it; else Host names one that is there.
	Own      bool
	Host     string
	Port     int32
	Min, Max int32
	// HostNetwork says that it takes all its ports on its node, HostPort that it takes Port there.
	HostNetwork  bool
	HostPort     bool
	NodeSelector map[string]string
	Tolerations  []corev1.Toleration
	Owner        string
}

// OnNode says whether users reach it by an address of its node.
func (r *Relay) OnNode() bool { return r.HostNetwork || r.HostPort }
