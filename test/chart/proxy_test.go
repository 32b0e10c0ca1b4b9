package chart_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// proxyVariables are those of the main container of each service that name proxies.
func proxyVariables(t *testing.T, set ...string) map[string]map[string]corev1.EnvVar {
	t.Helper()
	objects := ours(renderAll(t, set...).Main())
	found := map[string]map[string]corev1.EnvVar{}
	for _, w := range workloads(objects) {
		p, c := mainContainer(t, w, objects)
		for name, variable := range variables(t, p, c) {
			if strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
				if found[w.Name] == nil {
					found[w.Name] = map[string]corev1.EnvVar{}
				}
				found[w.Name][name] = variable
			}
		}
	}
	return found
}

// The services that call what is outside the cluster use one proxy, and never for what is inside.
func TestProxy(t *testing.T) {
	const http, https = "http://proxy.example.org:3128", "http://secure.example.org:3128"
	found := proxyVariables(t, "global.proxy.httpProxy="+http, "global.proxy.httpsProxy="+https,
		"global.proxy.noProxy[0]=models.example.org", "global.workspaces.namespace=agents")
	for _, service := range []string{"cp", "cg", "scheduler", "skills"} {
		set := found[service]
		if set["HTTP_PROXY"].Value != http || set["HTTPS_PROXY"].Value != https {
			t.Errorf("%s: HTTP_PROXY = %q, HTTPS_PROXY = %q", service, set["HTTP_PROXY"].Value, set["HTTPS_PROXY"].Value)
		}
		without := strings.Split(set["NO_PROXY"].Value, ",")
		for _, want := range []string{
			"localhost", "127.0.0.1", ".svc", ".cluster.local", "kubernetes", "$(KUBERNETES_SERVICE_HOST)",
			"nap-cp", "nap-cg", "nap-skills", "afs-controller", "nap-sandbox", "." + namespace, ".agents", "models.example.org",
		} {
			if !slices.Contains(without, want) {
				t.Errorf("%s: NO_PROXY = %v lacks %s", service, without, want)
			}
		}
		// The control plane asks the proxy itself; Node.js does so for the others.
		if node := set["NODE_USE_ENV_PROXY"].Value; (node == "1") == (service == "cp") {
			t.Errorf("%s: NODE_USE_ENV_PROXY = %q", service, node)
		}
	}
	if len(found) != 4 {
		t.Errorf("%d services have proxies: %v", len(found), found)
	}
	if none := proxyVariables(t, "global.proxy.noProxy[0]=models.example.org"); len(none) > 0 {
		t.Errorf("without a proxy there are %v", none)
	}
}

// What 0.1.0 has for the control plane still holds for it, and for it alone, and the notes say what replaces it.
func TestProxyOfTheControlPlane(t *testing.T) {
	const own = "http://own.example.org:3128"
	set := []string{"controlPlane.cp.proxy.https=" + own, "controlPlane.cp.proxy.noProxy[0]=10.1.2.3"}
	found := proxyVariables(t, set...)
	if len(found) != 1 || found["cp"]["HTTPS_PROXY"].Value != own || found["cp"]["HTTP_PROXY"].Value != "" ||
		!strings.HasSuffix(found["cp"]["NO_PROXY"].Value, ",10.1.2.3") {
		t.Errorf("services have %v", found)
	}
	if notes := renderAll(t, set...).Notes; !strings.Contains(notes, "Warning: controlPlane.cp.proxy is deprecated") ||
		!strings.Contains(notes, "global.proxy.httpsProxy") {
		t.Errorf("the notes do not say what replaces it:\n%s", notes)
	}
	both := append(set, "global.proxy.httpsProxy=http://proxy.example.org:3128",
		"global.proxy.noProxy[0]=models.example.org")
	found = proxyVariables(t, both...)
	if found["cp"]["HTTPS_PROXY"].Value != own || found["cg"]["HTTPS_PROXY"].Value != "http://proxy.example.org:3128" ||
		!strings.HasSuffix(found["cp"]["NO_PROXY"].Value, ",models.example.org,10.1.2.3") ||
		!strings.HasSuffix(found["cg"]["NO_PROXY"].Value, ",models.example.org") {
		t.Errorf("with both, services have %v", found)
	}
	notes := renderAll(t, "global.proxy.httpsProxy=http://proxy.example.org:3128").Notes
	if !strings.Contains(notes, "Workspaces do not use global.proxy") || strings.Contains(notes, "deprecated") {
		t.Errorf("notes:\n%s", notes)
	}
}

// A password belongs into no value, and Node.js speaks to proxies by HTTP alone.
func TestAddressesOfProxies(t *testing.T) {
	for _, value := range []string{"http://me:hunter2@proxy:3128", "socks5://proxy:1080", "proxy:3128", "http://proxy:"} {
		for _, key := range []string{"httpProxy", "httpsProxy"} {
			_, err := tryRender(target{set: []string{"global.proxy." + key + "=" + value}})
			if err == nil || !strings.Contains(err.Error(), "/global/proxy/"+key) {
				t.Errorf("global.proxy.%s=%s: %v, want a message that names the value", key, value, err)
			}
		}
	}
}
