package hook

import (
	"errors"
	"fmt"
)

// PrepareSpec says what has to be so before any object of a revision is applied. Of what an install or an
// earlier revision would have made, nothing need be there.
type PrepareSpec struct {
	Namespace string      `json:"namespace"`
	Guard     GuardSpec   `json:"guard"`
	Gate      GateSpec    `json:"gate"`
	Secrets   SecretsSpec `json:"secrets"`
	Pull      PullSpec    `json:"pull"`
	Migrate   MigrateJob  `json:"migrate"`
	// Restart are the Deployments that are restarted when a Secret of theirs has changed.
	Restart []string `json:"restart,omitempty"`
}

// GateSpec says what an upgrade must not change.
type GateSpec struct {
	// ConfigMap holds what the release is installed with, and Release's name.
	ConfigMap string `json:"configMap"`
	Release   string `json:"release"`
	// Fixed are the values that can't change later.
	Fixed []FixedValue `json:"fixed,omitempty"`
	// EncryptionKey is where the key stands that credentials in the database are encrypted with.
	EncryptionKey *SecretRef `json:"encryptionKey,omitempty"`
	// Manifest is the file with the Cluster, if the database is ours.
	Manifest string `json:"manifest,omitempty"`
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
	// ConfigMap may have the annotation that lets a rollback pass.
	ConfigMap string     `json:"configMap"`
	Database  MigrateJob `json:"database"`
}

// Validate reports what the spec lacks.
func (s RollbackSpec) Validate() error {
	if s.Namespace == "" || s.ConfigMap == "" {
		return errors.New("namespace or configMap is empty")
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
