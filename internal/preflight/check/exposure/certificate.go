package exposure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// soon is how long a certificate should last at least.
const soon = 30 * 24 * time.Hour

func certificates(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	set := s.Requirements
	var findings []preflight.Finding
	hosts := map[string][]string{}
	var order []string
	for _, host := range set.Exposure.Ingress.Hosts {
		if host.TLSSecret == "" {
			continue
		}
		if hosts[host.TLSSecret] == nil {
			order = append(order, host.TLSSecret)
		}
		hosts[host.TLSSecret] = append(hosts[host.TLSSecret], host.Host)
	}
	for _, name := range order {
		live, err := s.Cluster.Secret(ctx, set.Namespace, name)
		if err != nil {
			return nil, fmt.Errorf("read Secret %s/%s: %w", set.Namespace, name, err)
		}
		if live == nil && set.Exposure.Ingress.Issued {
			continue // cert-manager makes it
		}
		findings = append(findings, certificate(live, set.Namespace, name, hosts[name], valueOf(set.Exposure, name), time.Now())...)
	}
	return findings, nil
}

func valueOf(e requirement.Exposure, secret string) string {
	for _, host := range e.Ingress.Hosts {
		if host.TLSSecret == secret && host.Value != "" {
			return host.Value
		}
	}
	return "global.exposure.tls.secretName"
}

// certificate judges a Secret for hosts at a moment.
func certificate(live *corev1.Secret, namespace, name string, hosts []string, value string, now time.Time) []preflight.Finding {
	finding := preflight.Finding{
		Object: fmt.Sprintf("Secret %s/%s", namespace, name), Value: value,
		Why: "browsers warn of the controller's own certificate, and agents and webhooks are refused",
		Fix: fmt.Sprintf("kubectl create secret tls %s --namespace %s --cert=FILE --key=FILE", name, namespace),
	}
	told := func(severity preflight.Severity, format string, args ...any) []preflight.Finding {
		finding.Severity, finding.Found = severity, fmt.Sprintf(format, args...)
		return []preflight.Finding{finding}
	}
	if live == nil {
		return told(preflight.Error, "Secret %s with the certificate of %s does not exist in namespace %s", name, strings.Join(hosts, ", "), namespace)
	}
	if live.Type != corev1.SecretTypeTLS {
		finding.Fix = fmt.Sprintf("kubectl delete secret %s --namespace %s, then %s", name, namespace, finding.Fix)
		return told(preflight.Error, "Secret %s is of type %s, not %s", name, live.Type, corev1.SecretTypeTLS)
	}
	pair, err := tls.X509KeyPair(live.Data[corev1.TLSCertKey], live.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		// The parser's words hold no part of the key.
		return told(preflight.Error, "the certificate and key in Secret %s can't be used: %v", name, err)
	}
	leaf := pair.Leaf
	finding.Fix = fmt.Sprintf("put a new certificate there: kubectl create secret tls %s --namespace %s --cert=FILE --key=FILE --dry-run=client -o yaml | kubectl apply -f -", name, namespace)
	switch {
	case now.After(leaf.NotAfter):
		return told(preflight.Error, "the certificate in Secret %s ended on %s", name, day(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		return told(preflight.Error, "the certificate in Secret %s begins on %s only", name, day(leaf.NotBefore))
	}
	var uncovered []string
	for _, host := range hosts {
		if !isFor(leaf, host) {
			uncovered = append(uncovered, host)
		}
	}
	if len(uncovered) > 0 {
		return told(preflight.Error, "the certificate in Secret %s is for %s, not for %s", name, strings.Join(leaf.DNSNames, ", "), strings.Join(uncovered, ", "))
	}
	if now.Add(soon).After(leaf.NotAfter) {
		return told(preflight.Warning, "the certificate in Secret %s ends on %s", name, day(leaf.NotAfter))
	}
	return nil
}

// isFor says whether a certificate is for a host, or for all names of a level where the host starts with "*.".
func isFor(leaf *x509.Certificate, host string) bool {
	if any, ok := strings.CutPrefix(host, "*."); ok {
		host = "any." + any
	}
	return leaf.VerifyHostname(host) == nil
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006") }
