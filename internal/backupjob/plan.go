// Package backupjob makes, lists, deletes and restores backups from outside: it runs the Jobs that do the work where
// the claim with the backups is mounted.
package backupjob

import (
	"errors"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// PlanFile is the key and the file that holds a Plan.
const PlanFile = "backup-plan.yaml"

// Plan is what the chart says about the backups of a release.
type Plan struct {
	Release string `json:"release"`
	// Revision is that of the release which says so.
	Revision int `json:"revision"`
	// Claim holds the backups. It is no part of the release, and outlives it.
	Claim corev1.PersistentVolumeClaim `json:"claim"`
	// Create runs everything but a restore, Restore also has the migrations of the release.
	Create  batchv1.Job `json:"create"`
	Restore batchv1.Job `json:"restore"`
	// Cluster is the CloudNativePG Cluster whose image holds the programs; empty when the manifests name one.
	Cluster string `json:"cluster,omitempty"`
	// Snapshot is a CloudNativePG Backup to make beside each dump, without a name.
	Snapshot map[string]any `json:"snapshot,omitempty"`
	// Writers are the Deployments that use the databases.
	Writers []string `json:"writers"`
	// Drill is what a drill runs; nil for an external database, where there need be no operator.
	Drill *DrillPlan `json:"drill,omitempty"`
	// Workspaces is the namespace of the workspaces; a plan of version 0.1.0 does not say it.
	Workspaces string `json:"workspaces,omitempty"`
}

// DrillPlan is the throw-away database of a drill, and the Job that fills it.
type DrillPlan struct {
	// Cluster is a CloudNativePG Cluster of one instance. Its image and the size of its volume are decided by the backup.
	Cluster map[string]any `json:"cluster"`
	// Live is the Cluster of the release, whose image is used.
	Live string `json:"live"`
	// Policy admits only the Job and the operator to it; empty where the release has no NetworkPolicies.
	Policy map[string]any `json:"policy,omitempty"`
	Job    batchv1.Job    `json:"job"`
	// Record is the ConfigMap that says how the last drill ended.
	Record string `json:"record"`
}

// Validate reports what the plan lacks.
func (p Plan) Validate() error {
	switch {
	case p.Release == "":
		return errors.New("release is empty")
	case p.Claim.Kind != "PersistentVolumeClaim" || p.Claim.Name == "":
		return errors.New("claim is no PersistentVolumeClaim with a name")
	case len(p.Writers) == 0:
		return errors.New("writers is empty")
	}
	for _, job := range []batchv1.Job{p.Create, p.Restore} {
		if job.Kind != "Job" || job.Name == "" || len(job.Spec.Template.Spec.Containers) != 1 {
			return errors.New("create and restore must be Jobs with a name and one container")
		}
	}
	if d := p.Drill; d != nil && (d.Job.Name == "" || len(d.Job.Spec.Template.Spec.Containers) != 1 || d.Record == "" ||
		len(d.Cluster) == 0) {
		return errors.New("drill must name a Cluster, a Job with one container and a ConfigMap for the record")
	}
	return nil
}
