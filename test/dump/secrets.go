package dump

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/neutree-ai/packaging/internal/mask"
)

// shortest keeps words such as "admin" readable.
const shortest = 6

// open are the keys of Secrets that hold what everybody may know. Without them the name of every service and of every
// database would be hidden.
var open = map[string]bool{
	"username": true, "user": true, "host": true, "port": true, "dbname": true, "namespace": true,
	corev1.TLSCertKey: true, "ca.crt": true,
}

// Secrets are the values of a cluster's Secrets, also of those that are gone.
type Secrets struct {
	mu     sync.Mutex
	values map[string]bool
}

// Add takes note of the values of a Secret. Helm's records of releases are left out: they are archives, which no log
// quotes.
func (s *Secrets) Add(secret *corev1.Secret) {
	if strings.HasPrefix(string(secret.Type), "helm.sh/") {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[string]bool{}
	}
	for key, value := range secret.Data {
		if open[key] || len(value) < shortest {
			continue
		}
		s.values[base64.StdEncoding.EncodeToString(value)] = true
		for line := range strings.Lines(string(value)) {
			if line = strings.TrimSpace(line); len(line) >= shortest {
				s.values[line] = true
			}
		}
	}
}

// Read takes note of all Secrets that the cluster has now.
func (s *Secrets) Read(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.CoreV1().Secrets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		s.Add(&list.Items[i])
	}
	return nil
}

// Watch takes note of every Secret that the cluster has until the context ends.
func (s *Secrets) Watch(ctx context.Context, client kubernetes.Interface) error {
	from := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "secrets", metav1.NamespaceAll, fields.Everything())
	informer := cache.NewSharedInformer(from, &corev1.Secret{}, 0)
	// Only their names are kept.
	if err := informer.SetTransform(func(object any) (any, error) {
		secret, ok := object.(*corev1.Secret)
		if !ok {
			return object, nil
		}
		s.Add(secret)
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: secret.Namespace, Name: secret.Name, ResourceVersion: secret.ResourceVersion}}, nil
	}); err != nil {
		return err
	}
	// A testbed whose API server is restarted is nothing to write about.
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, _ error) {
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}); err != nil {
		return err
	}
	informer.RunWithContext(ctx)
	return nil
}

// Mask hides the values.
func (s *Secrets) Mask() mask.Mask {
	s.mu.Lock()
	defer s.mu.Unlock()
	return mask.Of(slices.Collect(maps.Keys(s.values))...)
}
