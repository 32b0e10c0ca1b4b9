package bootstrap

import (
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const backupsPath = "/api/v1/namespaces/nap/persistentvolumeclaims/nap-backups"

func schedulePlan(size string) string {
	return `
apiVersion: v1
kind: ConfigMap
metadata: {name: nap-backup, namespace: nap}
data:
  backup-plan.yaml: |
    release: neutree
    claim:
      apiVersion: v1
      kind: PersistentVolumeClaim
      metadata: {name: nap-backups}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: ` + size + `}}}
    create: &job
      apiVersion: batch/v1
      kind: Job
      metadata: {name: nap-backup}
      spec: {template: {spec: {containers: [{name: backup}]}}}
    restore: *job
    writers: [nap-cp]
`
}

// The Jobs of a schedule have no rights to make the PVC that they mount.
func TestTheClaimOfScheduledBackupsIsMade(t *testing.T) {
	w := newWorld(t, cluster)
	w.mustRun(t)
	if w.server.Object(backupsPath) != nil {
		t.Error("without a schedule there is a PVC")
	}
	w.spec.Scheduled = "nap-backup"
	w.mustRun(t)
	for _, words := range []string{"scheduled backups can't start before there is a PVC", "ConfigMap nap-backup"} {
		if !strings.Contains(w.log.String(), words) {
			t.Errorf("where only a part is applied, the log does not say %q:\n%s", words, w.log)
		}
	}
	w.server.Put(schedulePlan("10Gi"))
	w.mustRun(t)
	size := func() string {
		t.Helper()
		claim := w.server.Object(backupsPath)
		if claim == nil {
			t.Fatal("there is no PVC")
		}
		size, _, _ := unstructured.NestedString(claim.Object, "spec", "resources", "requests", "storage")
		return size
	}
	if got := size(); got != "10Gi" {
		t.Errorf("the PVC asks for %s", got)
	}
	w.server.Put(schedulePlan("20Gi"))
	w.mustRun(t)
	if got := size(); got != "20Gi" {
		t.Errorf("the PVC asks for %s", got)
	}
	// A class that can't expand stops no upgrade.
	w.server.Put(schedulePlan("30Gi"))
	w.server.Refuse(1, http.MethodPatch, backupsPath, kubetest.Status(http.StatusForbidden, metav1.StatusReasonForbidden,
		"only dynamically provisioned pvc can be resized"))
	w.mustRun(t)
	if words := "claim nap-backups can't grow from 20Gi to 30Gi"; !strings.Contains(w.log.String(), words) {
		t.Errorf("the log does not say %q:\n%s", words, w.log)
	}
}

func TestAClaimOfScheduledBackupsThatCanNotBeMadeIsNamed(t *testing.T) {
	w := newWorld(t, cluster+"---"+schedulePlan("10Gi"))
	w.spec.Scheduled = "nap-backup"
	w.server.Refuse(-1, http.MethodPatch, backupsPath, kubetest.Status(http.StatusForbidden, metav1.StatusReasonForbidden,
		`persistentvolumeclaims "nap-backups" is forbidden: exceeded quota: storage`))
	// The platform is complete without it, so it fails no install.
	w.mustRun(t)
	for _, words := range []string{"scheduled backups don't start", "make claim nap-backups in namespace nap", "exceeded quota"} {
		if !strings.Contains(w.log.String(), words) {
			t.Errorf("the log does not say %q:\n%s", words, w.log)
		}
	}
	if got := w.state(t)["database"]; got != "1 sets, 1 tables" {
		t.Errorf("the database has %s", got)
	}
}
