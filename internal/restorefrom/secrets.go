package restorefrom

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/offsite"
)

// credentialKey is the key of a Secret that encrypts what users stored as credentials.
const credentialKey = "CREDENTIAL_ENCRYPTION_KEY"

// compareSecrets are those of the escrow's Secrets that the namespace lacks, and findings on those that it has with
// other values. No value is part of a finding.
func (r *Restore) compareSecrets(ctx context.Context) (
	missing []offsite.EscrowSecret, other []finding.Finding, err error) {
	for _, want := range r.Escrow.Secrets {
		live, err := kube.Get[corev1.Secret](ctx, r.Client, kube.Secrets, r.Namespace, want.Name)
		if apierrors.IsNotFound(err) {
			missing = append(missing, want)
			continue
		}
		if err != nil {
			return nil, nil, kube.Refused(err, "read Secret %s in namespace %s", want.Name, r.Namespace)
		}
		var keys []string
		for _, key := range slices.Sorted(maps.Keys(want.Data)) {
			if !bytes.Equal(want.Data[key], live.Data[key]) {
				keys = append(keys, key)
			}
		}
		if len(keys) == 0 || r.KeepSecrets {
			continue
		}
		other = append(other, finding.Finding{ID: finding.BackupSecret, Severity: finding.Error,
			Object: "Secret " + r.Namespace + "/" + want.Name,
			Found: fmt.Sprintf("Secret %s in namespace %s has another value of %s than the backup's", want.Name, r.Namespace,
				strings.Join(keys, ", ")),
			Why: "what is restored could not be read with it, or what uses it now would lose its keys",
			Fix: fmt.Sprintf("restore into another namespace; if nothing in namespace %s needs the Secret, delete it and run "+
				"the same command again; --keep-secrets keeps such Secrets as they are", r.Namespace)})
	}
	return missing, other, nil
}

// checkKey refuses an escrow whose key does not decrypt the credentials in the backup: it was rotated between the
// backup and its copy.
func (r *Restore) checkKey() []finding.Finding {
	recorded := r.Copy.Metadata.Key
	for _, secret := range r.Escrow.Secrets {
		key, has := secret.Data[credentialKey]
		if has && recorded.Known() && !recorded.Matches(string(key)) && !r.AllowOtherKey {
			name := r.Copy.Metadata.Name
			return []finding.Finding{{ID: finding.BackupKey, Severity: finding.Error, Object: "backup " + name,
				Found: fmt.Sprintf("the credentials in backup %s are encrypted with another key than the one that was "+
					"saved with it", name),
				Why: "the key was replaced between the backup and its copy, so users' stored credentials could not be read",
				Fix: "restore a newer or an older backup, or, if those credentials may be lost, restore with --allow-other-key"}}
		}
	}
	return nil
}

// createSecrets creates Secrets. One that another client has just created is left to it: the next run compares it.
func (r *Restore) createSecrets(ctx context.Context, secrets []offsite.EscrowSecret) error {
	for _, secret := range secrets {
		made := corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Name: secret.Name, Namespace: r.Namespace},
			Type:       corev1.SecretType(secret.Type), Data: secret.Data,
		}
		if !secret.Existing {
			// As the chart's hook creates it, which finds it there.
			made.Labels = maps.Clone(secret.Labels)
			metav1.SetMetaDataLabel(&made.ObjectMeta, kube.ManagedByLabel, kube.FieldManager)
			made.Annotations = kube.NotPruned(map[string]string{})
			metav1.SetMetaDataAnnotation(&made.ObjectMeta, "helm.sh/resource-policy", "keep")
		}
		err := r.Client.Create(ctx, kube.Secrets, r.Namespace, &made, false)
		switch denied, is := kube.Denied(err); {
		case err == nil:
			r.Log.Info("Secret created", "name", secret.Name)
		case apierrors.IsAlreadyExists(err):
		case is:
			return refuse([]finding.Finding{denied})
		default:
			// Other words of the API server's could repeat what was sent.
			return fmt.Errorf("create Secret %s in namespace %s: %s", secret.Name, r.Namespace, apierrors.ReasonForError(err))
		}
	}
	return nil
}
