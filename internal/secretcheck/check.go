// Package secretcheck finds keys of a release that are weak, have one value under two names, can be read in Helm's
// history, or are not yet those that the services work with. It writes nothing and shows no value.
package secretcheck

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/mask"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/restart"
	"github.com/neutree-ai/packaging/internal/secret"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

// Checker checks the Secrets of one release.
type Checker struct {
	log       *slog.Logger
	client    *kube.Client
	namespace string
	plan      secretplan.Plan
	// live are the Secrets by name.
	live map[string]*corev1.Secret
}

// New reads the Secrets of the plan.
func New(
	ctx context.Context, log *slog.Logger, client *kube.Client, namespace string, plan secretplan.Plan,
) (*Checker, error) {
	c := &Checker{log: log, client: client, namespace: namespace, plan: plan, live: map[string]*corev1.Secret{}}
	for _, s := range plan.Secrets.Secrets {
		live, err := kube.Get[corev1.Secret](ctx, client, kube.Secrets, namespace, s.Name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, kube.Refused(err, "read Secret %s in namespace %s", s.Name, namespace)
		}
		c.live[s.Name] = live
	}
	return c, nil
}

// Checks are all checks, in the order in which they are shown.
func (c *Checker) Checks() []preflight.Check {
	check := func(id finding.ID, title string, run func(context.Context) ([]finding.Finding, error)) preflight.Check {
		return preflight.Check{ID: string(id), Title: title, Severity: preflight.Error,
			Run: func(ctx context.Context, _ *preflight.Subject) ([]finding.Finding, error) { return run(ctx) }}
	}
	return []preflight.Check{
		check(finding.SecretsUsable, "Secrets exist, with all keys, long enough and no placeholders", c.usable),
		check(finding.SecretsShared, "Each key has a value of its own", c.shared),
		check(finding.SecretsLeaked, "No value can be read in Helm's history", c.leaked),
		check(finding.SecretsNotRestarted, "Services work with the values that the Secrets have now", c.notRestarted),
	}
}

// Hide takes the values out of a text, as the last line of defence.
func (c *Checker) Hide() func(string) string {
	var values []string
	for _, one := range c.confidential() {
		values = append(values, string(one.value))
	}
	return mask.Of(values...).Hide
}

// valued is one secret value.
type valued struct {
	ref   hook.SecretRef
	value []byte
}

// confidential are the values that are secret and there, in the order of the plan.
func (c *Checker) confidential() []valued {
	var all []valued
	for _, s := range c.plan.Secrets.Secrets {
		live := c.live[s.Name]
		for _, key := range slices.Sorted(maps.Keys(s.Data)) {
			if live == nil || !s.Data[key].Confidential() || len(live.Data[key]) == 0 {
				continue
			}
			all = append(all, valued{hook.SecretRef{Secret: s.Name, Key: key}, live.Data[key]})
		}
	}
	return all
}

// usable applies the rules of the hooks, and misses what they would create: services that restart would not find it.
func (c *Checker) usable(context.Context) ([]finding.Finding, error) {
	findings := secret.Problems(c.plan.Secrets, c.live)
	for _, s := range c.plan.Secrets.Secrets {
		if s.Existing {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(s.Data)) {
			if live := c.live[s.Name]; live != nil {
				if _, has := live.Data[key]; has {
					continue
				}
			}
			f := finding.Finding{
				ID: finding.SecretsUsable, Object: c.object(s.Name),
				Found: fmt.Sprintf("the key %s of Secret %s/%s is missing", key, c.namespace, s.Name),
				Why:   "pods that start next do not find it",
				Fix:   "restore it from a copy; without one, helm upgrade creates it with a new value",
			}
			if s.Data[key].Derived() {
				f.Fix = "run helm upgrade with the same values, which derives it again"
			}
			findings = append(findings, f)
		}
	}
	return findings, nil
}

// shared finds one value under several keys: who knows the one knows the others.
func (c *Checker) shared(context.Context) ([]finding.Finding, error) {
	refs := map[string][]hook.SecretRef{}
	var values []string
	for _, one := range c.confidential() {
		value := string(one.value)
		if refs[value] == nil {
			values = append(values, value)
		}
		refs[value] = append(refs[value], one.ref)
	}
	var findings []finding.Finding
	for _, value := range values {
		same := refs[value]
		if len(same) == 1 {
			continue
		}
		findings = append(findings, finding.Finding{
			ID: finding.SecretsShared, Object: c.object(same[0].Secret),
			Found: fmt.Sprintf("%d keys in namespace %s have one value: %s", len(same), c.namespace, restart.Describe(same)),
			Why:   "with one of them all are known, and each is for another purpose",
			Fix:   c.replaceOneOf(same),
		})
	}
	return findings, nil
}

// replaceOneOf says how keys get values of their own. One of them may keep it, above all one that can't be rotated.
func (c *Checker) replaceOneOf(refs []hook.SecretRef) string {
	var commands []string
	for _, ref := range refs {
		if name := c.plan.RotationOf(ref); name != "" {
			commands = append(commands, c.rotate(name))
		}
	}
	commands = slices.Compact(commands)
	if len(commands) == len(refs) {
		commands = commands[1:]
	}
	if len(commands) == 0 {
		return "give each a value of its own, as docs/secrets.md says"
	}
	return "run " + strings.Join(commands, " and ")
}

// notRestarted finds values that have changed since services started: they still work with the old ones.
func (c *Checker) notRestarted(ctx context.Context) ([]finding.Finding, error) {
	changes, err := secret.Compare(ctx, c.log, c.client.Resource(kube.Secrets, c.namespace), c.plan.Secrets, c.plan.Record)
	if err != nil {
		return nil, err
	}
	restarter := &restart.Restarter{Log: c.log, Client: c.client, Namespace: c.namespace}
	readers, err := restarter.Readers(ctx, c.plan.Restart, changes)
	if err != nil {
		return nil, err
	}
	var findings []finding.Finding
	for _, ref := range changes.All() {
		var names []string
		for _, reader := range readers {
			if slices.Contains(reader.Changed, ref) {
				names = append(names, reader.Name)
			}
		}
		if len(names) == 0 {
			continue
		}
		f := finding.Finding{
			ID: finding.SecretsNotRestarted, Object: c.object(ref.Secret),
			Found: fmt.Sprintf("the key %s of Secret %s/%s has changed, and not all of its readers have been restarted "+
				"since: Deployment %s", ref.Key, c.namespace, ref.Secret, strings.Join(names, ", ")),
			Why: "pods that start next read the new value, and the others work with the old one",
			Fix: "run helm upgrade with the same values, which restarts them",
		}
		if name := c.plan.RotationOf(ref); name != "" {
			f.Fix = "run " + c.rotate(name) + ", which restarts them and makes no other value"
		}
		findings = append(findings, f)
	}
	return findings, nil
}

func (c *Checker) object(name string) string { return "Secret " + c.namespace + "/" + name }

// rotate is the command that does so.
func (c *Checker) rotate(name string) string {
	return fmt.Sprintf("helm neutree secrets rotate %s --namespace %s", name, c.namespace)
}
