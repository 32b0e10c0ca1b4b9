package backupjob

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/restorenote"
	"github.com/neutree-ai/packaging/internal/stop"
)

// lock is the note of the restore while this client holds it. Each write names the version that this client wrote last,
// so a client that another one has replaced notices, whatever their clocks say.
type lock struct {
	client    *kube.Client
	namespace string

	mu     sync.Mutex
	config *corev1.ConfigMap
	note   restorenote.Note
	// over says that this client has left the restore or ended it.
	over bool
}

// errLost is the end of a client whose restore another one has taken up, since it had not been heard of.
var errLost = errors.New("another client has taken up the restore, since this one had not been heard of for too long")

// patience is how long a client may not be heard of before another one may take its restore up.
func (r *Restore) patience() time.Duration {
	if r.Patience > 0 {
		return r.Patience
	}
	return 15 * time.Second
}

// noteName is that of the ConfigMap. It is called after the Job.
func (r *Runner) noteName() string { return r.Plan.Restore.Name }

// thisClient names this process to the one who runs the other.
func thisClient() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	user := os.Getenv("USER")
	if user == "" {
		user = fmt.Sprintf("user %d", os.Getuid())
	}
	return fmt.Sprintf("%s on %s (process %d)", user, host, os.Getpid())
}

// acquire creates the note, or takes over that of a client which is gone, and returns what that had left, nil if nothing.
func (r *Restore) acquire(ctx context.Context) (*lock, *restorenote.Note, error) {
	left, config, err := restorenote.Read(ctx, r.Client, r.Namespace, r.noteName())
	if err != nil {
		return nil, nil, err
	}
	if left == nil {
		if r.Name == "" {
			return nil, nil, hook.Refusef(finding.BackupUnfinished, "",
				"namespace %s has no unfinished restore to give up", r.Namespace)
		}
		l, err := r.createNote(ctx)
		if err != nil {
			return nil, nil, err
		}
		// The note comes first: an upgrade that has not looked for it by now finds it, and so does a scheduled backup.
		if err := r.refuseUpgrade(ctx); err != nil {
			return nil, nil, errors.Join(err, afterwards(ctx, l.delete))
		}
		return l, nil, nil
	}
	if left.Backup != r.Name && !r.Abandon {
		return nil, nil, r.refuseAnother(left)
	}
	if left.Holder != "" {
		if err := r.waitForSilence(ctx, left, config); err != nil {
			return nil, nil, err
		}
	}
	l := &lock{client: r.Client, namespace: r.Namespace, config: config, note: *left}
	err = l.change(ctx, func(n *restorenote.Note) { n.Holder = thisClient() })
	return l, left, err
}

// stopScheduled ends scheduled backups, which would read the databases while they are replaced. Those that start from
// now on find the note. A client before this one may have been killed before it did so.
func (r *Restore) stopScheduled(ctx context.Context) error {
	stopper := &stop.Stopper{Log: r.Log, Client: r.Client, Namespace: r.Namespace}
	jobs, err := stopper.Scheduled(ctx, r.Plan.Release)
	if err != nil {
		return err
	}
	if _, err := stopper.Stop(ctx, jobs...); err != nil {
		return fmt.Errorf("the databases were not touched, since a scheduled backup could not be stopped: %w", err)
	}
	return nil
}

// refuseUpgrade refuses while Jobs of an upgrade are running: it would start the services in the middle of the restore.
func (r *Restore) refuseUpgrade(ctx context.Context) error {
	stopper := &stop.Stopper{Log: r.Log, Client: r.Client, Namespace: r.Namespace}
	jobs, err := stopper.Of(ctx, r.Plan.Release, strings.TrimSuffix(r.Plan.Restore.Name, "-restore"))
	if err != nil {
		return err
	}
	// Bootstrap looks for the note before it migrates, and one that fails may be why the restore is needed.
	jobs = slices.DeleteFunc(jobs, func(job stop.Job) bool {
		return strings.Contains(job.Name, "-"+platform.Bootstrap+"-")
	})
	running, err := stopper.Running(ctx, jobs...)
	if err != nil || len(running) == 0 {
		return err
	}
	return hook.Failf(hook.Busy, finding.BackupBusy,
		"wait until the upgrade has ended; one whose client was killed is ended by helm neutree recover "+r.Plan.Release+
			" --namespace "+r.Namespace,
		"an upgrade of release %s in namespace %s is running (Job %s)", r.Plan.Release, r.Namespace,
		strings.Join(running, ", "))
}

func (r *Restore) refuseAnother(left *restorenote.Note) error {
	f := left.Finding(r.Namespace, r.noteName())
	return hook.Refuse(finding.Finding{ID: f.ID, Severity: f.Severity, Object: f.Object, Found: f.Found,
		Why: "nothing was changed", Fix: left.WaysOut(r.Namespace)})
}

// waitForSilence refuses while the client that holds the note is alive.
func (r *Restore) waitForSilence(ctx context.Context, left *restorenote.Note, config *corev1.ConfigMap) error {
	busy := func(is string) error {
		return hook.Failf(hook.Busy, finding.BackupBusy, "wait until it ends", "%s %s backup %s in namespace %s",
			left.Holder, is, left.Backup, r.Namespace)
	}
	r.Log.Info("another client has started a restore; finding out whether it still works on it", "client", left.Holder)
	silent := time.Now().Add(r.patience())
	return hook.Poll(ctx, r.Log, "a sign of life of "+left.Holder, func(ctx context.Context) (bool, string, error) {
		live, err := kube.Get[corev1.ConfigMap](ctx, r.Client, kube.ConfigMaps, r.Namespace, r.noteName())
		switch {
		case apierrors.IsNotFound(err):
			return false, "", busy("has just finished the restore of")
		case err != nil:
			return false, kube.Brief(err), nil
		case live.ResourceVersion != config.ResourceVersion:
			return false, "", busy("is restoring")
		}
		return time.Now().After(silent), "none yet", nil
	})
}

func (r *Restore) createNote(ctx context.Context) (*lock, error) {
	l := &lock{client: r.Client, namespace: r.Namespace, note: restorenote.Note{
		Backup: r.Name, Replicas: map[string]int32{}, Phase: restorenote.Preparing, ID: rand.String(10),
		Started: time.Now().UTC().Truncate(time.Second), Holder: thisClient(),
	}}
	l.config = &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: r.noteName(), Labels: map[string]string{
			kube.ManagedByLabel: kube.FieldManager, "app.kubernetes.io/part-of": "neutree", "app.kubernetes.io/instance": r.Plan.Release,
		}, Annotations: kube.NotPruned(nil)},
	}
	err := l.write(ctx, l.note, nil)
	if apierrors.IsAlreadyExists(err) {
		return nil, hook.Failf(hook.Busy, finding.BackupBusy, "wait until it ends",
			"another client has just started a restore in namespace %s", r.Namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("note the restore in namespace %s: %s", r.Namespace, kube.Brief(err))
	}
	return l, nil
}

// write stores the note, and the workspaces if they are given.
func (l *lock) write(ctx context.Context, note restorenote.Note, workspaces []string) error {
	raw, err := json.Marshal(note)
	if err != nil {
		return err
	}
	config := l.config.DeepCopy()
	config.APIVersion, config.Kind = "v1", "ConfigMap"
	if config.Data == nil {
		config.Data = map[string]string{}
	}
	config.Data[restorenote.Key], config.Data[restorenote.IDKey] = string(raw), note.ID
	if workspaces != nil {
		config.Data[restorenote.WorkspacesKey] = strings.Join(workspaces, "\n")
	}
	object, err := kube.ToUnstructured(config)
	if err != nil {
		return err
	}
	configs := l.client.Resource(kube.ConfigMaps, l.namespace)
	var stored *unstructured.Unstructured
	if config.ResourceVersion == "" {
		stored, err = configs.Create(ctx, object, metav1.CreateOptions{FieldManager: kube.FieldManager})
	} else {
		stored, err = configs.Update(ctx, object, metav1.UpdateOptions{FieldManager: kube.FieldManager})
	}
	if err != nil {
		return err
	}
	l.over = note.Holder == ""
	l.config = &corev1.ConfigMap{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(stored.Object, l.config); err != nil {
		return err
	}
	l.note = note
	return nil
}

// change changes the note, if this client still holds it.
func (l *lock) change(ctx context.Context, do func(*restorenote.Note), workspaces ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil
	}
	note := l.note
	do(&note)
	note.Beat++
	err := l.write(ctx, note, workspaces)
	switch {
	case apierrors.IsConflict(err) && l.wrote(ctx, note):
		return nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return errLost
	case err != nil:
		return fmt.Errorf("note how far the restore is: %s", kube.Brief(err))
	}
	return nil
}

// wrote finds out whether a write arrived whose answer did not.
func (l *lock) wrote(ctx context.Context, note restorenote.Note) bool {
	live, config, err := restorenote.Read(ctx, l.client, l.namespace, l.config.Name)
	if err != nil || live == nil || live.ID != note.ID || live.Holder != note.Holder || live.Beat != note.Beat {
		return false
	}
	l.config, l.note = config, *live
	return true
}

// advance notes that the restore has reached a phase.
func (l *lock) advance(ctx context.Context, phase restorenote.Phase, workspaces ...string) error {
	return l.change(ctx, func(n *restorenote.Note) { n.Phase = phase }, workspaces...)
}

// get is the note as this client wrote it last.
func (l *lock) get() restorenote.Note {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.note
}

// hold shows every few seconds that this client lives, until stop is called. The context that it returns ends with
// errLost as its cause when another client has taken the restore up.
func (l *lock) hold(ctx context.Context, every time.Duration) (holding context.Context, stop func()) {
	holding, cancel := context.WithCancelCause(ctx)
	beating, end := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-beating.Done():
				return
			case <-ticker.C:
			}
			// Another error passes, or the next change meets it. After the note's end there is nothing to show.
			if err := l.change(beating, func(*restorenote.Note) {}); errors.Is(err, errLost) {
				cancel(errLost)
				return
			}
		}
	}()
	return holding, func() { end(); <-done; cancel(nil) }
}

// leave gives the restore to the next client. An error is none of the restore's: the next one waits a little longer.
func (l *lock) leave(ctx context.Context) {
	_ = afterwards(ctx, func(ctx context.Context) error {
		return l.change(ctx, func(n *restorenote.Note) { n.Holder = "" })
	})
}

// delete ends the restore.
func (l *lock) delete(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.client.Resource(kube.ConfigMaps, l.namespace).Delete(ctx, l.config.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{ResourceVersion: ptr.To(l.config.ResourceVersion)},
	})
	switch {
	case apierrors.IsConflict(err):
		return errLost
	case err == nil, apierrors.IsNotFound(err):
		l.over = true
	default:
		return fmt.Errorf("delete ConfigMap %s in namespace %s: %s", l.config.Name, l.namespace, kube.Brief(err))
	}
	return nil
}
