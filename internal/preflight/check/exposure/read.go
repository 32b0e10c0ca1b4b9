// Package exposure checks whether users will reach the platform: by a class that somebody serves, with a certificate
// for the names, at addresses that agree with each other.
package exposure

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return append([]preflight.Check{
		{ID: "exposure.ingress-class", Title: "The Ingress has a class that a controller serves", Needs: preflight.Cluster, Severity: preflight.Error, Applies: exposedBy("ingress"), Run: class},
		{ID: "exposure.gateway", Title: "The Gateways exist, are set up, and listen for the hosts", Needs: preflight.Cluster, Severity: preflight.Error, Applies: exposedBy("gateway"), Run: gateways},
		{ID: "exposure.certificate", Title: "Certificates exist, fit their hosts and last", Needs: preflight.Cluster, Severity: preflight.Error, Applies: exposedBy("ingress"), Run: certificates},
		{ID: "exposure.names", Title: "Public addresses agree with each other", Severity: preflight.Warning, Run: func(_ context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
			return hosts(s.Requirements.Exposure), nil
		}},
		{ID: "exposure.node-port-range", Title: "Node ports lie in the range that the API server hands out", Needs: preflight.Cluster, Severity: preflight.Error, Applies: nodePorts, Run: inRange},
		{
			ID: "exposure.node-port-free", Title: "The NodePorts are free",
			Needs: preflight.Cluster, Severity: preflight.Error, Applies: nodePorts, Run: free,
		},
		{
			ID: "exposure.closed-paths", Title: "Paths that only services use are closed, however they are written",
			Needs: preflight.Outside, Severity: preflight.Error, Applies: runsExposed, Run: closedPaths,
		},
	}, probes()...)
}

func exposedBy(kind string) func(*preflight.Subject) (bool, string) {
	return func(s *preflight.Subject) (bool, string) {
		is := s.Requirements.Exposure.Type
		return is == kind, fmt.Sprintf("global.exposure.type is %s", is)
	}
}

const classValue = "global.exposure.ingress.className"

func class(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	list, err := kube.List[networkingv1.IngressClass](ctx, s.Cluster.Untyped, kube.IngressClasses, "",
		metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the IngressClasses: %w", err)
	}
	return classes(list, s.Requirements.Exposure.Ingress.Class), nil
}

func classes(all []networkingv1.IngressClass, wanted string) []preflight.Finding {
	var names, defaults []string
	for _, c := range all {
		names = append(names, fmt.Sprintf("%s (%s)", c.Name, c.Spec.Controller))
		if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
			defaults = append(defaults, c.Name)
		}
	}
	finding := preflight.Finding{Value: classValue, Why: "no controller looks at the Ingress, and nobody reaches the platform"}
	switch {
	case len(all) == 0:
		finding.Found, finding.Fix = "the cluster has no IngressClass", "install an ingress controller, or choose another global.exposure.type"
	case wanted != "" && !slices.ContainsFunc(all, func(c networkingv1.IngressClass) bool { return c.Name == wanted }):
		finding.Object = "IngressClass " + wanted
		finding.Found, finding.Fix = fmt.Sprintf("IngressClass %q does not exist", wanted), fmt.Sprintf("set %s to one of %s", classValue, strings.Join(names, ", "))
	case wanted == "" && len(defaults) == 0:
		finding.Found, finding.Fix = "no IngressClass is named, and none is the default", fmt.Sprintf("set %s to one of %s", classValue, strings.Join(names, ", "))
	case wanted == "" && len(defaults) > 1:
		finding.Found = fmt.Sprintf("%d IngressClasses are marked as the default: %s", len(defaults), strings.Join(defaults, ", "))
		finding.Why, finding.Fix = "the API server refuses an Ingress that names none", fmt.Sprintf("set %s, or take the mark off all but one", classValue)
	default:
		return nil
	}
	return []preflight.Finding{finding}
}

var gatewayResource = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}

func gateways(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	set := s.Requirements
	var findings []preflight.Finding
	for _, wanted := range set.Exposure.Gateways {
		namespace := wanted.Namespace
		if namespace == "" {
			namespace = set.Namespace
		}
		live, err := s.Cluster.Get(ctx, gatewayResource, namespace, wanted.Name)
		if err != nil {
			return nil, fmt.Errorf("read Gateway %s/%s: %w", namespace, wanted.Name, err)
		}
		findings = append(findings, gateway(live, wanted, namespace, set.Namespace)...)
	}
	return findings, nil
}

// gateway judges one by its conditions and its listeners.
func gateway(live *unstructured.Unstructured, wanted requirement.Gateway, namespace, from string) []preflight.Finding {
	finding := preflight.Finding{
		Object: fmt.Sprintf("Gateway %s/%s", namespace, wanted.Name), Value: "global.exposure.gateway.parentRefs",
		Why: "no route leads to the platform",
	}
	if live == nil {
		finding.Found = fmt.Sprintf("Gateway %s does not exist in namespace %s", wanted.Name, namespace)
		finding.Fix = "make it, or name another in global.exposure.gateway.parentRefs"
		return []preflight.Finding{finding}
	}
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		if kind := condition["type"]; (kind == "Accepted" || kind == "Programmed") && condition["status"] != "True" {
			finding.Found = fmt.Sprintf("Gateway %s is not %s: %v", wanted.Name, kind, condition["message"])
			finding.Fix = fmt.Sprintf("kubectl --namespace %s describe gateway %s", namespace, wanted.Name)
			return []preflight.Finding{finding}
		}
	}
	listeners, _, _ := unstructured.NestedSlice(live.Object, "spec", "listeners")
	var unheard []string
	admits := false
	for _, host := range wanted.Hosts {
		heard := slices.ContainsFunc(listeners, func(l any) bool {
			listener, _ := l.(map[string]any)
			if wanted.Section != "" && listener["name"] != wanted.Section {
				return false
			}
			name, _, _ := unstructured.NestedString(listener, "hostname")
			return covers(name, host)
		})
		if !heard {
			unheard = append(unheard, host)
		}
	}
	for _, l := range listeners {
		listener, _ := l.(map[string]any)
		allowed, _, _ := unstructured.NestedString(listener, "allowedRoutes", "namespaces", "from")
		if allowed == "All" || allowed == "Selector" || namespace == from {
			admits = true
		}
	}
	var findings []preflight.Finding
	if len(unheard) > 0 {
		finding.Found = fmt.Sprintf("no listener of Gateway %s is for %s", wanted.Name, strings.Join(unheard, ", "))
		finding.Fix = "add a listener with that hostname, or change global.host"
		findings = append(findings, finding)
	}
	if !admits {
		finding.Found = fmt.Sprintf("no listener of Gateway %s takes routes from namespace %s", wanted.Name, from)
		finding.Fix = "set allowedRoutes.namespaces.from of a listener to All or Selector"
		findings = append(findings, finding)
	}
	return findings
}

// covers says whether a host name, which may start with "*." or be empty for all, is for a host.
func covers(name, host string) bool {
	if suffix, ok := strings.CutPrefix(name, "*"); ok {
		return strings.HasSuffix(host, suffix) && len(host) > len(suffix)
	}
	return name == "" || strings.EqualFold(name, host)
}

func hosts(e requirement.Exposure) []preflight.Finding {
	var findings []preflight.Finding
	if e.Host == "" && e.Type != "clusterIP" {
		findings = append(findings, preflight.Finding{
			Value: "global.host", Found: "global.host is empty, so links that the platform sends lead to localhost",
			Why: "they work on the node itself only", Fix: "set global.host to the name or address by which users reach the platform",
		})
	}
	web, err := url.Parse(e.URLs["web"])
	if err != nil || web.Host == "" {
		return findings
	}
	for _, name := range []string{"web", "files", "sandbox", "browser"} {
		origin, err := url.Parse(e.URLs[name])
		if err != nil || origin.Host == "" {
			continue
		}
		if origin.Scheme != web.Scheme {
			findings = append(findings, preflight.Finding{
				Value: "global.publicUrls." + name, Found: fmt.Sprintf("users come to the web interface by %s and to %s by %s", web.Scheme, name, origin.Scheme),
				Why: "browsers block or drop what a page of one scheme does with the other", Fix: "use https for all of them",
			})
		}
		if name != "web" && e.Type != "nodePort" && net.ParseIP(origin.Hostname()) != nil {
			findings = append(findings, preflight.Finding{
				Value: "global.publicUrls." + name, Found: fmt.Sprintf("%s is reached at %s, an address, and routes go by name", name, origin.Hostname()),
				Why: "requests to it end at the web interface", Fix: "give it a name",
			})
		}
	}
	if e.Type == "nodePort" && net.ParseIP(web.Hostname()) != nil && e.URLs["files"] == "" {
		findings = append(findings, preflight.Finding{
			Value: "global.publicUrls.files", Severity: preflight.Note,
			Found: fmt.Sprintf("the platform is reached at the address %s, before which no \"files.\" can stand: links to exported files do not work", web.Hostname()),
		})
	}
	return findings
}
