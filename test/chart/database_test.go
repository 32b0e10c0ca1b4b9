package chart_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

func TestClusterIsComplete(t *testing.T) {
	made := cluster(t, render(t, "global.database.cnpg.instances=3", "global.database.cnpg.storage.size=20Gi",
		"global.database.cnpg.storage.storageClass=fast").Objects)
	if made.GetAPIVersion() != "postgresql.cnpg.io/v1" || made.GetKind() != "Cluster" || made.GetName() != "nap-pg" || made.GetNamespace() != namespace {
		t.Errorf("cluster.yaml is %s %s %s/%s", made.GetAPIVersion(), made.GetKind(), made.GetNamespace(), made.GetName())
	}
	// Stated even when off, so that an apply wakes a database that an uninstall put to sleep.
	if got := made.GetAnnotations()["cnpg.io/hibernation"]; got != "off" {
		t.Errorf("Cluster: annotation cnpg.io/hibernation = %q, want off", got)
	}
	for path, want := range map[string]any{
		"spec.instances":                    int64(3),
		"spec.storage.size":                 "20Gi",
		"spec.storage.storageClass":         "fast",
		"spec.bootstrap.initdb.database":    "nap",
		"spec.bootstrap.initdb.owner":       "nap",
		"spec.bootstrap.initdb.secret.name": "nap-pg-user",
	} {
		got, _, _ := unstructured.NestedFieldNoCopy(made.Object, strings.Split(path, ".")...)
		if number, ok := got.(float64); ok {
			got = int64(number)
		}
		if got != want {
			t.Errorf("Cluster: %s = %v, want %v", path, got, want)
		}
	}
}

func TestClusterLeavesTheClassToTheClusterByDefault(t *testing.T) {
	storage, _, _ := unstructured.NestedMap(cluster(t, render(t).Objects).Object, "spec", "storage")
	if class, found := storage["storageClass"]; found {
		t.Errorf("Cluster: spec.storage.storageClass = %v, want it absent: an empty name is not the default class", class)
	}
}

// connections are the most that are open at once: those of the services, of a seed Job, which opens as many as
// a control plane, and a few of the operator and the hooks.
func connections() int { return contract.Connections() + pool("cp") + 8 }

func TestConnectionsSufficeForModules(t *testing.T) {
	more := connections()
	for _, w := range contract.ModuleWorkloads() {
		more += w.Pool
	}
	if _, err := tryRender(target{set: append(everyModule, fmt.Sprint("global.database.cnpg.maxConnections=", more-1))}); err == nil || !strings.Contains(err.Error(), strconv.Itoa(more)) {
		t.Errorf("maxConnections %d with all modules: %v, want a refusal that names %d", more-1, err, more)
	}
	renderAll(t, fmt.Sprint("global.database.cnpg.maxConnections=", more))
}

func TestConnectionsSuffice(t *testing.T) {
	parameters, _, _ := unstructured.NestedStringMap(cluster(t, render(t).Objects).Object, "spec", "postgresql", "parameters")
	got, err := strconv.Atoi(parameters["max_connections"])
	if err != nil || got < connections() {
		t.Errorf("Cluster: max_connections = %q, want %d or more for the pools of all services", parameters["max_connections"], connections())
	}
}

func pool(name string) int {
	for _, w := range contract.Workloads() {
		if w.Name == name {
			return w.Pool
		}
	}
	return 0
}

// set is the name of the migrations that a release's images hold.
func set(t *testing.T, objects []chart.Object) string {
	t.Helper()
	var refs []string
	for _, w := range workloads(objects) {
		if w.Migrations != "" {
			refs = append(refs, podOf(t, objects, "Deployment", w.FullName(prefix)).container(t, w.Container).Image)
		}
	}
	slices.Sort(refs)
	sum := sha256.Sum256([]byte(strings.Join(refs, "\n")))
	return hex.EncodeToString(sum[:])
}

func TestServicesWaitForTheirSchema(t *testing.T) {
	for name, settings := range map[string][]string{
		"defaults": nil, "another image": {"global.images.controlPlane.tag=v0.3.0"}, "another registry": {"global.imageRegistry=registry.example.org"},
		"every module": everyModule,
	} {
		t.Run(name, func(t *testing.T) {
			objects := render(t, settings...).Objects
			want := set(t, objects)
			if got := bootstrapSpec(t, objects).Set; got != want {
				t.Errorf("bootstrap.yaml: set = %s, want %s, the hash of the images that hold migrations", got, want)
			}
			for _, w := range workloads(objects) {
				if w.Pool == 0 {
					continue
				}
				p := podOf(t, objects, "Deployment", w.FullName(prefix))
				wait := p.container(t, "wait")
				waitsFor := "--source=control-plane"
				if w.Migrations != "" {
					waitsFor = "--set=" + sourceSet(t, objects, p.container(t, w.Container).Image)
				}
				if !slices.Contains(wait.Args, waitsFor) {
					t.Errorf("%s: init container wait has args %q, want %s", p.from, wait.Args, waitsFor)
				}
				if env := variables(t, p, wait)["DATABASE_URL"]; env.ValueFrom == nil || env.ValueFrom.SecretKeyRef == nil {
					t.Errorf("%s: init container wait does not take DATABASE_URL from a Secret", p.from)
				}
			}
		})
	}
}

// sourceSet is what bootstrap records of the migrations in an image.
func sourceSet(t *testing.T, objects []chart.Object, image string) string {
	t.Helper()
	for _, c := range bootstrapJob(t, objects).spec().InitContainers {
		for _, migration := range bootstrapSpec(t, objects).Migrations {
			if c.Image == image && slices.Contains(c.Args, "--to="+migration.Dir) {
				return migration.Set
			}
		}
	}
	t.Fatalf("bootstrap takes no migrations from %s", image)
	return ""
}

// What did not change goes on: a pod restarts when its template differs.
func TestANewImageRestartsItsServiceAlone(t *testing.T) {
	templates := func(settings ...string) map[string]corev1.PodTemplateSpec {
		found := map[string]corev1.PodTemplateSpec{}
		for _, p := range pods(t, ours(renderAll(t, settings...).Main())) {
			if p.from.GetKind() != "Job" {
				found[p.from.GetName()] = p.template
			}
		}
		return found
	}
	before := templates()
	for _, w := range workloads(renderAll(t).Objects) {
		var restarted []string
		for name, template := range templates("global.images." + w.Image + ".tag=v9.9.9") {
			if !reflect.DeepEqual(before[name], template) {
				restarted = append(restarted, name)
			}
		}
		if want := []string{w.FullName(prefix)}; !slices.Equal(restarted, want) && w.Image != "afs" {
			t.Errorf("a new image %s restarts %v, want %v", w.Image, restarted, want)
		}
	}
}

// The runner and the scheduler fail or hang when the control plane is not there before them, and the others have
// nobody to serve.
func TestServicesStartInOrder(t *testing.T) {
	objects := render(t).Objects
	for _, name := range []string{"nap-env-runner-k8s", "nap-scheduler", "nap-cg", "nap-skills"} {
		p := podOf(t, objects, "Deployment", name)
		if args := strings.Join(p.container(t, "wait").Args, " "); !strings.Contains(args, "http://nap-cp.nap.svc:3000/healthz") {
			t.Errorf("%s: init container wait does not ask the control plane's /healthz: %s", p.from, args)
		}
	}
}

func TestMigrationsComeFromTheServicesImages(t *testing.T) {
	objects := renderAll(t).Objects
	job := bootstrapJob(t, objects)
	copied := map[string]bool{}
	for _, w := range workloads(objects) {
		if w.Migrations == "" {
			continue
		}
		image := podOf(t, objects, "Deployment", w.FullName(prefix)).container(t, w.Container).Image
		found := false
		for _, c := range job.spec().InitContainers {
			args := strings.Join(c.Args, " ")
			if c.Image == image && strings.HasPrefix(args, "copy --from="+w.Migrations+" --to=") {
				found = true
				copied[c.Args[2][len("--to="):]] = true
			}
		}
		if !found {
			t.Errorf("%s: no init container of %s copies %s", job.from, image, w.Migrations)
		}
	}
	if first := job.spec().InitContainers[0]; first.Image != platform.HooksImage.Ref() || first.Args[0] != "install" {
		t.Errorf("%s: the first init container is %s %q, want nap-hooks install", job.from, first.Image, first.Args)
	}
	for _, migration := range bootstrapSpec(t, objects).Migrations {
		if !copied[migration.Dir] {
			t.Errorf("bootstrap.yaml: migrations of %s are read from %s, which no init container fills", migration.Source, migration.Dir)
		}
		delete(copied, migration.Dir)
	}
	for dir := range copied {
		t.Errorf("bootstrap.yaml: nothing reads the migrations in %s", dir)
	}
}

// A Job can't be changed, so whatever its outcome depends on is part of its name.
func TestBootstrapJobIsNamedByWhatItDoes(t *testing.T) {
	name := func(settings ...string) string { return bootstrapJob(t, render(t, settings...).Objects).from.GetName() }
	before := name()
	for what, setting := range map[string]string{
		"the database's storage": "global.database.cnpg.storage.size=50Gi",
		"a service's image":      "global.images.controlPlane.tag=v0.3.0",
		"the hooks' image":       "global.hooks.image.tag=0.1.1",
		"the shared volume":      "global.storage.shared.size=900Gi",
		"a pull secret":          "global.imagePullSecrets[0].name=regcred",
	} {
		if after := name(setting); after == before {
			t.Errorf("the bootstrap Job keeps its name %s when %s changes (%s): the upgrade would be refused or ignored", before, what, setting)
		}
	}
	if job := bootstrapJob(t, render(t).Objects); specConfigMap(t, job) != job.from.GetName() {
		t.Errorf("%s mounts ConfigMap %s, which an upgrade would change below its pods: want one of its own name", job.from, specConfigMap(t, job))
	}
	// Where the node port opens all paths, the Job says so by its number.
	if after := name(closes, "global.exposure.nodePorts.web=31000"); after != name(closes) {
		t.Errorf("the bootstrap Job runs again when only a nodePort changes")
	}
}
