package chart_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
)

// A mesh decides by labels and annotations which pods get a proxy. Its own user's connections pass the
// proxy by.
type mesh struct {
	name string
	user int64
}

// Rules of the two meshes, for namespaces whose pods get proxies and where mutual TLS is required.
var meshes = []mesh{{"istio", 1337}, {"linkerd", 2102}}

// injects says whether the pods of a template get a proxy. Istio asks the label first.
func (m mesh) injects(template corev1.PodTemplateSpec) bool {
	if template.Spec.HostNetwork {
		return false
	}
	if m.name == "linkerd" {
		return template.Annotations["linkerd.io/inject"] != "disabled"
	}
	if label, found := template.Labels["sidecar.istio.io/inject"]; found {
		return label != "false"
	}
	return template.Annotations["sidecar.istio.io/inject"] != "false"
}

// admits says whether a pod accepts a connection without TLS of the mesh's on a port.
func (m mesh) admits(t *testing.T, template corev1.PodTemplateSpec, port int32, objects []chart.Object) bool {
	t.Helper()
	if !m.injects(template) {
		return true
	}
	if m.name == "linkerd" {
		return template.Annotations["config.linkerd.io/default-inbound-policy"] == "all-unauthenticated"
	}
	for _, object := range objects {
		made, ok := typed(t, object).(*peerAuthentication)
		if ok && labels.SelectorFromSet(made.Spec.Selector.MatchLabels).Matches(labels.Set(template.Labels)) &&
			made.Spec.PortLevelMTLS[strconv.Itoa(int(port))].Mode == "PERMISSIVE" {
			return true
		}
	}
	return false
}

// peerAuthentication is what the chart uses of Istio's kind, whose Go types would bring all of Istio's API with them.
type peerAuthentication struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
		PortLevelMTLS map[string]struct {
			Mode string `json:"mode"`
		} `json:"portLevelMtls"`
	} `json:"spec"`
}

// DeepCopyObject is what the decoder asks of a kind; nothing here changes what it decoded.
func (p *peerAuthentication) DeepCopyObject() runtime.Object {
	copied := *p
	return &copied
}

// addPeerAuthentications lets a scheme decode PeerAuthentications.
func addPeerAuthentications(scheme *runtime.Scheme) {
	scheme.AddKnownTypeWithName(schema.GroupVersionKind{
		Group: "security.istio.io", Version: "v1", Kind: "PeerAuthentication",
	}, &peerAuthentication{})
}

// behind are the pods and the port of their container that an address host:port of a Service leads to.
func behind(t *testing.T, address string, objects []chart.Object) (corev1.PodTemplateSpec, int32) {
	t.Helper()
	host, port, found := strings.Cut(address, ":")
	name, _, _ := strings.Cut(host, ".")
	if !found {
		t.Fatalf("%q is no host:port", address)
	}
	service := find[*corev1.Service](t, objects, namespace, name)
	for _, object := range objects {
		deployment, ok := typed(t, object).(*appsv1.Deployment)
		if !ok || !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(deployment.Spec.Template.Labels)) {
			continue
		}
		for _, served := range service.Spec.Ports {
			if strconv.Itoa(int(served.Port)) != port {
				continue
			}
			for _, own := range deployment.Spec.Template.Spec.Containers[0].Ports {
				if own.Name == served.TargetPort.StrVal {
					return deployment.Spec.Template, own.ContainerPort
				}
			}
		}
	}
	t.Fatalf("nothing serves %s", address)
	return corev1.PodTemplateSpec{}, 0
}

// addressOf is host:port of a URL.
func addressOf(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// A Job with a proxy in its pod never ends, whether or not a value names the mesh.
func TestJobsEndInAMesh(t *testing.T) {
	for _, m := range meshes {
		for _, set := range [][]string{nil, {"global.mesh=" + m.name}} {
			objects := ours(renderAll(t, set...).Objects)
			jobs := 0
			for _, p := range everyPod(t, objects) {
				if p.from.GetKind() != "Job" {
					continue
				}
				jobs++
				if m.injects(p.template) {
					t.Errorf("%s: %s adds a proxy to its pod, and it never ends: labels %v, annotations %v",
						p.from, m.name, p.template.Labels, p.template.Annotations)
				}
			}
			if jobs < 10 {
				t.Errorf("%d Jobs were looked at", jobs)
			}
		}
	}
}

// What init containers and hooks connect to accepts them where mutual TLS is required.
func TestInitContainersAndHooksAreAdmittedInAMesh(t *testing.T) {
	for _, m := range meshes {
		t.Run(m.name, func(t *testing.T) {
			rendered := renderAll(t, "global.mesh="+m.name)
			main := ours(rendered.Main())
			waiting := 0
			for _, p := range everyPod(t, main) {
				if !m.injects(p.template) {
					continue
				}
				for _, c := range p.spec().InitContainers {
					if c.Name != "wait" {
						continue
					}
					waiting++
					if c.SecurityContext == nil || c.SecurityContext.RunAsUser == nil || *c.SecurityContext.RunAsUser != m.user {
						t.Errorf("%s: init container %s does not run as user %d: its connections go to a proxy that does not "+
							"run yet", p.from, c.Name, m.user)
					}
					for _, arg := range c.Args {
						if at, found := strings.CutPrefix(arg, "--http="); found {
							wantAdmitted(t, m, p.from.String(), addressOf(t, at), main)
						}
					}
				}
			}
			if waiting < 5 {
				t.Errorf("%d init containers were looked at", waiting)
			}
			everything := ours(rendered.Objects)
			spec := specOf[hook.TestSpec](t, everything, specConfigMap(t, jobs(t, everything)["test"]), "test")
			wantAdmitted(t, m, "helm test", addressOf(t, spec.LogIn), everything)
			for _, service := range spec.Services {
				address := service.Address
				if address == "" {
					address = addressOf(t, service.URL)
				}
				if !strings.HasPrefix(address, "coturn.") {
					wantAdmitted(t, m, "helm test", address, everything)
				}
			}
			// Without a hook of the test the rest keeps mutual TLS, where the mesh allows to say so.
			skills, port := behind(t, fmt.Sprintf("nap-skills.%s.svc:3008", namespace), main)
			if open := m.admits(t, skills, port, main); open && m.name == "istio" {
				t.Error("the skills service accepts connections without TLS while no test runs")
			}
		})
	}
}

func wantAdmitted(t *testing.T, m mesh, client, address string, objects []chart.Object) {
	t.Helper()
	template, port := behind(t, address, objects)
	if !m.admits(t, template, port, objects) {
		t.Errorf("%s refuses connections of %s without TLS at %s: labels %v, annotations %v",
			m.name, client, address, template.Labels, template.Annotations)
	}
}

// PostgreSQL's pods, and the operator's Jobs, are outside a mesh that is named. Without one the Cluster does not
// change.
func TestDatabaseIsOutsideAMesh(t *testing.T) {
	for _, m := range append(slices.Clone(meshes), mesh{}) {
		objects := render(t, "global.mesh="+m.name, "global.database.cnpg.podLabels.cost=db").Objects
		made := cluster(t, objects)
		var template corev1.PodTemplateSpec
		template.Labels, _, _ = unstructured.NestedStringMap(made.Object, "spec", "inheritedMetadata", "labels")
		template.Annotations, _, _ = unstructured.NestedStringMap(made.Object, "spec", "inheritedMetadata", "annotations")
		if m.name != "" && m.injects(template) {
			t.Errorf("%s: PostgreSQL's pods get a proxy: labels %v, annotations %v",
				m.name, template.Labels, template.Annotations)
		}
		if m.name == "" && len(template.Labels)+len(template.Annotations) != 1 || template.Labels["cost"] != "db" {
			t.Errorf("mesh %q: labels %v, annotations %v", m.name, template.Labels, template.Annotations)
		}
	}
}

// What has its own protocol, or is called by the API server, is outside every mesh.
func TestOperatorAndTURNServerAreOutsideEveryMesh(t *testing.T) {
	objects := renderAll(t).Objects
	var templates []corev1.PodTemplateSpec
	for _, p := range pods(t, objects) {
		if p.from.GetName() == "coturn" || p.from.GetName() == "sandbox-image-warmer" {
			templates = append(templates, p.template)
		}
		if published && p.from.GetKind() != "Job" && strings.Contains(p.from.Source, "/charts/"+operator+"/") {
			templates = append(templates, p.template)
		}
	}
	if len(templates) < 2 {
		t.Fatalf("%d pods were found", len(templates))
	}
	for _, m := range meshes {
		for _, template := range templates {
			if m.injects(template) {
				t.Errorf("%s adds a proxy to pods with labels %v, annotations %v", m.name, template.Labels, template.Annotations)
			}
		}
	}
	// Where the operator's published chart can't be had, its values alone are known.
	raw, err := os.ReadFile(filepath.Join(source, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		Operator struct{ PodLabels, PodAnnotations map[string]string } `json:"cloudnative-pg"`
	}
	if err := yaml.Unmarshal(raw, &values); err != nil {
		t.Fatal(err)
	}
	var own corev1.PodTemplateSpec
	own.Labels, own.Annotations = values.Operator.PodLabels, values.Operator.PodAnnotations
	for _, m := range meshes {
		if m.injects(own) {
			t.Errorf("%s adds a proxy to the operator: %+v", m.name, values.Operator)
		}
	}
}

// Without a mesh services run as before, and who names labels of a Job's pods decides.
func TestNoMesh(t *testing.T) {
	objects := ours(renderFor(t, target{set: everyModule,
		json: []string{`global.hooks.podLabels={"sidecar.istio.io/inject":"true"}`}}).Objects)
	for _, object := range objects {
		if object.GetKind() == "PeerAuthentication" || strings.Contains(object.YAML, "default-inbound-policy") {
			t.Errorf("%s is for a mesh", object)
		}
	}
	cp := podOf(t, objects, "Deployment", "nap-cp")
	if user := cp.container(t, "wait").SecurityContext.RunAsUser; user != nil {
		t.Errorf("%s: init container wait runs as user %d", cp.from, *user)
	}
	if got := jobs(t, objects)["prepare"].template.Labels["sidecar.istio.io/inject"]; got != "true" {
		t.Errorf("the label of the user's is %q, want true", got)
	}
	onOpenShift := ours(renderAll(t, "global.mesh=istio", "global.openshift.enabled=true").Objects)
	cp = podOf(t, onOpenShift, "Deployment", "nap-cp")
	if user := cp.container(t, "wait").SecurityContext.RunAsUser; user != nil {
		t.Errorf("%s: on OpenShift init container wait names user %d, which is refused", cp.from, *user)
	}
}
