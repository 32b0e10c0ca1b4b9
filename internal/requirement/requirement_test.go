package requirement_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

func one[T any](t *testing.T, all []T, what string, is func(T) bool) T {
	t.Helper()
	i := slices.IndexFunc(all, is)
	if i < 0 {
		t.Fatalf("there is no %s in %+v", what, all)
	}
	return all[i]
}

func TestNamespacesOfObjects(t *testing.T) {
	set := requirementtest.Load(t)
	if set.Namespace != "nap" || set.Workspaces != "nap-workspaces" || !set.WorkspacesCreated || set.Prefix != "nap" {
		t.Errorf("namespaces %s and %s (made: %v), prefix %s", set.Namespace, set.Workspaces, set.WorkspacesCreated, set.Prefix)
	}
	for _, object := range set.Objects {
		if object.GetKind() == "Deployment" && object.GetNamespace() == "" || object.GetKind() == "ClusterRole" && object.GetNamespace() != "" {
			t.Errorf("%s is in namespace %q", object, object.GetNamespace())
		}
	}
	own := requirementtest.Load(t, "global.workspaces.namespace=nap")
	if own.Workspaces != "nap" || own.WorkspacesCreated {
		t.Errorf("workspaces in the release's namespace: %s, made: %v", own.Workspaces, own.WorkspacesCreated)
	}
}

func TestEveryImageIsListed(t *testing.T) {
	set := requirementtest.Load(t, "global.imagePullSecrets={mirror}", "global.modules.sandbox.enabled=true", "sandbox.openSandbox.url=http://o.o.svc",
		"sandbox.imageWarmer.enabled=true", "global.modules.browser.enabled=true", "browser.turn.host=203.0.113.10")
	refs := map[string]requirement.Image{}
	for _, image := range set.Images {
		refs[image.Ref] = image
	}
	for _, known := range append(platform.Images(), platform.ModuleImages()...) {
		image, found := refs[known.Ref()]
		if !found {
			t.Errorf("image %s (%s) is not listed", known.Ref(), known.Key)
			continue
		}
		if image.Value == "" && image.Owners[0] != "DaemonSet sandbox-image-warmer" {
			t.Errorf("image %s: no value is named", known.Ref())
		}
	}
	codex := refs["ghcr.io/neutree-ai/agent-platform/nap-agent-codex:v0.2.0"]
	if !codex.Runtime || codex.Namespace != "nap-workspaces" || !slices.Equal(codex.PullSecrets, []string{"mirror"}) || codex.Value != "global.images.agent" {
		t.Errorf("image of codex = %+v, want one that workspaces pull with the secret mirror", codex)
	}
	cp := refs["ghcr.io/neutree-ai/agent-platform/nap-cp:v0.2.0"]
	if cp.Runtime || cp.Namespace != "nap" || !slices.Contains(cp.Owners, "Deployment nap-cp") || cp.Value != "global.images.controlPlane" {
		t.Errorf("image of the control plane = %+v", cp)
	}
	chromium := one(t, set.Images, "image of browsers", func(i requirement.Image) bool { return slices.Contains(i.Owners, "OpenSandbox") })
	if chromium.Namespace != "" || !chromium.Runtime {
		t.Errorf("image of browsers = %+v, want one that is pulled in nobody's namespace that is known", chromium)
	}
}

func TestRegistryOfAllImages(t *testing.T) {
	set := requirementtest.Load(t, "global.imageRegistry=mirror.example:5000")
	for _, image := range set.Images {
		if !strings.HasPrefix(image.Ref, "mirror.example:5000/") && image.Ref != set.Operator.Image {
			t.Errorf("%s is not pulled from the registry of all images", image.Ref)
		}
		if image.Value == "" {
			t.Errorf("%s: no value is named", image.Ref)
		}
	}
}

func TestClaims(t *testing.T) {
	set := requirementtest.Load(t, "global.storage.shared.storageClass=nfs", "global.database.cnpg.instances=3", "global.database.cnpg.storage.size=20Gi", "global.backup.storageClass=slow")
	type claim struct {
		Namespace, Class, Size, Value string
		Mode                          corev1.PersistentVolumeAccessMode
		Count                         int32
		User                          int64
		By                            requirement.Maker
		Grows                         bool
	}
	got := map[string]claim{}
	for _, c := range set.Claims {
		user := int64(-1)
		if c.User != nil {
			user = *c.User
		}
		got[c.Name] = claim{c.Namespace, c.Class, c.Size.String(), c.Value, c.AccessMode, c.Count, user, c.By, c.Grows}
	}
	want := map[string]claim{
		"afs-shared-storage": {"nap-workspaces", "nfs", "500Gi", "global.storage.shared.storageClass", corev1.ReadWriteMany, 1, -1,
			requirement.Bootstrap, false},
		"afs-controller-db":  {"nap", "", "1Gi", "global.storage.afsController.storageClass", corev1.ReadWriteOnce, 1, 1000, requirement.Helm, false},
		"nap-backups":        {"nap", "slow", "10Gi", "global.backup.storageClass", corev1.ReadWriteOnce, 1, 1000, requirement.Bootstrap, false},
		"nap-pg-1":           {"nap", "", "20Gi", "global.database.cnpg.storage.storageClass", corev1.ReadWriteOnce, 3, 26, requirement.CloudNativePG, true},
		"tos-<id>-workspace": {"nap-workspaces", "", "10Gi", "global.workspaces.storageClass", corev1.ReadWriteOnce, 1, 1000, requirement.Runner, true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func TestPorts(t *testing.T) {
	set := requirementtest.Load(t, "global.modules.browser.enabled=true", "global.modules.sandbox.enabled=true", "sandbox.openSandbox.url=http://o.o.svc",
		"browser.turn.host=203.0.113.10", "global.exposure.nodePorts.web=31000")
	web := one(t, set.NodePorts, "port of the web interface", func(p requirement.NodePort) bool { return p.Service == "nap-cp" })
	wantPort := requirement.NodePort{Service: "nap-cp", Namespace: "nap", Port: 31000, Protocol: corev1.ProtocolTCP,
		Value: "global.exposure.nodePorts.web", Before: []string{"nap-front"}}
	if diff := cmp.Diff(wantPort, web); diff != "" || !set.Exposure.OpenPaths {
		t.Errorf("port of the web interface, open to all paths: %t (-want +got):\n%s", set.Exposure.OpenPaths, diff)
	}
	if requirementtest.Load(t, "global.exposure.internalPaths=closed").Exposure.OpenPaths {
		t.Error("a node port that leads to public paths is open to all")
	}
	want := []requirement.HostPort{
		{Owner: "Deployment coturn", Namespace: "nap", Port: 3478, Last: 3478, Protocol: corev1.ProtocolTCP, Value: "browser.coturn.network"},
		{Owner: "Deployment coturn", Namespace: "nap", Port: 49152, Last: 49252, Protocol: corev1.ProtocolUDP, Value: "browser.coturn.relayPorts"},
	}
	if diff := cmp.Diff(want, set.HostPorts); diff != "" {
		t.Errorf("host ports (-want +got):\n%s", diff)
	}
	if set.Relay == nil || !set.Relay.Own || !set.Relay.HostNetwork || set.Relay.Host != "203.0.113.10" {
		t.Errorf("relay = %+v", set.Relay)
	}
	onPort := requirementtest.Load(t, "global.modules.browser.enabled=true", "global.modules.sandbox.enabled=true",
		"sandbox.openSandbox.url=http://o.o.svc", "browser.turn.host=203.0.113.10", "browser.coturn.network=hostPort")
	if diff := cmp.Diff(want[:1], onPort.HostPorts); diff != "" || !onPort.Relay.HostPort || onPort.Relay.HostNetwork {
		t.Errorf("network hostPort: relay = %+v, host ports (-want +got):\n%s", onPort.Relay, diff)
	}
	if plain := requirementtest.Load(t); plain.Relay != nil || len(plain.HostPorts) > 0 {
		t.Errorf("without browsers there are a relay %+v and host ports %v", plain.Relay, plain.HostPorts)
	}
}

func TestPodSecurity(t *testing.T) {
	// The operator of these tests is no more than a sketch of the real one.
	const own = "cloudnative-pg.enabled=false"
	levels := func(set *requirement.Set) map[string]string {
		got := map[string]string{}
		for _, need := range set.PodSecurity {
			got[need.Namespace] = need.Level
		}
		return got
	}
	if diff := cmp.Diff(map[string]string{"nap": "restricted", "nap-workspaces": "privileged"}, levels(requirementtest.Load(t, own))); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"nap": "privileged"}, levels(requirementtest.Load(t, own, "global.workspaces.namespace=nap"))); diff != "" {
		t.Errorf("levels with one namespace (-want +got):\n%s", diff)
	}
	root := requirementtest.Load(t, own, "workspaceRuntime.afsController.runAsUser=0")
	if diff := cmp.Diff([]string{"Deployment afs-controller"}, root.PodSecurity[0].Pods); root.PodSecurity[0].Level != "baseline" || diff != "" {
		t.Errorf("level with a controller that runs as root = %+v", root.PodSecurity[0])
	}
}

func TestPodsOfOthers(t *testing.T) {
	set := requirementtest.Load(t, "global.database.cnpg.instances=3", "global.workspaces.nodeSelector.pool=agents")
	pg := one(t, set.Pods, "PostgreSQL", func(p requirement.Pod) bool { return p.By == requirement.CloudNativePG })
	if pg.Replicas != 3 || pg.Spec.Containers[0].Resources.Requests.Memory().String() != "1Gi" || pg.Spec.InitContainers[0].Image != set.Operator.Image {
		t.Errorf("pods of PostgreSQL = %+v", pg)
	}
	ws := one(t, set.Pods, "workspace", func(p requirement.Pod) bool { return p.By == requirement.Runner })
	if ws.Namespace != "nap-workspaces" || ws.Spec.NodeSelector["pool"] != "agents" || !*ws.Spec.Containers[1].SecurityContext.Privileged {
		t.Errorf("pod of a workspace = %+v", ws)
	}
	cp := one(t, set.Pods, "control plane", func(p requirement.Pod) bool { return p.Owner == "Deployment nap-cp" })
	if cp.Replicas != 1 || cp.Surge != 1 || cp.Why != "control-plane" {
		t.Errorf("control plane: %d pods, %d more in a rollout, %q", cp.Replicas, cp.Surge, cp.Why)
	}
	if scheduler := one(t, set.Pods, "scheduler", func(p requirement.Pod) bool { return p.Owner == "Deployment nap-scheduler" }); scheduler.Surge != 0 {
		t.Errorf("the scheduler is recreated, and counted with %d more in a rollout", scheduler.Surge)
	}
}

func TestAPIs(t *testing.T) {
	brought := func(set *requirement.Set) bool {
		return one(t, set.APIs, "API of CloudNativePG", func(a requirement.API) bool { return a.Group == "postgresql.cnpg.io" }).Brought
	}
	if set := requirementtest.Load(t); !brought(set) || !set.Operator.Bundled || !set.Operator.CRDs {
		t.Errorf("the bundled operator brings its kinds: %+v", set.Operator)
	}
	if set := requirementtest.Load(t, "cloudnative-pg.enabled=false"); brought(set) || set.Operator.Bundled {
		t.Errorf("an operator that is there already is needed: %+v", set.Operator)
	}
}

func TestExposure(t *testing.T) {
	ingress := requirementtest.Load(t, "global.exposure.type=ingress", "global.host=nap.example.org", "global.exposure.ingress.className=nginx", "global.exposure.tls.secretName=cert").Exposure
	want := requirement.Ingress{Class: "nginx", Hosts: []requirement.IngressHost{
		{Host: "nap.example.org", TLSSecret: "cert", Value: "global.exposure.tls.secretName"},
		{Host: "files.nap.example.org", TLSSecret: "cert", Value: "global.exposure.tls.secretName"}}}
	if diff := cmp.Diff(want, ingress.Ingress); diff != "" {
		t.Errorf("ingress (-want +got):\n%s", diff)
	}
	if !ingress.TLS || ingress.URLs["web"] != "https://nap.example.org" {
		t.Errorf("exposure = %+v", ingress)
	}
	gateway := requirementtest.Load(t, "global.exposure.type=gateway", "global.host=nap.example.org", "global.exposure.gateway.parentRefs[0].name=front").Exposure
	if diff := cmp.Diff([]requirement.Gateway{{Namespace: "nap", Name: "front", Hosts: []string{"nap.example.org", "files.nap.example.org"}}}, gateway.Gateways); diff != "" {
		t.Errorf("gateways (-want +got):\n%s", diff)
	}
}

func TestPeers(t *testing.T) {
	set := requirementtest.Load(t, "global.modules.ldap.enabled=true", "global.ldap.url=ldaps://ldap.example.org", "global.ldap.bindDN=cn=reader",
		"global.ldap.existingSecret=reader", "global.ldap.searchBase=ou=people", "global.ldap.attributes.username=uid", "global.trustedCAs.existingSecret=ca",
		"cloudnative-pg.enabled=false", "global.database.mode=external", "global.database.external.host=db.example.org", "global.database.external.existingSecret=db")
	want := &requirement.Directory{URL: "ldaps://ldap.example.org", BindDN: "cn=reader", Secret: "reader", SecretKey: "password", SearchBase: "ou=people",
		SearchFilter: "(objectClass=person)", Username: "uid", Name: "cn", Mail: "mail", CASecret: "ca", CAKey: "ca.crt"}
	if diff := cmp.Diff(want, set.Directory); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}
	db := set.Database
	if db.Mode != "external" || db.External.Host != "db.example.org" || db.External.Port != 5432 || db.External.SSLMode != "verify-full" || db.Connections < 100 {
		t.Errorf("database = %+v", db)
	}
	given := one(t, set.Secrets, "Secret of the directory", func(s requirement.Secret) bool { return s.Name == "reader" })
	if !given.Existing || given.Namespace != "nap" || given.Value != "global.ldap.existingSecret" {
		t.Errorf("Secret of the directory = %+v", given)
	}
}

func TestLoadNamesTheMissingDependency(t *testing.T) {
	dir := requirementtest.Umbrella(t)
	if err := os.RemoveAll(filepath.Join(dir, "charts", "cloudnative-pg")); err != nil {
		t.Fatal(err)
	}
	_, err := requirement.Load(requirement.Options{Chart: dir, Release: "neutree", Namespace: "nap", Kubernetes: chart.Kubernetes{Version: "1.34"}})
	if err == nil || !strings.Contains(err.Error(), "helm dependency build "+dir) {
		t.Errorf("error = %v, want the command that builds the dependency", err)
	}
}

func TestEgress(t *testing.T) {
	egress := requirementtest.Load(t, "global.networkPolicies.workspaceEgress.mode=closed").Egress
	if egress.Mode != "closed" || egress.Policy == nil || egress.Policy.Name != "nap-workspaces-egress" ||
		len(egress.Policy.Spec.Egress) == 0 {
		t.Errorf("%+v", egress)
	}
	// A policy of another kind is none for what workspaces connect to.
	if off := requirementtest.Load(t, "global.networkPolicies.enabled=false").Egress; off.Policy != nil {
		t.Errorf("with NetworkPolicies off: %+v", off)
	}
}
