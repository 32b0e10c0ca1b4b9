package chart_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/valuegen"
)

// renderText renders with the text of a values file.
func renderText(t *testing.T, text string, to target) (*chart.Rendered, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	to.files = append([]string{path}, to.files...)
	return tryRender(to)
}

// What the API server would refuse after other services were replaced already is refused before anything is, by name.
func TestWhatTheAPIServerWouldRefuseIsRefusedBefore(t *testing.T) {
	for name, c := range map[string]struct {
		values string
		want   []string // whole lines of the message
	}{
		"a request above the chart's limit": {`
controlPlane:
  cp: {resources: {requests: {cpu: "2"}}}
  scheduler: {resources: {requests: {memory: 1.5Gi}}}
workspaceRuntime:
  runner: {resources: {requests: {memory: 512Mi}}}
global:
  hooks: {resources: {requests: {cpu: 1}}}
  backup: {resources: {requests: {cpu: 2001m}}}
  database: {cnpg: {resources: {requests: {memory: 5Gi}}}}
  workspaces: {sidecarResources: {requests: {memory: 2Gi}}}
`, []string{
			`controlPlane.cp.resources.requests.cpu is 2, above controlPlane.cp.resources.limits.cpu, which is 1: raise the limit too, or set it to "" for none`,
			`controlPlane.scheduler.resources.requests.memory is 1.5Gi, above controlPlane.scheduler.resources.limits.memory, which is 256Mi: raise the limit too, or set it to "" for none`,
			`workspaceRuntime.runner.resources.requests.memory is 512Mi, above workspaceRuntime.runner.resources.limits.memory, which is 256Mi: raise the limit too, or set it to "" for none`,
			`global.hooks.resources.requests.cpu is 1, above global.hooks.resources.limits.cpu, which is 500m: raise the limit too, or set it to "" for none`,
			`global.backup.resources.requests.cpu is 2001m, above global.backup.resources.limits.cpu, which is 2: raise the limit too, or set it to "" for none`,
			`global.database.cnpg.resources.requests.memory is 5Gi, above global.database.cnpg.resources.limits.memory, which is 4Gi: raise the limit too, or set it to "" for none`,
			`global.workspaces.sidecarResources.requests.memory is 2Gi, above global.workspaces.sidecarResources.limits.memory, which is 1Gi: raise the limit too, or set it to "" for none`,
		}},
		"a GPU in requests only": {`gateway: {resources: {requests: {nvidia.com/gpu: 1}}}`, []string{
			"gateway.resources.requests has nvidia.com/gpu 1 and limits has none, which Kubernetes needs for this resource: set gateway.resources.limits to the same"}},
		"a GPU that differs": {`gateway: {resources: {requests: {nvidia.com/gpu: 1}, limits: {nvidia.com/gpu: 2}}}`, []string{
			"gateway.resources.requests has nvidia.com/gpu 1 and limits has 2, and Kubernetes wants the same of this resource: set both alike"}},
		"a variable twice": {`
controlPlane: {cp: {extraEnv: [{name: HTTP_PROXY, value: a}, {name: HTTP_PROXY, value: b}]}}
global: {hooks: {extraEnv: [{name: A, value: a}, {name: B, value: b}, {name: A, value: b}]}}
`, []string{
			"controlPlane.cp.extraEnv has the variable HTTP_PROXY more than once: leave one of them",
			"global.hooks.extraEnv has the variable A more than once: leave one of them"}},
		"the chart's own volumes": {`
controlPlane:
  cp:
    extraVolumes: [{name: tmp, emptyDir: {medium: Memory}}]
    extraVolumeMounts: [{name: tmp, mountPath: /tmp}]
global: {hooks: {extraVolumes: [{name: spec, emptyDir: {}}]}}
`, []string{
			"controlPlane.cp.extraVolumes has a volume named tmp, and so has the chart, at /tmp: choose another name",
			"controlPlane.cp.extraVolumeMounts mounts a volume at /tmp, where the chart mounts one of its own: choose another path",
			"global.hooks.extraVolumes has a volume named spec, and so has the chart, at /spec: choose another name"}},
		"a volume that is not there": {`
gateway:
  extraVolumes: [{name: own, emptyDir: {}}, {name: own, emptyDir: {}}]
  extraVolumeMounts: [{name: own, mountPath: /a}, {name: owm, mountPath: /a}]
`, []string{
			"gateway.extraVolumes has the volume own more than once: leave one of them",
			"gateway.extraVolumeMounts mounts the volume owm at /a, and there is none of that name: add it to gateway.extraVolumes, or correct the name",
			"gateway.extraVolumeMounts mounts more than one volume at /a: leave one of them"}},
		"tolerations that contradict themselves": {`
global:
  scheduling: {tolerations: [{key: a, operator: Exists, value: b}, {operator: Equal, value: b}]}
gateway: {tolerations: [{key: a, tolerationSeconds: 5}]}
`, []string{
			"global.scheduling.tolerations has an entry with operator Exists and value b, which Exists does not compare: remove the value, or set operator to Equal",
			"global.scheduling.tolerations has an entry without a key, which needs operator Exists: set key, or operator to Exists",
			"gateway.tolerations has an entry with tolerationSeconds, which needs effect NoExecute: set effect to NoExecute"}},
		"hosts": {`global: {host: a..b.com, publicUrls: {web: "https://-a.example.com"}, storage: {shared: {nfs: {server: "nfs:/a", path: /a}}}}`, []string{
			`global.host "a..b.com" is no host name or IPv4 address: between its dots there are up to 63 letters, digits and dashes; leave out scheme, port and path; the port is global.exposure.nodePorts.web, and a whole origin is global.publicUrls.web`,
			`global.publicUrls.web "https://-a.example.com" is no origin: write it as https://host or http://host:port, with no path and no slash at the end`,
			`global.storage.shared.nfs.server "nfs:/a" is no host name and no address: leave out scheme, port and path; the path is global.storage.shared.nfs.path`}},
		"a part of a host that is too long": {`global: {host: ` + strings.Repeat("a", 64) + `.com}`, []string{
			`global.host "` + strings.Repeat("a", 64) + `.com" is no host name or IPv4 address: between its dots there are up to 63 letters, digits and dashes; leave out scheme, port and path; the port is global.exposure.nodePorts.web, and a whole origin is global.publicUrls.web`}},
		"what CloudNativePG keeps to itself": {`
global:
  images: {postgresql: {tag: latest}}
  database: {cnpg: {parameters: {shared_buffers: 2GB, archive_command: /bin/true, ssl: "on", shared_preload_libraries: pg_stat_statements}}}
`, []string{
			"global.database.cnpg.parameters sets archive_command, which CloudNativePG keeps to itself: remove it",
			"global.database.cnpg.parameters sets shared_preload_libraries, which CloudNativePG keeps to itself: remove it",
			"global.database.cnpg.parameters sets ssl, which CloudNativePG keeps to itself: remove it",
			"global.database.cnpg.parameters.shared_buffers 2GB is more than the memory that PostgreSQL requests, 1Gi: raise global.database.cnpg.resources.requests.memory, to about four times as much",
			`global.images.postgresql.tag "latest" does not begin with a version, from which the operator reads PostgreSQL's major version: set a tag such as 17.10, and pin the image by its digest if you like`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := renderText(t, c.values, target{})
			if err == nil {
				t.Fatal("accepted")
			}
			var lines []string
			for _, line := range contradiction.FindAllStringSubmatch(err.Error(), -1) {
				lines = append(lines, line[1])
			}
			slices.Sort(lines)
			slices.Sort(c.want)
			if !slices.Equal(lines, c.want) {
				t.Errorf("the message says\n%s\nwant\n%s\nof\n%v", strings.Join(lines, "\n"), strings.Join(c.want, "\n"), err)
			}
		})
	}
}

// What the validation knows of the chart's own volumes is what its pods have.
func TestOwnVolumesAreKnown(t *testing.T) {
	given := []string{"global.trustedCAs.existingSecret=cas", "global.database.mode=external",
		"cloudnative-pg.enabled=false", "global.database.external.host=db", "global.database.external.existingSecret=role",
		"global.database.external.caSecret=ca"}
	paths := map[string]string{"nap-cp": "controlPlane.cp", "nap-scheduler": "controlPlane.scheduler", "nap-skills": "controlPlane.skills",
		"nap-office-converter": "controlPlane.officeConverter", "nap-cg": "gateway", "nap-env-runner-k8s": "workspaceRuntime.runner",
		"afs-controller": "workspaceRuntime.afsController", "nap-sandbox": "sandbox.service", "nap-browser": "browser.service",
		"coturn": "browser.coturn"}
	set := slices.Concat(everyModule, given)
	var want []string
	for _, p := range pods(t, ours(renderAll(t, given...).Objects)) {
		path := "global.hooks"
		if p.from.GetKind() == "Deployment" {
			path = paths[p.from.GetName()]
		} else if p.from.GetKind() == "DaemonSet" {
			continue
		}
		for _, volume := range p.spec().Volumes {
			refusal := fmt.Sprintf("%s.extraVolumes has a volume named %s, and so has the chart", path, volume.Name)
			if path == "" || slices.Contains(want, refusal) {
				continue
			}
			want = append(want, refusal)
			i := strings.Count(strings.Join(want, "\n"), path+".extraVolumes") - 1
			set = append(set, fmt.Sprintf("%s.extraVolumes[%d].name=%s", path, i, volume.Name))
		}
	}
	if len(want) < 20 {
		t.Fatalf("%d volumes are rendered: %v", len(want), want)
	}
	_, err := tryRender(target{set: set})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, refusal := range want {
		if !strings.Contains(err.Error(), refusal) {
			t.Errorf("nothing says: %s", refusal)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

// Names that YAML reads as something else than text are refused, or come out as text.
func TestNamesThatYAMLTakesForSomethingElse(t *testing.T) {
	for _, name := range []string{"2026", "1e3", "0x1f", "on", "yes", "null", "true"} {
		for _, c := range []struct{ release, namespace, what string }{
			{name, namespace, "the name of the release is " + name},
			{releaseName, name, "the name of its namespace (helm --namespace) is " + name},
		} {
			if _, err := tryRender(target{release: c.release, namespace: c.namespace}); err == nil || !strings.Contains(err.Error(), c.what) {
				t.Errorf("release %s in namespace %s: %v, want %q", c.release, c.namespace, err, c.what)
			}
		}
	}
	source := generator(t)
	for _, leaf := range source.Names() {
		values := map[string]any{}
		valuegen.Set(values, leaf.Path, "456")
		rendered, err := renderValues(values)
		if err != nil {
			wantContradiction(t, source, values, err)
			continue
		}
		for _, object := range ours(rendered.Objects) {
			typed(t, object)
		}
	}
}

func TestHostsAreInLowerCase(t *testing.T) {
	for _, set := range []string{"global.host=NAP.Example.com", "global.publicUrls.web=https://NAP.Example.com"} {
		objects := render(t, set, "global.exposure.type=ingress", "global.publicUrls.files=https://Files.NAP.example.com").Objects
		for _, object := range objects {
			if ingress, ok := object.Object["kind"]; ok && ingress == "Ingress" {
				for _, rule := range typed(t, object).(*networkingv1.Ingress).Spec.Rules {
					if errs := validation.IsDNS1123Subdomain(rule.Host); len(errs) > 0 {
						t.Errorf("%s: host %q: %v", object, rule.Host, errs)
					}
				}
			}
		}
		cp := podOf(t, objects, "Deployment", "nap-cp").container(t, "control-plane")
		for _, env := range cp.Env {
			if env.Name == "WEB_PUBLIC_URL" && env.Value != "https://nap.example.com" {
				t.Errorf("%s: WEB_PUBLIC_URL is %s", set, env.Value)
			}
		}
	}
}

// A key whose children are commented out is empty, as if it had never been set.
func TestKeysLeftEmptyAreEmpty(t *testing.T) {
	got, err := renderText(t, `
global:
  host:
  imagePullSecrets:
  commonLabels:
  publicUrls:
    web:
  scheduling:
    nodeSelector:
    tolerations:
  hooks:
    extraEnv:
    podLabels:
controlPlane:
  cp:
    extraEnv:
    nodeSelector:
extraObjects:
`, target{})
	if err != nil {
		t.Fatal(err)
	}
	want := render(t)
	for i, object := range want.Objects {
		if i >= len(got.Objects) || got.Objects[i].YAML != object.YAML {
			t.Fatalf("%s differs from a render without these keys", object)
		}
	}
}

// Values that --reuse-values kept of an earlier version lack the keys that came since: that is said, with the way out.
func TestValuesOfAnotherVersion(t *testing.T) {
	_, err := tryRender(target{set: []string{"global.rollout=null", "global.upgrade=null", "global.backup.retention=null"}})
	want := "- global.backup.retention, global.rollout, global.upgrade: no value."
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--reset-then-reuse-values") {
		t.Errorf("%v, want %q and the option", err, want)
	}
}

// An empty quantity is none, everywhere.
func TestEmptyLimitsAreNone(t *testing.T) {
	all := render(t, "global.hooks.resources.limits.cpu=", "global.hooks.seedResources.limits.cpu=", "global.backup.resources.limits.cpu=",
		"controlPlane.cp.resources.limits.cpu=", "controlPlane.scheduler.resources.limits=null", "controlPlane.skills.resources.limits.cpu=",
		"controlPlane.officeConverter.resources.limits.cpu=", "gateway.resources.limits.cpu=", "workspaceRuntime.runner.resources.limits.cpu=",
		"workspaceRuntime.afsController.resources.limits.cpu=", "global.workspaces.sidecarResources.limits.cpu=",
		"global.database.cnpg.resources.limits.cpu=").Objects
	for _, p := range pods(t, ours(all)) {
		for _, c := range p.containers() {
			if limit, set := c.Resources.Limits[corev1.ResourceCPU]; set {
				t.Errorf("%s: container %s has a limit of %s CPUs", p.from, c.Name, limit.String())
			}
			if _, set := c.Resources.Requests[corev1.ResourceCPU]; !set {
				t.Errorf("%s: container %s requests no CPU", p.from, c.Name)
			}
		}
	}
	for _, object := range ours(all) {
		if strings.Contains(object.YAML, `cpu: ""`) {
			t.Errorf("%s has an empty quantity", object)
		}
	}
}

// A null deep under global never reaches a template: what was to be taken away stays, and preflight names it. Below
// the key of a subchart it does what it says.
func TestNullsThatHelmDrops(t *testing.T) {
	if err := assembled(); err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(`
global:
  exposure: {nodePorts: {web: null}}
  hooks: {resources: {limits: {cpu: null}}}
  imagePullSecrets: null
  workspaces: {sidecarResources: null}
controlPlane:
  cp: {resources: {limits: {cpu: null}}}
`), &values); err != nil {
		t.Fatal(err)
	}
	nulls := chart.Nulls(values)
	rendered, err := renderValues(values)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"global.exposure.nodePorts.web", "global.hooks.resources.limits.cpu"}
	if got := rendered.Kept(nulls); !slices.Equal(got, want) {
		t.Errorf("of %v these keep their defaults: %v, want %v", nulls, got, want)
	}
}

// wrapped renders the chart as a dependency of a chart of one's own.
func wrapped(t *testing.T, text string) (*chart.Rendered, error) {
	t.Helper()
	if err := assembled(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "wrapper")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "wrapper"))); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "charts", "neutree"), os.DirFS(umbrella)); err != nil {
		t.Fatal(err)
	}
	loaded, err := chart.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	return chart.Render(loaded, chart.Options{Release: releaseName, Namespace: namespace, Values: values,
		Kubernetes: chart.Kubernetes{Version: kubernetes}})
}

func TestDependencyOfAnotherChart(t *testing.T) {
	rendered, err := wrapped(t, "")
	if err != nil {
		t.Fatal(err)
	}
	cp := podOf(t, rendered.Objects, "Deployment", "nap-cp").container(t, "control-plane")
	if !slices.ContainsFunc(cp.Env, func(e corev1.EnvVar) bool { return e.Value == "https://nap.example.com" }) {
		t.Error("the wrapper's values do not arrive")
	}
	if rendered, err = wrapped(t, "neutree: {enabled: false}"); err != nil || len(rendered.Objects) > 0 {
		t.Errorf("turned off: %v, %v", rendered, err)
	}
	if _, err = wrapped(t, "neutree: {global: {exposure: {tpye: ingress}}}"); err == nil || !strings.Contains(err.Error(), "tpye") {
		t.Errorf("a misspelt key: %v", err)
	}
}

// Prometheus has templates too: those of an object are its own.
func TestObjectsAreTakenAsTheyAre(t *testing.T) {
	rule := `
extraObjects:
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: rules}
    data: {summary: "{{ $labels.instance }} is down for {{ $value }} {{ .CommonLabels.a }}"}
  - |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "text-{{ .Release.Name }}"}
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: "old-{{ .Release.Name }}"}
`
	rendered, err := renderText(t, rule, target{})
	if err != nil {
		t.Fatal(err)
	}
	config := find[*corev1.ConfigMap](t, rendered.Objects, namespace, "rules")
	if got, want := config.Data["summary"], "{{ $labels.instance }} is down for {{ $value }} {{ .CommonLabels.a }}"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	find[*corev1.ConfigMap](t, rendered.Objects, namespace, "text-"+releaseName)
	find[*corev1.ConfigMap](t, rendered.Objects, namespace, "old-"+releaseName)
	if want := "ConfigMap old-{{ .Release.Name }} of extraObjects is a mapping with templates"; !strings.Contains(rendered.Notes, want) {
		t.Errorf("notes do not warn:\n%s", rendered.Notes)
	}
}

// No label is longer than Kubernetes admits, however long the names are that it is made of.
func TestLabelsOfLongNames(t *testing.T) {
	long := "a-namespace-of-a-platform-team-with-a-long-name-production-eu1"
	for _, csi := range []string{"false", "true"} {
		rendered, err := tryRender(target{release: strings.Repeat("r", 53), namespace: long, set: append([]string{
			"global.namePrefix=abcdefghijklmnopqrst", "global.workspaces.namespace=" + strings.Repeat("w", 63),
			"global.storage.shared.nfs.server=10.0.0.5", "global.storage.shared.nfs.path=/exports/nap",
			"global.storage.shared.nfs.csi=" + csi}, everyModule...)})
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range ours(rendered.Objects) {
			walkLabels(object.Object, func(value string) {
				if errs := validation.IsValidLabelValue(value); len(errs) > 0 {
					t.Errorf("%s: label %q: %v", object, value, errs)
				}
			})
		}
	}
}

func walkLabels(value any, visit func(string)) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if labels, ok := inner.(map[string]any); ok && (key == "labels" || key == "matchLabels") {
				for _, label := range labels {
					visit(fmt.Sprint(label))
				}
			}
			walkLabels(inner, visit)
		}
	case []any:
		for _, inner := range value {
			walkLabels(inner, visit)
		}
	}
}

// Common labels are on all that is created, by Helm, by hooks, and by the database's operator.
func TestCommonLabelsAreOnEverything(t *testing.T) {
	objects := ours(renderAll(t, "global.commonLabels.team=platform", deleteData, "global.backup.volumeSnapshotClass=snapshots").Objects)
	kinds := map[string]bool{}
	check := func(from chart.Object, content map[string]any) {
		u := unstructured.Unstructured{Object: content}
		kinds[u.GetKind()] = true
		if u.GetLabels()["team"] != "platform" {
			t.Errorf("%s: %s %s lacks the label", from, u.GetKind(), u.GetName())
		}
	}
	for _, object := range objects {
		if object.GetKind() != "List" {
			check(object, object.Object)
		}
		if object.GetKind() != "ConfigMap" {
			continue
		}
		for _, text := range typed(t, object).(*corev1.ConfigMap).Data {
			content := map[string]any{}
			if yaml.Unmarshal([]byte(text), &content) == nil {
				walkObjects(content, func(inner map[string]any) { check(object, inner) })
			}
		}
	}
	for _, kind := range []string{"Job", "PersistentVolumeClaim", "Cluster", "Backup", "Deployment", "Namespace"} {
		if !kinds[kind] {
			t.Errorf("no %s was looked at", kind)
		}
	}
	for _, p := range pods(t, objects) {
		if p.template.Labels["team"] != "platform" {
			t.Errorf("pods of %s lack the label", p.from)
		}
	}
}

// walkObjects visits what is an object of Kubernetes in a specification.
func walkObjects(value any, visit func(map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		if value["apiVersion"] != nil && value["kind"] != nil {
			visit(value)
			return
		}
		for _, inner := range value {
			walkObjects(inner, visit)
		}
	case []any:
		for _, inner := range value {
			walkObjects(inner, visit)
		}
	}
}

// Kubernetes expands what the chart writes, and nothing that a value holds.
func TestValuesAreNotExpanded(t *testing.T) {
	const evil = "$(CREDENTIAL_ENCRYPTION_KEY)"
	objects := renderAll(t, "global.modules.ldap.enabled=true", "global.ldap.url=ldaps://ldap.example.com", "global.ldap.existingSecret=bind",
		"global.ldap.bindDN="+evil, "global.ldap.searchBase="+evil, "global.ldap.searchFilter=("+evil+")", "global.ldap.attributes.username=uid",
		"global.ldap.attributes.name="+evil, "global.ldap.attributes.email="+evil, "global.admin.displayName="+evil,
		"controlPlane.cp.proxy.http=http://proxy:3128", "controlPlane.cp.proxy.noProxy[0]="+evil).Objects
	escaped := 0
	for _, object := range ours(objects) {
		for _, at := range regexp.MustCompile(`\$*\$\(CREDENTIAL_ENCRYPTION_KEY\)`).FindAllString(object.YAML, -1) {
			if escaped++; at != "$"+evil {
				t.Errorf("%s: %s is expanded", object, at)
			}
		}
	}
	if escaped < 7 {
		t.Errorf("%d values were looked at", escaped)
	}
}

// The deletion of data is asked for one revision; carried to another by --reuse-values or a file it does nothing, and
// the notes say so.
func TestDeletionIsAskedForOneRevision(t *testing.T) {
	rendered := render(t, "uninstall.deleteData="+releaseName+"@7")
	for _, object := range rendered.Objects {
		if strings.HasSuffix(object.GetName(), "-delete") {
			t.Errorf("%s is rendered", object)
		}
	}
	want := "uninstall.deleteData is neutree@7 and this is revision 1: helm uninstall keeps all data. To delete it, set\nuninstall.deleteData=neutree@2"
	if !strings.Contains(rendered.Notes, want) {
		t.Errorf("notes:\n%s\nwant %q", rendered.Notes, want)
	}
	if notes := render(t, deleteData).Notes; !strings.Contains(notes, "helm uninstall DELETES ALL DATA") {
		t.Errorf("notes:\n%s", notes)
	}
}

// Pieces of a pod have the types that Kubernetes gives them, and no misspelt keys.
func TestPiecesOfPodsHaveTypes(t *testing.T) {
	for set, want := range map[string]string{
		`global.scheduling.tolerations=[{"key":"dedicated","operator":"Equal","value":true,"effect":"NoSchedule"}]`:  "/global/scheduling/tolerations/0/value",
		`gateway.topologySpreadConstraints=[{"maxSkew":"1","topologyKey":"a","whenUnsatisfiable":"ScheduleAnyway"}]`: "/topologySpreadConstraints/0/maxSkew",
		`gateway.affinity={"nodeAfinity":{}}`: "nodeAfinity",
		`global.hooks.affinity={"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"labelSelector":{}}]}}`: "topologyKey",
		`controlPlane.cp.extraVolumes=[{"name":"a","emptydir":{}}]`:                                                       "emptydir",
		`controlPlane.cp.extraVolumeMounts=[{"name":"a"}]`:                                                                "mountPath",
		`controlPlane.cp.extraEnv=[{"name":"a","valueform":{}}]`:                                                          "valueform",
	} {
		if _, err := tryRender(target{json: []string{set}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", set, err, want)
		}
	}
}

// A pod is kept to the nodes that its images were published for, unless its values choose others.
func TestPodsRunWhereTheirImagesDo(t *testing.T) {
	chosen := []string{"gateway.nodeSelector.kubernetes\\.io/arch=arm64", "global.images.scheduler.tag=own-build"}
	for _, p := range pods(t, ours(renderAll(t, chosen...).Objects)) {
		if p.from.GetName() == "nap-pull" {
			continue // Its pods go to the nodes that run what they replace.
		}
		want := ""
		for _, c := range p.containers() {
			if len(platform.Architectures(c.Image)) > 0 {
				want = "amd64"
			}
		}
		if p.from.GetName() == "nap-cg" {
			want = "arm64"
		}
		selector := p.spec().NodeSelector
		if selector["kubernetes.io/os"] != "linux" || selector["kubernetes.io/arch"] != want {
			t.Errorf("%s: node selector %v, want linux and %q", p.from, selector, want)
		}
	}
}
