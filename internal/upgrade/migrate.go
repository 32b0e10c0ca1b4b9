package upgrade

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// answerTime bounds the wait for a database that ran until now: one that is down stays down, and the
// person who upgrades should hear of it soon.
const answerTime = time.Minute

// found is the release's database, as it is before anything is done to it.
type found struct {
	answers  bool
	standing migrate.Standing
}

// older is the reason to refuse images that are older than the database, if there is one.
func (d found) older(allow hook.GateOverrides) string {
	if allow.OlderImages || len(d.standing.Ahead) == 0 {
		return ""
	}
	return migrate.Older(d.standing.Ahead)
}

// findDatabase looks for the database. None, one that is stopped, or one whose address nobody has made yet, is
// nothing to migrate now: bootstrap will.
func (p *Prepare) findDatabase(ctx context.Context) (found, error) {
	spec := p.Spec.Migrate
	url, err := p.secretKey(ctx, spec.URL)
	if url == "" || err != nil {
		return found{}, err
	}
	answer, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if spec.External != nil {
		err = database.PrepareExternal(answer, p.Log, url, *spec.External)
	} else {
		cluster := database.New(p.Log, p.Client, p.Spec.Namespace, spec.Cluster)
		running, rerr := cluster.Running(ctx)
		if rerr != nil || !running {
			return found{}, rerr
		}
		err = cluster.WaitForSQL(answer, url)
	}
	if err != nil {
		return found{}, err
	}
	standing, err := migrate.Compare(ctx, url, spec.Sets)
	return found{answers: err == nil, standing: standing}, err
}

// secretKey reads one key of a Secret, "" where there is none.
func (p *Prepare) secretKey(ctx context.Context, ref hook.SecretRef) (string, error) {
	s, err := kube.Get[corev1.Secret](ctx, p.Client, kube.Secrets, p.Spec.Namespace, ref.Secret)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read Secret %s in namespace %s: %s", ref.Secret, p.Spec.Namespace, kube.Brief(err))
	}
	return string(s.Data[ref.Key]), nil
}

// unlessPending makes the Job that migrates end with hook.Pending, and nothing changed, where it has something to do.
const unlessPending = "--unless-pending"

// migrate runs the Job that migrates, unless the record says that these images have nothing to add. Where there is
// something to do the database is saved first.
func (p *Prepare) migrate(ctx context.Context, db found) (string, error) {
	spec := p.Spec.Migrate
	switch {
	case !db.answers:
		return "there is no running database yet: bootstrap will migrate it", nil
	case len(db.standing.Unknown) == 0:
		return "the schema was up to date", nil
	}
	p.Log.Info("images that have never migrated this database", "sources", strings.Join(db.standing.Unknown, ", "))
	job, err := jobrun.ReadManifest(spec.Job)
	if err != nil {
		return "", err
	}
	if spec.Backup == "" {
		return p.Jobs.Run(ctx, job)
	}
	asking := job.DeepCopy()
	main := &asking.Spec.Template.Spec.Containers[0]
	main.Args = append(main.Args, unlessPending)
	message, err := p.Jobs.Run(ctx, asking)
	if hook.CodeOf(err) != hook.Pending {
		return message, err
	}
	p.Log.Info("the database is saved before it is migrated", "plan", err.Error())
	backup, err := jobrun.ReadManifest(spec.Backup)
	if err != nil {
		return "", err
	}
	saved, err := p.Jobs.Run(ctx, backup)
	if err != nil {
		return "", fmt.Errorf("nothing was migrated, since the backup before it failed: %w", err)
	}
	message, err = p.Jobs.Run(ctx, job)
	if err != nil {
		return "", fmt.Errorf("%w (%s)", err, saved)
	}
	return saved + "; " + message, nil
}
