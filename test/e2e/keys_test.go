//go:build e2e

package e2e

import (
	"maps"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// keysSecret holds encryptionKey, without which nobody can read what users have stored as credentials.
const (
	keysSecret    = "nap-cp-secret"
	encryptionKey = "CREDENTIAL_ENCRYPTION_KEY"
)

// wantKeyNeeded gives keysSecret other data, or deletes it where there is none, and wants helm refused. Afterwards the
// Secret is what it was.
func (r *release) wantKeyNeeded(t *testing.T, data map[string][]byte, words string) {
	t.Helper()
	secrets := r.client.CoreV1().Secrets(r.namespace)
	own, err := secrets.Get(t.Context(), keysSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own.ResourceVersion, own.UID = "", ""
	if data == nil {
		err = secrets.Delete(t.Context(), keysSecret, metav1.DeleteOptions{})
	} else {
		other := own.DeepCopy()
		maps.Copy(other.Data, data)
		_, err = secrets.Update(t.Context(), other, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	got := r.upgrade(t.Context(), "--wait", "--set", "global.images.controlPlane.tag=v0.2.2")
	if err := secrets.Delete(t.Context(), keysSecret, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if _, err := secrets.Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, got, time.Minute, keysSecret, words+" "+encryptionKey, "global.upgrade.allowSecretChanges=true")
}
