// Package network checks names, proxies, and what pods reach.
package network

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return append([]preflight.Check{
		{ID: "network.domain", Title: "The cluster's names end in cluster.local", Needs: preflight.Cluster, Severity: preflight.Error, Run: domain},
		{ID: "network.proxy", Title: "The proxy's settings can work", Severity: preflight.Error, Applies: proxied, Run: func(_ context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
			return settings(proxyOf(s.Requirements)), nil
		}},
	}, probes()...)
}

// wanted is what the platform's services expect their cluster to be called.
const wanted = "cluster.local"

// served is how CoreDNS is told what the cluster's names end in.
var served = regexp.MustCompile(`(?m)^\s*kubernetes\s+([^\s{]+)`)

func domain(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	var forbidden error
	for _, name := range []string{"coredns", "rke2-coredns-rke2-coredns"} {
		config, err := s.Cluster.Typed.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsForbidden(err):
			forbidden = err
			continue
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return nil, fmt.Errorf("read ConfigMap %s/%s: %w", metav1.NamespaceSystem, name, err)
		}
		return domains(config), nil
	}
	if forbidden != nil {
		return nil, fmt.Errorf("read the configuration of CoreDNS in namespace %s: %w", metav1.NamespaceSystem, forbidden)
	}
	return []preflight.Finding{{Severity: preflight.Note, Found: "no configuration of CoreDNS can be read, so the cluster's domain is not known"}}, nil
}

func domains(config *corev1.ConfigMap) []preflight.Finding {
	m := served.FindStringSubmatch(config.Data["Corefile"])
	if m == nil || strings.TrimSuffix(m[1], ".") == wanted {
		return nil
	}
	return []preflight.Finding{{
		Object: fmt.Sprintf("ConfigMap %s/%s", config.Namespace, config.Name),
		Found:  fmt.Sprintf("the names of this cluster end in %s", m[1]),
		Why:    "the platform's services look each other up under cluster.local",
		Fix:    "let CoreDNS answer for cluster.local too (kubernetes " + m[1] + " cluster.local …)",
	}}
}

// proxy is what the control plane is told of proxies.
type proxy struct {
	http, https string
	bypass      []string
}

func proxyOf(set *requirement.Set) proxy {
	p := proxy{}
	p.http, _, _ = unstructured.NestedString(set.Values, "controlPlane", "cp", "proxy", "http")
	p.https, _, _ = unstructured.NestedString(set.Values, "controlPlane", "cp", "proxy", "https")
	p.bypass, _, _ = unstructured.NestedStringSlice(set.Values, "controlPlane", "cp", "proxy", "noProxy")
	return p
}

func proxied(s *preflight.Subject) (bool, string) {
	p := proxyOf(s.Requirements)
	return p.http != "" || p.https != "", "no proxy is set"
}

func settings(p proxy) []preflight.Finding {
	var findings []preflight.Finding
	for _, one := range []struct{ value, text string }{{"controlPlane.cp.proxy.http", p.http}, {"controlPlane.cp.proxy.https", p.https}} {
		u, err := url.Parse(one.text)
		finding := preflight.Finding{Value: one.value, Why: "no call out of the cluster gets through", Fix: "write it as http://host:port"}
		switch {
		case one.text == "":
			continue
		case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
			finding.Found = fmt.Sprintf("%s is no address of a proxy", one.value)
		case u.Port() == "":
			finding.Severity = preflight.Warning
			finding.Found = fmt.Sprintf("%s, for host %s, names no port", one.value, u.Hostname())
		case u.User != nil:
			finding.Severity = preflight.Warning
			finding.Found = fmt.Sprintf("%s holds a password, which then stands in the release's values and in the pod", one.value)
			finding.Why, finding.Fix = "whoever may read either reads it", "put it into a Secret, and take the variable from there by controlPlane.cp.extraEnv"
		default:
			continue
		}
		findings = append(findings, finding)
	}
	if p.https == "" {
		findings = append(findings, preflight.Finding{
			Value: "controlPlane.cp.proxy.https", Severity: preflight.Warning,
			Found: "a proxy is set for http and none for https", Why: "models and log-in services are called by https, past the proxy",
			Fix: "set controlPlane.cp.proxy.https too",
		})
	}
	if !slices.ContainsFunc(p.bypass, func(entry string) bool { return strings.Contains(entry, "/") }) {
		findings = append(findings, preflight.Finding{
			Value: "controlPlane.cp.proxy.noProxy", Severity: preflight.Warning,
			Found: "noProxy names no network", Why: "calls to pods and Services by their address go to the proxy, which can't reach them",
			Fix: "add the networks of pods and Services, such as 10.0.0.0/8",
		})
	}
	return findings
}
