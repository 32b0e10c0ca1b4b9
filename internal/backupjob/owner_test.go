package backupjob_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

// Helm 4 refuses to change a field that another manager has set ("conflict with nap-hooks"), so the replicas are given
// back to the manager that they had.
func TestReplicasKeepTheirFieldManager(t *testing.T) {
	const (
		entry = `{manager: %s, operation: %s, %sapiVersion: apps/v1, fieldsType: FieldsV1, fieldsV1: {"f:spec": {%s}}}`
		both  = `"f:replicas": {}, "f:template": {}`
	)
	var (
		template = fmt.Sprintf(entry, "helm", "Apply", "", `"f:template": {}`)
		replicas = fmt.Sprintf(entry, "helm-controller", "Update", "", `"f:replicas": {}`)
		scaled   = fmt.Sprintf(entry, "nap-hooks", "Update", "subresource: scale, ", `"f:replicas": {}`)
	)
	for name, test := range map[string]struct {
		// before is what the restore meets, stopped what the API server makes of it when the replicas are set to 0: an
		// entry without a field goes.
		before, stopped string
		// changed is how often the Deployment changes meanwhile.
		changed int
		want    []string
	}{
		"the manager has other fields": {
			before: fmt.Sprintf(entry, "helm", "Apply", "", both), stopped: template + ", " + scaled,
			want: []string{`helm Apply {"f:spec":{"f:replicas":{},"f:template":{}}}`},
		},
		"its controller writes the status at that moment": {
			before: fmt.Sprintf(entry, "helm", "Apply", "", both), stopped: template + ", " + scaled, changed: 2,
			want: []string{`helm Apply {"f:spec":{"f:replicas":{},"f:template":{}}}`},
		},
		"the manager has set the replicas alone, as Flux does where it heals drift": {
			before: template + ", " + replicas, stopped: template + ", " + scaled,
			want: []string{
				`helm Apply {"f:spec":{"f:template":{}}}`, `helm-controller Update {"f:spec":{"f:replicas":{}}}`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			managed := func(replicas int, entries string) string {
				return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: nap-cp, namespace: nap, "+
					"managedFields: [%s]}\nspec: {replicas: %d}\nstatus: {availableReplicas: 2}", entries, replicas)
			}
			c.Put(managed(2, test.before))
			c.on("nap-restore", outcome{message: "backup b1 is restored", before: func() {
				c.Put(managed(0, test.stopped))
			}})
			if test.changed > 0 {
				c.Refuse(test.changed, http.MethodPatch, "/apis/apps/v1/namespaces/nap/deployments/nap-cp",
					kubetest.Status(http.StatusConflict, metav1.StatusReasonConflict, "the object has been modified"))
			}
			if _, err := c.restore(within(t, 20*time.Second)); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, entry := range c.Object("/apis/apps/v1/namespaces/nap/deployments/nap-cp").GetManagedFields() {
				got = append(got, fmt.Sprintf("%s %s %s", entry.Manager, entry.Operation, entry.FieldsV1.GetRawString()))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
