package prepare

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// AcrossAnnotation, on the ConfigMap that describes the installation, names the breaking migrations that a rollback
// may go back across all the same. It names them, so that it does not outlive its purpose.
const AcrossAnnotation = "neutree.ai/rollback-across"

// Rollback decides whether the services of an older revision may meet the database as it is. The hook that asks is
// the older revision's own, so what it can't know stands in the database.
type Rollback struct {
	Log    *slog.Logger
	Client *kube.Client
	Spec   hook.RollbackSpec
}

// Run returns one sentence on how the revision stands to the database. A database that does not answer is no reason
// to refuse: going back may be what fixes it.
func (r *Rollback) Run(ctx context.Context) (string, error) {
	p := &Prepare{Log: r.Log, Client: r.Client, Spec: hook.PrepareSpec{Namespace: r.Spec.Namespace, Migrate: r.Spec.Database}}
	db, err := p.findDatabase(ctx)
	err = cmp.Or(err, db.silence)
	switch {
	case err != nil:
		r.Log.Warn("the database could not be asked whether this revision can use it", "cause", err.Error())
		return "the database could not be asked", nil
	case !db.answers:
		return "there is no running database", nil
	}
	if across := strings.Join(db.state.Breaking, ","); across != "" {
		allowed, err := r.allowed(ctx)
		if err != nil {
			return "", err
		}
		if allowed != across {
			return "", hook.Refuse(r.breaking(across))
		}
		r.Log.Warn("rolling back across breaking migrations, as the annotation allows", "migrations", across)
	}
	if len(db.state.Ahead) > 0 {
		ahead := strings.Join(db.state.Ahead, ", ")
		r.Log.Warn("the database stays ahead of the services: its newer migrations only added something, and nothing takes them back", "migrations", ahead)
		return "the database stays ahead by " + ahead, nil
	}
	return "the database fits this revision", nil
}

// breaking is the refusal, with every way out of it: Helm leaves the release pending.
func (r *Rollback) breaking(across string) finding.Finding {
	spec := r.Spec
	return finding.Finding{
		ID: finding.UpgradeRollback, Severity: finding.Error, Object: fmt.Sprintf("release %s in namespace %s", spec.Release, spec.Namespace),
		Found: fmt.Sprintf("the services of this revision can't run on the database, which migrations have changed for good since (%s)", across),
		Why:   "nothing was changed",
		Fix: fmt.Sprintf("fix the newer version and run helm upgrade; or restore a backup from before those "+
			"migrations (helm neutree backup list --namespace %s); or roll back all the same with kubectl annotate --overwrite configmap %s "+
			"--namespace %s %s=%s. Helm leaves the release pending-rollback: first run helm neutree recover %s --namespace %s",
			spec.Namespace, spec.ConfigMap, spec.Namespace, AcrossAnnotation, across, spec.Release, spec.Namespace),
	}
}

func (r *Rollback) allowed(ctx context.Context) (string, error) {
	live, err := kube.Get[corev1.ConfigMap](ctx, r.Client, kube.ConfigMaps, r.Spec.Namespace, r.Spec.ConfigMap)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read ConfigMap %s in namespace %s: %w", r.Spec.ConfigMap, r.Spec.Namespace, err)
	}
	return live.Annotations[AcrossAnnotation], nil
}
