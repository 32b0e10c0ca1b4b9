package database

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

// A field that the installed operator does not know is the user's mistake where it comes from extraSpec. One of the chart's
// own comes with a newer operator.
func TestFieldThatTheOperatorDoesNotKnow(t *testing.T) {
	const answer = "failed to create typed patch object (nap/nap-pg; postgresql.cnpg.io/v1, Kind=Cluster): " +
		".spec.plugin: field not declared in schema"
	live := strings.Replace(manifest, "name: nap-pg", "name: nap-pg, namespace: nap", 1)
	for fields, code := range map[string]hook.Code{"backup,plugin": hook.Refused, "backup": hook.OK, "": hook.OK} {
		t.Run(fields, func(t *testing.T) {
			c, server, _ := setup(t, live)
			server.Refuse(-1, "PATCH", clustersPath, kubetest.Status(500, metav1.StatusReasonInternalError, answer))
			desired := object(t, manifest)
			annotate(desired, extraAnnotation, fields)
			err := c.Admits(contextFor(t, 10*time.Second), desired)
			if code == hook.OK {
				if err != nil {
					t.Error(err)
				}
				return
			}
			expect(t, err, code, "extraSpec sets plugin, which is no field of a Cluster", "correct its name", "[cnpg.webhook")
			// A first install has no Cluster to try.
			expect(t, c.Apply(contextFor(t, 10*time.Second), desired), code, "extraSpec sets plugin")
		})
	}
}
