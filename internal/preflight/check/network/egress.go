package network

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// target is an address that pods must reach.
type target struct {
	url   string
	value string
	why   string
	// ca is trusted beside the public authorities.
	ca       string
	severity preflight.Severity
	// services and workspaces say who must reach it.
	services, workspaces bool
}

// outside tries every address from where the control plane would run, with its proxy settings, and from where
// workspaces would, which have none.
func outside(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	targets, err := targetsOf(ctx, s)
	if err != nil {
		return nil, err
	}
	places := []place{
		{name: "the control plane", namespace: s.Requirements.Namespace, level: probe.Restricted, spec: controlPlane(s.Requirements), env: proxyEnv(s.Requirements)},
		{name: "a workspace", namespace: s.Requirements.Workspaces, level: probe.Privileged, spec: onnodes.Workspace(s.Requirements), workspace: true},
	}
	return onnodes.Each(ctx, places, func(ctx context.Context, p place) ([]preflight.Finding, error) {
		return p.reach(ctx, s, targets)
	})
}

type place struct {
	name      string
	namespace string
	level     probe.Level
	spec      *corev1.PodSpec
	env       []corev1.EnvVar
	workspace bool
}

func (p place) reach(ctx context.Context, s *preflight.Subject, targets []target) ([]preflight.Finding, error) {
	var mine []target
	var tasks []agent.Task
	for _, t := range targets {
		if p.workspace && t.workspaces || !p.workspace && t.services {
			tasks = append(tasks, agent.Task{ID: fmt.Sprintf("t%d", len(mine)), Reach: &agent.Reach{URL: t.url, CA: t.ca, Proxy: len(p.env) > 0}})
			mine = append(mine, t)
		}
	}
	if len(tasks) == 0 {
		return nil, nil
	}
	namespace, err := s.Probes.Namespace(ctx, p.namespace, p.level)
	if err != nil {
		return nil, err
	}
	outcome, err := s.Probes.Run(ctx, probe.Pod{
		Purpose: "egress", Namespace: namespace, Limit: 40 * time.Second,
		NodeSelector: p.spec.NodeSelector, Tolerations: p.spec.Tolerations, Affinity: p.spec.Affinity,
		Containers: []probe.Container{{Name: "probe", Tasks: tasks, Env: p.env}},
	})
	if err != nil {
		return onnodes.NotProved(err)
	}
	var findings []preflight.Finding
	for i, t := range mine {
		if result := outcome.Results[tasks[i].ID]; !result.OK() {
			findings = append(findings, t.finding(p, outcome.Node, result))
		}
	}
	return findings, nil
}

func (t target) finding(p place, node string, result agent.Result) preflight.Finding {
	finding := preflight.Finding{
		Object: t.url, Node: node, Value: t.value, Severity: t.severity,
		Found: fmt.Sprintf("it is not reached from where %s would run: %s", p.name, result.Error),
		Why:   t.why,
	}
	via := ""
	if proxy := result.Facts["proxy"]; proxy != "" {
		via = " (through the proxy " + proxy + ")"
	}
	switch result.Facts[agent.Stage] {
	case agent.StageResolve:
		finding.Fix = "make the cluster's DNS know the name" + via
	case agent.StageTLS:
		finding.Fix = "put the authority that signed its certificate into global.trustedCAs.existingSecret" + via
	case agent.StageAnswer:
		finding.Fix = "look at what answers in its place" + via
	default:
		finding.Fix = "open the way in firewalls, egress policies and security groups" + via
		if !p.workspace && len(p.env) == 0 {
			finding.Fix += ", or name a proxy"
		}
	}
	return finding
}

func targetsOf(ctx context.Context, s *preflight.Subject) ([]target, error) {
	set := s.Requirements
	var targets []target
	for _, model := range s.Options.Models {
		targets = append(targets, target{
			url: origin(model.URL), why: "agents of the type " + model.Agent + " do not get at their model",
			services: true, workspaces: true,
		})
	}
	if d := set.Directory; d != nil {
		ca, err := trusted(ctx, s, d.CASecret, d.CAKey)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target{url: d.URL, ca: ca, value: "global.ldap.url", why: "nobody can log in by the directory", services: true})
	}
	if db := set.Database; db.Mode == "external" && db.External.Host != "" {
		port := db.External.Port
		if port == 0 {
			port = 5432
		}
		targets = append(targets, target{
			url: fmt.Sprintf("tcp://%s:%d", db.External.Host, port), value: "global.database.external", why: "no service starts without its database", services: true,
		})
	}
	for _, registry := range registries(set) {
		targets = append(targets, target{
			url: "https://" + registry + "/v2/", severity: preflight.Note, why: "nodes pull images (see images.pull); workspaces that want to do so themselves can't",
			workspaces: true,
		})
	}
	return targets, nil
}

// trusted reads the certificate authorities that the release would trust.
func trusted(ctx context.Context, s *preflight.Subject, name, key string) (string, error) {
	if name == "" {
		return "", nil
	}
	secret, err := s.Cluster.Secret(ctx, s.Requirements.Namespace, name)
	if err != nil {
		return "", fmt.Errorf("read the certificate authorities in Secret %s: %w", name, err)
	}
	if secret == nil {
		return "", nil
	}
	return string(secret.Data[key]), nil
}

// origin is a URL without what follows the host, and without a password.
func origin(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}

func registries(set *requirement.Set) []string {
	var found []string
	for _, image := range set.Images {
		host, _, _ := strings.Cut(image.Ref, "/")
		if host == "docker.io" {
			host = "registry-1.docker.io"
		}
		if strings.ContainsAny(host, ".:") && !slices.Contains(found, host) {
			found = append(found, host)
		}
	}
	return found
}

func controlPlane(set *requirement.Set) *corev1.PodSpec {
	return onnodes.Service(set, "Deployment "+set.Prefix+"-cp")
}

// proxyEnv are the variables of the control plane that name proxies. Who they are for may need a Secret, so they are
// taken over as they are.
func proxyEnv(set *requirement.Set) []corev1.EnvVar {
	var found []corev1.EnvVar
	for _, container := range controlPlane(set).Containers {
		for _, variable := range container.Env {
			switch strings.ToUpper(variable.Name) {
			case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY":
				if variable.Value != "" || variable.ValueFrom != nil {
					found = append(found, variable)
				}
			}
		}
	}
	return found
}
