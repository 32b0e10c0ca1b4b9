package chart_test

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"helm.sh/helm/v3/pkg/release"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

// helm test asks every service that is installed, where that listens, and the policies let it through while it runs.
func TestSelfTestReachesEveryService(t *testing.T) {
	objects := renderAll(t).Objects
	spec := specOf[hook.TestSpec](t, objects, "nap-test", "test")
	asked := map[string]string{}
	for _, service := range spec.Services {
		at := service.Address
		if service.URL != "" {
			parsed, err := url.Parse(service.URL)
			if err != nil {
				t.Fatal(err)
			}
			at = parsed.Host
			asked[strings.SplitN(at, ".", 2)[0]] = parsed.Path
		}
		host, port, _ := strings.Cut(at, ":")
		name := strings.SplitN(host, ".", 2)[0]
		if _, seen := asked[name]; !seen {
			asked[name] = ""
		}
		for _, w := range workloads(objects) {
			if w.FullName(prefix) == name && w.ServicePort != 0 && port != strconv.Itoa(int(w.ServicePort)) {
				t.Errorf("%s is asked at port %s, its Service has %d", name, port, w.ServicePort)
			}
		}
	}
	n := networkOf(t, objects)
	for _, object := range objects {
		if object.Hook.On(release.HookTest) && object.GetKind() == "NetworkPolicy" {
			n.policies = append(n.policies, typed(t, object).(*networkingv1.NetworkPolicy))
		}
	}
	for _, w := range workloads(objects) {
		if w.Port == 0 {
			continue
		}
		path, there := asked[w.FullName(prefix)]
		if !there || path != w.Health {
			t.Errorf("%s is asked for %q (asked: %t), it has %q", w.Name, path, there, w.Health)
		}
		if !n.admits(n.hosts[platform.Test], n.hosts[w.Name], w.Port) {
			t.Errorf("the test can't reach %s port %d", w.Name, w.Port)
		}
	}
	if !n.admits(n.hosts[platform.Test], n.hosts[contract.Database], 5432) {
		t.Error("the test can't reach the database")
	}
}

// The test has no rights in the cluster, and no password stands in what it is made of.
func TestSelfTestNeedsNoRights(t *testing.T) {
	for _, object := range render(t).Objects {
		if !object.Hook.On(release.HookTest) {
			continue
		}
		if slices.Contains([]string{"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}, object.GetKind()) {
			t.Errorf("%s: the test brings rights", object)
		}
	}
	p := podOf(t, render(t).Objects, "Job", "nap-test")
	for _, variable := range p.container(t, "test").Env {
		if variable.ValueFrom == nil || variable.ValueFrom.SecretKeyRef == nil {
			t.Errorf("variable %s is not from a Secret", variable.Name)
		}
	}
	if p.spec().AutomountServiceAccountToken == nil || *p.spec().AutomountServiceAccountToken {
		t.Error("the test's pod gets a token")
	}
}
