package hook

// OperatorSpec says what a revision makes of the CloudNativePG operator. Besides the release's own database there may
// be others in the cluster that depend on the operator.
type OperatorSpec struct {
	// Release and Namespace are those of the release.
	Release   string `json:"release"`
	Namespace string `json:"namespace"`
	// Cluster is the release's own database in that namespace, empty where it is external.
	Cluster string `json:"cluster,omitempty"`
	// Bundled says that the revision contains the operator.
	Bundled bool `json:"bundled"`
	// RunsIn is the namespace of the operator's Deployment, and ConfigMap that of its settings there.
	RunsIn    string `json:"runsIn"`
	ConfigMap string `json:"configMap,omitempty"`
	// Image is the operator's image, if the revision contains one.
	Image string `json:"image,omitempty"`
	// Watches names the namespaces that the operator looks after, separated by commas. Empty: all of them.
	Watches string `json:"watches,omitempty"`
	// Definitions are the names of the operator's CustomResourceDefinitions, and Rendered says that they are part of
	// the revision.
	Definitions []string `json:"definitions,omitempty"`
	Rendered    bool     `json:"rendered,omitempty"`
	// AllowChange lets a change of the operator pass that other databases would feel, or its removal.
	AllowChange bool `json:"allowChange,omitempty"`
	// Installation is the ConfigMap that describes the installation. Where no value can allow a change, as during a
	// rollback or an uninstall, an annotation of it does.
	Installation string `json:"installation,omitempty"`
}
