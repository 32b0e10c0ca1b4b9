package secret

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Keyring is a Secret that exists while a key is replaced with which data is encrypted. It has each key that the data may
// be encrypted with, and the new one, so that none is lost whatever happens meanwhile.
type Keyring struct {
	k      *keeper
	name   string
	labels map[string]string
	live   *corev1.Secret
}

// NewKey is the key in it of the new key. All others have an old one.
const NewKey = "new"

// OpenKeyring reads the keyring called name. There may be none yet.
func OpenKeyring(ctx context.Context, log *slog.Logger, api kube.Objects, namespace, name string,
	labels map[string]string) (*Keyring, error) {
	r := &Keyring{k: &keeper{api: api, log: log, namespace: namespace}, name: name, labels: labels}
	var err error
	r.live, err = r.k.get(ctx, name)
	return r, err
}

// Exists says whether there is one.
func (r *Keyring) Exists() bool { return r.live != nil }

// New is the new key, "" where there is none yet.
func (r *Keyring) New() string {
	if r.live == nil {
		return ""
	}
	return string(r.live.Data[NewKey])
}

// Holds says whether a key is one of those in it.
func (r *Keyring) Holds(key string) bool {
	if r.live == nil {
		return false
	}
	for _, value := range r.live.Data {
		if string(value) == key {
			return true
		}
	}
	return false
}

// Find is the first old key in it for which is says so, "" where there is none.
func (r *Keyring) Find(is func(key string) bool) string {
	if r.live == nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(r.live.Data)) {
		if key := string(r.live.Data[name]); name != NewKey && is(key) {
			return key
		}
	}
	return ""
}

// Retire makes the new key one of the others: nothing is to be encrypted with it.
func (r *Keyring) Retire(ctx context.Context) error {
	next := r.New()
	if next == "" {
		return nil
	}
	keyring := r.live.DeepCopy()
	delete(keyring.Data, NewKey)
	add(keyring, next)
	return r.store(ctx, keyring)
}

// Version is another one for other keys.
func (r *Keyring) Version() string { return string(r.live.UID) + "-" + r.live.ResourceVersion }

// Mark recognises the keys in it, and shows none of them.
func (r *Keyring) Mark() string { return MarkKeys(r.Version(), r.live.Data) }

// MarkKeys is the mark of a keyring with that version, whose keys are given by their names.
func MarkKeys(version string, keys map[string][]byte) string {
	mac := hmac.New(sha256.New, []byte(version))
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		fmt.Fprintf(mac, "%q %q\n", name, keys[name])
	}
	return version + "." + hex.EncodeToString(mac.Sum(nil))[:16]
}

// Save adds an old key, and makes another one the new one unless that is "". A key that is in it stays.
func (r *Keyring) Save(ctx context.Context, old, next string) error {
	keyring := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: r.name, Namespace: r.k.namespace,
		Labels:      merge(r.labels, map[string]string{kube.ManagedByLabel: kube.FieldManager}),
		Annotations: kube.NotPruned(nil),
	}, Type: corev1.SecretTypeOpaque}
	if r.live != nil {
		keyring = r.live.DeepCopy()
	}
	before := keyring.DeepCopy().Data
	if keyring.Data == nil {
		keyring.Data = map[string][]byte{}
	}
	add(keyring, old)
	if next != "" && string(keyring.Data[NewKey]) != next {
		was := string(keyring.Data[NewKey])
		delete(keyring.Data, NewKey)
		add(keyring, was)
		keyring.Data[NewKey] = []byte(next)
	}
	if maps.EqualFunc(before, keyring.Data, func(a, b []byte) bool { return string(a) == string(b) }) {
		return nil
	}
	return r.store(ctx, keyring)
}

// add adds an old key to the keyring, unless it has it.
func add(keyring *corev1.Secret, key string) {
	if key == "" || slices.ContainsFunc(slices.Collect(maps.Values(keyring.Data)),
		func(value []byte) bool { return string(value) == key }) {
		return
	}
	name := "old"
	for n := 2; keyring.Data[name] != nil; n++ {
		name = fmt.Sprintf("old-%d", n)
	}
	keyring.Data[name] = []byte(key)
}

// store writes the keyring, unless another client was faster: the lock of a rotation keeps others away.
func (r *Keyring) store(ctx context.Context, keyring *corev1.Secret) error {
	store := r.k.write
	if r.live == nil {
		store = r.k.create
	}
	again, err := store(ctx, keyring)
	if err != nil {
		return err
	}
	if again {
		return fmt.Errorf("another client has just changed the Secret %s", r.k.name(r.name))
	}
	r.live, err = r.k.get(ctx, r.name)
	if err == nil && r.live == nil {
		err = fmt.Errorf("another client has just deleted the Secret %s", r.k.name(r.name))
	}
	return err
}

// Delete deletes it, once data is encrypted with the new key alone.
func (r *Keyring) Delete(ctx context.Context) error {
	if r.live == nil {
		return nil
	}
	err := r.k.api.Delete(ctx, r.name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return r.k.apiError("delete", r.name, err)
	}
	return nil
}

// Random is a new key of as many bytes as a spec asks for.
func Random(spec hook.GenerateSpec) (string, error) {
	raw := make([]byte, spec.Bytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("generate a value: %w", err)
	}
	return hex.EncodeToString(raw), nil
}

// Value is what a key of a Secret has now.
func (c *Changes) Value(ctx context.Context, ref hook.SecretRef) (string, error) {
	return c.k.lookup(ctx, ref, "its rotation")
}

// Set replaces a value, where it is still from. It says so where another client has changed it meanwhile.
func (c *Changes) Set(ctx context.Context, ref hook.SecretRef, from, to string) error {
	for range attempts {
		live, err := c.k.get(ctx, ref.Secret)
		if err != nil {
			return err
		}
		switch {
		case live == nil:
			return c.k.refuse(finding.SecretsGiven, ref.Secret,
				fmt.Sprintf("the Secret %s does not exist", c.k.name(ref.Secret)), "restore it from a copy")
		case string(live.Data[ref.Key]) == to:
			c.see(ref, live.Data[ref.Key])
			return nil
		case string(live.Data[ref.Key]) != from:
			return fmt.Errorf("another client has just changed the key %s of the Secret %s", ref.Key, c.k.name(ref.Secret))
		case immutable(live):
			return c.k.refuseImmutable(ref.Secret, "can't get another value of "+list([]string{ref.Key}))
		}
		live.Data[ref.Key] = []byte(to)
		again, err := c.k.write(ctx, live)
		if err != nil {
			return err
		}
		if !again {
			c.see(ref, live.Data[ref.Key])
			return nil
		}
	}
	return fmt.Errorf("the Secret %s was changed by others %d times while it was being written",
		c.k.name(ref.Secret), attempts)
}

// Changed says whether the value is another one than the services have started with.
func (c *Changes) Changed(ref hook.SecretRef) bool { return c.changed[ref] }

// StartedWith says whether a value is the one that the services have started with.
func (c *Changes) StartedWith(ref hook.SecretRef, value string) bool {
	was, recorded := c.old.Values[ref.String()]
	return recorded && was == c.old.digest([]byte(value))
}
