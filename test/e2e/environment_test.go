//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	corev1 "k8s.io/api/core/v1"
)

// environment is what a test runs against, all of it named by variables that `make test-e2e` sets.
type environment struct {
	chart   string
	helm3   string
	helm4   string
	config  *rest.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	// nodeIP and nodeName are those of one node.
	nodeIP, nodeName string
}

func newEnvironment(t testing.TB) *environment {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", variable(t, "KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	// The API server bounds what it is asked by itself; a limit here would end in errors of its own near a deadline.
	config.QPS = -1
	env := &environment{chart: variable(t, "CHART"), helm3: variable(t, "HELM3"), helm4: variable(t, "HELM4")}
	env.config = config
	env.client = kubernetes.NewForConfigOrDie(config)
	env.dynamic = dynamic.NewForConfigOrDie(config)
	env.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(env.client.Discovery()))
	nodes, err := env.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatalf("list nodes of %s: %v", config.Host, err)
	}
	env.nodeName = nodes.Items[0].Labels[corev1.LabelHostname]
	for _, address := range nodes.Items[0].Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			env.nodeIP = address.Address
		}
	}
	env.claim(t)
	return env
}

// variable is the value of an environment variable that has to be set.
func variable(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run these tests by `make test-e2e`", name)
	}
	return value
}

// claim refuses a cluster that holds something of the kind these tests make, since they remove all of it in
// the end: a database of somebody else's would go with its CRD.
func (e *environment) claim(t testing.TB) {
	t.Helper()
	for _, name := range []string{"nap", "nap-workspaces", "nap-refused", "nap-reuse", second, neighbours,
		"nap-external", databases, "cnpg-system"} {
		if _, err := e.client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{}); err == nil {
			t.Fatalf("namespace %s exists: these tests would delete it; remove it first, or use another cluster", name)
		}
	}
	list, err := e.dynamic.Resource(crds).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, crd := range list.Items {
		if strings.HasSuffix(crd.GetName(), operatorGroup) {
			t.Fatalf("CRD %s exists: these tests would delete it and every database with it; use another cluster", crd.GetName())
		}
	}
}

// result is what one run of a command printed, how it ended, and how long it took.
type result struct {
	output string
	err    error
	took   time.Duration
}

// release is one Helm release of the chart in one namespace, driven by one helm binary.
type release struct {
	*environment
	helm      string
	name      string
	namespace string
	// prefix begins the names of its objects, and agents is the namespace of its workspaces, where they are not the
	// default ones.
	prefix, agents string
}

func (e *environment) release(helm, name, namespace string) *release {
	return &release{environment: e, helm: helm, name: name, namespace: namespace}
}

// workspaces is the namespace that the release's workspaces live in.
func (r *release) workspaces() string { return cmp.Or(r.agents, r.namespace+"-workspaces") }

// rollback goes back to a revision and stops the test if that fails.
func (r *release) rollback(t testing.TB, revision string) result {
	t.Helper()
	got := r.run(t.Context(), 5*time.Minute, "rollback", r.name, revision, "--namespace", r.namespace, "--wait", "--timeout", "4m")
	if got.err != nil {
		r.dump(t)
		t.Fatalf("helm rollback %s: %v after %s\n%s", revision, got.err, got.took, got.output)
	}
	t.Logf("helm rollback %s: %s", revision, got.took)
	return got
}

// run runs helm with a bound on its time and returns all it printed.
func (r *release) run(ctx context.Context, timeout time.Duration, args ...string) result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	command := exec.CommandContext(ctx, r.helm, args...)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	started := time.Now()
	err := command.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("helm did not end within %s: %w", timeout, ctx.Err())
	}
	return result{output: output.String(), err: err, took: time.Since(started).Round(100 * time.Millisecond)}
}

func (r *release) upgrade(ctx context.Context, args ...string) result {
	base := []string{"upgrade", "--install", r.name, r.chart, "--namespace", r.namespace, "--create-namespace", "--timeout", "6m"}
	return r.run(ctx, 7*time.Minute, slices.Concat(base, args)...)
}

func (r *release) uninstall(ctx context.Context) result {
	return r.run(ctx, 4*time.Minute, "uninstall", r.name, "--namespace", r.namespace, "--wait", "--timeout", "3m")
}

// begin starts an install or upgrade and does not wait for it: Helm itself waits for the seeds, which wait
// for everything before them. The test ends no sooner than helm.
func (r *release) begin(t *testing.T, args ...string) <-chan result {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan result, 1)
	go func() { done <- r.upgrade(ctx, args...) }()
	t.Cleanup(cancel)
	return done
}

// mustUpgrade installs or upgrades and stops the test, showing what the cluster looks like, if that fails.
func (r *release) mustUpgrade(t testing.TB, args ...string) result {
	t.Helper()
	got := r.upgrade(t.Context(), args...)
	if got.err != nil {
		r.dump(t)
		t.Fatalf("helm %s: %v after %s\n%s", strings.Join(args, " "), got.err, got.took, got.output)
	}
	t.Logf("helm upgrade --install %s: %s", strings.Join(args, " "), got.took)
	return got
}

func (r *release) mustUninstall(t testing.TB) result {
	t.Helper()
	got := r.uninstall(t.Context())
	if got.err != nil {
		r.dump(t)
		t.Fatalf("helm uninstall: %v after %s\n%s", got.err, got.took, got.output)
	}
	t.Logf("helm uninstall: %s", got.took)
	return got
}

// wantRefused asserts that helm failed by itself and that what it printed contains every one of words. The limit is what
// holds on a cluster that has its machine to itself; beside other testbeds it may take twice that.
func wantRefused(t testing.TB, got result, limit time.Duration, words ...string) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(got.err, &exit) {
		t.Fatalf("helm was to fail by itself, got %v after %s\n%s", got.err, got.took, got.output)
	}
	if got.took > 2*limit {
		t.Errorf("helm took %s to fail, want at most %s, or twice that on a busy machine", got.took, limit)
	}
	for _, word := range words {
		if !strings.Contains(got.output, word) {
			t.Errorf("helm's output does not name %q:\n%s", word, got.output)
		}
	}
	t.Logf("refused after %s:\n%s", got.took, strings.TrimSpace(got.output))
}
