package chart_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/test/contract"
)

// backend is where a request goes.
type backend struct {
	service string
	port    int32
}

// nowhere is the backend of a path that is closed.
var nowhere = backend{}

// routes are the backends by host and path prefix.
type routes map[string]map[string]backend

// lead is where a request goes: the longest prefix decides.
func (r routes) lead(host, path string) backend {
	longest, to := "", nowhere
	for prefix, backend := range r[host] {
		matches := prefix == "/" || path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
		if matches && len(prefix) > len(longest) {
			longest, to = prefix, backend
		}
	}
	return to
}

func ingressRoutes(t *testing.T, objects []chart.Object) routes {
	t.Helper()
	found := routes{}
	for _, rule := range find[*networkingv1.Ingress](t, objects, namespace, "nap-web").Spec.Rules {
		found[rule.Host] = map[string]backend{}
		for _, path := range rule.HTTP.Paths {
			if *path.PathType != networkingv1.PathTypePrefix {
				t.Errorf("%s%s: pathType %s, want Prefix", rule.Host, path.Path, *path.PathType)
			}
			to := backend{path.Backend.Service.Name, path.Backend.Service.Port.Number}
			if to.service == "nap-closed" {
				to = nowhere
			}
			found[rule.Host][path.Path] = to
		}
	}
	return found
}

func gatewayRoutes(t *testing.T, objects []chart.Object) routes {
	t.Helper()
	found := routes{}
	for _, object := range objects {
		if object.GetKind() != "HTTPRoute" {
			continue
		}
		route := typed(t, object).(*gatewayv1.HTTPRoute)
		if len(route.Spec.ParentRefs) != 1 || route.Spec.ParentRefs[0].Name != "edge" {
			t.Errorf("%s: parentRefs = %v, want edge", object, route.Spec.ParentRefs)
		}
		host := string(route.Spec.Hostnames[0])
		found[host] = map[string]backend{}
		for _, rule := range route.Spec.Rules {
			to := nowhere
			if len(rule.BackendRefs) > 0 {
				to = backend{string(rule.BackendRefs[0].Name), *rule.BackendRefs[0].Port}
				if rule.Timeouts == nil || *rule.Timeouts.Request != "0s" || *rule.Timeouts.BackendRequest != "0s" {
					t.Errorf("%s: timeouts of %v are %v, want 0s: streams last for hours", object, rule.Matches, rule.Timeouts)
				}
			}
			found[host][*rule.Matches[0].Path.Value] = to
		}
	}
	return found
}

func TestOnlyPublicPathsAreRouted(t *testing.T) {
	cp, cg := backend{"nap-cp", 3000}, backend{"nap-cg", 3002}
	for name, test := range map[string]struct {
		set              []string
		remote, webhooks bool
	}{
		"defaults":            {nil, false, true},
		"remote environments": {[]string{"global.exposure.remoteEnvironments=true"}, true, true},
		"no webhooks":         {[]string{"global.exposure.webhooks=false"}, false, false},
	} {
		for kind, found := range map[string]routes{
			"ingress": ingressRoutes(t, render(t, append(test.set, "global.exposure.type=ingress", "global.host=nap.example.org")...).Objects),
			"gateway": gatewayRoutes(t, render(t, append(test.set, "global.exposure.type=gateway", "global.host=nap.example.org",
				"global.exposure.gateway.parentRefs[0].name=edge")...).Objects),
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				for _, path := range contract.Paths() {
					want := cp
					switch {
					case path.For == contract.Nobody, path.For == contract.RemoteEnvironments && !test.remote:
						want = nowhere
					case path.For == contract.ChatSystems && test.webhooks:
						want = cg
					}
					for _, below := range []string{path.Path, strings.TrimSuffix(path.Path, "/") + "/below"} {
						if got := found.lead("nap.example.org", below); got != want {
							t.Errorf("%s leads to %v, want %v", below, got, want)
						}
					}
				}
				if got := found.lead("files.nap.example.org", "/x"); got != cp {
					t.Errorf("files.nap.example.org leads to %v, want %v", got, cp)
				}
				if len(found) != 2 {
					t.Errorf("hosts %v are routed, want two", found)
				}
			})
		}
	}
}

// What is closed leads to the control plane's own pods, so that it is there whenever the rule of "/" is, and to a
// port on which they do not listen.
func TestClosedPathsEndOnAClosedPort(t *testing.T) {
	objects := render(t, "global.exposure.type=ingress", "global.host=nap.example.org").Objects
	closed := find[*corev1.Service](t, objects, namespace, "nap-closed")
	if closed.Spec.Selector["app"] != "nap-cp" || len(closed.Spec.Ports) != 1 {
		t.Fatalf("Service nap-closed: selector %v, ports %v, want one port of nap-cp", closed.Spec.Selector, closed.Spec.Ports)
	}
	port := closed.Spec.Ports[0].TargetPort.IntVal
	_, c := mainContainer(t, contract.Workloads()[0], objects)
	open := append([]int32{0, c.Ports[0].ContainerPort}, contract.ClosedPorts("cp")...)
	if slices.Contains(open, port) {
		t.Errorf("Service nap-closed leads to port %d, which is open: %v", port, open)
	}
	// A policy that kept them out would let the controller wait for an answer, and the user with it.
	if n := networkOf(t, objects); !n.admits(host{namespace: "ingress"}, n.hosts["cp"], port) {
		t.Errorf("port %d of the control plane is closed by a policy: requests would hang instead of being refused", port)
	}
}

func TestHostsAreThoseOfThePublicURLs(t *testing.T) {
	for _, set := range [][]string{
		{"global.host=nap.example.org"},
		{"global.publicUrls.web=https://nap.example.org:8443"},
		{"global.host=nap.example.org", "global.publicUrls.files=https://files.elsewhere.org"},
	} {
		objects := render(t, append(set, "global.exposure.type=ingress")...).Objects
		cp := podOf(t, objects, "Deployment", "nap-cp")
		env := variables(t, cp, cp.container(t, "control-plane"))
		found := ingressRoutes(t, objects)
		for _, variable := range []string{"WEB_PUBLIC_URL", "FILES_PUBLIC_URL"} {
			origin, err := url.Parse(env[variable].Value)
			if err != nil || found[origin.Hostname()] == nil {
				t.Errorf("with %v %s is %s, whose host is not routed: %v (%v)", set, variable, env[variable].Value, found, err)
			}
		}
	}
}

func TestCertificates(t *testing.T) {
	for name, test := range map[string]struct {
		set    []string
		json   []string
		secret string
		tls    bool
	}{
		"the controller's own": {nil, nil, "", true},
		"a Secret":             {[]string{"global.exposure.tls.secretName=mine"}, nil, "mine", true},
		"cert-manager":         {nil, []string{`global.exposure.ingress.annotations={"cert-manager.io/cluster-issuer":"le"}`}, "nap-tls", true},
		"none":                 {[]string{"global.exposure.tls.enabled=false"}, nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			rendered := renderFor(t, target{set: append(test.set, "global.exposure.type=ingress", "global.host=nap.example.org"), json: test.json})
			tls := find[*networkingv1.Ingress](t, rendered.Objects, namespace, "nap-web").Spec.TLS
			if !test.tls {
				if len(tls) > 0 {
					t.Errorf("spec.tls = %v, want none", tls)
				}
				return
			}
			if len(tls) != 1 || tls[0].SecretName != test.secret || !slices.Equal(tls[0].Hosts, []string{"nap.example.org", "files.nap.example.org"}) {
				t.Errorf("spec.tls = %v, want Secret %q for both hosts", tls, test.secret)
			}
		})
	}
}

func TestControllersLetStreamsPass(t *testing.T) {
	for controller, want := range map[string]map[string]string{
		"nginx": {
			"nginx.ingress.kubernetes.io/proxy-read-timeout": "86400", "nginx.ingress.kubernetes.io/proxy-body-size": "0",
			"nginx.ingress.kubernetes.io/proxy-buffering": "off", "nginx.ingress.kubernetes.io/proxy-request-buffering": "off"},
		"traefik": {"traefik.ingress.kubernetes.io/router.tls": "true"},
		"contour": {"projectcontour.io/response-timeout": "infinity", "projectcontour.io/websocket-routes": "/"},
	} {
		for _, setting := range []string{"className", "controller"} {
			rendered := render(t, "global.exposure.type=ingress", "global.host=nap.example.org", "global.exposure.ingress."+setting+"="+controller)
			got := find[*networkingv1.Ingress](t, rendered.Objects, namespace, "nap-web").Annotations
			for key, value := range want {
				if got[key] != value {
					t.Errorf("%s=%s: annotation %s = %q, want %q", setting, controller, key, got[key], value)
				}
			}
		}
	}
	rendered := renderFor(t, target{
		set:  []string{"global.exposure.type=ingress", "global.host=nap.example.org", "global.exposure.ingress.className=nginx"},
		json: []string{`global.exposure.ingress.annotations={"nginx.ingress.kubernetes.io/proxy-body-size":"1g"}`}})
	got := find[*networkingv1.Ingress](t, rendered.Objects, namespace, "nap-web").Annotations["nginx.ingress.kubernetes.io/proxy-body-size"]
	if got != "1g" {
		t.Errorf("proxy-body-size = %s, want the user's 1g", got)
	}
	notes := render(t, "global.exposure.type=ingress", "global.host=nap.example.org", "global.exposure.ingress.className=other").Notes
	if !strings.Contains(notes, "global.exposure.ingress.controller") {
		t.Errorf("NOTES.txt says nothing of a controller that is not known:\n%s", notes)
	}
}

// A controller may be anywhere, but is no workspace: those must not reach what trusts everybody.
func TestWebhooksDoNotOpenTheGatewayToWorkspaces(t *testing.T) {
	routed := []string{"global.exposure.type=ingress", "global.host=nap.example.org"}
	controller := host{namespace: "ingress"}
	for name, test := range map[string]struct {
		set  []string
		want bool
	}{
		"routed":      {routed, true},
		"not routed":  {nil, false},
		"no webhooks": {append(routed, "global.exposure.webhooks=false"), false},
		"another one": {append(routed, `global.networkPolicies.usersFrom[0].podSelector.matchLabels.app=edge`), false},
	} {
		n := networkOf(t, render(t, test.set...).Objects)
		if got := n.admits(controller, n.hosts["cg"], 3002); got != test.want {
			t.Errorf("%s: the controller reaches the gateway: %t, want %t", name, got, test.want)
		}
		for _, from := range []string{contract.Workspaces, "skills", "a pod of the release's namespace"} {
			if n.admits(n.hosts[from], n.hosts["cg"], 3002) {
				t.Errorf("%s: %s reaches the gateway", name, from)
			}
		}
	}
}

func TestNothingElseIsExposed(t *testing.T) {
	for _, kind := range []string{"clusterIP", "ingress", "gateway"} {
		for _, object := range ours(render(t, "global.exposure.type="+kind, "global.host=nap.example.org", "global.exposure.gateway.parentRefs[0].name=edge").Objects) {
			service, ok := typed(t, object).(*corev1.Service)
			if ok && service.Spec.Type != "" && service.Spec.Type != corev1.ServiceTypeClusterIP {
				t.Errorf("exposure.type %s: %s has type %s, want ClusterIP", kind, object, service.Spec.Type)
			}
			if want := map[string]string{"ingress": "Ingress", "gateway": "HTTPRoute"}[kind]; slices.Contains([]string{"Ingress", "HTTPRoute"}, object.GetKind()) && object.GetKind() != want {
				t.Errorf("exposure.type %s: %s is rendered", kind, object)
			}
		}
	}
}
