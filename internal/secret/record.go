package secret

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// recordAnnotation, on a Secret that we make, recognises the values that the services have started with. Anyone who may
// read it may read the Secret, and its values are digests with a salt.
const recordAnnotation = "neutree.ai/values"

// record recognises values and does not show them.
type record struct {
	Salt string `json:"salt"`
	// Values are digests, by Secret and key.
	Values map[string]string `json:"values"`
}

func (r record) digest(value []byte) string {
	mac := hmac.New(sha256.New, []byte(r.Salt))
	mac.Write(value)
	return hex.EncodeToString(mac.Sum(nil))[:16]
}

// Changes are the values that are not those which the services have started with.
type Changes struct {
	k     *keeper
	where string
	// sources are the values that each derived one follows from.
	sources map[hook.SecretRef][]hook.SecretRef
	keys    map[string][]string
	changed map[hook.SecretRef]bool
	// old is the record that is written, next the one of the values as they are now.
	old, next record
}

// Compare compares the values of the Secrets in spec with those that the Secret called where remembers, which is one
// that spec makes. Where it remembers nothing yet, nothing has changed: there is nothing to tell that by. A derived value
// changes with what it follows from: a change of the chart's values alone is Helm's to roll out.
func Compare(
	ctx context.Context, log *slog.Logger, api kube.Objects, spec hook.SecretsSpec, where string,
) (*Changes, error) {
	c := &Changes{
		k: &keeper{api: api, log: log, namespace: spec.Namespace}, where: where,
		sources: map[hook.SecretRef][]hook.SecretRef{}, keys: map[string][]string{}, changed: map[hook.SecretRef]bool{},
	}
	home, err := c.k.get(ctx, where)
	if err != nil || home == nil {
		return c, err
	}
	known := json.Unmarshal([]byte(home.Annotations[recordAnnotation]), &c.old) == nil && c.old.Salt != ""
	c.next = record{Salt: c.old.Salt, Values: map[string]string{}}
	if !known {
		salt := make([]byte, 16)
		if _, err := rand.Read(salt); err != nil {
			return nil, fmt.Errorf("make a salt: %w", err)
		}
		c.next.Salt = hex.EncodeToString(salt)
	}
	for _, s := range spec.Secrets {
		live, err := c.k.get(ctx, s.Name)
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(s.Data)) {
			ref := hook.SecretRef{Secret: s.Name, Key: name}
			c.keys[s.Name] = append(c.keys[s.Name], name)
			if key := s.Data[name]; key.Derived() {
				c.sources[ref] = sourcesOf(key)
				continue
			}
			if live == nil {
				continue
			}
			if value, has := live.Data[name]; has {
				c.see(ref, value)
			}
		}
	}
	return c, nil
}

// see notes the value that there is now, and whether it is the one that services have started with.
func (c *Changes) see(ref hook.SecretRef, value []byte) {
	c.next.Values[ref.String()] = c.next.digest(value)
	was, recorded := c.old.Values[ref.String()]
	c.changed[ref] = recorded && was != c.next.Values[ref.String()]
}

func sourcesOf(key hook.SecretKey) []hook.SecretRef {
	var refs []hook.SecretRef
	if url := key.PostgresURL; url != nil {
		if url.URLFrom != nil {
			return []hook.SecretRef{*url.URLFrom}
		}
		return []hook.SecretRef{url.UserFrom, url.PasswordFrom}
	}
	if key.File != nil {
		for _, name := range slices.Sorted(maps.Keys(key.File.Values)) {
			refs = append(refs, key.File.Values[name])
		}
	}
	return refs
}

// Any says whether a value has changed.
func (c *Changes) Any() bool { return len(c.All()) > 0 }

// All are the values that have changed, in order.
func (c *Changes) All() []hook.SecretRef {
	var all []hook.SecretRef
	for ref, changed := range c.changed {
		if changed {
			all = append(all, ref)
		}
	}
	slices.SortFunc(all, hook.CompareRefs)
	return all
}

// Same says whether both have seen the same values.
func (c *Changes) Same(other *Changes) bool { return maps.Equal(c.next.Values, other.next.Values) }

// Of are the changed values behind what a service reads: one key of a Secret, or all of it where the key is empty.
func (c *Changes) Of(ref hook.SecretRef) []hook.SecretRef {
	read := []string{ref.Key}
	if ref.Key == "" {
		read = c.keys[ref.Secret]
	}
	var changed []hook.SecretRef
	for _, key := range read {
		ref := hook.SecretRef{Secret: ref.Secret, Key: key}
		sources, derived := c.sources[ref]
		if !derived {
			sources = []hook.SecretRef{ref}
		}
		for _, source := range sources {
			if c.changed[source] {
				changed = append(changed, source)
			}
		}
	}
	return changed
}

// Version is another one for other values. It shows none of them.
func (c *Changes) Version(refs []hook.SecretRef) string {
	sum := sha256.New()
	for _, ref := range refs {
		fmt.Fprintf(sum, "%s %s\n", ref, c.next.Values[ref.String()])
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}

// Remember has the Secret remember the values as they are now. It comes after the restarts, so that a run that was
// killed between them is done again.
func (c *Changes) Remember(ctx context.Context) error { return c.remember(ctx, c.next) }

// RememberOnly has the Secret remember some values as they are now, and leaves what it remembers of others.
func (c *Changes) RememberOnly(ctx context.Context, refs []hook.SecretRef) error {
	some := record{Salt: c.next.Salt, Values: map[string]string{}}
	maps.Copy(some.Values, c.old.Values)
	for _, ref := range refs {
		some.Values[ref.String()] = c.next.Values[ref.String()]
	}
	return c.remember(ctx, some)
}

// RememberUnknown has the Secret remember the values of which it does not remember any yet. Without that, a change of
// one of them that comes next would not be seen.
func (c *Changes) RememberUnknown(ctx context.Context) error {
	known := record{Salt: c.next.Salt, Values: maps.Clone(c.next.Values)}
	for key, was := range c.old.Values {
		if _, there := known.Values[key]; there {
			known.Values[key] = was
		}
	}
	return c.remember(ctx, known)
}

// remember writes a record, unless it is the one that is written.
func (c *Changes) remember(ctx context.Context, r record) error {
	if maps.Equal(c.old.Values, r.Values) {
		return nil
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	for range attempts {
		home, err := c.k.get(ctx, c.where)
		if err != nil || home == nil {
			return err
		}
		if home.Annotations == nil {
			home.Annotations = map[string]string{}
		}
		home.Annotations[recordAnnotation] = string(raw)
		again, err := c.k.write(ctx, home)
		if err != nil {
			return err
		}
		if !again {
			c.old = r
			return nil
		}
	}
	return fmt.Errorf("the Secret %s was changed by others %d times while it was being written",
		c.k.name(c.where), attempts)
}
