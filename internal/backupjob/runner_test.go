package backupjob_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
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
)

const claimPath = "/api/v1/namespaces/nap/persistentvolumeclaims/nap-backups"

func TestFirstBackupMakesTheClaim(t *testing.T) {
	c := newCluster(t)
	c.Delete(claimPath)
	listing, err := c.runner().List(within(t, 10*time.Second))
	if err != nil || len(listing.Backups) != 0 {
		t.Errorf("%v %v", listing, err)
	}
	if err := c.runner().Delete(within(t, 10*time.Second), "b1"); hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "has no claim nap-backups, so no backup was made yet") {
		t.Errorf("%v", err)
	}
	if len(c.Changes()) > 0 {
		t.Errorf("listing made something: %v", c.steps())
	}
	if _, err := c.runner().Create(within(t, 10*time.Second), "b1", "", ""); err != nil {
		t.Fatal(err)
	}
	if c.Object(claimPath) == nil {
		t.Error("there is no claim")
	}
}

// A claim of an earlier version has the label by which ArgoCD may track objects, and no mark that keeps it.
func TestClaimIsProtected(t *testing.T) {
	c := newCluster(t)
	for range 2 {
		if err := backupjob.Protect(within(t, 10*time.Second), c.Client(), "nap", "nap-backups"); err != nil {
			t.Fatal(err)
		}
	}
	marks := c.Object(claimPath).GetAnnotations()
	if marks["argocd.argoproj.io/sync-options"] != "Prune=false,Delete=false" {
		t.Errorf("marks %v", marks)
	}
	if changes := c.Changes(); len(changes) != 1 {
		t.Errorf("%d changes, want 1: %v", len(changes), c.steps())
	}
	c.Delete(claimPath)
	if err := backupjob.Protect(within(t, 10*time.Second), c.Client(), "nap", "nap-backups"); err != nil {
		t.Errorf("without a claim: %v", err)
	}
}

func TestClaimGrows(t *testing.T) {
	c := newCluster(t)
	r := c.runner()
	r.Plan.Claim.Spec.Resources.Requests["storage"] = resource.MustParse("20Gi")
	if _, err := r.Create(within(t, 10*time.Second), "b1", "", ""); err != nil {
		t.Fatal(err)
	}
	if size, _, _ := unstructured.NestedString(c.Object(claimPath).Object, "spec", "resources", "requests", "storage"); size != "20Gi" {
		t.Errorf("the claim asks for %s", size)
	}
	r.Plan.Claim.Spec.Resources.Requests["storage"] = resource.MustParse("30Gi")
	c.Refuse(1, "PATCH", claimPath, kubetest.Status(403, "Forbidden", "only dynamically provisioned pvc can be resized"))
	_, err := r.Create(within(t, 10*time.Second), "b2", "", "")
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "claim nap-backups can't grow from 20Gi to 30Gi (only dynamically provisioned") {
		t.Errorf("%v", err)
	}
}

func TestListReadsTheMessage(t *testing.T) {
	c := newCluster(t)
	c.on("nap-backup-list",
		outcome{message: `{"backups":[{"name":"b1","kind":"manual","schema":"131_x","bytes":2048,"databaseBytes":9437184,"chart":"0.1.0","revision":2,"reason":"by hand"}],"damaged":["backup b0 is damaged"],"more":3}`})
	listing, err := c.runner().List(within(t, 10*time.Second))
	if err != nil || len(listing.Backups) != 1 {
		t.Fatalf("%v %v", listing, err)
	}
	var out strings.Builder
	if err := listing.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"NAME", "b1", "131_x", "2.0 KiB", "9.0 MiB", "manual", "by hand"} {
		if !strings.Contains(out.String(), word) {
			t.Errorf("the table does not say %q:\n%s", word, out.String())
		}
	}
	if got := strings.Join(listing.Warnings(), "; "); got != "backup b0 is damaged; 3 older backups are not listed" {
		t.Error(got)
	}
}

// Only the Job that makes a backup has the Secrets that are saved with a copy, and the volume of copies.
func TestVolumesOfCopies(t *testing.T) {
	c := newCluster(t).holding()
	c.on("nap-backup-list", outcome{message: `{"backups":[]}`})
	r := c.copier()
	pod := &r.Plan.Create.Spec.Template.Spec
	for _, name := range []string{"backups", "escrow", "s3", "s3-ca", "copies"} {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: name})
		pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
	}
	exec := &podExec{do: func(context.Context, io.Reader, io.Writer, io.Writer) error { return nil }}
	ctx := within(t, 10*time.Second)
	_, lerr := r.List(ctx)
	_, cerr := r.Create(ctx, "b1", "", "")
	err := errors.Join(lerr, cerr, r.Delete(ctx, "b1"), r.Pull(ctx, exec, "b1", func(io.Reader) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	for name, made := range c.created() {
		if made["kind"] != "Job" {
			continue
		}
		want := 1
		if strings.HasPrefix(name, "Job nap-backup-b1-") {
			want = 5
		}
		var job batchv1.Job
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(made, &job); err != nil {
			t.Fatal(err)
		}
		got := job.Spec.Template.Spec
		if len(got.Volumes) != want || len(got.Containers[0].VolumeMounts) != want {
			t.Errorf("%s has volumes %v, mounted as %v", name, got.Volumes, got.Containers[0].VolumeMounts)
		}
	}
	if n := len(c.created()); n != 4 {
		t.Errorf("%d Jobs were created", n)
	}
}

func TestSnapshotIsAwaited(t *testing.T) {
	c := newCluster(t)
	r := c.runner()
	r.Plan.Snapshot = map[string]any{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "metadata": map[string]any{"name": "nap-pg-"}}
	const at = "/apis/postgresql.cnpg.io/v1/namespaces/nap/backups/nap-pg-b1"
	end := func(status string) {
		go func() {
			for c.Object(at) == nil {
				time.Sleep(2 * time.Millisecond)
			}
			c.Put("apiVersion: postgresql.cnpg.io/v1\nkind: Backup\nmetadata: {name: nap-pg-b1, namespace: nap}\nstatus: " + status)
		}()
	}
	end("{phase: completed}")
	if _, err := r.Create(within(t, 10*time.Second), "b1", "", ""); err != nil {
		t.Fatal(err)
	}
	c.Delete(at)
	end("{phase: failed, error: no such class}")
	_, err := r.Create(within(t, 10*time.Second), "b1", "", "")
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "snapshot nap-pg-b1 failed: no such class") {
		t.Errorf("%v", err)
	}
}

const config = `apiVersion: v1
kind: ConfigMap
metadata: {name: %s-backup, namespace: nap, labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/component: backup, app.kubernetes.io/instance: %s}}
data:
  backup-plan.yaml: |
    release: %s
    claim: {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: backups}}
    create: &job {apiVersion: batch/v1, kind: Job, metadata: {name: backup}, spec: {template: {spec: {containers: [{name: backup}]}}}}
    restore: *job
    writers: [cp]
`

func TestFind(t *testing.T) {
	c := newCluster(t)
	_, err := backupjob.Find(t.Context(), c.Client(), "nap", "")
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "namespace nap holds no release with backups") {
		t.Errorf("%v", err)
	}
	c.Put(strings.ReplaceAll(config, "%s", "one"))
	plan, err := backupjob.Find(t.Context(), c.Client(), "nap", "")
	if err != nil || plan.Release != "one" {
		t.Errorf("%v %v", plan.Release, err)
	}
	c.Put(strings.ReplaceAll(config, "%s", "two"))
	if _, err = backupjob.Find(t.Context(), c.Client(), "nap", ""); err == nil || !strings.Contains(err.Error(), "choose one with --release, of one, two") {
		t.Errorf("%v", err)
	}
	if plan, err = backupjob.Find(t.Context(), c.Client(), "nap", "two"); err != nil || plan.Release != "two" {
		t.Errorf("%v %v", plan.Release, err)
	}
	c.Put(strings.ReplaceAll(strings.Replace(config, "writers: [cp]", "writers: [cp]\n    later: 1", 1), "%s", "two"))
	if _, err = backupjob.Find(t.Context(), c.Client(), "nap", "two"); err == nil || !strings.Contains(err.Error(), "does not fit this version of the plugin") {
		t.Errorf("%v", err)
	}
}

func TestBackupBeforeAnUpgrade(t *testing.T) {
	c := newCluster(t)
	r := c.runner()
	r.Plan.Revision = 4
	c.on("nap-backup", outcome{message: "backup saved"})
	said, err := r.BeforeUpgrade(within(t, 10*time.Second))
	if err != nil || said != "backup saved" {
		t.Fatal(said, err)
	}
	made := c.Changes()[0]
	args, _, _ := unstructured.NestedSlice(made.Body, "spec", "template", "spec", "containers")
	if text := fmt.Sprint(args); !strings.Contains(text, "--name=before-r4-") || !strings.Contains(text, "--reason=before the upgrade to revision 4") {
		t.Error(text)
	}
}

// Another pod of prepare finds the Job of the one before it, whenever that began, and awaits it. The Job of another
// revision is replaced.
func TestAnotherAttemptAwaitsTheBackup(t *testing.T) {
	const path = "/apis/batch/v1/namespaces/nap/jobs/nap-backup"
	for name, tc := range map[string]struct {
		revision, made int
		do             func(*backupjob.Runner, context.Context) (string, error)
	}{
		"of the same upgrade":                        {4, 1, (*backupjob.Runner).BeforeUpgrade},
		"of the same upgrade of PostgreSQL's data":   {4, 1, (*backupjob.Runner).BeforeMajorUpgrade},
		"of an earlier upgrade":                      {5, 2, (*backupjob.Runner).BeforeUpgrade},
		"of an earlier upgrade of PostgreSQL's data": {5, 2, (*backupjob.Runner).BeforeMajorUpgrade},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.on("nap-backup", outcome{hang: true})
			first := c.runner()
			first.Plan.Revision = 4
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for c.Object(path) == nil {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			if _, err := tc.do(first, ctx); err == nil {
				t.Fatal("the first attempt was not cut off")
			}
			// Backups are named after the second in which they begin.
			time.Sleep(1100 * time.Millisecond)
			c.on("nap-backup", outcome{message: "backup saved", before: func() { time.Sleep(300 * time.Millisecond) }})
			second := c.runner()
			second.Plan.Revision = tc.revision
			if said, err := tc.do(second, within(t, 20*time.Second)); err != nil || said != "backup saved" {
				t.Fatal(said, err)
			}
			made := 0
			for _, change := range c.Changes() {
				if change.Method == "POST" && change.Path == "/apis/batch/v1/namespaces/nap/jobs" {
					made++
				}
			}
			if made != tc.made {
				t.Errorf("%d Jobs were made, want %d", made, tc.made)
			}
		})
	}
}

// A retry that relies on the backup of an earlier attempt takes no snapshot either: it would never be deleted.
func TestARetryThatReliesOnAnEarlierBackupTakesNoSnapshot(t *testing.T) {
	const snapshots = "/apis/postgresql.cnpg.io/v1/namespaces/nap/backups"
	for name, tc := range map[string]struct {
		message, said string
		snapshot      bool
	}{
		"a new one": {`{"backup":"b","summary":"backup b: 9 tables"}`, "backup b: 9 tables", true},
		"an earlier one": {`{"backup":"a","earlier":true,"summary":"an earlier attempt saved it"}`,
			"an earlier attempt saved it", false},
		"a log": {"backup complete", "backup complete", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			r := c.runner()
			r.Plan.Revision = 4
			r.Plan.Snapshot = map[string]any{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup",
				"metadata": map[string]any{"name": "nap-pg-"}}
			c.on("nap-backup", outcome{message: tc.message})
			taken := make(chan string, 1)
			c.onSnapshot(func(name string) { taken <- name })
			said, err := r.BeforeUpgrade(within(t, 20*time.Second))
			if err != nil || said != tc.said {
				t.Fatal(said, err)
			}
			made := 0
			for _, change := range c.Changes() {
				if change.Path == snapshots {
					made++
				}
			}
			if (made == 1) != tc.snapshot {
				t.Errorf("%d snapshots, want one: %v", made, tc.snapshot)
			}
		})
	}
}

// Clients that list at the same time must not meet in one Job: the first to see its end would delete it under the other.
func TestClientsThatReadShareNothing(t *testing.T) {
	c := newCluster(t)
	const both = 2
	var started sync.WaitGroup
	started.Add(both)
	c.on("nap-backup-list", outcome{message: `{"backups":[]}`, before: func() { started.Done() }})
	c.on("nap-restore-check", outcome{message: "good"})
	var clients sync.WaitGroup
	errs := make([]error, both)
	for i := range errs {
		clients.Go(func() {
			_, errs[i] = c.runner().List(within(t, 30*time.Second))
			if err := errs[i]; err == nil {
				_, errs[i] = c.runner().Check(within(t, 30*time.Second), "b1", false)
			}
		})
	}
	clients.Wait()
	started.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	seen := map[string]bool{}
	for _, made := range c.Changes() {
		u := &unstructured.Unstructured{Object: made.Body}
		if made.Method != "POST" || u.GetKind() != "Job" {
			continue
		}
		if seen[u.GetName()] {
			t.Errorf("two clients have Job %s in common", u.GetName())
		}
		seen[u.GetName()] = true
		if _, bounded, _ := unstructured.NestedInt64(u.Object, "spec", "ttlSecondsAfterFinished"); !bounded {
			t.Errorf("Job %s stays for ever if its client is killed", u.GetName())
		}
	}
	if len(seen) != 2*both {
		t.Errorf("%d Jobs, want %d", len(seen), 2*both)
	}
}

// Of two clients that write the second one is refused at once, by what the first one does.
func TestTheSecondClientThatWritesIsRefused(t *testing.T) {
	c := newCluster(t)
	busy := "another run (backup create b1 in pod nap-backup-b1-x, since 2026-11-23T14:15:00Z) is using PVC " +
		"nap-backups: wait until it ends"
	c.on("nap-backup-delete", outcome{code: int(hook.Busy), message: busy})
	r := c.runner()
	r.Plan.Create.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
		{Action: batchv1.PodFailurePolicyActionIgnore},
		{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{2, 10, 11, 13, 20}}},
	}}
	err := r.Delete(within(t, 20*time.Second), "b0")
	if hook.CodeOf(err) != hook.Busy || err.Error() != busy {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	var job batchv1.Job
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(c.Changes()[0].Body, &job); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int32{2, 10, 11, 12, 13, 20},
		job.Spec.PodFailurePolicy.Rules[1].OnExitCodes.Values); diff != "" {
		t.Errorf("the Job would try again and again:\n%s", diff)
	}
	if diff := cmp.Diff([]int32{2, 10, 11, 13, 20},
		r.Plan.Create.Spec.PodFailurePolicy.Rules[1].OnExitCodes.Values); diff != "" {
		t.Errorf("the plan itself was changed:\n%s", diff)
	}
}

func TestRestoreAdmitsAnotherKeyOnRequest(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		c := newCluster(t)
		r := c.runner()
		r.AllowOtherKey = allowed
		c.on("nap-restore", outcome{message: "backup b1 is restored"})
		if _, err := (&backupjob.Restore{Runner: r, Name: "b1"}).Run(within(t, 30*time.Second)); err != nil {
			t.Fatal(err)
		}
		for _, made := range c.Changes() {
			name := (&unstructured.Unstructured{Object: made.Body}).GetName()
			if made.Method != "POST" || !strings.HasPrefix(name, "nap-restore") || !strings.HasSuffix(made.Path, "/jobs") {
				continue
			}
			if got := strings.Contains(fmt.Sprint(made.Body["spec"]), "--allow-other-key"); got != allowed {
				t.Errorf("Job %s: --allow-other-key is %v, want %v", name, got, allowed)
			}
		}
	}
}
