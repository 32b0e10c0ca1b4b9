// Package secretexport writes the Secrets of a release as one file that is encrypted to people, by their age public keys.
package secretexport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

// Export is what is in a file.
type Export struct {
	// Secrets are the names of those that are in it, Missing of those that the release names and that do not exist.
	Secrets, Missing []string
}

// identity begins the secret half of a key.
const identity = "AGE-SECRET-KEY-"

// Recipients reads public keys. An error never shows the secret half of one that was given instead.
func Recipients(texts []string) ([]age.Recipient, error) {
	if len(texts) == 0 {
		return nil, hook.Errorf(hook.Usage, "name the age public key of a person who may read the file with --recipient age1…; "+
			"age-keygen makes one")
	}
	var recipients []age.Recipient
	for _, text := range texts {
		text = strings.TrimSpace(text)
		if strings.HasPrefix(strings.ToUpper(text), identity) {
			return nil, hook.Errorf(hook.Usage, "--recipient got the secret half of a key, which belongs on no command line: "+
				"make another key, and name its public half, which begins with age1")
		}
		parsed, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(parsed) != 1 {
			return nil, hook.Errorf(hook.Usage, "--recipient %q is no age public key: it begins with age1, and age-keygen -y "+
				"prints it", text)
		}
		recipients = append(recipients, parsed...)
	}
	return recipients, nil
}

// Write writes the Secrets of the release in namespace that plan describes to w, as a List that kubectl applies.
func Write(ctx context.Context, client *kube.Client, namespace string, plan secretplan.Plan,
	recipients []age.Recipient, w io.Writer) (Export, error) {
	var done Export
	list := map[string]any{"apiVersion": "v1", "kind": "List"}
	var items []any
	names := []string{}
	for _, s := range plan.Secrets.Secrets {
		names = append(names, s.Name)
	}
	if plan.Keyring != "" {
		names = append(names, plan.Keyring)
	}
	for _, name := range names {
		live, err := kube.Get[corev1.Secret](ctx, client, kube.Secrets, namespace, name)
		if apierrors.IsNotFound(err) {
			if name != plan.Keyring {
				done.Missing = append(done.Missing, name)
			}
			continue
		}
		if err != nil {
			return done, kube.Refused(err, "read Secret %s in namespace %s", name, namespace)
		}
		items = append(items, portable(live))
		done.Secrets = append(done.Secrets, name)
	}
	if len(items) == 0 {
		return done, hook.Refusef(finding.SecretsGiven, "restore them from a copy", "namespace %s has none of the Secrets %s",
			namespace, strings.Join(names, ", "))
	}
	list["items"] = items
	text, err := yaml.Marshal(list)
	if err != nil {
		// Its words could repeat a value.
		return done, errors.New("encode the Secrets as YAML: they do not convert")
	}
	sealed, err := age.Encrypt(w, recipients...)
	if err != nil {
		return done, fmt.Errorf("encrypt the file: %w", err)
	}
	if _, err := io.Copy(sealed, bytes.NewReader(text)); err != nil {
		return done, fmt.Errorf("write the file: %w", err)
	}
	if err := sealed.Close(); err != nil {
		return done, fmt.Errorf("write the file: %w", err)
	}
	return done, nil
}

// dropped are annotations that say what was true in this cluster alone.
var dropped = []string{corev1.LastAppliedConfigAnnotation, kube.ArgoTracking}

// portable is a Secret as it is created in another cluster, or again in this one.
func portable(live *corev1.Secret) map[string]any {
	metadata := map[string]any{"name": live.Name, "namespace": live.Namespace}
	if len(live.Labels) > 0 {
		metadata["labels"] = live.Labels
	}
	annotations := map[string]string{}
	for key, value := range live.Annotations {
		if !slices.Contains(dropped, key) {
			annotations[key] = value
		}
	}
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	secret := map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": metadata,
		"type": live.Type, "data": live.Data}
	if live.Immutable != nil {
		secret["immutable"] = *live.Immutable
	}
	return secret
}
