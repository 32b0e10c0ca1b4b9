//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/kube"
)

// argoApp is an Application of ArgoCD, synced by ArgoCD's own engine: ARGOCD_SYNC names the program of
// test/gitops/argocd.
type argoApp struct {
	*release
	program string
	values  map[string]any
}

// argoEvent is a line that the program prints.
type argoEvent struct {
	Event, Object, Phase, Status, Message string
	Seconds                               float64
}

// argoRun is a run of the program, perhaps one that still heals.
type argoRun struct {
	command *exec.Cmd
	stderr  bytes.Buffer
	err     error
	ended   chan struct{}

	mu     sync.Mutex
	events []argoEvent
}

func (e *environment) argoApp(t *testing.T) *argoApp {
	t.Helper()
	// ArgoCD renders with Helm 3.
	return &argoApp{release: e.release(e.helm3, "neutree", "nap"), program: variable(t, "ARGOCD_SYNC")}
}

// with is the Application after a commit that changes values.
func (a *argoApp) with(values map[string]any) *argoApp {
	return &argoApp{release: a.release, program: a.program, values: values}
}

// image is the values of another control plane.
func image(tag string) map[string]any {
	return map[string]any{"global": map[string]any{"images": map[string]any{"controlPlane": map[string]any{"tag": tag}}}}
}

// rendered is a file with what helm template prints, which asks no cluster.
func (a *argoApp) rendered(t *testing.T) string {
	t.Helper()
	values, err := yaml.Marshal(a.values)
	if err != nil {
		t.Fatal(err)
	}
	cluster := a.kubernetes(t)
	args := []string{"template", a.name, a.chart, "--namespace", a.namespace, "--include-crds",
		"--kube-version", cluster.Version, "--values", a.valuesFile(t, "values.yaml", string(values))}
	for _, version := range cluster.APIVersions {
		args = append(args, "--api-versions", version)
	}
	command := exec.CommandContext(t.Context(), a.helm, args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, stderr.String())
	}
	file := filepath.Join(t.TempDir(), "rendered.yaml")
	if err := os.WriteFile(file, output, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// start begins a run of the program, which ends with the test.
func (a *argoApp) start(t *testing.T, command string, flags ...string) *argoRun {
	t.Helper()
	args := append([]string{command, "--app", a.name, "--namespace", a.namespace}, flags...)
	run := &argoRun{command: exec.Command(a.program, append(args, a.rendered(t))...), ended: make(chan struct{})}
	run.command.Stderr = &run.stderr
	stdout, err := run.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(run.ended)
		lines := json.NewDecoder(stdout)
		for {
			var event argoEvent
			if err := lines.Decode(&event); err != nil {
				break
			}
			run.mu.Lock()
			run.events = append(run.events, event)
			run.mu.Unlock()
		}
		run.err = run.command.Wait()
	}()
	t.Cleanup(func() { run.stop() })
	return run
}

// stop ends a run that heals, as suspending the Application does.
func (r *argoRun) stop() {
	_ = r.command.Process.Signal(syscall.SIGTERM)
	<-r.ended
}

func (r *argoRun) seen() []argoEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// operations are the operations that have ended.
func (r *argoRun) operations() []argoEvent {
	return slices.DeleteFunc(r.seen(), func(e argoEvent) bool { return e.Event != "operation" })
}

// named are the objects of events.
func (r *argoRun) named(event, status string) []string {
	var names []string
	for _, e := range r.seen() {
		if e.Event == event && e.Status == status {
			names = append(names, e.Object)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// do runs the program to its end.
func (a *argoApp) do(t *testing.T, command string, flags ...string) *argoRun {
	t.Helper()
	run := a.start(t, command, flags...)
	<-run.ended
	return run
}

// sync runs an operation, with pruning, and stops the test if it fails.
func (a *argoApp) sync(t *testing.T, flags ...string) *argoRun {
	t.Helper()
	run := a.do(t, "sync", append([]string{"--prune"}, flags...)...)
	if run.err != nil {
		a.dump(t)
		t.Fatalf("sync: %v\n%s\n%s", run.err, run.stderr.String(), run.text())
	}
	t.Logf("sync: %.1f s, pruned %v", run.operations()[0].Seconds, run.named("result", "Pruned"))
	return run
}

// text is what a reader of a failed test wants to see.
func (r *argoRun) text() string {
	var text strings.Builder
	for _, e := range r.seen() {
		if e.Status != "Synced" {
			fmt.Fprintf(&text, "%s %s %s %s %s\n", e.Event, e.Object, e.Phase, e.Status, e.Message)
		}
	}
	return text.String()
}

// heal syncs and stays to heal what drifts. It returns once it watches.
func (a *argoApp) heal(t *testing.T) *argoRun {
	t.Helper()
	run := a.start(t, "sync", "--prune", "--self-heal")
	eventually(t, 5*time.Minute, "the sync before healing", func(context.Context) (bool, string) {
		return len(run.operations()) > 0, run.text()
	})
	if first := run.operations()[0]; first.Phase != "Succeeded" {
		t.Fatalf("the sync before healing: %+v\n%s", first, run.text())
	}
	return run
}

// rowsHeld has what the rows that tests insert hold, in columns that no migration changes.
const rowsHeld = `SELECT 'users', count(*), md5(string_agg(id || username || created_at, '|' ORDER BY id)) FROM public.users
  WHERE id IN ('u1', 'u2')
UNION ALL SELECT 'credentials', count(*), md5(string_agg(id || encode(secret, 'hex'), '|' ORDER BY id))
  FROM public.user_credentials
UNION ALL SELECT 'sessions', count(*), md5(string_agg(id || title, '|' ORDER BY id)) FROM public.sessions
  WHERE id ~ '^s[0-9]+$'
UNION ALL SELECT 'messages', count(*), md5(string_agg(session_id || body, '|' ORDER BY id)) FROM public.session_messages
UNION ALL SELECT 'skills', count(*), '' FROM public.skill_sources WHERE id = 'k1';`

// held is all that must not be lost: rows, volumes, Secrets, the operator's definitions, the database, and the
// workspaces' namespace, each by what it is rather than by its name alone.
func (a *argoApp) held(t *testing.T) map[string]string {
	t.Helper()
	held := a.heldObjects(t)
	held["rows"] = a.sql(t, rowsHeld)
	held["rows of AFS"] = a.afsRows(t)
	return held
}

func (a *argoApp) heldObjects(t *testing.T) map[string]string {
	t.Helper()
	held := map[string]string{}
	for claim, volume := range a.claims(t) {
		held["claim "+claim] = volume
	}
	secrets, err := a.client.CoreV1().Secrets(a.namespace).List(t.Context(),
		metav1.ListOptions{LabelSelector: kube.ManagedByLabel + "=" + kube.FieldManager})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets.Items {
		for key, value := range secret.Data {
			held["Secret "+secret.Name+"/"+key] = fmt.Sprintf("%x", sha256.Sum256(value))
		}
	}
	namespaces := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	for resource, namespace := range map[schema.GroupVersionResource]string{crds: "", clusters: a.namespace, namespaces: ""} {
		list, err := a.dynamic.Resource(resource).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range list.Items {
			if resource == clusters || strings.HasSuffix(object.GetName(), operatorGroup) || object.GetName() == a.workspaces() {
				held[object.GetKind()+" "+object.GetName()] = string(object.GetUID())
			}
		}
	}
	if len(held) < 20 {
		t.Fatalf("there is too little to lose: %v", held)
	}
	return held
}

// wantHeld asserts that nothing of before was lost. What came since is welcome.
func wantHeld(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name, was := range before {
		if is, there := after[name]; !there {
			t.Errorf("%s is gone", name)
		} else if is != was {
			t.Errorf("%s is another than before", name)
		}
	}
}
