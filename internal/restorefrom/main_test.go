package restorefrom_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/helmrecord"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/progress"
	"github.com/neutree-ai/packaging/internal/restorefrom"
	"github.com/neutree-ai/packaging/internal/restorefrom/restorefromtest"
)

var (
	neutree = restorefromtest.Neutree
	noon    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

// cluster plays the controllers, a Helm that installs at once, and a pod that takes backups.
type cluster struct {
	*kubetest.Server
	t     *testing.T
	place *restorefromtest.Place
	said  bytes.Buffer

	mu sync.Mutex
	// installed are the calls of Helm, with the values of the last one, received the backups that arrived.
	installed [][]string
	values    string
	received  []string
	// helmFails and execFails are errors to come.
	helmFails, execFails []error
}

func newCluster(t *testing.T, p *restorefromtest.Place, objects ...string) *cluster {
	t.Helper()
	c := &cluster{Server: kubetest.New(t, objects...), t: t, place: p}
	var wait sync.WaitGroup
	t.Cleanup(wait.Wait)
	c.OnChange(func(number int) {
		// The double is locked until it has answered.
		wait.Go(func() { c.control(c.Changes()[number-1]) })
	})
	return c
}

// control plays the controllers of Jobs and Deployments.
func (c *cluster) control(made kubetest.Request) {
	if made.Method != "POST" || !strings.HasSuffix(made.Path, "/jobs") {
		return
	}
	job := unstructured.Unstructured{Object: made.Body}
	name := job.GetName()
	state, phase := `{terminated: {exitCode: 0, message: "done"}}`, "Succeeded"
	if strings.Contains(name, "-copy-") {
		state, phase = "{running: {}}", "Running"
	}
	c.Put(fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %[1]s-x, namespace: nap, labels: {batch.kubernetes.io/controller-uid: %[1]s, batch.kubernetes.io/job-name: %[1]s}}
status: {phase: %[3]s, containerStatuses: [{name: backup, image: postgresql, state: %[2]s}]}`, name, state, phase))
	if phase == "Succeeded" {
		c.Replace(fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata: {name: %[1]s, namespace: nap, uid: %[1]s}
status: {conditions: [{type: Complete, status: "True"}]}`, name))
	}
}

const plan = `apiVersion: v1
kind: ConfigMap
metadata:
  name: nap-backup
  namespace: nap
  labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/component: backup, app.kubernetes.io/instance: neutree}
data:
  backup-plan.yaml: |
    release: neutree
    revision: 1
    claim: {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: nap-backups}}
    create:
      apiVersion: batch/v1
      kind: Job
      metadata: {name: nap-backup}
      spec: {template: {spec: {containers: [{name: backup, image: postgresql, command: [/neutree/nap-hooks], args: [backup]}]}}}
    restore:
      apiVersion: batch/v1
      kind: Job
      metadata: {name: nap-restore}
      spec: {template: {spec: {containers: [{name: backup, image: postgresql}]}}}
    writers: [nap-cp]`

const service = `apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-cp, namespace: nap}
spec: {replicas: 1}
status: {availableReplicas: 1}`

// record is what Helm stores of a revision.
func record(t *testing.T, status, version string) string {
	t.Helper()
	packed, err := helmrecord.Encode(map[string]any{"name": "neutree", "version": 1, "info": map[string]any{"status": status},
		"chart": map[string]any{"metadata": map[string]any{"name": "neutree", "version": version}}}, kube.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: sh.helm.release.v1.neutree.v1, namespace: nap, labels: {owner: helm, name: neutree, version: "1", status: %s}}
type: helm.sh/release.v1
data: {release: %q}`, status, packed)
}

// Run plays Helm.
func (c *cluster) Run(_ context.Context, input []byte, args ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.installed = append(c.installed, args)
	c.values = string(input)
	if len(c.helmFails) > 0 {
		err := c.helmFails[0]
		c.helmFails = c.helmFails[1:]
		c.Put(record(c.t, "failed", c.place.Version))
		return err
	}
	c.Put(plan)
	c.Put(service)
	c.Put(record(c.t, "deployed", c.place.Version))
	return nil
}

// Exec plays nap-hooks in a pod.
func (c *cluster) Exec(ctx context.Context, _, _, _ string, command []string, stdin io.Reader, _, stderr io.Writer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.execFails) > 0 {
		err := c.execFails[0]
		c.execFails = c.execFails[1:]
		return err
	}
	m, err := backup.ReadTar(ctx, stdin, backup.Sink{
		Begin:  func(backup.Metadata) (bool, error) { return false, nil },
		Create: func(string) (io.WriteCloser, error) { return nowhere{io.Discard}, nil },
	})
	if err != nil {
		return err
	}
	c.received = append(c.received, strings.Join(command, " "))
	_, err = fmt.Fprintf(stderr, "{\"level\":\"INFO\",\"msg\":\"backup complete\",\"size\":%q}\n", backup.Size(m.Bytes))
	return err
}

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }

// restore prepares the restore of a copy.
func (c *cluster) restore(name string) *restorefrom.Restore {
	c.t.Helper()
	found, err := restorefrom.Find(c.t.Context(), c.place.Store, "", name)
	if err != nil {
		c.t.Fatal(err)
	}
	opened, err := found.Unlock(c.t.Context(), []age.Identity{c.place.Identity})
	if err != nil {
		c.t.Fatal(err)
	}
	escrow, err := opened.Escrow(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return &restorefrom.Restore{Log: progress.New(&c.said), Client: c.Client(), Exec: c, Helm: c, Namespace: "nap", Copy: opened,
		Escrow: escrow, Chart: func(context.Context) (string, error) { return c.place.Chart, nil }}
}

// run prepares a restore and does it.
func (c *cluster) run(r *restorefrom.Restore) (string, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	p, err := r.Prepare(ctx)
	if err != nil {
		return "", err
	}
	return r.Run(ctx, p)
}

func wantFailure(t *testing.T, err error, code hook.Code, parts ...string) {
	t.Helper()
	if err == nil || hook.CodeOf(err) != code {
		t.Fatalf("exit code %d, want %d: %v", hook.CodeOf(err), code, err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message does not say %q: %v", part, err)
		}
	}
}

var errCut = errors.New("the connection was cut")
