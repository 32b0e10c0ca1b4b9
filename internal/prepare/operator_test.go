package prepare

import (
	"log/slog"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const (
	operatorOfRelease = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: neutree-cloudnative-pg
  namespace: nap
  labels: {app.kubernetes.io/name: cloudnative-pg, app.kubernetes.io/managed-by: Helm}
  annotations: {meta.helm.sh/release-name: neutree, meta.helm.sh/release-namespace: nap}
spec: {template: {spec: {containers: [{name: manager, image: "cloudnative-pg:1.31.0"}]}}}
`
	databaseOfOthers = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: orders, namespace: shop}\n"
	definition       = "clusters.postgresql.cnpg.io"
	definitionPath   = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + definition
	definitionObject = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: " +
		definition + "}\n"
)

func operatorSpec() *hook.OperatorSpec {
	return &hook.OperatorSpec{Release: "neutree", Namespace: "nap", Cluster: "nap-pg", RunsIn: "nap",
		Installation: "neutree-installation",
		Definitions:  []string{definition}}
}

// What an upgrade does to the operator is judged before anything is written.
func TestOperatorOfOthersIsKept(t *testing.T) {
	s := newStage(t, "", operatorOfRelease, databaseOfOthers, definitionObject)
	s.spec.Operator = operatorSpec()
	s.wantRefused("would remove the CloudNativePG operator on which other databases depend: Cluster shop/orders",
		"--set global.upgrade.allowOperatorChange=true", "[cnpg.other-databases]")
	if marked := s.server.Object(definitionPath).GetAnnotations(); len(marked) > 0 {
		t.Errorf("refused, and yet the definition was changed: %v", marked)
	}
	s.spec.Operator.AllowChange = true
	s.wantDone()
	if options := s.server.Object(definitionPath).GetAnnotations()["argocd.argoproj.io/sync-options"]; options != "Prune=false,Delete=false" {
		t.Errorf("the definition that the revision no longer contains has the options %q", options)
	}
}

// A revision without the definitions must not be applied while a tool could prune them.
func TestDefinitionsThatCannotBeProtected(t *testing.T) {
	s := newStage(t, "", definitionObject)
	s.spec.Operator = operatorSpec()
	s.server.Refuse(-1, "PATCH", definitionPath, kubetest.Status(403, metav1.StatusReasonForbidden,
		`User "hook" cannot patch resource "customresourcedefinitions" in API group "apiextensions.k8s.io" at the cluster scope`))
	s.wantRefused("CustomResourceDefinitions, which this revision does not contain",
		"hook may not patch customresourcedefinitions")
	s.spec.Operator.Bundled, s.spec.Operator.Rendered = true, true
	s.wantDone()
}

// A rollback must not put an older operator, with older definitions, under objects that a newer one wrote.
func TestRollbackOfTheOperator(t *testing.T) {
	spec := operatorSpec()
	spec.Bundled, spec.Rendered, spec.Image = true, true, "cloudnative-pg:1.30.0"
	s := newStage(t, "", operatorOfRelease, databaseOfOthers, installation)
	back := func() error {
		rollback := hook.RollbackSpec{Namespace: "nap", Release: "neutree", ConfigMap: "neutree-installation",
			Database: s.spec.Migrate, Operator: spec}
		_, err := (&Rollback{Log: slog.New(slog.DiscardHandler), Client: s.server.Client(), Spec: rollback}).Run(t.Context())
		return err
	}
	refused := func(words ...string) {
		t.Helper()
		err := back()
		if hook.CodeOf(err) != hook.Refused {
			t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
		}
		words = append(words, "kubectl annotate --overwrite configmap neutree-installation --namespace nap "+
			"neutree.ai/rollback-operator=1.31.0",
			"helm neutree recover neutree")
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("the refusal does not say %q: %v", word, err)
			}
		}
		if strings.Contains(err.Error(), "--set") {
			t.Errorf("a rollback takes no values: %v", err)
		}
	}
	refused("would go back from 1.31.0 to 1.30.0, and its definitions with it", "[cnpg.operator]")
	spec.Image, spec.Watches = "cloudnative-pg:1.31.0", "nap"
	refused("would no longer look after other databases: Cluster shop/orders", "[cnpg.other-databases]")
	annotated := strings.Replace(installation, "namespace: nap}",
		"namespace: nap, annotations: {neutree.ai/rollback-operator: %s}}", 1)
	s.server.Put(strings.Replace(annotated, "%s", "1.32.0", 1))
	refused()
	s.server.Put(strings.Replace(annotated, "%s", "1.31.0", 1))
	if err := back(); err != nil {
		t.Errorf("the annotation does not let it pass: %v", err)
	}
	s.server.Put(installation)
	spec.Watches = ""
	if err := back(); err != nil {
		t.Errorf("a rollback that leaves the operator as it is: %v", err)
	}
}
