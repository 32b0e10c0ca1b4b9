package restorenote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Lock is the note while this client holds it. Each write names the version that this client wrote last, so a client
// that another one has replaced notices, whatever their clocks say.
type Lock struct {
	client    *kube.Client
	namespace string

	mu     sync.Mutex
	config *corev1.ConfigMap
	note   Note
	// open are writes whose answer did not arrive.
	open []Note
	// over says that this client has left the note or deleted it.
	over bool
}

// ErrLost is the end of a client whose work another one has taken up, since it had not been heard of.
var ErrLost = errors.New("another client has taken over, since this one had not been heard of for too long")

// Patience is how long a client may not be heard of before another one may take its work up, by default.
const Patience = 15 * time.Second

// cleanUp bounds what is done even if the context has ended.
const cleanUp = time.Minute

// ThisClient names this process to the person who runs another one.
func ThisClient() string {
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

// Create creates the note called name, of a release. Where there is one the error is the API server's.
func Create(ctx context.Context, client *kube.Client, namespace, name, release string, note Note) (*Lock, error) {
	l := &Lock{client: client, namespace: namespace}
	l.config = &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			kube.ManagedByLabel: kube.FieldManager, "app.kubernetes.io/part-of": "neutree", "app.kubernetes.io/instance": release,
		}, Annotations: kube.NotPruned(nil)},
	}
	note.Holder = ThisClient()
	return l, l.write(ctx, note, nil)
}

// Take takes a note over that another client has left.
func Take(ctx context.Context, client *kube.Client, namespace string, left Note,
	config *corev1.ConfigMap) (*Lock, error) {
	l := &Lock{client: client, namespace: namespace, config: config, note: left}
	return l, l.Change(ctx, func(n *Note) { n.Holder = ThisClient() })
}

// Silence waits until the client that holds a note has not been heard of for so long that it counts as dead. Where it
// lives, the error is that of busy, which gets what it is doing.
func Silence(ctx context.Context, log *slog.Logger, client *kube.Client, left *Note, config *corev1.ConfigMap,
	patience time.Duration, busy func(is string) error) error {
	silent := time.Now().Add(patience)
	return hook.Poll(ctx, log, "a sign of life of "+left.Holder, func(ctx context.Context) (bool, string, error) {
		live, err := kube.Get[corev1.ConfigMap](ctx, client, kube.ConfigMaps, config.Namespace, config.Name)
		switch {
		case apierrors.IsNotFound(err):
			return false, "", busy("has just finished")
		case err != nil:
			return false, kube.Brief(err), nil
		case live.ResourceVersion != config.ResourceVersion:
			return false, "", busy("is at work on")
		}
		return time.Now().After(silent), "none yet", nil
	})
}

// write stores the note, and the workspaces if they are given.
func (l *Lock) write(ctx context.Context, note Note, workspaces []string) error {
	raw, err := json.Marshal(note)
	if err != nil {
		return err
	}
	config := l.config.DeepCopy()
	config.APIVersion, config.Kind = "v1", "ConfigMap"
	if config.Data == nil {
		config.Data = map[string]string{}
	}
	config.Data[Key], config.Data[IDKey] = string(raw), note.ID
	if workspaces != nil {
		config.Data[WorkspacesKey] = strings.Join(workspaces, "\n")
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
	l.note, l.open = note, nil
	return nil
}

// attempts bounds how often a write is repeated whose version had changed.
const attempts = 5

// Change changes the note, if this client still holds it.
func (l *Lock) Change(ctx context.Context, do func(*Note), workspaces ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range attempts {
		if l.over {
			return nil
		}
		note := l.note
		do(&note)
		note.Beat++
		err := l.write(ctx, note, workspaces)
		switch {
		case err == nil:
			return nil
		case apierrors.IsNotFound(err):
			return ErrLost
		case !apierrors.IsConflict(err):
			l.unanswered(note)
			return fmt.Errorf("note how far %s is: %s", note.What(), kube.Brief(err))
		}
		// The write may have arrived, and its answer not, so that it was sent twice.
		l.unanswered(note)
		live, err := l.adopt(ctx)
		if err != nil {
			return err
		}
		stored := workspaces == nil || l.config.Data[WorkspacesKey] == strings.Join(workspaces, "\n")
		if stored && same(live, note) {
			return nil
		}
	}
	return fmt.Errorf("note how far %s is: its ConfigMap changes all the time", l.note.What())
}

// unanswered keeps a write that may have arrived or not.
func (l *Lock) unanswered(note Note) {
	if !slices.ContainsFunc(l.open, func(other Note) bool { return same(other, note) }) {
		l.open = append(l.open, note)
	}
}

// adopt reads the note whose version is not the one that this client has seen last. It is still this client's if it
// says what this client knows, or what this client has written without an answer.
func (l *Lock) adopt(ctx context.Context) (Note, error) {
	live, config, err := Read(ctx, l.client, l.namespace, l.config.Name)
	if err != nil {
		return Note{}, err
	}
	if live == nil {
		return Note{}, ErrLost
	}
	written := slices.ContainsFunc(l.open, func(note Note) bool { return same(note, *live) })
	if !written && !same(l.note, *live) {
		return Note{}, ErrLost
	}
	l.config, l.note, l.open = config, *live, nil
	l.over = written && live.Holder == ""
	return *live, nil
}

// same compares all of two notes, as they are stored.
func same(a, b Note) bool {
	one, err := json.Marshal(a)
	other, err2 := json.Marshal(b)
	return err == nil && err2 == nil && string(one) == string(other)
}

// Advance notes that a phase is reached.
func (l *Lock) Advance(ctx context.Context, phase Phase, workspaces ...string) error {
	return l.Change(ctx, func(n *Note) { n.Phase = phase }, workspaces...)
}

// Get is the note as this client wrote it last.
func (l *Lock) Get() Note {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.note
}

// Hold shows every few seconds that this client lives, until stop is called. The context that it returns ends with
// ErrLost as its cause when another client has taken over.
func (l *Lock) Hold(ctx context.Context, every time.Duration) (holding context.Context, stop func()) {
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
			if err := l.Change(beating, func(*Note) {}); errors.Is(err, ErrLost) {
				cancel(ErrLost)
				return
			}
		}
	}()
	return holding, func() { end(); <-done; cancel(nil) }
}

// Leave gives the rest to the next client, also where ctx has ended. An error does not matter: the next one waits a
// little longer.
func (l *Lock) Leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	_ = l.Change(ctx, func(n *Note) { n.Holder = "" })
}

// Delete deletes the note: what it was for is over.
func (l *Lock) Delete(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range attempts {
		err := l.client.Resource(kube.ConfigMaps, l.namespace).Delete(ctx, l.config.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{ResourceVersion: ptr.To(l.config.ResourceVersion)},
		})
		switch {
		case apierrors.IsConflict(err):
			if _, err := l.adopt(ctx); err != nil {
				return err
			}
			continue
		case err == nil, apierrors.IsNotFound(err):
			l.over = true
			return nil
		}
		return fmt.Errorf("delete ConfigMap %s in namespace %s: %s", l.config.Name, l.namespace, kube.Brief(err))
	}
	return fmt.Errorf("delete ConfigMap %s in namespace %s: it changes all the time", l.config.Name, l.namespace)
}
