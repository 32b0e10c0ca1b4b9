package network

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/egress"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
)

// The values that the findings below are about.
const (
	egressMode  = "global.networkPolicies.workspaceEgress.mode"
	egressAllow = egress.Allow
	egressDeny  = "global.networkPolicies.workspaceEgress.deny"
	egressDNS   = "global.networkPolicies.workspaceEgress.dns"
)

// apiServerAddress is the API server as pods reach it.
const apiServerAddress = "kubernetes.default.svc:443"

// metadataAddresses are the metadata services of clouds, which hand out credentials of the node.
func metadataAddresses() []string { return []string{"169.254.169.254:80", "[fd00:ec2::254]:80"} }

func limitsWorkspaces(s *preflight.Subject) (bool, string) {
	return s.Requirements.Egress.Policy != nil, "the release has no NetworkPolicy for what workspaces connect to"
}

// workspaceEgress tries the policy for workspaces on a pod of its own, and judges by it every address that workspaces
// are known to need.
func workspaceEgress(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	policy := s.Requirements.Egress.Policy.DeepCopy()
	holds, database, err := policyHolds(ctx, s)
	if err != nil {
		return nil, err
	}
	// Where it may hold it is tried: that is what a pod can show.
	limited := holds != no
	nodes, err := onnodes.NameServers(ctx, s)
	if err != nil {
		return nil, err
	}
	families, err := onnodes.Families(ctx, s)
	if err != nil {
		return nil, err
	}
	egress.AddResolvers(policy, egress.Resolvers(nodes))
	egress.LimitTo(policy, families)
	needs := needsOfWorkspaces(s)
	tasks := []agent.Task{{ID: "names", Resolve: &agent.Resolve{Names: []string{"kubernetes.default.svc"}}}}
	for i, n := range needs {
		tasks = append(tasks, agent.Task{ID: n.task(i), Resolve: &agent.Resolve{Names: []string{n.Host}}})
	}
	if limited {
		shut := append([]string{apiServerAddress}, metadataAddresses()...)
		tasks = append(tasks, agent.Task{ID: "shut", Shut: &agent.Shut{Addresses: shut}})
	}
	namespace, err := s.Probes.Namespace(ctx, s.Requirements.Workspaces, probe.Privileged)
	if err != nil {
		return nil, err
	}
	label := map[string]string{policyLabel: "egress-" + s.Probes.ID()}
	if limited {
		spec := policy.DeepCopy().Spec
		spec.PodSelector = metav1.LabelSelector{MatchLabels: label}
		if err := s.Probes.LimitPods(ctx, namespace, spec); err != nil {
			return nil, err
		}
	}
	where := onnodes.Workspace(s.Requirements)
	outcome, err := s.Probes.Run(ctx, probe.Pod{
		Purpose: "workspace-egress", Namespace: namespace, Labels: label, Limit: time.Minute,
		NodeSelector: where.NodeSelector, Containers: []probe.Container{{Name: "probe", Tasks: tasks}},
	})
	if err != nil {
		return onnodes.NotProved(err)
	}
	if names := outcome.Results["names"]; !names.OK() {
		return []preflight.Finding{noNames(names, outcome.Node)}, nil
	}
	var findings []preflight.Finding
	switch holds {
	case no:
		findings = append(findings, notLimited(s.Requirements.Egress.Mode))
	case unknown:
		findings = append(findings, notKnown(database))
	}
	if shut := outcome.Results["shut"]; limited && !shut.OK() {
		findings = append(findings, notShut(shut, outcome.Node))
	}
	for i, n := range needs {
		findings = append(findings, n.cut(policy, outcome.Results[n.task(i)], families, holds)...)
	}
	lost, err := usersLose(ctx, s, policy, families, holds)
	return append(findings, lost...), err
}

// answer is whether the policy holds after the install or upgrade.
type answer int

const (
	no answer = iota
	yes
	// unknown: bootstrap asks a database, which is not asked here.
	unknown
)

// policyHolds foresees what bootstrap decides, and names the database that it asks where that is not known.
func policyHolds(ctx context.Context, s *preflight.Subject) (answer, string, error) {
	set := s.Requirements
	switch set.Egress.Mode {
	case egress.Open:
		return no, "", nil
	case egress.Closed:
		return yes, "", nil
	}
	name := set.Egress.Policy.Name
	_, err := s.Cluster.Typed.NetworkingV1().NetworkPolicies(set.Workspaces).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil:
		return yes, "", nil
	case !apierrors.IsNotFound(err):
		return no, "", fmt.Errorf("read NetworkPolicy %s/%s: %w", set.Workspaces, name, err)
	case s.Options.Upgrade:
		return no, "", nil
	}
	db := set.Database
	if db.Cluster == "" {
		if db.Mode == "external" {
			return unknown, "external PostgreSQL " + db.External.Host, nil
		}
		return yes, "", nil
	}
	live, err := s.Cluster.Get(ctx, kube.Clusters, set.Namespace, db.Cluster)
	switch {
	case err != nil:
		return no, "", fmt.Errorf("read Cluster %s/%s: %w", set.Namespace, db.Cluster, err)
	case live != nil:
		return unknown, fmt.Sprintf("Cluster %s/%s", set.Namespace, db.Cluster), nil
	}
	return yes, "", nil
}

func notKnown(database string) preflight.Finding {
	return preflight.Finding{
		Object: database, Value: egressMode, Severity: preflight.Note,
		Found: "whether workspaces are limited was not checked: " + database + " decides",
		Why: "workspaces stay unlimited if version 0.1.0 set up the database, and are limited if it is empty or a later " +
			"version set it up",
		Fix: "set " + egressMode + "=closed to limit them in any case, or open to leave them unlimited",
	}
}

func notLimited(mode string) preflight.Finding {
	finding := preflight.Finding{
		Value: egressMode, Severity: preflight.Warning,
		Found: "workspaces may connect to anything: an installation of an earlier version stays as it is until a value " +
			"is set",
		Why: "agents can use the node's credentials from a cloud's metadata service, and reach the API server, nodes and " +
			"private networks",
		Fix: "set " + egressMode + "=closed, after what it would cut is in " + egressAllow + "; or, if that is meant, open",
	}
	if mode == egress.Open {
		finding.Severity, finding.Found = preflight.Note, "workspaces may connect to anything, as "+egressMode+"=open says"
	}
	return finding
}

func noNames(result agent.Result, node string) preflight.Finding {
	return preflight.Finding{
		Value: egressDNS, Node: node,
		Found: "a workspace would find no names: under its NetworkPolicy a pod cannot look up kubernetes.default.svc: " +
			result.Error,
		Why: "workspaces find neither the control plane nor anything outside the cluster",
		Fix: "name the pods of the cluster's DNS in " + egressDNS + ", and the ports that they listen on in " + egressDNS +
			".ports; or its address in " + egressDNS + ".addresses",
	}
}

func notShut(result agent.Result, node string) preflight.Finding {
	reached := strings.Join(strings.Fields(result.Facts[agent.Reached]), " and ")
	if reached == "" {
		reached = result.Error
	}
	return preflight.Finding{
		Value: egressDeny, Node: node, Severity: preflight.Warning,
		Found: "a workspace would reach " + reached + ", although its NetworkPolicy is to keep it from there",
		Why:   "agents can use the node's credentials from a cloud's metadata service, or call the API server",
		Fix: "if network.policies warns too, use a network plugin that enforces NetworkPolicies; else add the public " +
			"addresses of the API server to " + egressDeny,
	}
}

// need is an address that workspaces are known to use.
type need struct {
	egress.Need
	url      string
	why      string
	severity preflight.Severity
}

func (n need) task(i int) string { return fmt.Sprintf("need%d", i) }

// needsOfWorkspaces are the models, and the public origins that agents use.
func needsOfWorkspaces(s *preflight.Subject) []need {
	var needs []need
	add := func(raw, why string, severity preflight.Severity) {
		known, is := egress.NeedOf(raw)
		if !is {
			return
		}
		needs = append(needs, need{Need: known, url: origin(raw), why: why, severity: severity})
	}
	for _, model := range s.Options.Models {
		add(model.URL, "agents of type "+model.Agent+" cannot reach their model", preflight.Error)
	}
	for _, name := range []string{"browser", "sandbox"} {
		add(s.Requirements.Exposure.URLs[name], "agents cannot use what the module "+name+" offers", preflight.Warning)
	}
	return needs
}

// cut says which addresses of a host the policy keeps workspaces from. Names that lead nowhere are the topic of
// network.egress.
func (n need) cut(
	policy *networkingv1.NetworkPolicy, resolved agent.Result, families egress.Families, holds answer,
) []preflight.Finding {
	if !resolved.OK() {
		return nil
	}
	var addresses []netip.Addr
	for _, text := range strings.Fields(resolved.Facts[agent.Addresses]) {
		if address, err := netip.ParseAddr(text); err == nil {
			addresses = append(addresses, address)
		}
	}
	cut := n.Cut(policy, addresses, families)
	if len(cut) == 0 {
		return nil
	}
	var named []string
	for _, address := range cut {
		named = append(named, address.String())
	}
	finding := preflight.Finding{
		Object: n.url, Value: egressAllow, Severity: n.severity, Why: n.why,
		Found: fmt.Sprintf("the NetworkPolicy for workspaces cuts it: it leads to %s, port %d",
			strings.Join(named, ", "), n.Port),
		Fix: "set it with --set-json '" + egressAllow + "=" + n.Entries(cut) + "'",
	}
	switch holds {
	case no:
		finding.Severity = preflight.Note
		finding.Found = strings.Replace(finding.Found, "cuts", "would cut", 1)
	case unknown:
		finding.Severity = preflight.Warning
		finding.Found = strings.Replace(finding.Found, "cuts", "may cut", 1)
	}
	return []preflight.Finding{finding}
}
