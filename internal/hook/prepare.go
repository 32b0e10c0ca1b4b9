package hook

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// PrepareSpec says what has to be so before any object of a revision is applied. Of what an install or an
// earlier revision would have made, nothing need be there.
type PrepareSpec struct {
	Namespace string `json:"namespace"`
	// Revision is NAMESPACE/RELEASE/NUMBER of the upgrade that this prepares, "" where Helm keeps no record of it.
	Revision string `json:"revision,omitempty"`
	// Stop are the Jobs that an earlier upgrade may have left running.
	Stop []string `json:"stop,omitempty"`

	Guard   GuardSpec   `json:"guard"`
	Gate    GateSpec    `json:"gate"`
	Secrets SecretsSpec `json:"secrets"`
	// Workloads are what Helm applies after this.
	Workloads WorkloadsSpec `json:"workloads,omitzero"`
	Pull      PullSpec      `json:"pull"`
	Migrate   MigrateJob    `json:"migrate"`
	Seed      SeedJob       `json:"seed"`
	// Operator is what the revision makes of the CloudNativePG operator.
	Operator *OperatorSpec `json:"operator,omitempty"`
	// BackupClaim is the PVC of backups, which may not exist.
	BackupClaim string `json:"backupClaim,omitempty"`
	// TimeZone is that of the schedule of backups, "" for none.
	TimeZone string `json:"timeZone,omitempty"`
	// Restart are the Deployments that are restarted when a Secret of theirs has changed.
	Restart []string `json:"restart,omitempty"`
	// FreePortOf is the Service whose node port another one gets in this revision, "" if none changes.
	FreePortOf string `json:"freePortOf,omitempty"`
}

// SeedJob says how a database is seeded that was migrated before.
type SeedJob struct {
	// Job is the file with the Job, Spec the file that the Job reads.
	Job  string `json:"job"`
	Spec string `json:"spec"`
}

// GateSpec says what an upgrade must not change.
type GateSpec struct {
	// ConfigMap holds what the release is installed with, and Release's name.
	ConfigMap string `json:"configMap"`
	Release   string `json:"release"`
	// Fixed are the values that can't change later.
	Fixed []FixedValue `json:"fixed,omitempty"`
	// RestoreNote is the ConfigMap that is there while a restore has not ended; empty without backups.
	RestoreNote string `json:"restoreNote,omitempty"`
	// EncryptionKey is where the key stands that credentials in the database are encrypted with.
	EncryptionKey *SecretRef `json:"encryptionKey,omitempty"`
	// Manifest is the file with the Cluster, if the database is ours.
	Manifest string `json:"manifest,omitempty"`
	// DefaultImage says that the image of PostgreSQL in Manifest is the one that the chart names by itself.
	DefaultImage bool `json:"defaultImage,omitempty"`
	// SharedVolume is the volume of all workspaces, unless the user made its PVC.
	SharedVolume *SharedVolume `json:"sharedVolume,omitempty"`
	// Allow are the reasons that somebody has decided to go past.
	Allow GateOverrides `json:"allow"`
}

// FixedValue is one value that the data of a release hangs on.
type FixedValue struct {
	// Key is where the ConfigMap has it, Setting what it is called in the chart's values.
	Key     string `json:"key"`
	Setting string `json:"setting"`
	Value   string `json:"value"`
	// Secret marks the name of a Secret: its change has an override of its own.
	Secret bool `json:"secret,omitempty"`
}

// GateOverrides are the values below global.upgrade.
type GateOverrides struct {
	OlderImages   bool `json:"olderImages,omitempty"`
	Renames       bool `json:"renames,omitempty"`
	SecretChanges bool `json:"secretChanges,omitempty"`
	KeptValues    bool `json:"keptValues,omitempty"`
	MajorUpgrade  bool `json:"majorUpgrade,omitempty"`
	// AdoptDatabase names the release that the database is taken over from.
	AdoptDatabase string `json:"adoptDatabase,omitempty"`
}

// SharedVolume is the volume that all workspaces share, and where its files are. An empty Source is a StorageClass of
// the cluster's.
type SharedVolume struct {
	// Claim is its PVC, Volume the PersistentVolume and Class the StorageClass that the chart makes for some sources.
	Claim  NamespacedName `json:"claim"`
	Volume string         `json:"volume"`
	Class  string         `json:"class"`
	Source SharedSource   `json:"source,omitzero"`
}

// SharedSource is one of the places that files of all workspaces can be at.
type SharedSource struct {
	// NFS is an export that is the volume itself, CSI one in which csi-driver-nfs makes it.
	NFS *NFSExport `json:"nfs,omitempty"`
	CSI *NFSExport `json:"csi,omitempty"`
	// Folder is one on a node.
	Folder *NodeFolder `json:"folder,omitempty"`
}

// NFSExport is an export of an NFS server.
type NFSExport struct {
	Server string `json:"server"`
	Path   string `json:"path"`
}

// NodeFolder is a folder on a node. An empty Node is the only one with the role control-plane.
type NodeFolder struct {
	Path string `json:"path"`
	Node string `json:"node,omitempty"`
}

// WorkloadsSpec says which workloads the API server is to judge in dry runs.
type WorkloadsSpec struct {
	// Manifests is the file with Workloads; without it none is judged.
	Manifests string `json:"manifests,omitempty"`
	// HookResources are those of the pod that runs this: it is gone when Helm applies the workloads.
	HookResources corev1.ResourceRequirements `json:"hookResources,omitzero"`
	// BringsPriorityClasses says that the release itself creates PriorityClasses, which are missing before it does.
	BringsPriorityClasses bool `json:"bringsPriorityClasses,omitempty"`
	// Account is the ServiceAccount of pods whose own one does not exist yet.
	Account string `json:"account,omitempty"`
	// AllowRefused makes a warning of each refusal.
	AllowRefused bool `json:"allowRefused,omitempty"`
}

// Workloads are those of the release's namespace.
type Workloads struct {
	Workloads []Workload `json:"workloads"`
	// Left are those that did not fit into the file.
	Left []string `json:"left"`
}

// Workload is one object, and the path of its values in the chart.
type Workload struct {
	Value  string                    `json:"value"`
	Object unstructured.Unstructured `json:"object"`
}

// PullSpec lists the images that serve, and the Job that brings those that change to their nodes.
type PullSpec struct {
	Job       string          `json:"job,omitempty"`
	Seconds   int             `json:"seconds,omitempty"`
	Workloads []PulledImage   `json:"workloads,omitempty"`
	Cluster   *PulledDatabase `json:"cluster,omitempty"`
}

// PulledImage is the image of one container of one Deployment.
type PulledImage struct {
	Deployment string `json:"deployment"`
	Container  string `json:"container"`
	Image      string `json:"image"`
}

// PulledDatabase is PostgreSQL's image in a Cluster of ours.
type PulledDatabase struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

// MigrateJob says how a database that is there is migrated before any service is replaced.
type MigrateJob struct {
	// Cluster is the database if it is ours, External if it is not.
	Cluster  string            `json:"cluster,omitempty"`
	External *ExternalDatabase `json:"external,omitempty"`
	// URL is where its address stands.
	URL SecretRef `json:"url"`
	// FailedJob is the bootstrap Job to delete, if an earlier attempt left it failed.
	FailedJob string `json:"failedJob,omitempty"`
	// Sets are what services will wait for; they need no folders here.
	Sets []Migration `json:"sets"`
	// Job is the file with the Job that migrates. Backup, when set, is the file with the plan of the backup before that.
	Job    string `json:"job,omitempty"`
	Backup string `json:"backup,omitempty"`
}

// Validate reports what the spec lacks.
func (s PrepareSpec) Validate() error {
	switch {
	case s.Namespace == "":
		return errors.New("namespace is empty")
	case s.Migrate.Job == "":
		return errors.New("migrate.job is empty")
	}
	return s.Migrate.validate("migrate")
}

// RollbackSpec says how the services of a revision that is gone back to stand to the database.
type RollbackSpec struct {
	Namespace string `json:"namespace"`
	Release   string `json:"release"`
	// Prefix begins the names of the Jobs that an upgrade may have left running.
	Prefix string `json:"prefix"`
	// ConfigMap may have the annotation that lets a rollback pass.
	ConfigMap string `json:"configMap"`
	// RestoreNote is as in GateSpec.
	RestoreNote string     `json:"restoreNote,omitempty"`
	Database    MigrateJob `json:"database"`
	// Manifest is the file with the Cluster, if the database is ours.
	Manifest string `json:"manifest,omitempty"`
	// Operator is what the revision makes of the CloudNativePG operator.
	Operator *OperatorSpec `json:"operator,omitempty"`
	// FreePortOf is as in PrepareSpec.
	FreePortOf string `json:"freePortOf,omitempty"`
	// BootstrapJob is the revision's own, which Helm is to create again.
	BootstrapJob string `json:"bootstrapJob,omitempty"`
}

// Validate reports what the spec lacks.
func (s RollbackSpec) Validate() error {
	if s.Namespace == "" || s.ConfigMap == "" || s.Release == "" || s.Prefix == "" {
		return errors.New("namespace, release, prefix or configMap is empty")
	}
	return s.Database.validate("database")
}

func (m MigrateJob) validate(field string) error {
	switch {
	case len(m.Sets) == 0:
		return fmt.Errorf("%s.sets is empty", field)
	case (m.Cluster == "") == (m.External == nil):
		return fmt.Errorf("one of %s.cluster and %s.external must be set", field, field)
	}
	return nil
}
