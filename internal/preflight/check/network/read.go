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

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return append([]preflight.Check{
		{ID: "network.domain", Title: "The cluster's names end in cluster.local", Needs: preflight.Cluster, Severity: preflight.Error, Run: domain},
		{
			ID: "network.ip-family", Title: "Everything listens on the IP family that Services get",
			Needs: preflight.Cluster, Severity: preflight.Error, Run: family,
		},
		{ID: "network.proxy", Title: "The proxy's settings can work", Severity: preflight.Error, Applies: proxied, Run: func(_ context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
			return settings(proxiesOf(s.Requirements)), nil
		}},
		{
			ID: "network.node-addresses", Title: "NetworkPolicies that name addresses match the nodes that have them",
			Needs: preflight.Cluster, Severity: preflight.Warning, Applies: namesAddresses, Run: addresses,
		},
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

// proxies are the proxies in the values, in the order in which a value wins over the next.
type proxies struct {
	http, https []setting
	bypass      []setting
}

// setting is a value and where it is set.
type setting struct{ value, text string }

func proxiesOf(set *requirement.Set) proxies {
	var p proxies
	read := func(at *[]setting, fields ...string) {
		if text, _, _ := unstructured.NestedString(set.Values, fields...); text != "" {
			*at = append(*at, setting{strings.Join(fields, "."), text})
		}
	}
	read(&p.http, "controlPlane", "cp", "proxy", "http")
	read(&p.http, "global", "proxy", "httpProxy")
	read(&p.https, "controlPlane", "cp", "proxy", "https")
	read(&p.https, "global", "proxy", "httpsProxy")
	for _, fields := range [][]string{{"controlPlane", "cp", "proxy", "noProxy"}, {"global", "proxy", "noProxy"}} {
		entries, _, _ := unstructured.NestedStringSlice(set.Values, fields...)
		for _, entry := range entries {
			p.bypass = append(p.bypass, setting{strings.Join(fields, "."), entry})
		}
	}
	return p
}

func proxied(s *preflight.Subject) (bool, string) {
	p := proxiesOf(s.Requirements)
	return len(p.http) > 0 || len(p.https) > 0, "no proxy is set"
}

func settings(p proxies) []preflight.Finding {
	var findings []preflight.Finding
	for _, one := range slices.Concat(p.http, p.https) {
		u, err := url.Parse(one.text)
		finding := preflight.Finding{
			Value: one.value, Why: "no call out of the cluster gets through", Fix: "write it as http://host:port",
		}
		switch {
		case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
			finding.Found = fmt.Sprintf("%s is no address of a proxy", one.value)
		case u.Port() == "":
			finding.Severity = preflight.Warning
			finding.Found = fmt.Sprintf("%s, for host %s, names no port", one.value, u.Hostname())
		case u.User != nil:
			finding.Severity = preflight.Warning
			finding.Found = one.value + " contains a password, which is then in the release's values and in the pod"
			finding.Why = "everyone who may read either can read the password"
			finding.Fix = "put the address into a Secret, and set the variable from there in extraEnv of each service"
		default:
			continue
		}
		findings = append(findings, finding)
	}
	if len(p.https) == 0 {
		value := strings.Replace(p.http[0].value, "proxy.http", "proxy.https", 1)
		findings = append(findings, preflight.Finding{
			Value: value, Severity: preflight.Warning,
			Found: "a proxy is set for http and none for https", Why: "models and log-in services are called by https, past the proxy",
			Fix: "set " + value + " too",
		})
	}
	for _, entry := range p.bypass {
		if strings.Contains(entry.text, "/") {
			findings = append(findings, preflight.Finding{
				Value: entry.value, Severity: preflight.Warning,
				Found: fmt.Sprintf("%s has the network %s, which Node.js does not understand", entry.value, entry.text),
				Why:   "calls to addresses in it go to the proxy",
				Fix: "write names, domains such as .example.com, or single addresses; " +
					"the chart adds the cluster's own names",
			})
		}
	}
	for _, calls := range platform.WithoutProxy() {
		findings = append(findings, preflight.Finding{Severity: preflight.Note, Found: "no proxy is used by " + calls})
	}
	return findings
}
