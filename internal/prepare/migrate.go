package prepare

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/examine"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/secret"
)

// answerTime bounds the wait for a database that ran until now: one that is down stays down, and the
// person who upgrades should hear of it soon.
const answerTime = time.Minute

// found is the release's database, as it is before anything is done to it.
type found struct {
	answers bool
	// kept is a database that holds data and can't be asked: bootstrap wakes or fixes it.
	kept bool
	// silence is why one that is meant to run does not answer, or refuses the login.
	silence error
	url     string
	// state is what it says of itself.
	state examine.Database
}

// findDatabase looks for the database. None, one that is stopped, or one whose address nobody has made yet, is
// nothing to migrate now: bootstrap will.
func (p *Prepare) findDatabase(ctx context.Context) (found, error) {
	spec := p.Spec.Migrate
	cluster := database.New(p.Log, p.Client, p.Spec.Namespace, spec.Cluster)
	if spec.External == nil {
		presence, err := cluster.Presence(ctx)
		if presence != database.Running || err != nil {
			return found{kept: presence == database.Stopped}, err
		}
	}
	url, err := p.databaseURL(ctx)
	if url == "" || err != nil {
		return found{kept: spec.External == nil}, err
	}
	answer, cancel := context.WithTimeout(ctx, cmp.Or(p.AnswerTime, answerTime))
	defer cancel()
	if spec.External != nil {
		err = database.PrepareExternal(answer, p.Log, url, *spec.External)
	} else if err = cluster.WaitForSQL(answer, url); hook.CodeOf(err) == hook.Deadline || refusedLogin(err) {
		return found{kept: true, url: url, silence: err}, nil
	}
	if err != nil {
		return found{}, err
	}
	state, err := examine.Read(ctx, url, spec.Sets)
	return found{answers: err == nil, url: url, state: state}, err
}

// refusedLogin says whether a database that answers is of no use, since it takes no login.
func refusedLogin(err error) bool {
	return slices.Contains(finding.Of(err).IDs(), string(finding.DatabaseLogin))
}

// silent judges an upgrade of a release whose own database does not answer. What migrates waits until it does; one with
// the images that run has nothing to migrate, and may be what fixes it; so may an install where nothing runs.
func (p *Prepare) silent(ctx context.Context, db found) ([]finding.Finding, error) {
	if db.silence == nil {
		return nil, nil
	}
	if upgrades, err := p.upgradesData(ctx); upgrades || err != nil {
		return nil, err
	}
	replaced, there, err := p.replacedSets(ctx)
	if err != nil {
		return nil, err
	}
	if there && len(replaced) > 0 && refusedLogin(db.silence) {
		return finding.Of(db.silence), nil
	}
	if there && len(replaced) > 0 {
		return []finding.Finding{{
			ID: finding.UpgradeDatabaseSilent, Severity: finding.Error, Object: fmt.Sprintf("Cluster %s/%s", p.Spec.Namespace, p.Spec.Migrate.Cluster),
			Found: db.silence.Error(), Why: "new images may bring migrations, which need it",
			Fix: "fix it first, by an upgrade that leaves the images of the services as they are",
		}}, nil
	}
	p.Log.Warn("the database could not be asked; the upgrade continues, since it brings no migrations and may fix it",
		"cause", db.silence.Error())
	return nil, nil
}

// newSources are the sources of migrations whose images do not run yet. What runs already is no step back, even where
// the database is ahead of it: an upgrade that failed may have migrated it.
func (p *Prepare) newSources(ctx context.Context, _ examine.Database) ([]string, error) {
	replaced, _, err := p.replacedSets(ctx)
	var sources []string
	for _, set := range replaced {
		sources = append(sources, set.Source)
	}
	return sources, err
}

// replacedSets are the sets of migrations whose images do not run yet, and whether anything of the release is there.
func (p *Prepare) replacedSets(ctx context.Context) (replaced []hook.Migration, there bool, err error) {
	running := map[string]bool{}
	for _, w := range p.Spec.Pull.Workloads {
		live, err := kube.Get[appsv1.Deployment](ctx, p.Client, kube.Deployments, p.Spec.Namespace, w.Deployment)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("read Deployment %s in namespace %s: %w", w.Deployment, p.Spec.Namespace, err)
		}
		there = true
		for _, c := range live.Spec.Template.Spec.InitContainers {
			for _, arg := range c.Args {
				running[arg] = true
			}
		}
	}
	for _, set := range p.Spec.Migrate.Sets {
		if !running["--set="+set.Set] {
			replaced = append(replaced, set)
		}
	}
	return replaced, there, nil
}

// databaseURL is where this revision's services will find the database, "" where it is not known yet. It may differ from
// the one that the release uses now: another database from outside, or a new password.
func (p *Prepare) databaseURL(ctx context.Context) (string, error) {
	spec := p.Spec.Migrate
	url, derived, err := secret.Derive(ctx, p.Log, p.Client.Resource(kube.Secrets, p.Spec.Namespace), p.Spec.Secrets,
		spec.URL)
	if err != nil || url != "" || derived && spec.External != nil {
		return url, err
	}
	return p.secretKey(ctx, spec.URL)
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

// work is what is left to do for a database once it was asked.
type work struct {
	// said is a sentence on a database that needs nothing.
	said string
	// job migrates, where there is something to do; save tells that the database has to be saved before that.
	job  *batchv1.Job
	save bool
}

// ask finds out what there is to do for the database and migrates nothing. Where the record says that these images have
// nothing to add that is soon told, else the Job that migrates says so itself.
func (p *Prepare) ask(ctx context.Context, db found) (work, error) {
	spec := p.Spec.Migrate
	switch {
	case !db.answers:
		return work{said: "there is no running database that could be asked: bootstrap will migrate it"}, nil
	case len(db.state.Unknown) == 0:
		return work{said: "the schema was up to date"}, nil
	}
	p.Log.Info("images that have never migrated this database", "sources", strings.Join(db.state.Unknown, ", "))
	job, err := jobrun.ReadManifest(spec.Job)
	if err != nil {
		return work{}, err
	}
	if spec.Backup == "" || db.state.Empty {
		return work{job: job}, nil
	}
	asking := job.DeepCopy()
	main := &asking.Spec.Template.Spec.Containers[0]
	main.Args = append(main.Args, unlessPending)
	message, err := p.Jobs.Run(ctx, asking)
	if hook.CodeOf(err) == hook.Pending {
		p.Log.Info("the database is saved before it is migrated", "plan", err.Error())
		return work{job: job, save: true}, nil
	}
	return work{said: message}, err
}

// migrate does what there is to do.
func (p *Prepare) migrate(ctx context.Context, todo work) (string, error) {
	switch {
	case todo.job == nil:
		return todo.said, nil
	case !todo.save:
		return p.Jobs.Run(ctx, todo.job)
	}
	saved, err := p.save(ctx, (*backupjob.Runner).BeforeUpgrade)
	if err != nil {
		return "", fmt.Errorf("nothing was migrated, since the backup before it failed (--set global.backup.skip=true leaves it out): %w", err)
	}
	message, err := p.Jobs.Run(ctx, todo.job)
	if err != nil {
		return "", fmt.Errorf("%w (%s)", err, saved)
	}
	return saved + "; " + message, nil
}

// save makes a backup by what the plan says. A scheduled backup would use its volume, and later tables that are
// migrated.
func (p *Prepare) save(
	ctx context.Context, do func(*backupjob.Runner, context.Context) (string, error),
) (string, error) {
	plan, err := hook.ReadSpec[backupjob.Plan](p.Spec.Migrate.Backup)
	if err != nil {
		return "", err
	}
	if err := p.precedence.Take(ctx); err != nil {
		return "", err
	}
	r := backupjob.New(p.Log, p.Client, p.Spec.Namespace, plan)
	r.Jobs = p.Jobs
	return do(r, ctx)
}
