package chart_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/test/contract"
)

// A module that is off leaves nothing: an upgrade removes what it made.
func TestModulesThatAreOffLeaveNothing(t *testing.T) {
	for _, object := range ours(render(t).Objects) {
		for _, w := range contract.ModuleWorkloads() {
			if object.GetName() == w.FullName(prefix) || strings.Contains(object.Source, "/charts/"+w.Name+"/") {
				t.Errorf("with the module off, %s is rendered", object)
			}
		}
	}
	for _, source := range bootstrapSpec(t, render(t).Objects).Migrations {
		if source.Source == "sandbox" || source.Source == "browser" {
			t.Errorf("with the module off, its migrations are applied")
		}
	}
}

// The origin is derived once, and a redirect must equal it to the letter.
func TestRedirectsAreThoseOfTheOrigins(t *testing.T) {
	for name, test := range map[string]struct {
		set     []string
		sandbox string
		browser string
	}{
		"a node port":  {[]string{"global.host=nap.example.org", "global.exposure.nodePorts.sandbox=31006"}, "http://nap.example.org:31006", "http://nap.example.org:30085"},
		"an Ingress":   {[]string{"global.host=nap.example.org", "global.exposure.type=ingress"}, "https://sandbox.nap.example.org", "https://browsers.nap.example.org"},
		"inside":       {[]string{"global.exposure.type=clusterIP"}, "http://localhost:3006", "http://localhost:3005"},
		"as one likes": {[]string{"global.publicUrls.sandbox=https://boxes.example.org", "global.publicUrls.browser=https://b.example.org"}, "https://boxes.example.org", "https://b.example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := renderAll(t, test.set...).Objects
			p := podOf(t, objects, "Deployment", "nap-sandbox")
			env := variables(t, p, p.container(t, "sandbox"))
			if got := env["SANDBOX_SERVICE_URL"].Value; got != test.sandbox {
				t.Errorf("SANDBOX_SERVICE_URL = %q, want %q", got, test.sandbox)
			}
			if got := env["SANDBOX_DOMAIN"].Value; !strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(test.sandbox, "http://"), "https://"), got) || strings.Contains(got, ":") {
				t.Errorf("SANDBOX_DOMAIN = %q, want the host of %s", got, test.sandbox)
			}
			seed := jobs(t, objects)["seed"]
			redirect := variables(t, seed, seed.spec().Containers[0])["SANDBOX_OAUTH_REDIRECT_URI"].Value
			if want := test.sandbox + "/api/auth/callback"; redirect != want {
				t.Errorf("SANDBOX_OAUTH_REDIRECT_URI = %q, want %q", redirect, want)
			}
			browser := podOf(t, objects, "Deployment", "nap-browser")
			if got := variables(t, browser, browser.container(t, "browser"))["BROWSER_SERVICE_URL"].Value; got != test.browser {
				t.Errorf("BROWSER_SERVICE_URL = %q, want %q", got, test.browser)
			}
			redirect = variables(t, seed, seed.spec().Containers[0])["BROWSER_OAUTH_REDIRECT_URI"].Value
			if want := test.browser + "/api/auth/callback"; redirect != want {
				t.Errorf("BROWSER_OAUTH_REDIRECT_URI = %q, want %q", redirect, want)
			}
		})
	}
}

// The clients of a log-in belong to an administrator, who must be there first.
func TestClientsAreSeededAfterTheAdministrator(t *testing.T) {
	names := func(objects []chart.Object) []string {
		var names []string
		for _, seed := range specOf[hook.SeedSpec](t, objects, specConfigMap(t, jobs(t, objects)["seed"]), "seed").Seeds {
			names = append(names, seed.Name)
		}
		return names
	}
	if got, want := names(renderAll(t).Objects), []string{"admin", "oauth-clients", "mcp-catalog"}; !slices.Equal(got, want) {
		t.Errorf("seeds are %v, want %v", got, want)
	}
	if got := names(render(t).Objects); slices.Contains(got, "oauth-clients") {
		t.Errorf("without a module seeds are %v", got)
	}
}

func TestModulesAreExposed(t *testing.T) {
	objects := renderAll(t, "global.exposure.nodePorts.sandbox=31006").Objects
	service := find[*corev1.Service](t, objects, namespace, "nap-sandbox")
	if service.Spec.Type != corev1.ServiceTypeNodePort || service.Spec.Ports[0].NodePort != 31006 {
		t.Errorf("Service nap-sandbox: type %s, port %v, want NodePort on 31006", service.Spec.Type, service.Spec.Ports)
	}
	guard := specOf[hook.GuardSpec](t, objects, specConfigMap(t, jobs(t, objects)["guard"]), "guard")
	for _, want := range []hook.NodePortCheck{
		{Service: "nap-sandbox", Port: 31006, Value: "global.exposure.nodePorts.sandbox"},
		{Service: "nap-browser", Port: 30085, Value: "global.exposure.nodePorts.browser"},
	} {
		if !slices.ContainsFunc(guard.NodePorts, func(got hook.NodePortCheck) bool { return reflect.DeepEqual(got, want) }) {
			t.Errorf("guard.yaml: nodePorts = %v, want %v among them", guard.NodePorts, want)
		}
	}

	// What runs in a sandbox is a name of its own below the service's.
	for kind, found := range map[string]routes{
		"ingress": ingressRoutes(t, renderAll(t, "global.exposure.type=ingress", "global.host=nap.example.org").Objects),
		"gateway": gatewayRoutes(t, renderAll(t, "global.exposure.type=gateway", "global.host=nap.example.org", "global.exposure.gateway.parentRefs[0].name=edge").Objects),
	} {
		if got := found.lead("browsers.nap.example.org", "/any"); got != (backend{"nap-browser", 3005}) {
			t.Errorf("%s: browsers.nap.example.org leads to %v, want nap-browser", kind, got)
		}
		for _, host := range []string{"sandbox.nap.example.org", "*.sandbox.nap.example.org"} {
			if got := found.lead(host, "/any"); got != (backend{"nap-sandbox", 3006}) {
				t.Errorf("%s: %s leads to %v, want nap-sandbox", kind, host, got)
			}
		}
	}
}

// No certificate of the other names covers those below that of sandboxes.
func TestPreviewsHaveACertificateOfTheirOwn(t *testing.T) {
	objects := renderAll(t, "global.exposure.type=ingress", "global.host=nap.example.org",
		"global.exposure.tls.secretName=mine", "global.exposure.tls.wildcardSecretName=below").Objects
	got := map[string][]string{}
	for _, tls := range find[*networkingv1.Ingress](t, objects, namespace, "nap-web").Spec.TLS {
		got[tls.SecretName] = tls.Hosts
	}
	if !slices.Contains(got["mine"], "sandbox.nap.example.org") || !slices.Equal(got["below"], []string{"*.sandbox.nap.example.org"}) {
		t.Errorf("certificates are for %v", got)
	}
}

func TestModuleKeysAreMadeOrChecked(t *testing.T) {
	for name, test := range map[string]struct {
		set    []string
		secret string
		given  bool
		keys   []string
	}{
		"made":               {nil, "nap-sandbox-secret", false, []string{"JWT_SECRET", "SERVICE_KEY"}},
		"given":              {[]string{"global.secrets.sandbox.existingSecret=mine"}, "mine", true, []string{"JWT_SECRET", "SERVICE_KEY"}},
		"made for browsers":  {nil, "nap-browser-secret", false, []string{"JWT_SECRET", "TURN_AUTH_SECRET"}},
		"given for browsers": {[]string{"global.secrets.browser.existingSecret=mine"}, "mine", true, []string{"JWT_SECRET", "TURN_AUTH_SECRET"}},
	} {
		objects := renderAll(t, test.set...).Objects
		spec := prepareSpec(t, objects).Secrets
		i := slices.IndexFunc(spec.Secrets, func(s hook.Secret) bool { return s.Name == test.secret })
		if i < 0 {
			t.Errorf("%s: prepare.yaml has no %s", name, test.secret)
			continue
		}
		secret := spec.Secrets[i]
		for _, key := range test.keys {
			from := secret.Data[key]
			if secret.Existing != test.given || test.given && !(from.Required && from.MinLength == 32) || !test.given && (from.Generate == nil || from.Generate.Bytes != 32) {
				t.Errorf("%s: prepare.yaml: %s.%s = %+v, existing %t", name, test.secret, key, from, secret.Existing)
			}
		}
	}
}
