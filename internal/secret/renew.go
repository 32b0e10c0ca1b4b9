package secret

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Expect takes keys for changed that are about to be: Of then finds them.
func (c *Changes) Expect(refs []hook.SecretRef) {
	for _, ref := range refs {
		c.changed[ref] = true
	}
}

// AllChanged says whether none of the values is the one that services have started with.
func (c *Changes) AllChanged(refs []hook.SecretRef) bool { return len(c.Unchanged(refs)) == 0 }

// Unchanged are the keys whose values are those that services have started with.
func (c *Changes) Unchanged(refs []hook.SecretRef) []string {
	var keys []string
	for _, ref := range refs {
		if !c.changed[ref] {
			keys = append(keys, ref.Key)
		}
	}
	return keys
}

// Renewable finds out, without a write, whether Renew would be refused.
func (c *Changes) Renewable(ctx context.Context, s hook.Secret, keys []string) error {
	live, err := c.k.get(ctx, s.Name)
	if err != nil {
		return err
	}
	return c.renewable(live, s, keys)
}

func (c *Changes) renewable(live *corev1.Secret, s hook.Secret, keys []string) error {
	for _, key := range keys {
		if s.Data[key].Generate == nil {
			return hook.Errorf(hook.Usage, "the key %s of the Secret %s is not made at random, so it can't be renewed",
				key, c.k.name(s.Name))
		}
	}
	switch {
	case c.next.Values == nil:
		// Without it no one could see later which services have to be restarted.
		return c.k.refuse(finding.SecretsGiven, c.where, fmt.Sprintf("the Secret %s does not exist", c.k.name(c.where)),
			"run helm upgrade with the same values, which creates it")
	case live == nil:
		return c.k.refuse(finding.SecretsGiven, s.Name, fmt.Sprintf("the Secret %s does not exist", c.k.name(s.Name)),
			"restore it from a copy, or let a helm upgrade create it with new values")
	case immutable(live):
		return c.k.refuseImmutable(s.Name, "can't get another value of "+list(keys))
	}
	return nil
}

// Renew gives keys of a Secret, one that the spec makes, new random values in one write, and says whether it did. It
// writes nothing where none of them is the one that services have started with any more: another client was faster,
// or a run that was killed has written. RememberUnknown comes before it.
func (c *Changes) Renew(ctx context.Context, s hook.Secret, keys []string) (renewed bool, err error) {
	for range attempts {
		live, err := c.k.get(ctx, s.Name)
		if err != nil {
			return false, err
		}
		if err := c.renewable(live, s, keys); err != nil {
			return false, err
		}
		refs := c.seeAll(live, keys)
		if c.AllChanged(refs) {
			return false, nil
		}
		if live.Data == nil {
			live.Data = map[string][]byte{}
		}
		for _, key := range keys {
			value, err := c.k.value(ctx, s.Data[key])
			if err != nil {
				return false, err
			}
			live.Data[key] = []byte(value)
		}
		again, err := c.k.write(ctx, live)
		if err != nil {
			return false, err
		}
		if again {
			continue
		}
		c.seeAll(live, keys)
		c.k.log.Info("the Secret has a new random value", "name", s.Name, "keys", keys)
		return true, nil
	}
	return false, fmt.Errorf("the Secret %s was changed by others %d times while it was being written",
		c.k.name(s.Name), attempts)
}

// seeAll notes the values of the keys, and returns their references.
func (c *Changes) seeAll(live *corev1.Secret, keys []string) []hook.SecretRef {
	var refs []hook.SecretRef
	for _, key := range keys {
		ref := hook.SecretRef{Secret: live.Name, Key: key}
		refs = append(refs, ref)
		if value, has := live.Data[key]; has {
			c.see(ref, value)
		}
	}
	return refs
}
