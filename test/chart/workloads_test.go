package chart_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/platform"
)

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
  exposure: {frontResources: {requests: {memory: 1Gi}}}
`, []string{
			`global.exposure.frontResources.requests.memory is 1Gi, above global.exposure.frontResources.limits.memory, ` +
				`which is 256Mi: raise the limit too, or set it to "" for none`,
			`controlPlane.cp.resources.requests.cpu is 2, above controlPlane.cp.resources.limits.cpu, which is 1: raise the limit too, or set it to "" for none`,
			`controlPlane.scheduler.resources.requests.memory is 1.5Gi, above controlPlane.scheduler.resources.limits.memory, which is 256Mi: raise the limit too, or set it to "" for none`,
			`workspaceRuntime.runner.resources.requests.memory is 512Mi, above workspaceRuntime.runner.resources.limits.memory, which is 256Mi: raise the limit too, or set it to "" for none`,
			`global.hooks.resources.requests.cpu is 1, above global.hooks.resources.limits.cpu, which is 500m: raise the limit too, or set it to "" for none`,
			`global.backup.resources.requests.cpu is 2001m, above global.backup.resources.limits.cpu, which is 2: raise the limit too, or set it to "" for none`,
			`global.database.cnpg.resources.requests.memory is 5Gi, above global.database.cnpg.resources.limits.memory, which is 4Gi: raise the limit too, or set it to "" for none`,
			`global.workspaces.sidecarResources.requests.memory is 2Gi, above global.workspaces.sidecarResources.limits.memory, which is 1Gi: raise the limit too, or set it to "" for none`,
		}},
		"a GPU in requests only": {`gateway: {resources: {requests: {nvidia.com/gpu: 1}}}`, []string{
			"gateway.resources.requests has nvidia.com/gpu 1 and limits has none, which Kubernetes needs for this resource: " +
				"set gateway.resources.limits to the same"}},
		"a GPU that differs": {`gateway: {resources: {requests: {nvidia.com/gpu: 1}, limits: {nvidia.com/gpu: 2}}}`, []string{
			"gateway.resources.requests has nvidia.com/gpu 1 and limits has 2, and Kubernetes wants the same of this " +
				"resource: set both alike"}},
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
			"controlPlane.cp.extraVolumeMounts mounts a volume at /tmp, where the chart mounts one of its own: choose " +
				"another path",
			"global.hooks.extraVolumes has a volume named spec, and so has the chart, at /spec: choose another name"}},
		"a volume that is not there": {`
gateway:
  extraVolumes: [{name: own, emptyDir: {}}, {name: own, emptyDir: {}}]
  extraVolumeMounts: [{name: own, mountPath: /a}, {name: owm, mountPath: /a}]
`, []string{
			"gateway.extraVolumes has the volume own more than once: leave one of them",
			"gateway.extraVolumeMounts mounts the volume owm at /a, and there is none of that name: add it to " +
				"gateway.extraVolumes, or correct the name",
			"gateway.extraVolumeMounts mounts more than one volume at /a: leave one of them"}},
		"tolerations that contradict themselves": {`
global:
  scheduling: {tolerations: [{key: a, operator: Exists, value: b}, {operator: Equal, value: b}]}
gateway: {tolerations: [{key: a, tolerationSeconds: 5}]}
`, []string{
			"global.scheduling.tolerations has an entry with operator Exists and value b, which Exists does not compare: " +
				"remove the value, or set operator to Equal",
			"global.scheduling.tolerations has an entry without a key, which needs operator Exists: set key, or operator to " +
				"Exists",
			"gateway.tolerations has an entry with tolerationSeconds, which needs effect NoExecute: set effect to NoExecute"}},
		"hosts": {`global: {host: a..b.com, publicUrls: {web: "https://-a.example.com"}, storage: {shared: {nfs: {server: "nfs:/a", path: /a}}}}`, []string{
			`global.host "a..b.com" is no host name or IPv4 address: between its dots there are up to 63 letters, digits and dashes; leave out scheme, port and path; the port is global.exposure.nodePorts.web, and a whole origin is global.publicUrls.web`,
			`global.publicUrls.web "https://-a.example.com" is no origin: write it as https://host or http://host:port, with no path and no slash at the end`,
			`global.storage.shared.nfs.server "nfs:/a" is no host name and no address: leave out scheme, port and path; the path is global.storage.shared.nfs.path`}},
		"a part of a host that is too long": {`global: {host: ` + strings.Repeat("a", 64) + `.com}`, []string{
			`global.host "` + strings.Repeat("a", 64) +
				`.com" is no host name or IPv4 address: between its dots there are up to 63 letters, digits and dashes; leave out scheme, port and path; the port is global.exposure.nodePorts.web, and a whole origin is global.publicUrls.web`}},
		"what CloudNativePG keeps to itself": {`
global:
  images: {postgresql: {tag: latest}}
  database: {cnpg: {parameters: {shared_buffers: 2GB, archive_command: /bin/true, ssl: "on", shared_preload_libraries: pg_stat_statements}}}
`, []string{
			"global.database.cnpg.parameters sets archive_command, which CloudNativePG keeps to itself: remove it",
			"global.database.cnpg.parameters sets shared_preload_libraries, which CloudNativePG keeps to itself: remove it",
			"global.database.cnpg.parameters sets ssl, which CloudNativePG keeps to itself: remove it",
			"global.database.cnpg.parameters.shared_buffers 2GB is more than the memory that PostgreSQL requests, 1Gi: " +
				"raise global.database.cnpg.resources.requests.memory, to about four times as much",
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
	paths := map[string]string{"nap-cp": "controlPlane.cp", "nap-scheduler": "controlPlane.scheduler",
		"nap-skills":           "controlPlane.skills",
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

// An empty quantity is none, everywhere.
func TestEmptyLimitsAreNone(t *testing.T) {
	all := render(t, "global.hooks.resources.limits.cpu=", "global.exposure.frontResources.limits.cpu=",
		"global.hooks.seedResources.limits.cpu=",
		"global.backup.resources.limits.cpu=",
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
