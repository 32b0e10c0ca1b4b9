// Package probe starts short-lived pods that prove things from inside the cluster, collects what they
// report, and leaves nothing behind.
//
// Everything it makes belongs to one ConfigMap in each namespace, whose deletion collects the rest, and
// carries RunLabel. Pods run the image of nap-hooks (see package agent) unless the point is another image.
package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/kube"
)

// RunLabel is on everything that a session makes; its value tells sessions apart.
const RunLabel = "neutree.ai/preflight"

// Level is the Pod Security level that a pod needs.
type Level string

// The levels in use.
const (
	Restricted Level = "restricted"
	Privileged Level = "privileged"
)

// Config says how a session makes pods.
type Config struct {
	Client *kube.Client
	// Image of nap-hooks.
	Image string
	// PullPolicy of that image; empty for Kubernetes' own choice.
	PullPolicy corev1.PullPolicy
	// PullSecrets in Namespace, the release's, are copied to wherever else pods are started.
	PullSecrets []string
	Namespace   string
	// Parallel bounds how many pods exist at once; 12 if 0.
	Parallel int
	// Start bounds how long a pod may take to run; a minute if 0.
	Start time.Duration
	// Labels that everything gets in addition to RunLabel and other labels of its own, which win.
	Labels map[string]string
}

// Session makes pods until it is closed.
type Session struct {
	config Config
	id     string
	slots  chan struct{}

	mu     sync.Mutex
	places map[string]*place
	lists  map[string]*listing
	closed bool
}

// place is a namespace that the session works in.
type place struct {
	name string
	// temporary namespaces were made by the session.
	temporary bool
	owner     metav1.OwnerReference
	// account is the ServiceAccount of its pods, "" where the session may not create one.
	account string
}

// New makes a session. Nothing is made in the cluster before the first pod.
func New(config Config) *Session {
	if config.Parallel <= 0 {
		config.Parallel = 12
	}
	if config.Start <= 0 {
		config.Start = time.Minute
	}
	return &Session{
		config: config,
		id:     strings.ToLower(rand.Text()[:10]),
		slots:  make(chan struct{}, config.Parallel),
		places: map[string]*place{},
		lists:  map[string]*listing{},
	}
}

// ID is the value of RunLabel.
func (s *Session) ID() string { return s.id }

// Client is the cluster's.
func (s *Session) Client() *kube.Client { return s.config.Client }

func (s *Session) labels() map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, s.config.Labels)
	maps.Copy(labels, map[string]string{
		RunLabel: s.id, "app.kubernetes.io/name": "neutree-preflight", kube.ManagedByLabel: "helm-neutree",
	})
	return labels
}

// Namespace gives the namespace that pods which stand for those in wanted run in: wanted itself, or, as
// long as it does not exist, a temporary one that admits level.
func (s *Session) Namespace(ctx context.Context, wanted string, level Level) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", errors.New("the probe session is closed")
	}
	if p, ok := s.places[wanted]; ok {
		return p.name, nil
	}
	_, err := kube.Get[corev1.Namespace](ctx, s.config.Client, kube.Namespaces, "", wanted)
	switch {
	case err == nil || apierrors.IsForbidden(err):
		return wanted, s.own(ctx, wanted, &place{name: wanted})
	case !apierrors.IsNotFound(err):
		return "", fmt.Errorf("read namespace %s: %w", wanted, err)
	}
	key := "temporary " + string(level)
	if p, ok := s.places[key]; ok {
		return p.name, nil
	}
	labels := map[string]string{"pod-security.kubernetes.io/enforce": string(level)}
	return s.temporary(ctx, key, wanted, string(level), labels)
}

// Like gives a temporary namespace with the labels that wanted, which does not exist yet, will have. Objects are tried
// there in dry runs.
func (s *Session) Like(ctx context.Context, wanted string, labels map[string]string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", errors.New("the probe session is closed")
	}
	key := "like " + wanted
	if p, ok := s.places[key]; ok {
		return p.name, nil
	}
	return s.temporary(ctx, key, wanted, fmt.Sprintf("like-%d", len(s.places)+1), labels)
}

// temporary creates a namespace that stands for another.
func (s *Session) temporary(ctx context.Context, key, wanted, suffix string, labels map[string]string) (string, error) {
	name := fmt.Sprintf("neutree-preflight-%s-%s", s.id, suffix)
	own := s.labels()
	maps.Copy(own, labels)
	own[RunLabel] = s.id
	making, cancel := uncut(ctx)
	defer cancel()
	err := s.config.Client.Create(making, kube.Namespaces, "", &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: own},
	}, false)
	if err != nil {
		return "", fmt.Errorf("create a temporary namespace, since %s does not exist yet: %w", wanted, err)
	}
	return name, s.own(ctx, key, &place{name: name, temporary: true})
}

// uncut is ctx for the objects that own the others, whose requests are not cut off: the API server could still make
// what Close then knows nothing of.
func uncut(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
}

// own makes the ConfigMap that everything in the place belongs to.
func (s *Session) own(ctx context.Context, key string, p *place) error {
	s.places[key] = p
	owner := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: s.ownerName(), Labels: s.labels()},
		Data:       map[string]string{"about": "Owns the probe pods of one run of \"helm neutree preflight\". Delete it to remove them."},
	}
	u, err := kube.ToUnstructured(owner)
	if err != nil {
		return err
	}
	making, cancel := uncut(ctx)
	defer cancel()
	made, err := s.config.Client.Resource(kube.ConfigMaps, p.name).Create(making, u, metav1.CreateOptions{FieldManager: kube.FieldManager})
	if err != nil {
		if !p.temporary {
			delete(s.places, key)
		}
		return fmt.Errorf("make the ConfigMap that owns the probe pods in namespace %s: %w", p.name, err)
	}
	p.owner = metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: made.GetUID()}
	if err := s.makeAccount(ctx, p); err != nil {
		return err
	}
	return s.copyPullSecrets(ctx, p)
}

// makeAccount creates the ServiceAccount of the place's pods, which has no rights: policies refuse pods of the account
// "default". A person who may not create one gets pods of that.
func (s *Session) makeAccount(ctx context.Context, p *place) error {
	account := &corev1.ServiceAccount{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{Name: s.ownerName(), Labels: s.labels(),
			OwnerReferences: []metav1.OwnerReference{p.owner}},
		AutomountServiceAccountToken: ptr.To(false),
	}
	err := s.config.Client.Create(ctx, kube.ServiceAccounts, p.name, account, false)
	switch {
	case apierrors.IsForbidden(err):
		return nil
	case err != nil:
		return fmt.Errorf("create the ServiceAccount of the probe pods in namespace %s: %w", p.name, err)
	}
	p.account = account.Name
	return nil
}

// Account is the ServiceAccount of the session's pods in a namespace that exists, "" where the session may create none.
func (s *Session) Account(ctx context.Context, namespace string) (string, error) {
	if account, known := s.account(namespace); known {
		return account, nil
	}
	if _, err := s.Namespace(ctx, namespace, Restricted); err != nil {
		return "", err
	}
	account, _ := s.account(namespace)
	return account, nil
}

// account is the ServiceAccount of the session's pods in a namespace that it works in, "" where it has none.
func (s *Session) account(namespace string) (account string, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.places {
		if p.name == namespace {
			return p.account, true
		}
	}
	return "", false
}

// copyPullSecrets does what an install does for the workspaces' namespace. One that can't be read or is there
// already is left alone: the pull will tell.
func (s *Session) copyPullSecrets(ctx context.Context, p *place) error {
	if p.name == s.config.Namespace {
		return nil
	}
	for _, name := range s.config.PullSecrets {
		secret, err := kube.Get[corev1.Secret](ctx, s.config.Client, kube.Secrets, s.config.Namespace, name)
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the pull secret %s: %w", name, err)
		}
		err = s.config.Client.Create(ctx, kube.Secrets, p.name, &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: s.labels(), OwnerReferences: []metav1.OwnerReference{p.owner}},
			Type:       secret.Type, Data: secret.Data,
		}, false)
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("copy the pull secret %s to namespace %s: %w", name, p.name, err)
		}
	}
	return nil
}

// ownerPrefix stands before the ID of a session in the name of the ConfigMap that owns what it makes.
const ownerPrefix = "neutree-preflight-"

func (s *Session) ownerName() string { return ownerPrefix + s.id }

// meta is what an object of the session in a namespace carries.
func (s *Session) meta(namespace, name string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: s.labels()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.places {
		if p.name == namespace && p.owner.Name != "" {
			meta.OwnerReferences = []metav1.OwnerReference{p.owner}
		}
	}
	return meta
}

// name makes a name for an object of the session.
func (s *Session) name(purpose string) string {
	purpose = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(purpose)), "-")
	return fmt.Sprintf("neutree-preflight-%s-%s", purpose[:min(len(purpose), 30)], strings.ToLower(rand.Text()[:8]))
}

// Close removes everything that the session made and waits until it is gone, within limit and whatever
// has become of the context that the session worked with.
func (s *Session) Close(limit time.Duration) error {
	s.mu.Lock()
	s.closed = true
	places := slices.Collect(maps.Values(s.places))
	s.places = map[string]*place{}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	errs := make([]error, len(places))
	var removing sync.WaitGroup
	for i, p := range places {
		removing.Go(func() {
			if p.temporary {
				errs[i] = removeNamespace(ctx, s.config.Client, p.name, s.id)
			} else {
				errs[i] = removeOwner(ctx, s.config.Client, p.name, s.ownerName())
			}
		})
	}
	removing.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove what the probes left: %w; `helm neutree preflight --cleanup` removes it", err)
	}
	return nil
}
