package teardown

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const (
	operatorOfRelease = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: neutree-cloudnative-pg
  namespace: nap
  labels: {app.kubernetes.io/name: cloudnative-pg, app.kubernetes.io/managed-by: Helm}
  annotations: {meta.helm.sh/release-name: neutree, meta.helm.sh/release-namespace: nap}
spec: {template: {spec: {containers: [{name: manager, image: "cloudnative-pg:1.30.0"}]}}}
`
	databaseOfOthers = `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: orders, namespace: shop}
`
	allowingRemoval = `
apiVersion: v1
kind: ConfigMap
metadata: {name: neutree-installation, namespace: nap, annotations: {neutree.ai/remove-operator: "true"}}
`
)

// An uninstall that would leave the databases of others without an operator is refused before anything is stopped.
func TestOperatorOfOthersIsKept(t *testing.T) {
	for name, test := range map[string]struct {
		objects []string
		spec    func(*hook.OperatorSpec)
		forbid  bool
		refused bool
	}{
		"databases of others": {objects: []string{uninstalling, operatorOfRelease, databaseOfOthers},
			refused: true},
		"none":                      {objects: []string{uninstalling, operatorOfRelease}},
		"the operator is another's": {objects: []string{uninstalling, databaseOfOthers}},
		"no uninstall":              {objects: []string{deployed, operatorOfRelease, databaseOfOthers}},
		"the value allows it": {objects: []string{uninstalling, operatorOfRelease, databaseOfOthers},
			spec: func(s *hook.OperatorSpec) { s.AllowChange = true }},
		"the annotation allows it": {objects: []string{uninstalling, operatorOfRelease, databaseOfOthers,
			allowingRemoval}},
		"databases that may not be listed": {objects: []string{uninstalling, operatorOfRelease}, forbid: true, refused: true},
		"which the annotation makes good": {objects: []string{uninstalling, operatorOfRelease, allowingRemoval},
			forbid: true},
	} {
		t.Run(name, func(t *testing.T) {
			server := kubetest.New(t, append([]string{platform}, test.objects...)...)
			if test.forbid {
				server.Refuse(-1, "GET", "/apis/postgresql.cnpg.io/v1/clusters", kubetest.Status(403, metav1.StatusReasonForbidden,
					`User "hook" cannot list resource "clusters" in API group "postgresql.cnpg.io" at the cluster scope`))
			}
			with := spec
			with.Operator = &hook.OperatorSpec{Release: "neutree", Namespace: "nap", Cluster: "nap-pg", Bundled: true,
				RunsIn:       "nap",
				Installation: "neutree-installation"}
			if test.spec != nil {
				test.spec(with.Operator)
			}
			var log bytes.Buffer
			teardown := &Teardown{Log: slog.New(slog.NewTextHandler(&log, nil)), Client: server.Client(), Spec: with,
				RunnerWait: 1, DatabaseWait: 1}
			_, err := teardown.Run(t.Context())
			if !test.refused {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if hook.CodeOf(err) != hook.Refused {
				t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
			}
			words := []string{"neutree.ai/remove-operator=true", "nothing was stopped or deleted", "[teardown.operator]"}
			if !test.forbid {
				words = append(words, "Cluster shop/orders")
			}
			for _, word := range words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the refusal does not say %q: %v", word, err)
				}
			}
			if changes := server.Changes(); len(changes) > 0 {
				t.Errorf("refused, and yet it changed %+v", changes)
			}
		})
	}
}
