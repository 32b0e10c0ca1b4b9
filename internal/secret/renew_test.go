package secret_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/secret"
)

// Another client gives the key a value between our read and our write: that one stays.
func TestTheValueOfTheFasterClientStays(t *testing.T) {
	old, theirs := strings.Repeat("a", 64), strings.Repeat("b", 64)
	c := newCluster(t, given("keys", corev1.SecretTypeOpaque, map[string]string{"JWT_SECRET": old}),
		given("home", corev1.SecretTypeOpaque, map[string]string{"url": "x"}))
	keys := hook.Secret{Name: "keys",
		Data: map[string]hook.SecretKey{"JWT_SECRET": {Generate: &hook.GenerateSpec{Bytes: 32}}}}
	api := c.client.Resource(kube.Secrets).Namespace(namespace)
	changes, err := secret.Compare(t.Context(), slog.New(slog.DiscardHandler), api,
		hook.SecretsSpec{Namespace: namespace, Secrets: []hook.Secret{keys}}, "home")
	if err == nil {
		err = changes.RememberUnknown(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	raced := false
	c.client.PrependReactor("update", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		if raced {
			return false, nil, nil
		}
		raced = true
		if err := c.client.Tracker().Delete(kube.Secrets, namespace, "keys"); err != nil {
			return true, nil, err
		}
		c.put(given("keys", corev1.SecretTypeOpaque, map[string]string{"JWT_SECRET": theirs}))
		return true, nil, apierrors.NewConflict(kube.Secrets.GroupResource(), "keys", errors.New("changed"))
	})
	renewed, err := changes.Renew(t.Context(), keys, []string{"JWT_SECRET"})
	if err != nil || renewed || !raced || c.value("keys", "JWT_SECRET") != theirs {
		t.Errorf("renewed %v, %v", renewed, err)
	}
	if !changes.Any() {
		t.Error("the other client's change is not seen: no service would be restarted")
	}
	if err := changes.Remember(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := changes.Version(changes.All())
	renewed, err = changes.Renew(t.Context(), keys, []string{"JWT_SECRET"})
	if value := c.value("keys", "JWT_SECRET"); err != nil || !renewed || len(value) != 64 || value == theirs {
		t.Errorf("renewed %v, %v", renewed, err)
	}
	if changes.Version(changes.All()) == before {
		t.Error("another value has the same version: no service would be restarted")
	}
}

func TestOnlyRandomValuesAreRenewed(t *testing.T) {
	c := newCluster(t, given("home", corev1.SecretTypeOpaque, map[string]string{"user": "nap"}))
	home := hook.Secret{Name: "home", Data: map[string]hook.SecretKey{"user": {Value: "nap"}}}
	changes, err := secret.Compare(t.Context(), slog.New(slog.DiscardHandler),
		c.client.Resource(kube.Secrets).Namespace(namespace),
		hook.SecretsSpec{Namespace: namespace, Secrets: []hook.Secret{home}}, "home")
	if err != nil {
		t.Fatal(err)
	}
	if renewed, err := changes.Renew(t.Context(), home, []string{"user"}); hook.CodeOf(err) != hook.Usage || renewed {
		t.Errorf("renewed %v, %v", renewed, err)
	}
}
