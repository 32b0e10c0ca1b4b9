// Package rotate gives keys of a release new random values and restarts the services that read them, and no others.
// Each step may be repeated: what a run that was killed has left, the next one finishes, with the same value.
package rotate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/recover"
	"github.com/neutree-ai/packaging/internal/restart"
	"github.com/neutree-ai/packaging/internal/restorenote"
	"github.com/neutree-ai/packaging/internal/secret"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

// Rotation is one rotation of a release.
type Rotation struct {
	Log       *slog.Logger
	Client    *kube.Client
	Namespace string
	Plan      secretplan.Plan
	// Name is one of Names.
	Name string
	// DryRun has Intend write nothing at all.
	DryRun bool
	// Jobs runs the Jobs that change the database; nil for those of the cluster.
	Jobs jobrun.Jobs
	// Patience is how long another client that has started the rotation of the encryption key may give no sign of life
	// before it counts as dead; 0 means 15 seconds.
	Patience time.Duration
}

// Intent is what a rotation would do. It contains no value.
type Intent struct {
	kind Kind
	keys []hook.SecretRef
	// finish says that the values have changed already, so that no other is made.
	finish  bool
	readers []restart.Reader
	// stopped are the services that stand still until credentials are encrypted again.
	stopped []string
}

// state is what a rotation has found.
type state struct {
	Intent
	secret  hook.Secret
	changes *secret.Changes
}

// Intend finds out what Run would do, or refuses as Run does. It changes no value and restarts nothing.
func (r *Rotation) Intend(ctx context.Context) (*Intent, error) {
	s, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	if !s.finish {
		s.changes.Expect(s.keys)
	}
	if r.Name == credentialKey {
		if s.stopped, err = r.keyReaders(ctx, s.keys[0]); err != nil {
			return nil, err
		}
		return &s.Intent, nil
	}
	if s.readers, err = r.restarter().Readers(ctx, r.Plan.Restart, s.changes); err != nil {
		return nil, err
	}
	return &s.Intent, nil
}

// Write says what would be done.
func (i *Intent) Write(w io.Writer) error {
	what := "write new random values to"
	if i.finish {
		what = "keep, since it has changed already,"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Secret keys: %s %s\n", what, restart.Describe(i.keys))
	switch i.kind.Name {
	case credentialKey:
		b.WriteString("Database: each credential that a user has stored is encrypted again, in one transaction\n")
	case admin:
		b.WriteString("Database: the first administrator gets the new password\n")
	}
	for _, name := range i.stopped {
		fmt.Fprintf(&b, "Deployment %s: stopped meanwhile, since it reads %s\n", name, restart.Describe(i.keys))
	}
	for _, reader := range i.readers {
		fmt.Fprintf(&b, "Deployment %s: restart, since it reads %s\n", reader.Name, restart.Describe(reader.Changed))
	}
	if len(i.readers)+len(i.stopped) == 0 {
		b.WriteString("Deployments: none is restarted\n")
	}
	fmt.Fprintf(&b, "What users notice: %s\n", i.kind.Notice)
	if i.kind.Name == credentialKey {
		b.WriteString("Backups: credentials in earlier ones stay encrypted with the old key, which is deleted. Save it before with " +
			"helm neutree secrets export, and make a new backup afterwards\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Run rotates, and returns one sentence on what it did.
func (r *Rotation) Run(ctx context.Context) (string, error) {
	s, err := r.look(ctx)
	if err != nil {
		return "", err
	}
	if r.Name == credentialKey {
		return r.rekey(ctx, s)
	}
	if err := r.write(ctx, s); err != nil {
		return "", err
	}
	began := time.Now()
	if r.Name == admin {
		if _, err := r.runJob(ctx, s.changes.Version(s.keys), r.adminEnv(s)); err != nil {
			return "", r.unfinished(err)
		}
	}
	// What follows from the value, as the TURN server's configuration does, is derived again.
	if _, err := secret.Ensure(ctx, r.Log, r.secrets(), derived(r.Plan.Secrets)); err != nil {
		return "", r.unfinished(err)
	}
	if s.readers, err = r.restarter().Readers(ctx, r.Plan.Restart, s.changes); err != nil {
		return "", r.unfinished(err)
	}
	if err := r.restarter().Restart(ctx, s.readers); err != nil {
		return "", r.unfinished(err)
	}
	if err := r.restarter().Wait(ctx, s.readers); err != nil {
		return "", r.unfinished(err)
	}
	now, err := r.compare(ctx)
	if err != nil {
		return "", r.unfinished(err)
	}
	if !now.Same(s.changes) {
		return "", r.unfinished(errors.New("a Secret was changed by another client while the services restarted"))
	}
	if err := s.changes.Remember(ctx); err != nil {
		return "", r.unfinished(err)
	}
	return r.summary(s) + s.kind.measured(began), nil
}

// write gives the keys new values, once.
func (r *Rotation) write(ctx context.Context, s *state) error {
	if err := s.changes.RememberUnknown(ctx); err != nil || s.finish {
		return err
	}
	renewed, err := s.changes.Renew(ctx, s.secret, r.Plan.Rotations[r.Name].Keys)
	if err != nil {
		return err
	}
	if !renewed {
		s.finish = true
		r.Log.Info("another client has changed the value meanwhile: no other one is made", "secret", s.secret.Name)
	}
	return nil
}

// look refuses what can't be done, and says whether the values have changed already.
func (r *Rotation) look(ctx context.Context) (*state, error) {
	kind, known := kindOf(r.Name)
	if !known {
		return nil, hook.Errorf(hook.Usage, "there is no rotation %q: name one of %s", r.Name, strings.Join(Names(), ", "))
	}
	rotation, on := r.Plan.Rotations[r.Name]
	if !on {
		return nil, hook.Refusef(finding.SecretsModule, "name one of "+
			strings.Join(slices.Sorted(maps.Keys(r.Plan.Rotations)), ", "),
			"release %s has no key for %s, since %s is not true", r.Plan.Release, r.Name, kind.Module)
	}
	busy, busyErr := r.busy(ctx)
	unfinished, noteErr := r.otherNote(ctx)
	if err := kube.Refuse(slices.Concat(busy, unfinished), errors.Join(busyErr, noteErr)); err != nil {
		return nil, err
	}
	changes, err := r.compare(ctx)
	if err != nil {
		return nil, err
	}
	s := &state{changes: changes}
	s.kind, s.keys, s.finish = kind, rotation.Refs(), changes.AllChanged(rotation.Refs())
	s.secret, _ = r.Plan.Secret(rotation.Secret)
	if err := r.check(ctx, s, rotation.Keys); err != nil {
		return nil, err
	}
	return s, nil
}

// check refuses Secrets that can't be used or written. What is wrong with a value that is replaced is no reason.
func (r *Rotation) check(ctx context.Context, s *state, keys []string) error {
	spec := r.Plan.Secrets
	renew := !s.finish && !s.secret.Existing
	if renew {
		spec = without(spec, s.secret.Name, keys)
	}
	problems, err := secret.Check(ctx, r.Log, r.secrets(), spec)
	if err := kube.Refuse(problems, err); err != nil {
		return err
	}
	if r.Name == credentialKey {
		if proceed, err := r.checkKeys(ctx, s); !proceed || err != nil {
			return err
		}
	}
	if !s.finish && s.secret.Existing {
		return r.given(ctx, s, s.changes.Unchanged(s.keys))
	}
	if !renew {
		return nil
	}
	if err := s.changes.Renewable(ctx, s.secret, keys); err != nil {
		return err
	}
	live, err := kube.Get[corev1.Secret](ctx, r.Client, kube.Secrets, r.Namespace, s.secret.Name)
	if err != nil {
		return kube.Refused(err, "read Secret %s in namespace %s", s.secret.Name, r.Namespace)
	}
	if warning := r.ownerWarning(live, keys); warning != nil {
		r.Log.Warn(finding.List{*warning}.Error())
	}
	return nil
}

// given says what to put into a Secret that the user made. Its values at this moment are remembered, so that a change
// of them is seen.
func (r *Rotation) given(ctx context.Context, s *state, keys []string) error {
	if !r.DryRun {
		if err := s.changes.RememberUnknown(ctx); err != nil {
			return err
		}
	}
	return hook.Refuse(finding.Finding{
		ID: finding.SecretsRotateGiven, Severity: finding.Error, Value: s.secret.Value,
		Object: "Secret " + r.Namespace + "/" + s.secret.Name,
		Found: fmt.Sprintf("Secret %s in namespace %s is yours (%s), and this command never writes it",
			s.secret.Name, r.Namespace, s.secret.Value),
		Fix: fmt.Sprintf("put another value of 32 characters or more there (openssl rand -hex 32 prints one) with %s, "+
			"or where the tool that writes it takes it from, and run the same command again, %s",
			secret.PatchFileCommand(r.Namespace, s.secret.Name, keys), s.kind.given),
	})
}

// otherNote is the finding of a restore that has not ended, or of another rotation: one of the same name finishes it. A
// rotation that has no note yet waits for the Jobs that use what it changes.
func (r *Rotation) otherNote(ctx context.Context) ([]finding.Finding, error) {
	if r.Name == credentialKey {
		note, _, err := restorenote.Read(ctx, r.Client, r.Namespace, r.Plan.RestoreNote)
		if err == nil && note != nil && note.Rotation == r.Name {
			return nil, nil
		}
	}
	unfinished, err := restorenote.Unfinished(ctx, r.Client, r.Namespace, r.Plan.RestoreNote)
	jobs, jobsErr := r.busyJobs(ctx)
	return slices.Concat(unfinished, jobs), errors.Join(err, jobsErr)
}

// busyJobs are the findings of Jobs that no Helm client waits for and that read the key or the password: what they
// write or save would be of the old one.
func (r *Rotation) busyJobs(ctx context.Context) ([]finding.Finding, error) {
	if r.Name != credentialKey && r.Name != database {
		return nil, nil
	}
	jobs, err := kube.List[batchv1.Job](ctx, r.Client, kube.Jobs, r.Namespace, metav1.ListOptions{
		LabelSelector: fmt.Sprintf("app.kubernetes.io/part-of=neutree,app.kubernetes.io/instance=%s,"+
			"app.kubernetes.io/component in (%s, %s, %s)", r.Plan.Release, platform.Bootstrap, platform.Backup,
			platform.ScheduledBackup),
	})
	if err != nil {
		return nil, kube.Refused(err, "list the Jobs in namespace %s", r.Namespace)
	}
	var names []string
	for _, job := range jobs {
		if !jobrun.Ended(&job) {
			names = append(names, job.Name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	return []finding.Finding{{
		ID: finding.SecretsBusy, Severity: finding.Error,
		Found: fmt.Sprintf("Job %s of release %s in namespace %s is still running", strings.Join(names, ", "),
			r.Plan.Release, r.Namespace),
		Why: "it uses the database with the value that the rotation replaces",
		Fix: "wait until it has ended",
	}}, nil
}

// busy are the findings of a Helm operation that has not ended, and of hooks that still run.
func (r *Rotation) busy(ctx context.Context) ([]finding.Finding, error) {
	found, err := recover.Find(ctx, r.Client, r.Namespace, r.Plan.Release)
	if errors.Is(err, recover.ErrNoRelease) {
		found, err = recover.FindJobs(ctx, r.Client, r.Namespace, r.Plan.Release)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case found.Pending():
		return []finding.Finding{{
			ID: finding.SecretsBusy, Severity: finding.Error,
			Found: fmt.Sprintf("revision %d of release %s in namespace %s is %s", found.Revision, r.Plan.Release,
				r.Namespace, found.Status),
			Why: "an upgrade and a rotation would restart the same services",
			Fix: fmt.Sprintf("wait until it has ended; if its Helm client was killed, run helm neutree recover %s "+
				"--namespace %s", r.Plan.Release, r.Namespace),
		}}, nil
	case len(found.Hooks()) > 0:
		return []finding.Finding{{
			ID: finding.SecretsBusy, Severity: finding.Error,
			Found: fmt.Sprintf("Job %s of release %s in namespace %s is still running", strings.Join(found.Hooks(), ", "),
				r.Plan.Release, r.Namespace),
			Why: "what it does and a rotation would restart the same services",
			Fix: "wait until it has ended",
		}}, nil
	}
	return nil, nil
}

func (r *Rotation) compare(ctx context.Context) (*secret.Changes, error) {
	return secret.Compare(ctx, r.Log, r.secrets(), r.Plan.Secrets, r.Plan.Record)
}

func (r *Rotation) restarter() *restart.Restarter {
	return &restart.Restarter{Log: r.Log, Client: r.Client, Namespace: r.Namespace}
}

// unfinished says how to continue. It keeps the exit code, apart from that of the deadline: the cause is in the
// message.
func (r *Rotation) unfinished(err error) error {
	code := hook.CodeOf(err)
	if code == hook.Deadline {
		code = hook.Unexpected
	}
	return hook.Errorf(code, "the rotation of %s has not ended: %w. Fix the cause and run the same command again: "+
		"it finishes the rest and makes no other value", r.Name, err)
}

func (r *Rotation) summary(s *state) string {
	what := r.Name + " has a new value: "
	if s.finish {
		what = r.Name + " had a new value already, which the services now use: "
	}
	if r.Name == admin {
		return what + "the first administrator logs in with the password in Secret " + s.secret.Name
	}
	restarted := "no service reads it"
	if len(s.readers) > 0 {
		restarted = "restarted " + strings.Join(restart.Names(s.readers), ", ")
	}
	return what + restarted
}

// derived is the spec of the derived values alone. A key that is missing is none of a rotation's business: another
// encryption key than that of the database would make what users stored unreadable.
func derived(spec hook.SecretsSpec) hook.SecretsSpec {
	var secrets []hook.Secret
	for _, s := range spec.Secrets {
		data := maps.Clone(s.Data)
		maps.DeleteFunc(data, func(_ string, key hook.SecretKey) bool { return !key.Derived() })
		if len(data) > 0 {
			s.Data = data
			secrets = append(secrets, s)
		}
	}
	spec.Secrets = secrets
	return spec
}

// without is the spec without keys of one Secret.
func without(spec hook.SecretsSpec, name string, keys []string) hook.SecretsSpec {
	var secrets []hook.Secret
	for _, s := range spec.Secrets {
		if s.Name == name {
			s.Data = maps.Clone(s.Data)
			for _, key := range keys {
				delete(s.Data, key)
			}
			if len(s.Data) == 0 {
				continue
			}
		}
		secrets = append(secrets, s)
	}
	spec.Secrets = secrets
	return spec
}
