// Package chart_test renders the chart as a user's Helm would, without a cluster and without a network,
// and holds the outcome against what the platform needs.
package chart_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"helm.sh/helm/v3/pkg/cli/values"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/test/contract"
	"github.com/neutree-ai/packaging/test/publishedchart"
)

const (
	source      = "../../charts/neutree"
	operator    = "cloudnative-pg"
	releaseName = "neutree"
	namespace   = "nap"
	prefix      = "nap"
	workspace   = "nap-workspaces"
	// kubernetes is what the chart is rendered for unless a test says otherwise.
	kubernetes = "1.34"
)

// umbrella is a copy of the chart with the published chart of the operator, or, where that is not available, a small one
// of the test's own.
var umbrella string

// published is set when the operator's chart in it is the published one.
var published bool

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "chart")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		// HTTPRoutes and monitors are decoded as strictly as everything else.
		if err := errors.Join(gatewayv1.Install(scheme.Scheme), monitoringv1.AddToScheme(scheme.Scheme)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		addPeerAuthentications(scheme.Scheme)
		umbrella = filepath.Join(dir, "neutree")
		return m.Run()
	}())
}

// assembled makes the copy when the first test asks for it. Go knows what a result depends on only from files that are
// read while tests run: read before, a change of the chart would leave an old result standing.
var assembled = sync.OnceValue(func() error { return assemble(umbrella) })

// assemble copies the chart to dir and adds that of the operator.
func assemble(dir string) error {
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		return err
	}
	downloaded, err := filepath.Glob(filepath.Join(dir, "charts", operator+"*"))
	if err != nil {
		return err
	}
	for _, path := range downloaded {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	downloads, err := os.MkdirTemp("", "published")
	if err != nil {
		return err
	}
	defer os.RemoveAll(downloads)
	path, err := publishedchart.Find(context.Background(), source, downloads)
	if published = err == nil; errors.Is(err, publishedchart.ErrNotAvailable) {
		path, err = filepath.Join("testdata", operator), nil
	}
	if err != nil {
		return err
	}
	return publishedchart.CopyTo(path, filepath.Join(dir, "charts"))
}

// noCRDs leaves the operator's CustomResourceDefinitions out: those of the published chart are 1.2 MB of YAML, which
// would take most of the time of every render. A test that looks at them sets the value back.
const noCRDs = "cloudnative-pg.crds.create=false"

// target is what a test renders for.
type target struct {
	set        []string // as given to --set
	json       []string // as given to --set-json
	files      []string // as given to -f
	kubernetes string
	apis       []string // that the cluster has besides the usual ones
	upgrade    bool
	revision   int
	// answer is what the cluster has, as for chart.Options.
	answer func(chart.Lookup) map[string]any
	// release and namespace are the usual ones where they are empty.
	release, namespace string
}

// render fills in the chart with settings as given to --set.
func render(t *testing.T, set ...string) *chart.Rendered {
	t.Helper()
	return renderFor(t, target{set: set})
}

// everyModule turns on all modules.
var everyModule = []string{
	"global.modules.sandbox.enabled=true", "sandbox.openSandbox.url=http://opensandbox-server.opensandbox.svc",
	"sandbox.imageWarmer.enabled=true",
	"global.modules.browser.enabled=true", "browser.turn.host=203.0.113.10", "browser.coturn.network=loadBalancer",
}

// renderAll renders with all modules.
func renderAll(t *testing.T, set ...string) *chart.Rendered {
	t.Helper()
	return render(t, slices.Concat(everyModule, set)...)
}

// workloads are the services of the core, and those of the modules that are rendered.
func workloads(objects []chart.Object) []contract.Workload {
	all := contract.Workloads()
	for _, w := range contract.ModuleWorkloads() {
		rendered := func(o chart.Object) bool {
			return o.GetKind() == "Deployment" && o.GetLabels()["app.kubernetes.io/component"] == w.Name
		}
		if slices.ContainsFunc(objects, rendered) {
			all = append(all, w)
		}
	}
	return all
}

func renderFor(t *testing.T, to target) *chart.Rendered {
	t.Helper()
	rendered, err := tryRender(to)
	if err != nil {
		t.Fatalf("render with %q: %v", append(to.set, to.json...), err)
	}
	return rendered
}

func tryRender(to target) (*chart.Rendered, error) {
	if err := assembled(); err != nil {
		return nil, err
	}
	set := append([]string{noCRDs}, to.set...)
	merged, err := chart.Values(values.Options{Values: set, JSONValues: to.json, ValueFiles: to.files})
	if err != nil {
		return nil, err
	}
	loaded, err := chart.Load(umbrella)
	if err != nil {
		return nil, err
	}
	if to.kubernetes == "" {
		to.kubernetes = kubernetes
	}
	return chart.Render(loaded, chart.Options{
		Release: cmp.Or(to.release, releaseName), Namespace: cmp.Or(to.namespace, namespace),
		Values: merged, Upgrade: to.upgrade, Revision: to.revision, Answer: to.answer,
		Kubernetes: chart.Kubernetes{Version: to.kubernetes, APIVersions: to.apis},
	})
}

// ours are the objects that the chart makes itself, without the operator's.
func ours(objects []chart.Object) []chart.Object {
	var own []chart.Object
	for _, object := range objects {
		if !strings.Contains(object.Source, "/charts/"+operator+"/") {
			own = append(own, object)
		}
	}
	return own
}

var strict = serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()

// typed decodes an object into its Go type. A field that the type does not have is an error.
func typed(t *testing.T, object chart.Object) runtime.Object {
	t.Helper()
	decoded, _, err := strict.Decode([]byte(object.YAML), nil, nil)
	if err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	return decoded
}

// namespaceOf is where Helm creates an object.
func namespaceOf(object chart.Object) string {
	if ns := object.GetNamespace(); ns != "" {
		return ns
	}
	return namespace
}

// find is the one object of type T with this name in this namespace.
func find[T runtime.Object](t *testing.T, objects []chart.Object, ns, name string) T {
	t.Helper()
	var found []T
	for _, object := range objects {
		if object.GetName() != name || namespaceOf(object) != ns {
			continue
		}
		if match, ok := typed(t, object).(T); ok {
			found = append(found, match)
		}
	}
	if len(found) != 1 {
		var want T
		t.Fatalf("%d objects of type %T named %s/%s are rendered, want 1", len(found), want, ns, name)
	}
	return found[0]
}

// pod is the specification of the pods that one rendered object makes.
type pod struct {
	from     chart.Object
	template corev1.PodTemplateSpec
}

func (p pod) spec() corev1.PodSpec { return p.template.Spec }

// spawned are the Jobs that a ConfigMap holds for a hook to run.
func spawned(t *testing.T, object chart.Object, config *corev1.ConfigMap) []chart.Object {
	t.Helper()
	var jobs []chart.Object
	for _, key := range slices.Sorted(maps.Keys(config.Data)) {
		if !strings.HasSuffix(key, "-job.yaml") {
			continue
		}
		content := map[string]any{}
		if err := yaml.Unmarshal([]byte(config.Data[key]), &content); err != nil {
			t.Fatalf("%s: %s: %v", object, key, err)
		}
		jobs = append(jobs, chart.Object{Unstructured: &unstructured.Unstructured{Object: content}, Source: object.Source, YAML: config.Data[key], Hook: object.Hook})
	}
	return jobs
}

// pods are the pods that objects make, those included that hooks make of a ConfigMap.
func pods(t *testing.T, objects []chart.Object) []pod {
	t.Helper()
	var all []pod
	for _, object := range objects {
		var template corev1.PodTemplateSpec
		switch made := typed(t, object).(type) {
		case *appsv1.Deployment:
			template = made.Spec.Template
		case *appsv1.StatefulSet:
			template = made.Spec.Template
		case *appsv1.DaemonSet:
			template = made.Spec.Template
		case *batchv1.Job:
			template = made.Spec.Template
		case *batchv1.CronJob:
			template = made.Spec.JobTemplate.Spec.Template
		case *corev1.ConfigMap:
			if jobs := spawned(t, object, made); len(jobs) > 0 {
				all = append(all, pods(t, jobs)...)
			}
			continue
		case *corev1.Pod:
			template = corev1.PodTemplateSpec{ObjectMeta: made.ObjectMeta, Spec: made.Spec}
		default:
			continue
		}
		all = append(all, pod{object, template})
	}
	if len(all) == 0 {
		t.Fatal("no pod is rendered")
	}
	return all
}

// containers are all containers of a pod, the init containers first.
func (p pod) containers() []corev1.Container {
	return append(append([]corev1.Container{}, p.spec().InitContainers...), p.spec().Containers...)
}

// container is the one with this name.
func (p pod) container(t *testing.T, name string) corev1.Container {
	t.Helper()
	var names []string
	for _, c := range p.containers() {
		if c.Name == name {
			return c
		}
		names = append(names, c.Name)
	}
	t.Fatalf("%s: containers are %v, want one named %s", p.from, names, name)
	return corev1.Container{}
}

// podOf is the pod of one workload.
func podOf(t *testing.T, objects []chart.Object, kind, name string) pod {
	t.Helper()
	var matching []chart.Object
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == name {
			matching = append(matching, object)
		}
	}
	if len(matching) != 1 {
		t.Fatalf("%d objects %s %s are rendered, want 1", len(matching), kind, name)
	}
	return pods(t, matching)[0]
}

// profiles are the values files that come with the chart, those for tests and those for people, each a target by its name.
func profiles(t *testing.T) map[string]target {
	t.Helper()
	var paths []string
	for _, pattern := range []string{"ci/*-values.yaml", "values-*.yaml"} {
		matches, err := filepath.Glob(filepath.Join(source, pattern))
		if err != nil || len(matches) == 0 {
			t.Fatalf("%s holds no %s (%v)", source, pattern, err)
		}
		paths = append(paths, matches...)
	}
	targets := map[string]target{}
	for _, path := range paths {
		targets[filepath.Base(path)] = target{files: []string{path}}
	}
	return targets
}

// isKind tells objects of one kind.
func isKind(kind string) func(chart.Object) bool {
	return func(o chart.Object) bool { return o.GetKind() == kind }
}

// files are the paths below the chart, the operator's own left out.
func files(t *testing.T, match string) []string {
	t.Helper()
	if err := assembled(); err != nil {
		t.Fatal(err)
	}
	var found []string
	err := filepath.WalkDir(umbrella, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || (entry.IsDir() && entry.Name() == operator) {
			if err == nil {
				err = fs.SkipDir
			}
			return err
		}
		if entry.Name() == match {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
