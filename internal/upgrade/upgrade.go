// Package upgrade migrates the database before an upgrade replaces any service, so that a migration
// that fails leaves the old ones serving.
package upgrade

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// answerTime bounds the wait for a database that ran until now: one that is down stays down, and the
// person who upgrades should hear of it soon.
const answerTime = time.Minute

// Upgrade is what has to be done before the objects of the new revision are applied.
type Upgrade struct {
	Log      *slog.Logger
	Client   *kube.Client
	Spec     hook.MigrateSpec
	Migrator migrate.Migrator
}

// Run migrates, if there is a database by now, and clears the way for the bootstrap Job. It returns one
// sentence on what it did.
func (u *Upgrade) Run(ctx context.Context) (string, error) {
	if err := u.removeFailedJob(ctx); err != nil {
		return "", err
	}
	if u.Spec.Cluster != "" {
		cluster := database.New(u.Log, u.Client, u.Spec.Namespace, u.Spec.Cluster)
		running, err := cluster.Running(ctx)
		if err != nil {
			return "", err
		}
		if !running {
			return "there is no running database yet: bootstrap will migrate it", nil
		}
		answer, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		if err := cluster.WaitForSQL(answer, u.Migrator.URL); err != nil {
			return "", err
		}
	}
	if u.Spec.External != nil {
		answer, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		if err := database.PrepareExternal(answer, u.Log, u.Migrator.URL, *u.Spec.External); err != nil {
			return "", err
		}
	}
	result, err := u.Migrator.Apply(ctx, u.Spec.Set, u.Spec.Migrations)
	if err != nil {
		return "", err
	}
	return result.String(), nil
}

// removeFailedJob deletes the bootstrap Job of the new revision if an earlier attempt left it failed: Helm
// leaves an object alone that did not change, so nothing would try again.
func (u *Upgrade) removeFailedJob(ctx context.Context) error {
	name := u.Spec.FailedJob
	if name == "" {
		return nil
	}
	job, err := kube.Get[batchv1.Job](ctx, u.Client, kube.Jobs, u.Spec.Namespace, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for Job %s in namespace %s: %w", name, u.Spec.Namespace, err)
	}
	if !failed(job) {
		return nil
	}
	u.Log.Info("an earlier attempt failed: its Job is deleted, so that it runs again", "job", name)
	background := metav1.DeletePropagationBackground
	err = u.Client.Resource(kube.Jobs, u.Spec.Namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete the failed Job %s in namespace %s: %w", name, u.Spec.Namespace, err)
	}
	return hook.Poll(ctx, u.Log, "Job "+name+" to be gone", func(ctx context.Context) (bool, string, error) {
		_, err := kube.Get[batchv1.Job](ctx, u.Client, kube.Jobs, u.Spec.Namespace, name)
		if apierrors.IsNotFound(err) {
			return true, "", nil
		}
		return false, "it is still there", nil
	})
}

func failed(job *batchv1.Job) bool {
	for _, condition := range job.Status.Conditions {
		if condition.Type == batchv1.JobFailed && condition.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
