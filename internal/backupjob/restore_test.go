package backupjob_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/progress"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

const objects = `apiVersion: v1
kind: Namespace
metadata: {name: nap}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: nap-backups, namespace: nap}
spec: {resources: {requests: {storage: 10Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-cp, namespace: nap}
spec: {replicas: 2}
status: {availableReplicas: 2}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: afs-controller, namespace: nap}
spec: {replicas: 1}
status: {availableReplicas: 1}
---
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, namespace: nap}
spec: {imageName: "r/postgresql:17.10"}
status: {image: "r/postgresql:16.4"}`

const jobs = "/apis/batch/v1/namespaces/nap/jobs/"

// cluster plays the controllers of Jobs: a Job ends at once as outcomes says, well unless told otherwise.
type cluster struct {
	*kubetest.Server
	t    *testing.T
	said strings.Builder

	mu       sync.Mutex
	outcomes map[string]outcome
	snapshot func(name string)
	// started says that the container that holds the PVC for a transfer runs.
	started atomic.Bool
}

type outcome struct {
	code    int
	message string
	// before is what happens while the Job is at work; it never ends if hang is set.
	before func()
	hang   bool
}

func newCluster(t *testing.T, more ...string) *cluster {
	c := &cluster{Server: kubetest.New(t, append([]string{objects}, more...)...), t: t, outcomes: map[string]outcome{}}
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
			for _, made := range c.Changes() {
				switch {
				case made.Method == "POST" && strings.HasSuffix(made.Path, "/jobs"):
					c.finish(made.Body)
				case made.Method == "POST" && strings.HasSuffix(made.Path, "/backups"):
					c.complete(made.Body)
				}
			}
		}
	})
	t.Cleanup(func() { close(done); wait.Wait() })
	return c
}

// complete plays the operator where a test asks for that: it takes a snapshot.
func (c *cluster) complete(body map[string]any) {
	name := (&unstructured.Unstructured{Object: body}).GetName()
	c.mu.Lock()
	taken := c.snapshot
	c.mu.Unlock()
	if taken == nil {
		return
	}
	live := c.Object("/apis/postgresql.cnpg.io/v1/namespaces/nap/backups/" + name)
	if _, done, _ := unstructured.NestedString(live.Object, "status", "phase"); !done {
		c.Put("apiVersion: postgresql.cnpg.io/v1\nkind: Backup\nmetadata: {name: " + name +
			", namespace: nap}\nstatus: {phase: completed}")
		taken(name)
	}
}

func (c *cluster) onSnapshot(taken func(name string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshot = taken
}

// finish gives a Job that has no status yet a pod and an end.
func (c *cluster) finish(body map[string]any) {
	name := (&unstructured.Unstructured{Object: body}).GetName()
	live := c.Object(jobs + name)
	if live == nil || live.GetUID() != "" {
		return
	}
	c.mu.Lock()
	o := c.outcomes[shared(name)]
	c.mu.Unlock()
	if o.before != nil {
		o.before()
	}
	if o.hang {
		return
	}
	condition := "Complete"
	if o.code != 0 {
		condition = "Failed"
	}
	c.Put(fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s-x, namespace: nap, labels: {batch.kubernetes.io/controller-uid: %s}}\nstatus: {phase: Succeeded, containerStatuses: [{name: backup, image: i, state: {terminated: {exitCode: %d, message: %q}}}]}", name, name, o.code, o.message))
	c.Put(fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: %s, namespace: nap, uid: %s}\nstatus: {conditions: [{type: %s, status: \"True\"}]}", name, name, condition))
}

func (c *cluster) on(job string, o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[job] = o
}

func (c *cluster) runner() *backupjob.Runner {
	job := func(name string) batchv1.Job {
		var j batchv1.Job
		j.APIVersion, j.Kind, j.Name = "batch/v1", "Job", name
		j.Spec.Template.Spec.Containers = []corev1.Container{{Name: "backup", Image: "r/postgresql:17.10", Args: []string{"backup"}}}
		return j
	}
	var claim corev1.PersistentVolumeClaim
	claim.APIVersion, claim.Kind, claim.Name = "v1", "PersistentVolumeClaim", "nap-backups"
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}
	return backupjob.New(progress.New(&c.said), c.Client(), "nap", backupjob.Plan{
		Release: "neutree", Claim: claim, Create: job("nap-backup"), Restore: job("nap-restore"), Cluster: "nap-pg",
		Writers: []string{"nap-cp", "afs-controller", "nap-sandbox"},
	})
}

func (c *cluster) restore(ctx context.Context) (string, error) {
	return c.client("b1").Run(ctx)
}

// client is one that restores name, and does not wait long for another.
func (c *cluster) client(name string) *backupjob.Restore {
	return &backupjob.Restore{Runner: c.runner(), Name: name, Patience: 500 * time.Millisecond,
		Watch: 10 * time.Millisecond}
}

const notePath = "/api/v1/namespaces/nap/configmaps/nap-restore"

// wantUnfinished asserts that services stay stopped behind the note, and that the error says so.
func (c *cluster) wantUnfinished(err error, words ...string) {
	c.t.Helper()
	if hook.CodeOf(err) != hook.HalfRestored {
		c.t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
	}
	for _, word := range append(words, "services must stay stopped",
		"helm neutree backup restore b1 --namespace nap finishes it") {
		if !strings.Contains(err.Error(), word) {
			c.t.Errorf("the message does not say %q: %v", word, err)
		}
	}
	if got := c.replicas(); got != "nap-cp=0 afs-controller=0" {
		c.t.Errorf("it left %s", got)
	}
	if note := c.note(); note == nil || note.Phase != restorenote.Restoring || note.Holder != "" {
		c.t.Errorf("it left the note %+v", note)
	}
	if c.Object(jobs+"nap-restore") != nil {
		c.t.Error("the Job is left at work")
	}
}

func (c *cluster) replicas() string {
	var all []string
	for _, name := range []string{"nap-cp", "afs-controller"} {
		n, _, _ := unstructured.NestedFieldNoCopy(c.Object("/apis/apps/v1/namespaces/nap/deployments/"+name).Object, "spec", "replicas")
		all = append(all, fmt.Sprintf("%s=%v", name, n))
	}
	return strings.Join(all, " ")
}

// steps are what was changed, in order, in a few words.
func (c *cluster) steps() []string {
	var steps []string
	for _, made := range c.Changes() {
		u := &unstructured.Unstructured{Object: made.Body}
		switch {
		case strings.HasSuffix(made.Path, "/scale"):
			n, _, _ := unstructured.NestedFieldNoCopy(made.Body, "spec", "replicas")
			steps = append(steps, fmt.Sprintf("scale %s %v", strings.Split(made.Path, "/")[7], n))
		case made.Method == "POST" && u.GetKind() == "Job":
			steps = append(steps, "run "+jobName(u.GetName()))
		case made.Method != "PUT" && (u.GetKind() == "ConfigMap" || strings.Contains(made.Path, "/configmaps/")):
			steps = append(steps, strings.ToLower(made.Method)+" note")
		}
	}
	return steps
}

// argsOf are the arguments of the Job whose name begins like this.
func (c *cluster) argsOf(prefix string) []string {
	for _, made := range c.Changes() {
		u := &unstructured.Unstructured{Object: made.Body}
		if made.Method != "POST" || u.GetKind() != "Job" || !strings.HasPrefix(u.GetName(), prefix) {
			continue
		}
		containers, _, _ := unstructured.NestedSlice(made.Body, "spec", "template", "spec", "containers")
		args, _, _ := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
		return args
	}
	return nil
}

func jobName(name string) string {
	before, _, _ := strings.Cut(name, "-before-restore-")
	return shared(before)
}

var ownJob = regexp.MustCompile(`-(list|check|delete|copy)-[a-z0-9]{4}$`)

// shared is the name of a client's own Job without what makes it its own.
func shared(name string) string {
	if at := ownJob.FindStringIndex(name); at != nil {
		return name[:len(name)-5]
	}
	return name
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestRestoreStopsTheServicesMeanwhile(t *testing.T) {
	c := newCluster(t)
	during := ""
	c.on("nap-restore", outcome{message: "backup b1 is restored", before: func() { during = c.replicas() }})
	result, err := c.restore(within(t, 20*time.Second))
	if err != nil {
		t.Fatalf("%v\n%s", err, c.said.String())
	}
	if !strings.Contains(result, "backup b1 is restored; what was there before is backup before-restore-") {
		t.Error(result)
	}
	if during != "nap-cp=0 afs-controller=0" {
		t.Errorf("during the restore: %s", during)
	}
	want := []string{
		"post note", "run nap-restore-check", "run nap-backup",
		"scale afs-controller 0", "scale nap-cp 0", "run nap-restore", "scale afs-controller 1", "scale nap-cp 2", "delete note",
	}
	if diff := cmp.Diff(want, c.steps()); diff != "" {
		t.Error(diff)
	}
	for _, made := range c.Changes() {
		if made.Method != "POST" || !strings.HasSuffix(made.Path, "/jobs") {
			continue
		}
		var job batchv1.Job
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(made.Body, &job); err != nil {
			t.Fatal(err)
		}
		if image := job.Spec.Template.Spec.Containers[0].Image; image != "r/postgresql:16.4" {
			t.Errorf("Job %s runs %s, and not the image that the database runs", job.Name, image)
		}
	}
}

func TestDamagedBackupChangesNothing(t *testing.T) {
	c := newCluster(t)
	c.on("nap-restore-check", outcome{code: 10, message: "backup b1 is damaged"})
	_, err := c.restore(within(t, 20*time.Second))
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "backup b1 is damaged") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	if diff := cmp.Diff([]string{"post note", "run nap-restore-check", "delete note"}, c.steps()); diff != "" {
		t.Error(diff)
	}
}

func TestFailedRestoreStartsTheServicesAgain(t *testing.T) {
	c := newCluster(t)
	c.on("nap-restore", outcome{code: int(hook.Unchanged), message: "nothing is changed: no connection"})
	_, err := c.restore(within(t, 20*time.Second))
	if err == nil || !strings.Contains(err.Error(), "nothing is changed: no connection") {
		t.Errorf("%v", err)
	}
	if got := c.replicas(); got != "nap-cp=2 afs-controller=1" {
		t.Errorf("it failed, and left %s", got)
	}
	if c.Object(notePath) != nil {
		t.Error("the note of the restore is left")
	}
}

// AFS's database that fails after the platform's was replaced, a pod that is killed, a client that is interrupted: only
// the Job knows what the databases are, so no service may meet them.
func TestServicesDoNotMeetHalfRestoredDatabases(t *testing.T) {
	for name, one := range map[string]struct {
		code    int
		message string
	}{
		"AFS's database": {int(hook.HalfRestored), "the platform's database is restored and AFS's is not (disk I/O error)"},
		"a killed pod":   {137, "Killed"},
		"version 0.1.0":  {1, "the platform's database is restored, AFS's is not"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.on("nap-restore", outcome{code: one.code, message: one.message})
			_, err := c.restore(within(t, 20*time.Second))
			c.wantUnfinished(err, one.message, "backup restore before-restore-", "--abandon --namespace nap brings back")
			safety := c.note().Safety

			c.on("nap-restore", outcome{message: "backup b1 is restored"})
			before := len(c.steps())
			result, err := c.restore(within(t, 20*time.Second))
			if err != nil || !strings.HasSuffix(result, "what was there before is backup "+safety) {
				t.Fatalf("%s %v", result, err)
			}
			// Above all, half of two databases is not saved.
			want := []string{
				"scale afs-controller 0", "scale nap-cp 0", "run nap-restore",
				"scale afs-controller 1", "scale nap-cp 2", "delete note",
			}
			if diff := cmp.Diff(want, c.steps()[before:]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInterruptedRestoreStopsItsJobFirst(t *testing.T) {
	c := newCluster(t)
	ctx, cancel := context.WithCancel(within(t, 20*time.Second))
	c.on("nap-restore", outcome{hang: true, before: cancel})
	_, err := c.restore(ctx)
	c.wantUnfinished(err)
}

// As long as the databases are untouched, an interrupt leaves everything as it was.
func TestInterruptBeforeTheRestoreChangesNothing(t *testing.T) {
	c := newCluster(t, podOf("nap-cp-late", "nap-cp", "Running"))
	ctx, cancel := context.WithCancel(within(t, 20*time.Second))
	said := &heard{}
	r := c.client("b1")
	r.Log = progress.New(said)
	go func() {
		for !said.has("still nap-cp-late") {
			time.Sleep(2 * time.Millisecond)
		}
		cancel()
	}()
	if _, err := r.Run(ctx); err == nil || hook.CodeOf(err) == hook.HalfRestored {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	if got := c.replicas(); got != "nap-cp=2 afs-controller=1" || c.Object(notePath) != nil {
		t.Errorf("it was interrupted, and left %s and the note %v", got, c.Object(notePath))
	}
}

// The same tool may win before the databases are touched: then nothing has happened.
func TestServicesThatAreStartedWhileTheyStop(t *testing.T) {
	c := newCluster(t, podOf("nap-cp-late", "nap-cp", "Running"))
	said := &heard{}
	r := c.client("b1")
	r.Log = progress.New(said)
	go func() {
		for !said.has("still nap-cp-late") {
			time.Sleep(2 * time.Millisecond)
		}
		c.Put(healed)
	}()
	_, err := r.Run(within(t, 20*time.Second))
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(),
		"argocd-controller has scaled Deployment nap-cp from 0 to 2") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	if got := c.replicas(); got != "nap-cp=2 afs-controller=1" || c.Object(notePath) != nil {
		t.Errorf("it left %s and the note %v", got, c.Object(notePath))
	}
}

// A GitOps tool that heals itself starts services in the middle. Whatever they write would be mixed with the backup.
func TestServicesThatAreStartedDuringARestoreStopIt(t *testing.T) {
	c := newCluster(t)
	c.on("nap-restore", outcome{hang: true, before: func() { c.Put(healed) }})
	_, err := c.restore(within(t, 20*time.Second))
	if hook.CodeOf(err) != hook.HalfRestored {
		t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
	}
	for _, word := range []string{"argocd-controller has scaled Deployment nap-cp from 0 to 2 while it had to stay stopped",
		"docs/gitops.md says how for ArgoCD and Flux", "[backup.services-started"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the message does not say %q: %v", word, err)
		}
	}
	if c.Object(jobs+"nap-restore") != nil || c.note() == nil {
		t.Error("the Job is left at work, or the note is gone")
	}

	// They have run since, so the next one starts over: with a check, and a backup of what they wrote.
	c.on("nap-restore", outcome{message: "backup b1 is restored"})
	first, before := c.note().Safety, len(c.steps())
	result, err := c.restore(within(t, 20*time.Second))
	if err != nil || !strings.Contains(result, "what was there before is backup "+first+", before-restore-") {
		t.Fatalf("%s %v", result, err)
	}
	want := []string{
		"run nap-restore-check", "run nap-backup", "scale afs-controller 0", "scale nap-cp 0",
		"run nap-restore", "scale afs-controller 1", "scale nap-cp 2", "delete note",
	}
	if diff := cmp.Diff(want, c.steps()[before:]); diff != "" {
		t.Error(diff)
	}
}

// Workspaces that are newer than the backup are named, with what to do about them.
func TestRestoreListsUnknownWorkspaces(t *testing.T) {
	c := newCluster(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: ws}",
		workspaceOf("apps/v1", "Deployment", "w1"), workspaceOf("apps/v1", "StatefulSet", "w2"),
		workspaceOf("v1", "PersistentVolumeClaim", "w3"))
	noted := ""
	const message = "backup b1 is restored\n{\"unknownWorkspaces\":[\"w2\",\"w3\"],\"more\":4}"
	c.on("nap-restore", outcome{message: message, before: func() {
		noted, _, _ = unstructured.NestedString(c.Object(notePath).Object, "data", "workspaces")
	}})
	r := c.client("b1")
	r.Plan.Workspaces = "ws"
	result, err := r.Run(within(t, 20*time.Second))
	if err != nil || !strings.HasPrefix(result, "backup b1 is restored; what") {
		t.Fatalf("%s %v", result, err)
	}
	if noted != "w1\nw2\nw3" {
		t.Errorf("the Job gets the workspaces %q", noted)
	}
	for _, words := range []string{
		"6 workspaces in namespace ws are unknown to the database", "tos-w2", "tos-w3", "and 4 more",
		"kubectl get persistentvolumeclaim tos-w2-workspace --namespace ws", "--selector 'app=tos,workspace-id in (w2,w3)'",
	} {
		if !strings.Contains(c.said.String(), words) {
			t.Errorf("it does not say %q:\n%s", words, c.said.String())
		}
	}
}

func workspaceOf(apiVersion, kind, id string) string {
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: tos-%s, namespace: ws, labels: {app: tos, "+
		"workspace-id: %s}}",
		apiVersion, kind, id, id)
}
