package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/restart"
	"github.com/neutree-ai/packaging/internal/restorenote"
	"github.com/neutree-ai/packaging/internal/secret"
)

// A rotation of the encryption key is these steps, each of which may be repeated:
//
//  1. The note, which keeps upgrades, restores and other rotations away.
//  2. The keyring: the old and the new key, before anything is encrypted with the new one.
//  3. The services that read the key are stopped: no process with the old key can write any more.
//  4. The Secret gets the new key. Whatever starts from now on, because of a person or a tool, has the new one.
//  5. A Job encrypts all credentials with the new key, in one transaction, whatever key of the keyring they have.
//  6. The services are started, and keyring and note are deleted.

// checkKeys refuses a rotation of the encryption key whose old key is not known, and says whether there is more to
// check. A Secret of the user's has its key noted, so that it is not lost when the user puts another one in its place.
func (r *Rotation) checkKeys(ctx context.Context, s *state) (proceed bool, err error) {
	ref := s.keys[0]
	ring, err := r.keyring(ctx)
	if err != nil {
		return false, err
	}
	note, _, err := restorenote.Read(ctx, r.Client, r.Namespace, r.Plan.RestoreNote)
	if err != nil {
		return false, err
	}
	live, err := s.changes.Value(ctx, ref)
	if err != nil {
		return false, err
	}
	switch {
	case note != nil && note.Phase == restorenote.Restored:
		// Nothing but the end is left, and the keyring may be gone.
		s.finish = true
		return false, nil
	case ring.New() != "" || note != nil && (note.Phase != restorenote.Preparing || s.secret.Existing):
		// The rotation has started, and is finished with the keys that there are, or given up with its note.
		s.finish = live == ring.New()
		return false, nil
	case ring.Exists() && s.secret.Existing && s.changes.Changed(ref):
		s.finish = true
		return false, nil
	case !ring.Exists() && s.changes.Changed(ref):
		return false, r.refuseUnknown(ref)
	}
	s.finish = false
	if s.secret.Existing && !r.DryRun {
		return true, ring.Save(ctx, live, "")
	}
	return true, nil
}

func (r *Rotation) refuseUnknown(ref hook.SecretRef) error {
	return hook.Refuse(finding.Finding{
		ID: finding.SecretsOldKey, Severity: finding.Error, Object: "Secret " + r.Namespace + "/" + ref.Secret,
		Found: fmt.Sprintf("the key %s of Secret %s in namespace %s is not the one that the services have started with, "+
			"which is not known any more", ref.Key, ref.Secret, r.Namespace),
		Why: "credentials that users have stored can't be read without the old key",
		Fix: "put the old key back, and run the same command again: it keeps the old key until it has ended",
	})
}

// keyReaders are the Deployments that read the encryption key.
func (r *Rotation) keyReaders(ctx context.Context, ref hook.SecretRef) ([]string, error) {
	var names []string
	for _, name := range r.Plan.Restart {
		live, err := restart.Deployment(ctx, r.Client, r.Namespace, name)
		if err != nil {
			return nil, err
		}
		if live == nil {
			continue
		}
		reads := restart.Reads(live.Spec.Template.Spec)
		if slices.Contains(reads, ref) || slices.Contains(reads, hook.SecretRef{Secret: ref.Secret}) {
			names = append(names, name)
		}
	}
	return names, nil
}

// rekeying is one run of the steps.
type rekeying struct {
	*Rotation
	*state
	ref  hook.SecretRef
	lock *restorenote.Lock
	ring *secret.Keyring
	// services stops and starts those that read the key.
	services *backupjob.Runner
	// before is the value that this run has replaced in the Secret, "" for none.
	before string
	// takenUp says that another client has stopped the services, jobBefore that it may have had the Job run.
	takenUp, jobBefore bool
	// ending says that the old key is back in the Secret, and no credential was changed.
	ending bool
	// began is when the services stood still.
	began time.Time
}

// rekey rotates the encryption key.
func (r *Rotation) rekey(ctx context.Context, s *state) (string, error) {
	run := &rekeying{Rotation: r, state: s, ref: s.keys[0]}
	left, err := run.takeNote(ctx)
	if err != nil {
		return "", err
	}
	holding, stop := run.lock.Hold(ctx, run.patience()/5)
	defer stop()
	said, err := run.proceed(holding, left)
	if err != nil && (errors.Is(err, restorenote.ErrLost) || errors.Is(context.Cause(holding), restorenote.ErrLost)) {
		return "", hook.Failf(hook.Busy, finding.SecretsBusy, "watch that client, or run the same command again later",
			"%v", restorenote.ErrLost)
	}
	return said, err
}

func (r *Rotation) patience() time.Duration {
	if r.Patience > 0 {
		return r.Patience
	}
	return restorenote.Patience
}

// takeNote creates the note, or takes over that of a client which is gone, and returns what that had left, nil if
// nothing.
func (r *rekeying) takeNote(ctx context.Context) (*restorenote.Note, error) {
	name := r.Plan.RestoreNote
	left, config, err := restorenote.Read(ctx, r.Client, r.Namespace, name)
	switch {
	case err != nil:
		return nil, err
	case left != nil && left.Rotation != r.Name:
		return nil, hook.Refuse(left.Finding(r.Namespace, name))
	case left == nil:
		return nil, r.createNote(ctx)
	case left.Holder != "":
		r.Log.Info("another client has started the rotation; finding out whether it still works on it", "client", left.Holder)
		if err := restorenote.Silence(ctx, r.Log, r.Client, left, config, r.patience(), func(is string) error {
			return r.refuseSecond(left.Holder + " " + is)
		}); err != nil {
			return nil, err
		}
	}
	r.lock, err = restorenote.Take(ctx, r.Client, r.Namespace, *left, config)
	if errors.Is(err, restorenote.ErrLost) {
		return nil, r.refuseSecond("another client has just taken up")
	}
	return left, err
}

func (r *rekeying) createNote(ctx context.Context) error {
	var err error
	r.lock, err = restorenote.Create(ctx, r.Client, r.Namespace, r.Plan.RestoreNote, r.Plan.Release, restorenote.Note{
		Rotation: r.Name, Replicas: map[string]int32{}, Phase: restorenote.Preparing, ID: rand.String(10),
		Started: time.Now().UTC().Truncate(time.Second),
	})
	if apierrors.IsAlreadyExists(err) {
		return r.refuseSecond("another client has just started")
	}
	if err != nil {
		return kube.Refused(err, "note the rotation in namespace %s", r.Namespace)
	}
	// The note comes first: an upgrade or a backup that has not looked for it by now finds it.
	busy, busyErr := r.busy(ctx)
	jobs, jobsErr := r.busyJobs(ctx)
	if err := kube.Refuse(slices.Concat(busy, jobs), errors.Join(busyErr, jobsErr)); err != nil {
		return errors.Join(err, afterwards(ctx, r.lock.Delete))
	}
	return nil
}

// refuseSecond refuses since another client is faster.
func (r *rekeying) refuseSecond(who string) error {
	return hook.Failf(hook.Busy, finding.SecretsBusy, "wait until it ends", "%s the rotation of %s in namespace %s", who,
		r.Name, r.Namespace)
}

// proceed does the steps, with the note in hand. left is what another client had noted.
func (r *rekeying) proceed(ctx context.Context, left *restorenote.Note) (string, error) {
	var err error
	if r.ring, err = r.keyring(ctx); err == nil {
		err = r.prepare(ctx, left)
	}
	if err != nil {
		return "", r.giveUp(ctx, err)
	}
	if r.ending {
		return r.putBack(ctx)
	}
	r.began = time.Now()
	said := "its credentials have it already"
	if r.lock.Get().Phase != restorenote.Restored {
		if said, err = r.encrypt(ctx); err != nil {
			return "", r.recover(ctx, err)
		}
	}
	if err := r.finish(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s has a new value: %s; restarted %s%s", r.Name, said,
		strings.Join(r.services.Plan.Writers, ", "), r.kind.measured(r.began)), nil
}

// prepare does everything that comes before services are stopped.
func (r *rekeying) prepare(ctx context.Context, left *restorenote.Note) error {
	names, err := r.keyReaders(ctx, r.ref)
	if err != nil {
		return err
	}
	r.services = &backupjob.Runner{Log: r.Log, Client: r.Client, Namespace: r.Namespace,
		Plan: backupjob.Plan{Writers: names}}
	r.takenUp = left != nil && left.Phase != restorenote.Preparing
	r.jobBefore = r.takenUp && left.Phase != restorenote.Stopping
	if r.takenUp && left.Phase == restorenote.Restored {
		live, err := r.changes.Value(ctx, r.ref)
		if err != nil || !r.ring.Exists() || live == r.ring.New() {
			return err
		}
		// Another client has changed the Secret meanwhile: the credentials follow.
		if err := r.lock.Advance(ctx, restorenote.Restoring); err != nil {
			return err
		}
	}
	if err := r.changes.RememberUnknown(ctx); err != nil {
		return err
	}
	if r.ending, err = r.isPutBack(ctx, left); r.ending || err != nil {
		return err
	}
	if err := r.chooseKey(ctx); err != nil {
		return err
	}
	if r.takenUp {
		return nil
	}
	services, err := r.services.Writers(ctx)
	if err != nil {
		return err
	}
	return r.lock.Change(ctx, func(n *restorenote.Note) {
		n.Replicas, n.Owners, n.Phase = services.Replicas, services.Owners, restorenote.Stopping
	})
}

// chooseKey has the keyring hold the new key, which is that of an earlier run if there is one, and for a Secret of the
// user's the one that the user has put there. Any other value of the Secret may be in use, and is kept.
func (r *rekeying) chooseKey(ctx context.Context) error {
	live, err := r.changes.Value(ctx, r.ref)
	if err != nil {
		return err
	}
	next := r.ring.New()
	switch {
	case r.secret.Existing && !r.ring.Exists():
		return r.refuseUnknown(r.ref)
	case r.secret.Existing && (next != "" || !r.changes.StartedWith(r.ref, live)):
		next = live
	case r.secret.Existing:
		return r.given(ctx, r.state, []string{r.ref.Key})
	case next == "":
		if !r.ring.Holds(live) && r.changes.Changed(r.ref) {
			return r.refuseUnknown(r.ref)
		}
		if next, err = secret.Random(*r.secret.Data[r.ref.Key].Generate); err != nil {
			return err
		}
	}
	if live == next {
		live = ""
	}
	return r.ring.Save(ctx, live, next)
}

// encrypt stops the services, gives the Secret the new key, and has the Job encrypt the credentials.
func (r *rekeying) encrypt(ctx context.Context) (string, error) {
	note := r.lock.Get()
	services := note.Services()
	r.Log.Warn("the services that read the key are stopped now: the platform does not answer until they run again",
		"deployments", strings.Join(r.services.Plan.Writers, ", "))
	if err := r.services.StopWriters(ctx, &services); err != nil {
		return "", err
	}
	// A pod that is ending still answers.
	r.began = time.Now()
	if err := r.writeKey(ctx); err != nil {
		return "", err
	}
	// What something else has started since may have read the old key.
	if err := r.services.StopWriters(ctx, &services); err != nil {
		return "", err
	}
	if err := r.lock.Advance(ctx, restorenote.Restoring); err != nil {
		return "", err
	}
	said, err := r.runJob(ctx, r.ring.Version(), r.keyringVolume)
	if err != nil {
		return "", err
	}
	return said, r.lock.Advance(ctx, restorenote.Restored)
}

// writeKey gives the Secret the new key, unless it is the user's.
func (r *rekeying) writeKey(ctx context.Context) error {
	live, err := r.changes.Value(ctx, r.ref)
	if err != nil || live == r.ring.New() {
		return err
	}
	if r.secret.Existing || !r.ring.Holds(live) {
		return fmt.Errorf("another client has changed the key %s of Secret %s meanwhile", r.ref.Key, r.ref.Secret)
	}
	r.before = live
	return r.changes.Set(ctx, r.ref, live, r.ring.New())
}

// finish starts the services, and ends the rotation. Services that would read another key are not started.
func (r *rekeying) finish(ctx context.Context) error {
	live, err := r.changes.Value(ctx, r.ref)
	if err == nil && r.ring.Exists() && live != r.ring.New() {
		err = r.lock.Advance(ctx, restorenote.Restoring)
		if err == nil {
			err = errors.New("a Secret was changed by another client while the services were stopped")
		}
	}
	if err != nil {
		r.lock.Leave(ctx)
		return r.stillStopped(err)
	}
	note := r.lock.Get()
	services := note.Services()
	if err := r.services.StartWriters(ctx, &services); err != nil {
		r.lock.Leave(ctx)
		return r.stillStopped(err)
	}
	changes, err := r.compare(ctx)
	if err == nil {
		err = changes.RememberOnly(ctx, r.keys)
	}
	if err == nil {
		err = r.ring.Delete(ctx)
	}
	if err != nil {
		r.lock.Leave(ctx)
		return r.Rotation.unfinished(err)
	}
	if err := r.lock.Delete(ctx); err != nil {
		return err
	}
	if err := r.services.WaitReady(ctx, &services); err != nil {
		return fmt.Errorf("all credentials have the new key, but the services are not ready again: %w", err)
	}
	return nil
}
