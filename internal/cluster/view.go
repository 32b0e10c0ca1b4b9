// Package cluster reads a cluster, each thing once, however many ask for it.
package cluster

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/mask"
)

// View is a cluster as it was when somebody first asked. Everything it returns is shared: do not change it.
type View struct {
	// Config connects, Typed and Untyped are clients of it.
	Config  *rest.Config
	Typed   kubernetes.Interface
	Untyped *kube.Client

	mu    sync.Mutex
	cache map[string]*entry
	// secrets are the values of the Secrets that were read, which nobody may be shown.
	secrets []string
}

type entry struct {
	done  chan struct{}
	value any
	err   error
}

// New connects as config says, without asking anything yet.
func New(config *rest.Config) (*View, error) {
	config = rest.CopyConfig(config)
	if config.QPS == 0 {
		// The library's 5 requests a second would make many short questions slow.
		config.QPS, config.Burst = 100, 200
	}
	untyped, err := kube.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	typed := rest.CopyConfig(config)
	typed.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	typed.ContentType = "application/json"
	clients, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return &View{Config: config, Typed: clients, Untyped: untyped, cache: map[string]*entry{}}, nil
}

// Forget makes the next question go to the cluster again.
func (v *View) Forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cache = map[string]*entry{}
}

// Hide takes the values of all Secrets that were read so far out of a text.
func (v *View) Hide(text string) string {
	v.mu.Lock()
	secrets := v.secrets
	v.mu.Unlock()
	return mask.Of(secrets...).Hide(text)
}

// Once answers from the cache, or asks and keeps the answer under the key. Those who ask at the same time share one
// answer. A question that its asker's deadline cut off is not kept.
func Once[T any](ctx context.Context, v *View, key string, ask func(context.Context) (T, error)) (T, error) {
	var none T
	for {
		v.mu.Lock()
		e, found := v.cache[key]
		if !found {
			e = &entry{done: make(chan struct{})}
			v.cache[key] = e
		}
		v.mu.Unlock()
		if !found {
			value, err := ask(ctx)
			e.value, e.err = value, err
			if err != nil && ctx.Err() != nil {
				v.mu.Lock()
				if v.cache[key] == e {
					delete(v.cache, key)
				}
				v.mu.Unlock()
			}
			close(e.done)
			return value, err
		}
		select {
		case <-ctx.Done():
			return none, ctx.Err()
		case <-e.done:
		}
		v.mu.Lock()
		kept := v.cache[key] == e
		v.mu.Unlock()
		if e.err == nil || kept {
			value, _ := e.value.(T)
			return value, e.err
		}
	}
}
