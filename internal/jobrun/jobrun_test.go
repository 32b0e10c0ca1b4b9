package jobrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/poddiag"
)

const (
	namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}\n"
	jobPath   = "/apis/batch/v1/namespaces/nap/jobs/nap-migrate"
)

// cluster plays the part of the Job's controller and the kubelet: once the Job is there, it gets a status and a pod.
type cluster struct {
	*kubetest.Server
	log bytes.Buffer
}

// job is the Job of the tests, with a status.
func jobYAML(digest, status string) string {
	return fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-migrate, namespace: nap, uid: u1, annotations: {neutree.ai/manifest: %q}}\nstatus: %s\n", digest, status)
}

func podYAML(status string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: nap-migrate-x, namespace: nap, labels: {batch.kubernetes.io/controller-uid: u1}}\n" +
		"spec: {initContainers: [{name: copy, image: \"registry.test/cp:v9\"}], containers: [{name: migrate, image: \"registry.test/hooks:1\"}]}\nstatus: " + status + "\n"
}

func start(t *testing.T, objects ...string) *cluster {
	t.Helper()
	return &cluster{Server: kubetest.New(t, append([]string{namespace}, objects...)...)}
}

// then puts objects in once the Job of a run has been made.
func (c *cluster) then(t *testing.T, objects ...string) {
	t.Helper()
	go func() {
		for c.Object(jobPath) == nil || c.Object(jobPath).GetUID() != "" {
			select {
			case <-t.Context().Done():
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
		for _, o := range objects {
			c.Put(o)
		}
	}()
}

func (c *cluster) run(ctx context.Context) (string, error) {
	r := &Runner{
		Log: slog.New(slog.NewTextHandler(&c.log, nil)), Client: c.Client(), Namespace: "nap",
		Patience: 50 * time.Millisecond, StartWait: 50 * time.Millisecond,
	}
	return r.Run(ctx, manifest())
}

func manifest() *batchv1.Job {
	job := &batchv1.Job{}
	job.APIVersion, job.Kind, job.Name = "batch/v1", "Job", "nap-migrate"
	job.Spec.Template.Spec.Containers = []corev1.Container{{Name: "migrate", Image: "registry.test/hooks:1"}}
	return job
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

const (
	complete = `{conditions: [{type: Complete, status: "True"}]}`
	failed   = `{conditions: [{type: Failed, status: "True", reason: PodFailurePolicy, message: why}]}`
	active   = `{active: 1}`
)

func terminated(code int, message string) string {
	return podYAML(fmt.Sprintf(`{phase: Failed, containerStatuses: [{name: migrate, image: "registry.test/hooks:1", state: {terminated: {exitCode: %d, reason: Error, message: %q}}}]}`, code, message))
}

func waiting(list, container, reason, message string) string {
	return podYAML(fmt.Sprintf(`{phase: Pending, %s: [{name: %s, image: "", state: {waiting: {reason: %s, message: %q}}}]}`, list, container, reason, message))
}

func TestRelaysTheOutcome(t *testing.T) {
	for name, tc := range map[string]struct {
		status, pod string
		message     string
		code        hook.Code
		words       string
	}{
		"done":               {complete, terminated(0, "2 migrations applied"), "2 migrations applied", hook.OK, ""},
		"failed for good":    {failed, terminated(11, "migration 133 failed"), "", hook.MigrationFailed, "migration 133 failed"},
		"half restored":      {failed, terminated(14, "AFS's is not"), "", hook.HalfRestored, "AFS's is not"},
		"nothing restored":   {failed, terminated(15, "nothing is changed"), "", hook.Unchanged, "nothing is changed"},
		"failed by a signal": {failed, terminated(137, ""), "", hook.Unexpected, "container migrate ended with exit code 137"},
		"an init container":  {failed, podYAML(`{phase: Failed, initContainerStatuses: [{name: copy, image: "", state: {terminated: {exitCode: 10, reason: Error, message: no folder /app/migrations}}}]}`), "", hook.Unexpected, "container copy ended with exit code 10 (Error) no folder /app/migrations"},
		"no pod is left":     {`{conditions: [{type: Failed, status: "True", reason: DeadlineExceeded}]}`, "", "", hook.Deadline, "ended by its deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			c.then(t, tc.pod, jobYAML("", tc.status))
			message, err := c.run(within(t, 10*time.Second))
			if hook.CodeOf(err) != tc.code || (tc.code == hook.OK && message != tc.message) {
				t.Errorf("message %q, exit %d, error %v", message, hook.CodeOf(err), err)
			}
			if err != nil && !strings.Contains(err.Error(), tc.words) {
				t.Errorf("error %q does not say %q", err, tc.words)
			}
			if gone := c.Object(jobPath) == nil; gone != (err == nil) {
				t.Errorf("the Job is gone: %v, after error %v", gone, err)
			}
		})
	}
}

// The controller of Jobs takes a second or two to say what its pods have settled.
func TestPodsSettleTheOutcome(t *testing.T) {
	withSpec := func(spec string) string {
		return strings.Replace(jobYAML("", active), "status:", "spec: "+spec+"\nstatus:", 1)
	}
	const (
		policy    = "{podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {containerName: migrate, operator: In, values: [10, 11]}}]}}"
		succeeded = `{phase: Succeeded, containerStatuses: [{name: migrate, image: "registry.test/hooks:1", state: {terminated: {exitCode: 0, message: "2 migrations applied"}}}]}`
	)
	for name, tc := range map[string]struct {
		job, pod string
		message  string
		code     hook.Code
	}{
		"done":                   {withSpec(policy), podYAML(succeeded), "2 migrations applied", hook.OK},
		"failed for good":        {withSpec(policy), terminated(11, "migration 133 failed"), "migration 133 failed", hook.MigrationFailed},
		"another pod will come":  {withSpec(policy), terminated(1, "connection reset"), "gave up waiting", hook.Deadline},
		"no policy":              {jobYAML("", active), terminated(11, "migration 133 failed"), "gave up waiting", hook.Deadline},
		"one pod of two is done": {withSpec("{completions: 2}"), podYAML(succeeded), "gave up waiting", hook.Deadline},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			c.then(t, tc.pod, tc.job)
			limit := 10 * time.Second
			if tc.code == hook.Deadline {
				limit = 500 * time.Millisecond
			}
			message, err := c.run(within(t, limit))
			if err != nil {
				message = err.Error()
			}
			if hook.CodeOf(err) != tc.code || !strings.Contains(message, tc.message) {
				t.Errorf("exit %d: %q", hook.CodeOf(err), message)
			}
		})
	}
}

func TestNamesWhatKeepsThePodFromStarting(t *testing.T) {
	for name, tc := range map[string]struct {
		pod   string
		kind  poddiag.Kind
		words []string
	}{
		"an image that is not there": {waiting("initContainerStatuses", "copy", "ErrImagePull", "registry.test/cp:v9: not found"), poddiag.Image, []string{"registry.test/cp:v9", "not found"}},
		"an image's name":            {waiting("containerStatuses", "migrate", "InvalidImageName", "couldn't parse image name"), poddiag.Image, []string{"InvalidImageName", "registry.test/hooks:1"}},
		"a Secret":                   {waiting("containerStatuses", "migrate", "CreateContainerConfigError", `secret "nap-database" not found`), poddiag.Start, []string{`secret "nap-database" not found`}},
		"no node":                    {podYAML(`{phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/3 nodes are available"}]}`), poddiag.Unschedulable, []string{"0/3 nodes are available"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			c.then(t, tc.pod, jobYAML("", active))
			_, err := c.run(within(t, 10*time.Second))
			var notStarted *NotStarted
			if !errors.As(err, &notStarted) || notStarted.Trouble.Kind != tc.kind || hook.CodeOf(err) != hook.Refused {
				t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
			}
			for _, word := range append(tc.words, "nap-migrate") {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q does not say %q", err, word)
				}
			}
			if c.Object(jobPath) != nil {
				t.Error("the Job is still there and would try on")
			}
		})
	}
}

// A cluster that adds a node takes minutes to do so.
func TestAPodMayWaitForANode(t *testing.T) {
	named := func(terms ...corev1.NodeSelectorTerm) *corev1.Affinity {
		return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}
	}
	byName := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{
		{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"node1"}},
	}}
	byLabel := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
		{Key: "pool", Operator: corev1.NodeSelectorOpIn, Values: []string{"platform"}},
	}}
	for name, tc := range map[string]struct {
		affinity  *corev1.Affinity
		startWait time.Duration
		want      time.Duration
	}{
		"any node":             {nil, 0, 10 * time.Minute},
		"nodes by a label":     {named(byLabel), 0, 10 * time.Minute},
		"named nodes":          {named(byName, byName), 0, time.Minute},
		"a named node or any":  {named(byName, byLabel), 0, 10 * time.Minute},
		"no required affinity": {&corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}}, 0, 10 * time.Minute},
		"a time that is given": {nil, time.Second, time.Second},
		"less than a minute":   {named(byName), time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			job := manifest()
			job.Spec.Template.Spec.Affinity = tc.affinity
			if got := (&Runner{StartWait: tc.startWait}).startWait(job); got != tc.want {
				t.Errorf("a pod may wait %s for a node, want %s", got, tc.want)
			}
		})
	}
}

// A pod whose volumes are in different zones is never scheduled: they are named, with the zones as far as they can be read.
func TestNamesVolumesThatAreInDifferentZones(t *testing.T) {
	const (
		pvc = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: %[1]s, namespace: nap}, spec: {volumeName: pv-%[1]s}}"
		pv  = "{apiVersion: v1, kind: PersistentVolume, metadata: {name: pv-%s}, spec: {nodeAffinity: {required: {nodeSelectorTerms: " +
			"[{matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [%s]}]}]}}}}"
		status = `{phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: %q}]}`
	)
	mounts := "spec: {volumes: [{name: a, persistentVolumeClaim: {claimName: nap-backups}}, " +
		"{name: b, persistentVolumeClaim: {claimName: afs-controller-db}}], "
	volumes := []string{fmt.Sprintf(pvc, "nap-backups"), fmt.Sprintf(pv, "nap-backups", "b"),
		fmt.Sprintf(pvc, "afs-controller-db"), fmt.Sprintf(pv, "afs-controller-db", "a")}
	for name, tc := range map[string]struct {
		message string
		objects []string
		want    string
	}{
		"zones are known": {"0/3 nodes are available: 3 node(s) had volume node affinity conflict", volumes,
			"it mounts the PVCs nap-backups (zone b) and afs-controller-db (zone a), and no node can mount the volumes of all"},
		"zones are not known": {"0/3 nodes are available: 3 node(s) didn't match PersistentVolume's node affinity", nil,
			"it mounts the PVCs nap-backups and afs-controller-db, and no node can mount the volumes of all"},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, tc.objects...)
			pod := strings.Replace(podYAML(fmt.Sprintf(status, tc.message)), "spec: {", mounts, 1)
			c.then(t, pod, jobYAML("", active))
			_, err := c.run(within(t, 10*time.Second))
			for _, words := range []string{tc.message, tc.want, "volumeBindingMode WaitForFirstConsumer", "global.backup.storageClass",
				"[storage.binding]"} {
				if err == nil || !strings.Contains(err.Error(), words) {
					t.Errorf("%v\nlacks %s", err, words)
				}
			}
		})
	}
}

func TestFirstCauseOfAnImageIsKept(t *testing.T) {
	w := &watch{}
	w.note(&poddiag.Trouble{Kind: poddiag.Image, Container: "copy", Reason: "ErrImagePull", Message: "registry.test/cp:v9: not found"})
	w.note(&poddiag.Trouble{Kind: poddiag.Image, Container: "copy", Reason: "ImagePullBackOff", Message: "Back-off"})
	if w.last.Message != "registry.test/cp:v9: not found" {
		t.Errorf("kept %q", w.last.Message)
	}
}

func TestLeftoverOfAKilledAttempt(t *testing.T) {
	digest, err := digestOf(func() *batchv1.Job { j := manifest(); j.Namespace = "nap"; return j }())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("the same work is waited for", func(t *testing.T) {
		c := start(t, jobYAML(digest, active))
		go func() {
			// Once the run looks for pods it has found the Job at work.
			for len(c.Lists()) == 0 {
				select {
				case <-t.Context().Done():
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
			c.Put(terminated(0, "done by the other"))
			c.Put(jobYAML(digest, complete))
		}()
		message, err := c.run(within(t, 10*time.Second))
		if err != nil || message != "done by the other" {
			t.Errorf("message %q, error %v", message, err)
		}
	})
	for name, old := range map[string]string{"other work": jobYAML("other", active), "failed": jobYAML(digest, failed)} {
		t.Run(name+" is replaced", func(t *testing.T) {
			c := start(t, old)
			c.then(t, terminated(0, "done anew"), jobYAML(digest, complete))
			message, err := c.run(within(t, 10*time.Second))
			if err != nil || message != "done anew" {
				t.Errorf("message %q, error %v", message, err)
			}
		})
	}
}

func TestDeadlineStopsTheJob(t *testing.T) {
	c := start(t)
	_, err := c.run(within(t, 300*time.Millisecond))
	if hook.CodeOf(err) != hook.Deadline {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	if c.Object(jobPath) != nil {
		t.Error("the Job goes on")
	}
}

func TestSignalLeavesTheJobAtWork(t *testing.T) {
	c := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if _, err := c.run(ctx); hook.CodeOf(err) != hook.Unexpected {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	if c.Object(jobPath) == nil {
		t.Error("the Job is gone")
	}
}

// What a Job does that can't be watched any more is not known: with the code of a refusal a caller would take it for a Job
// that has changed nothing.
func TestARightThatIsTakenAwayMeanwhile(t *testing.T) {
	c := start(t)
	c.Refuse(-1, http.MethodGet, "/api/v1/namespaces/nap/pods", kubetest.Status(
		http.StatusForbidden, metav1.StatusReasonForbidden, "pods is forbidden"))
	_, err := c.run(within(t, 10*time.Second))
	if hook.CodeOf(err) != hook.Unexpected || !strings.Contains(err.Error(), "cannot watch Job nap-migrate") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
}

func TestReadManifest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "job.yaml")
	for name, tc := range map[string]struct{ text, words string }{
		"no such file":  {"", "no such file"},
		"another kind":  {"apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n", "must hold a Job"},
		"unknown field": {"apiVersion: batch/v1\nkind: Job\nspek: {}\n", "spek"},
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(path)
			if tc.text != "" {
				if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := ReadManifest(path); hook.CodeOf(err) != hook.Usage || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("exit %d: %v", hook.CodeOf(err), err)
			}
		})
	}
}
