package rotate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/kube"
)

// marks are labels and annotations of tools that write Secrets, by the tool.
var marks = []struct{ tool, key string }{
	{"External Secrets", "reconcile.external-secrets.io/managed"},
	{"External Secrets", "reconcile.external-secrets.io/created-by"},
	{"ArgoCD", kube.ArgoTracking},
	{"Flux", "kustomize.toolkit.fluxcd.io/name"},
	{"Flux", "helm.toolkit.fluxcd.io/name"},
	{"Sealed Secrets", "sealedsecrets.bitnami.com/managed"},
}

// byHand begins the names of field managers that a person is.
const byHand = "kubectl-"

// otherOwner names who may set a Secret's keys back after a rotation, "" for no one.
func otherOwner(secret *corev1.Secret, keys []string) string {
	for _, mark := range marks {
		if secret.Labels[mark.key] != "" || secret.Annotations[mark.key] != "" {
			return mark.tool
		}
	}
	for _, owner := range secret.OwnerReferences {
		return fmt.Sprintf("%s %s", owner.Kind, owner.Name)
	}
	for _, entry := range secret.ManagedFields {
		var fields struct {
			Data map[string]json.RawMessage `json:"f:data"`
		}
		own := entry.Manager == kube.FieldManager || strings.HasPrefix(entry.Manager, byHand)
		if own || entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		if slices.ContainsFunc(keys, func(key string) bool { _, owns := fields.Data["f:"+key]; return owns }) {
			return "field manager " + entry.Manager
		}
	}
	return ""
}

// ownerWarning is the finding about such an owner.
func (r *Rotation) ownerWarning(secret *corev1.Secret, keys []string) *finding.Finding {
	owner := otherOwner(secret, keys)
	if owner == "" {
		return nil
	}
	return &finding.Finding{
		ID: finding.SecretsOwner, Severity: finding.Warning, Object: "Secret " + r.Namespace + "/" + secret.Name,
		Found: fmt.Sprintf("%s also writes Secret %s in namespace %s", owner, secret.Name, r.Namespace),
		Why:   "it may set the new value back, and services that restart later would read another one",
		Fix:   "suspend it, or change the value at its source; then run this command, which restarts the services that read it",
	}
}
