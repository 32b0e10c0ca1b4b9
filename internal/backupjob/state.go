package backupjob

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// state is what a restore has to remember beyond its client's life.
type state struct {
	// Backup is what is being restored, Safety the backup of what was there before.
	Backup string `json:"backup"`
	Safety string `json:"safety,omitempty"`
	// Replicas is how many pods each service had.
	Replicas map[string]int32 `json:"replicas"`
}

const stateKey = "restore.json"

// stateName is that of the ConfigMap. It is called after the Job.
func (r *Restore) stateName() string { return r.Plan.Restore.Name }

func (r *Restore) readState(ctx context.Context) (state, error) {
	var s state
	config, err := kube.Get[corev1.ConfigMap](ctx, r.Client, kube.ConfigMaps, r.Namespace, r.stateName())
	if apierrors.IsNotFound(err) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("look for ConfigMap %s in namespace %s: %s", r.stateName(), r.Namespace, kube.Brief(err))
	}
	if err := json.Unmarshal([]byte(config.Data[stateKey]), &s); err != nil || s.Backup == "" {
		return s, hook.Refusef(finding.BackupUnfinished, "scale the services as they should be, then delete it",
			"ConfigMap %s in namespace %s should hold how far a restore is, and does not", r.stateName(), r.Namespace)
	}
	return s, nil
}

func (r *Restore) writeState(ctx context.Context, s state) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	config := &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: r.stateName(), Labels: map[string]string{
			kube.ManagedByLabel: kube.FieldManager, "app.kubernetes.io/part-of": "neutree", "app.kubernetes.io/instance": r.Plan.Release,
		}},
		Data: map[string]string{stateKey: string(raw)},
	}
	if err := r.Client.Create(ctx, kube.ConfigMaps, r.Namespace, config, false); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return hook.Failf(hook.Busy, finding.BackupBusy, "wait until it ends",
				"another restore has just begun in namespace %s", r.Namespace)
		}
		return fmt.Errorf("note the restore in namespace %s: %s", r.Namespace, kube.Brief(err))
	}
	return nil
}

func (r *Restore) deleteState(ctx context.Context) error {
	err := r.Client.Resource(kube.ConfigMaps, r.Namespace).Delete(ctx, r.stateName(), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ConfigMap %s in namespace %s: %s", r.stateName(), r.Namespace, kube.Brief(err))
	}
	return nil
}
