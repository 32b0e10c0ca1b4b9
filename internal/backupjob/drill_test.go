package backupjob_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const (
	oneBackup = `{"backups":[{"name":"b2","databaseBytes":9437184},{"name":"b1","databaseBytes":3221225472}]}`
	good      = `{"backup":"b2","passed":true,"rows":"7 in 3 tables, as recorded","credentials":"one was decrypted",` +
		`"schema":"the schema was up to date","tables":3,"databaseBytes":9437184,"restoreSeconds":2}`
	recordPath = "/api/v1/namespaces/nap/configmaps/nap-backup-drill"
)

// drillObjects are the paths of everything that a drill creates.
var drillObjects = []string{
	jobs + "nap-drill", "/apis/postgresql.cnpg.io/v1/namespaces/nap/clusters/nap-drill",
	"/api/v1/namespaces/nap/secrets/nap-drill-user", "/api/v1/namespaces/nap/secrets/nap-drill-ca",
	"/api/v1/namespaces/nap/secrets/nap-drill-url",
	"/apis/networking.k8s.io/v1/namespaces/nap/networkpolicies/nap-drill",
}

func (c *cluster) drill(name string) *backupjob.Drill {
	c.on("nap-backup-list", outcome{message: oneBackup})
	r := c.runner()
	job := *r.Plan.Restore.DeepCopy()
	job.Name, job.Labels = "nap-drill", map[string]string{"app.kubernetes.io/component": "drill"}
	r.Plan.Drill = &backupjob.DrillPlan{Live: "nap-pg", Record: "nap-backup-drill", Job: job,
		Cluster: map[string]any{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
			"metadata": map[string]any{"name": "nap-drill", "labels": map[string]any{"app.kubernetes.io/component": "drill"}},
			"spec": map[string]any{"imageName": "r/postgresql:17.10",
				"bootstrap": map[string]any{"initdb": map[string]any{"owner": "nap", "database": "platform"}}}},
		Policy: map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
			"metadata": map[string]any{"name": "nap-drill"}},
	}
	return &backupjob.Drill{Runner: r, Name: name, Patience: 300 * time.Millisecond, StartWait: 10 * time.Second}
}

// wantGone asserts that nothing of a drill is left.
func (c *cluster) wantGone() {
	c.t.Helper()
	for _, at := range drillObjects {
		if c.Object(at) != nil {
			c.t.Errorf("%s is left", at)
		}
	}
}

// created are the bodies of what was created, by kind and name.
func (c *cluster) created() map[string]map[string]any {
	bodies := map[string]map[string]any{}
	for _, made := range c.Changes() {
		if u := (&unstructured.Unstructured{Object: made.Body}); made.Method == "POST" {
			bodies[u.GetKind()+" "+u.GetName()] = made.Body
		}
	}
	return bodies
}

func TestDrill(t *testing.T) {
	c := newCluster(t)
	c.on("nap-drill", outcome{message: good})
	drill := c.drill("")
	result, err := drill.Run(within(t, 20*time.Second))
	if err != nil || !result.Passed || result.Backup != "b2" {
		t.Fatalf("%+v %v", result, err)
	}
	c.wantGone()
	bodies := c.created()
	job, pg := bodies["Job nap-drill"], bodies["Cluster nap-drill"]
	containers, _, _ := unstructured.NestedSlice(job, "spec", "template", "spec", "containers")
	main, _ := containers[0].(map[string]any)
	if diff := cmp.Diff([]any{"backup", "drill", "--name=b2"}, main["args"]); diff != "" || main["image"] != "r/postgresql:16.4" {
		t.Errorf("image %v, arguments: %s", main["image"], diff)
	}
	if ttl, is, _ := unstructured.NestedFieldNoCopy(job, "spec", "ttlSecondsAfterFinished"); !is {
		t.Errorf("a Job whose client is killed stays for ever: %v", ttl)
	}
	image, _, _ := unstructured.NestedString(pg, "spec", "imageName")
	size, _, _ := unstructured.NestedString(pg, "spec", "storage", "size")
	if image != "r/postgresql:16.4" || size != "2Gi" {
		t.Errorf("image %s, size %s", image, size)
	}
	// From then on the Job ends by itself, and Kubernetes removes it.
	runs, cluster := 0, 0
	for i, change := range c.Changes() {
		suspended, is, _ := unstructured.NestedBool(change.Body, "spec", "suspend")
		switch {
		case change.Method == "PATCH" && is && !suspended:
			runs = i
		case change.Method == "POST" && change.Body["kind"] == "Cluster":
			cluster = i
		}
	}
	if runs == 0 || cluster < runs {
		t.Errorf("the Job runs with change %d, and the Cluster is created with change %d", runs, cluster)
	}
	// Kubernetes removes what the Job owns with it.
	for name, body := range bodies {
		owned := (&unstructured.Unstructured{Object: body}).GetOwnerReferences()
		if strings.HasPrefix(name, "Job ") {
			continue
		}
		if len(owned) != 1 || owned[0].Kind != "Job" || owned[0].Name != "nap-drill" || owned[0].BlockOwnerDeletion != nil {
			t.Errorf("%s belongs to %v", name, owned)
		}
	}
	url, _, _ := unstructured.NestedString(bodies["Secret nap-drill-url"], "stringData", "url")
	password, _, _ := unstructured.NestedString(bodies["Secret nap-drill-user"], "stringData", "password")
	want := fmt.Sprintf("postgresql://nap:%s@nap-drill-rw:5432/platform?sslmode=verify-full", password)
	if len(password) != 48 || !strings.HasPrefix(url, want) {
		t.Errorf("the address is %s", url)
	}
	if record := c.Object(recordPath); record == nil || record.GetAnnotations()["neutree.ai/last-drill-result"] != "passed" ||
		record.GetAnnotations()["neutree.ai/last-drill-backup"] != "b2" {
		t.Errorf("the record is %v", record)
	}
	said, err := drill.LastDrill(within(t, 5*time.Second))
	if err != nil || !strings.HasPrefix(said, "last drill 20") || !strings.Contains(said, ": backup b2 passed (") {
		t.Errorf("%q %v", said, err)
	}
	if got := c.replicas(); got != "nap-cp=2 afs-controller=1" {
		t.Errorf("services are %s", got)
	}
}

func TestDrillOfANamedBackup(t *testing.T) {
	c := newCluster(t)
	c.on("nap-drill", outcome{message: `{"backup":"b1","problems":["table public.users has 3 rows, not 4"]}`})
	drill := c.drill("b1")
	result, err := drill.Run(within(t, 20*time.Second))
	if err != nil || result.Passed {
		t.Fatalf("%+v %v", result, err)
	}
	if size, _, _ := unstructured.NestedString(c.created()["Cluster nap-drill"], "spec", "storage", "size"); size != "5Gi" {
		t.Errorf("size %s for 3 GiB", size)
	}
	said, err := drill.LastDrill(within(t, 5*time.Second))
	if err != nil || !strings.HasSuffix(said, ": backup b1 failed: table public.users has 3 rows, not 4") {
		t.Errorf("%q %v", said, err)
	}
	var report strings.Builder
	if err := result.WriteReport(&report); err != nil || !strings.Contains(report.String(), "failed") {
		t.Errorf("%s %v", report.String(), err)
	}
}

func TestDrillThatFailsIsRemoved(t *testing.T) {
	c := newCluster(t)
	c.on("nap-drill", outcome{code: int(hook.Deadline), message: "gave up waiting for the throw-away database"})
	drill := c.drill("")
	_, err := drill.Run(within(t, 20*time.Second))
	if hook.CodeOf(err) != hook.Deadline || !strings.Contains(err.Error(), "gave up waiting") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	c.wantGone()
	said, err := drill.LastDrill(within(t, 5*time.Second))
	if err != nil || !strings.Contains(said, "of backup b2, could not be finished: gave up waiting") {
		t.Errorf("%q %v", said, err)
	}
}

func TestInterruptedDrillIsRemoved(t *testing.T) {
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"Ctrl-C": context.WithCancel,
		"its time is over": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 2*time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			ctx, cancel := end(within(t, 20*time.Second))
			defer cancel()
			c.on("nap-drill", outcome{hang: true, before: func() {
				if name == "Ctrl-C" {
					cancel()
				}
			}})
			if _, err := c.drill("").Run(ctx); err == nil {
				t.Error("it succeeded")
			}
			c.wantGone()
			if record := c.Object(recordPath); (record == nil) != errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("%v is recorded as %v", ctx.Err(), record)
			}
		})
	}
}

// PostgreSQL that does not start is named with the cause.
func TestDrillWhosePostgreSQLDoesNotStart(t *testing.T) {
	c := newCluster(t, `apiVersion: v1
kind: Pod
metadata: {name: nap-drill-1, namespace: nap, labels: {cnpg.io/cluster: other}}`)
	c.on("nap-drill", outcome{hang: true})
	drill := c.drill("")
	drill.StartWait = time.Second
	_, err := drill.Run(within(t, 20*time.Second))
	if hook.CodeOf(err) != hook.Deadline || !strings.Contains(err.Error(), "the operator has not looked at Cluster nap-drill yet") ||
		!strings.Contains(err.Error(), "[backup.drill") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	c.wantGone()
}

func drillJob(beat string) string {
	return `apiVersion: batch/v1
kind: Job
metadata:
  name: nap-drill
  namespace: nap
  labels: {app.kubernetes.io/component: drill}
  annotations: {neutree.ai/beat: "` + beat + `", neutree.ai/client: grace on laptop (process 7)}
spec: {suspend: true}`
}

func TestDrillOfAClientThatIsGone(t *testing.T) {
	left := "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-drill, namespace: nap, labels: " +
		"{app.kubernetes.io/component: drill}}"
	c := newCluster(t, drillJob("3"), left)
	c.on("nap-drill", outcome{message: good})
	if _, err := c.drill("").Run(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	c.wantGone()
}

func TestSecondDrillIsRefused(t *testing.T) {
	c := newCluster(t, drillJob("3"))
	go func() {
		for n := 4; t.Context().Err() == nil; n++ {
			time.Sleep(50 * time.Millisecond)
			c.Put(drillJob(fmt.Sprint(n)))
		}
	}()
	_, err := c.drill("").Run(within(t, 20*time.Second))
	if hook.CodeOf(err) != hook.Busy || !strings.Contains(err.Error(),
		"grace on laptop (process 7) is running a drill in namespace nap (Job nap-drill)") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	if len(c.created()) > 1 {
		t.Errorf("it created %v", c.created())
	}
}

func TestDrillIsRefused(t *testing.T) {
	const note = `apiVersion: v1
kind: ConfigMap
metadata: {name: nap-restore, namespace: nap}
data: {restore.json: '{"backup":"b1","phase":"restoring","id":"x","holder":""}', id: x}`
	const upgrade = `apiVersion: batch/v1
kind: Job
metadata: {name: nap-prepare, namespace: nap, labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/instance: neutree}}
status: {active: 1}`
	const foreign = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-drill, namespace: nap}"
	for name, tc := range map[string]struct {
		objects []string
		change  func(*cluster, *backupjob.Drill)
		code    hook.Code
		words   string
	}{
		"during an upgrade": {
			objects: []string{upgrade}, code: hook.Busy,
			words: "an upgrade of release neutree in namespace nap is running (Job nap-prepare)",
		},
		"while a restore has not ended": {objects: []string{note}, code: hook.Refused, words: "a drill waits until the databases are settled"},
		"where the name is taken": {
			objects: []string{foreign}, code: hook.Refused,
			words: "Cluster nap-drill in namespace nap is no drill's",
		},
		"of an external database": {change: func(_ *cluster, d *backupjob.Drill) { d.Plan.Drill = nil }, code: hook.Refused,
			words: "a drill needs the CloudNativePG operator"},
		"of a backup that is not there": {change: func(_ *cluster, d *backupjob.Drill) { d.Name = "b9" }, code: hook.Refused,
			words: "there is no backup b9 that can be read in PVC nap-backups"},
		"of nothing": {change: func(c *cluster, _ *backupjob.Drill) { c.on("nap-backup-list", outcome{message: `{"backups":[]}`}) },
			code: hook.Refused, words: "release neutree in namespace nap has no backup"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, tc.objects...)
			drill := c.drill("")
			if tc.change != nil {
				tc.change(c, drill)
			}
			_, err := drill.Run(within(t, 20*time.Second))
			if hook.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("exit %d, want %d and %q: %v", hook.CodeOf(err), tc.code, tc.words, err)
			}
			if _, is := c.created()["Job nap-drill"]; is || c.Object(recordPath) != nil {
				t.Error("it was started, or recorded")
			}
		})
	}
}

// Of two clients that start a drill at the same time, one gets the name of the Job. The other leaves it alone.
func TestDrillThatAnotherClientStartsAtTheSameTime(t *testing.T) {
	c := newCluster(t)
	c.Judge(func(r kubetest.Request) *metav1.Status {
		if r.Method != "POST" || (&unstructured.Unstructured{Object: r.Body}).GetName() != "nap-drill" {
			return nil
		}
		exists := kubetest.Status(409, metav1.StatusReasonAlreadyExists, "it exists")
		return &exists
	})
	_, err := c.drill("").Run(within(t, 20*time.Second))
	if hook.CodeOf(err) != hook.Busy || !strings.Contains(err.Error(), "another client has just started a drill in namespace nap") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	for _, change := range c.Changes() {
		if change.Method == "DELETE" && strings.Contains(change.Path, "nap-drill") {
			t.Errorf("it deleted %s", change.Path)
		}
	}
	if record := c.Object(recordPath); record != nil {
		t.Errorf("it recorded %v", record)
	}
}
