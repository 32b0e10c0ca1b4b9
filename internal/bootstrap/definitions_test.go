package bootstrap

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

// The definitions that a release brings are protected as soon as they are there. The platform works without that.
func TestDefinitionsAreProtected(t *testing.T) {
	const at = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusters.postgresql.cnpg.io"
	server := kubetest.New(t, cluster)
	var log bytes.Buffer
	b := &Bootstrap{Log: slog.New(slog.NewTextHandler(&log, nil)), Client: server.Client()}
	b.protectDefinitions(t.Context())
	if changes := server.Changes(); len(changes) > 0 {
		t.Errorf("a release without the operator changed %v", changes)
	}
	b.Spec.Operator = &hook.OperatorSpec{Release: "neutree", Namespace: "nap", Bundled: true,
		Definitions: []string{"clusters.postgresql.cnpg.io"}}
	b.protectDefinitions(t.Context())
	if options := server.Object(at).GetAnnotations()["argocd.argoproj.io/sync-options"]; options != "Prune=false,Delete=false" {
		t.Errorf("options of ArgoCD are %q", options)
	}
	server.Put(cluster[strings.LastIndex(cluster, "---")+4:])
	server.Refuse(-1, "PATCH", at, kubetest.Status(403, metav1.StatusReasonForbidden, "no"))
	b.protectDefinitions(t.Context())
	if !strings.Contains(log.String(), "could not be marked not to be pruned") {
		t.Errorf("nothing is said of a failure:\n%s", log.String())
	}
}
