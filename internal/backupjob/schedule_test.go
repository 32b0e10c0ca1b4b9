package backupjob_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const scheduleLabels = "labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/instance: neutree, " +
	"app.kubernetes.io/component: scheduled-backup}"

func cronJob(spec, status string) string {
	return fmt.Sprintf("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nap-scheduled-backup, namespace: nap, %s}\n"+
		"spec: %s\nstatus: %s\n", scheduleLabels, spec, status)
}

func scheduledJob(name, status string) string {
	return fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: %s, namespace: nap, %s}\nstatus: %s\n",
		name, scheduleLabels, status)
}

func failedAt(at string) string {
	return fmt.Sprintf(`{conditions: [{type: Failed, status: "True", lastTransitionTime: %q, message: it was too slow}]}`,
		at)
}

func endedPod(job, name, created, message string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: nap, creationTimestamp: %q, labels: "+
		"{batch.kubernetes.io/job-name: %s}}\nstatus: {phase: Failed, containerStatuses: [{name: backup, image: i, "+
		"state: {terminated: {exitCode: 12, message: %q}}}]}\n", name, created, job, message)
}

func TestScheduleSaysHowItFares(t *testing.T) {
	const spec = `{schedule: "30 2 * * *", timeZone: Europe/Berlin}`
	for name, tc := range map[string]struct {
		objects []string
		want    string
	}{
		"none": {nil, ""},
		"new":  {[]string{cronJob(spec, "{}")}, `schedule "30 2 * * *" in time zone Europe/Berlin; no success yet`},
		"success": {[]string{cronJob(spec, `{lastSuccessfulTime: "2026-12-02T01:31:00Z"}`),
			scheduledJob("j1", failedAt("2026-12-01T01:40:00Z"))},
			`schedule "30 2 * * *" in time zone Europe/Berlin; last success 2026-12-02T01:31:00Z`},
		"suspended": {[]string{cronJob(`{schedule: "@daily", suspend: true}`, "{}")},
			`schedule "@daily", which is suspended (global.backup.suspend); no success yet`},
		"failure": {[]string{cronJob(spec, `{lastSuccessfulTime: "2026-12-02T01:31:00Z"}`),
			scheduledJob("j3", failedAt("2026-12-04T01:40:00Z")), scheduledJob("j2", failedAt("2026-12-03T01:40:00Z")),
			endedPod("j3", "j3-a", "2026-12-04T01:35:00Z", "a restore has not ended"),
			endedPod("j3", "j3-b", "2026-12-04T01:30:00Z", "another reason")},
			`; last success 2026-12-02T01:31:00Z; last failure 2026-12-04T01:40:00Z: Job j3: a restore has not ended`},
		"without a pod": {[]string{cronJob(spec, "{}"), scheduledJob("j1", failedAt("2026-12-01T01:40:00Z"))},
			`; no success yet; last failure 2026-12-01T01:40:00Z: Job j1: it was too slow`},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, tc.objects...)
			got, err := c.runner().Schedule(within(t, 10*time.Second))
			if err != nil || !strings.HasSuffix(got, tc.want) || (got == "") != (tc.want == "") {
				t.Errorf("it says %q, want %q: %v", got, tc.want, err)
			}
		})
	}
	c := newCluster(t)
	c.Refuse(-1, http.MethodGet, "/apis/batch/v1/namespaces/nap/cronjobs", kubetest.Status(http.StatusForbidden,
		metav1.StatusReasonForbidden, `cronjobs.batch is forbidden: User "ada" cannot list resource "cronjobs" in API `+
			`group "batch" in the namespace "nap"`))
	if _, err := c.runner().Schedule(within(t, 10*time.Second)); err == nil ||
		!strings.Contains(err.Error(), "look for the schedule in namespace nap: ada may not list cronjobs.batch") {
		t.Errorf("without the right: %v", err)
	}
}

// It would read the databases while they are replaced.
func TestARestoreStopsAScheduledBackup(t *testing.T) {
	const pod = "/api/v1/namespaces/nap/pods/nap-scheduled-backup-1-x"
	c := newCluster(t, scheduledJob("nap-scheduled-backup-1", "{active: 1}"), "apiVersion: v1\nkind: Pod\n"+
		"metadata: {name: nap-scheduled-backup-1-x, namespace: nap, labels: {batch.kubernetes.io/job-name: "+
		"nap-scheduled-backup-1}}\nspec: {nodeName: node2}\nstatus: {phase: Running}\n")
	go func() {
		for c.Object(jobs+"nap-scheduled-backup-1") != nil && t.Context().Err() == nil {
			time.Sleep(2 * time.Millisecond)
		}
		c.Delete(pod)
	}()
	left := false
	c.on("nap-restore-check", outcome{message: "good", before: func() { left = c.Object(pod) != nil }})
	c.on("nap-restore", outcome{message: "backup b1 is restored"})
	if _, err := c.restore(within(t, 20*time.Second)); err != nil {
		t.Fatalf("%v\n%s", err, c.said.String())
	}
	if left {
		t.Error("the backup is checked while a scheduled one is still running")
	}
	var order []string
	for _, change := range c.Changes() {
		if change.Method == http.MethodPost && strings.HasSuffix(change.Path, "/configmaps") {
			order = append(order, "note")
		}
		if change.Method == http.MethodDelete && change.Path == jobs+"nap-scheduled-backup-1" {
			order = append(order, "stop")
		}
	}
	if !slices.Equal(order, []string{"note", "stop"}) {
		t.Errorf("order %v: one that starts before the note and after the stop would continue", order)
	}
}

func TestARestoreThatCanNotStopAScheduledBackupTouchesNothing(t *testing.T) {
	c := newCluster(t, scheduledJob("nap-scheduled-backup-1", "{active: 1}"))
	c.Refuse(-1, http.MethodDelete, jobs+"nap-scheduled-backup-1", kubetest.Status(http.StatusForbidden,
		metav1.StatusReasonForbidden, `jobs.batch "nap-scheduled-backup-1" is forbidden: User "ada" cannot delete resource `+
			`"jobs" in API group "batch" in the namespace "nap"`))
	_, err := c.restore(within(t, 20*time.Second))
	want := "the databases were not touched, since a scheduled backup could not be stopped: stop Job " +
		"nap-scheduled-backup-1 in namespace nap: ada may not delete jobs.batch in namespace nap"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("it does not say %q: %v", want, err)
	}
	if c.note() != nil || c.replicas() != "nap-cp=2 afs-controller=1" {
		t.Errorf("it left the note %+v and %s", c.note(), c.replicas())
	}
}
