// Package pods proves what the platform's pods will find where they run: names, addresses, time, devices, isolation.
package pods

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
)

// Checks are the topic's checks.
func Checks() []preflight.Check {
	pods := preflight.Cluster | preflight.Pods
	return []preflight.Check{
		{ID: "network.dns", Title: "Pods on every node find the cluster's services by name", Needs: pods, Severity: preflight.Error, Run: dns},
		{ID: "network.api-server", Title: "Pods on every node reach the API server", Needs: pods, Severity: preflight.Error, Run: apiServer},
		{ID: "network.egress", Title: "Pods reach what lies outside the cluster", Needs: pods, Severity: preflight.Error, Run: egress},
		{
			ID: "network.policies", Title: "NetworkPolicies are enforced", Needs: pods, Severity: preflight.Warning,
			Applies: usesPolicies, Run: policies,
		},
		{ID: "nodes.clock", Title: "The nodes' clocks agree with the API server's", Needs: pods, Severity: preflight.Warning, Run: clock},
		{ID: "nodes.fuse", Title: "Every node for workspaces lets a sidecar mount file systems for its neighbour", Needs: pods, Severity: preflight.Error, Run: fuse},
	}
}

// told is what one node's probe told.
type told struct {
	node    string
	results map[string]agent.Result
	// missing says why it told nothing.
	missing []preflight.Finding
}

// The tasks that every node's probe does.
const (
	taskNames  = "names"
	taskDomain = "domain"
	taskClock  = "clock"
)

const apiServerURL = "https://kubernetes.default.svc:443/version"

// everywhere runs one probe on every node that services or workspaces may run on, once for all checks.
func everywhere(ctx context.Context, s *preflight.Subject) ([]told, error) {
	return cluster.Once(ctx, s.Cluster, "pods/everywhere", func(ctx context.Context) ([]told, error) {
		nodes, err := onnodes.Eligible(ctx, s, onnodes.Workspace(s.Requirements))
		if err != nil {
			return nil, err
		}
		if len(nodes) == 0 {
			return nil, errors.New("no node is up that workspaces may run on")
		}
		namespace, err := s.Probes.Namespace(ctx, s.Requirements.Namespace, probe.Restricted)
		if err != nil {
			return nil, err
		}
		all := make([]told, len(nodes))
		indices := make([]int, len(nodes))
		for i := range indices {
			indices[i] = i
		}
		_, err = onnodes.Each(ctx, indices, func(ctx context.Context, i int) ([]preflight.Finding, error) {
			all[i].node = nodes[i]
			outcome, err := s.Probes.Run(ctx, probe.Pod{
				Purpose: "node", Namespace: namespace, Node: nodes[i], Limit: 40 * time.Second,
				Containers: []probe.Container{{Name: "probe", Tasks: []agent.Task{
					{ID: taskNames, Resolve: &agent.Resolve{Names: []string{"kubernetes.default.svc"}}},
					{ID: taskDomain, Resolve: &agent.Resolve{Names: []string{"kubernetes.default.svc.cluster.local."}}},
					{ID: taskClock, Clock: &agent.Clock{URL: apiServerURL}},
				}}},
			})
			if err != nil {
				all[i].missing, err = onnodes.NotProved(err)
				return nil, err
			}
			all[i].results = outcome.Results
			return nil, nil
		})
		return all, err
	})
}

// ofEach makes findings of what each node told.
func ofEach(ctx context.Context, s *preflight.Subject, finding func(told) []preflight.Finding) ([]preflight.Finding, error) {
	all, err := everywhere(ctx, s)
	if err != nil {
		return nil, err
	}
	var findings []preflight.Finding
	for _, one := range all {
		if one.results == nil {
			findings = append(findings, one.missing...)
			continue
		}
		findings = append(findings, finding(one)...)
	}
	return findings, nil
}

func dns(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	return ofEach(ctx, s, func(one told) []preflight.Finding {
		names, domain := one.results[taskNames], one.results[taskDomain]
		if !names.OK() {
			return []preflight.Finding{{
				Node: one.node, Cause: "a pod there can't look up kubernetes.default.svc: " + names.Error,
				Why: "services find each other by such names",
				Fix: "look at the cluster's DNS (kubectl -n kube-system get pods -l k8s-app=kube-dns) and at what keeps pods on the node from it",
			}}
		}
		if !domain.OK() {
			return []preflight.Finding{{
				Node: one.node, Severity: preflight.Warning,
				Cause: fmt.Sprintf("the cluster's domain is not cluster.local (pods search %s)", names.Facts["search"]),
				Why:   "the chart's own names do without it, but what others write about the platform does not",
				Fix:   "in settings of your own, such as extraEnv and noProxy, write the cluster's domain",
			}}
		}
		return nil
	})
}

func apiServer(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	return ofEach(ctx, s, func(one told) []preflight.Finding {
		if clock := one.results[taskClock]; !clock.OK() {
			return []preflight.Finding{{
				Node: one.node, Cause: "a pod there does not reach the API server: " + clock.Error,
				Why: "the control plane and the runner make workspaces through it, and PostgreSQL is run through it",
				Fix: "look at the node's network plugin and kube-proxy, and at policies that forbid it",
			}}
		}
		return nil
	})
}

// skew is how far a clock may be off. Dates have whole seconds, so less can't be told apart.
const skew = 3 * time.Second

func clock(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	return ofEach(ctx, s, func(one told) []preflight.Finding {
		result := one.results[taskClock]
		if !result.OK() {
			return []preflight.Finding{{
				Node: one.node, Severity: preflight.Note, Cause: "its clock can't be compared, since the API server is not reached: see network.api-server",
			}}
		}
		ms, err := strconv.ParseInt(result.Facts[agent.Offset], 10, 64)
		offset := time.Duration(ms) * time.Millisecond
		if err != nil || offset.Abs() <= skew {
			return nil
		}
		direction := "ahead of"
		if offset < 0 {
			direction = "behind"
		}
		return []preflight.Finding{{
			Node: one.node, Cause: fmt.Sprintf("its clock is %s %s the API server's", offset.Abs().Round(time.Second), direction),
			Why: "tokens and certificates are not valid yet, or no longer",
			Fix: "let a time service such as chrony set the node's clock",
		}}
	})
}

const (
	fuseDir    = "/preflight"
	fuseDevice = "/dev/fuse"
)

// fuse does on each node what a workspace's pod does: a privileged sidecar mounts, the agent beside it sees it.
func fuse(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := onnodes.Eligible(ctx, s, onnodes.Workspace(s.Requirements))
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, errors.New("no node is up that workspaces may run on")
	}
	namespace, err := s.Probes.Namespace(ctx, s.Requirements.Workspaces, probe.Privileged)
	if err != nil {
		return nil, err
	}
	return onnodes.Each(ctx, nodes, func(ctx context.Context, node string) ([]preflight.Finding, error) {
		outcome, err := s.Probes.Run(ctx, fusePod(namespace, node))
		if err != nil {
			return onnodes.NotProved(err)
		}
		mount, seen := outcome.Results["mount"], outcome.Results["seen"]
		finding := preflight.Finding{Node: node, Cause: mount.Error, Why: "workspaces on it have no shared files and no memory"}
		switch {
		case mount.OK() && seen.OK():
			return nil, nil
		case mount.Facts[agent.Cause] == agent.CauseDevice:
			finding.Fix = "load the module (modprobe fuse) and keep it loaded (/etc/modules-load.d), or choose other nodes by global.workspaces.nodeSelector"
			finding.Value = "global.workspaces.nodeSelector"
		case mount.Facts[agent.Cause] == agent.CauseMount:
			finding.Fix = "let privileged containers mount: look at SELinux, AppArmor and sandboxed runtimes on the node"
		default:
			finding.Cause = "a file system that a sidecar mounts is not seen by its neighbour"
			finding.Fix = "make the node's mounts shared (mount --make-rshared /) before its container runtime starts"
		}
		return []preflight.Finding{finding}, nil
	})
}

func fusePod(namespace, node string) probe.Pod {
	both, out := corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer
	return probe.Pod{
		Purpose: "fuse", Namespace: namespace, Node: node, Limit: 40 * time.Second,
		Volumes: []corev1.Volume{
			{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "device", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: fuseDevice}}},
		},
		Containers: []probe.Container{
			{
				Name: "sidecar", Privileged: true, Tasks: []agent.Task{{ID: "mount", Fuse: &agent.Fuse{Device: fuseDevice, Dir: fuseDir}}},
				Mounts: []corev1.VolumeMount{{Name: "shared", MountPath: fuseDir, MountPropagation: &both}, {Name: "device", MountPath: fuseDevice}},
			},
			{
				Name: "agent", Tasks: []agent.Task{{ID: "seen", Mounted: &agent.Mounted{Dir: fuseDir}}},
				Mounts: []corev1.VolumeMount{{Name: "shared", MountPath: fuseDir, MountPropagation: &out}},
			},
		},
	}
}

func usesPolicies(s *preflight.Subject) (bool, string) {
	for _, object := range s.Requirements.Objects {
		if object.GetKind() == "NetworkPolicy" {
			return true, ""
		}
	}
	return false, "the release makes no NetworkPolicies (global.networkPolicies.enabled)"
}

const policyLabel = "neutree.ai/preflight-target"

// policies lets one pod serve two ports of which a policy opens one, and another pod, on another node if there is
// one, try both.
func policies(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := onnodes.Eligible(ctx, s, onnodes.Workspace(s.Requirements))
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, errors.New("no node is up that workspaces may run on")
	}
	namespace, err := s.Probes.Namespace(ctx, s.Requirements.Namespace, probe.Restricted)
	if err != nil {
		return nil, err
	}
	target := map[string]string{policyLabel: "policy-" + s.Probes.ID()}
	const open, closed = 7001, 7002
	if err := s.Probes.Policy(ctx, namespace, target, open); err != nil {
		return nil, err
	}
	server, err := s.Probes.Start(ctx, probe.Pod{
		Purpose: "policy-server", Namespace: namespace, Node: nodes[0], Labels: target, Limit: 2 * time.Minute,
		Containers: []probe.Container{{Name: "probe", Tasks: []agent.Task{{ID: "serve", Serve: &agent.Serve{TCP: []int{open, closed}, Seconds: 110}}}}},
	})
	if err != nil {
		return onnodes.NotProved(err)
	}
	defer server.Stop()
	from := nodes[len(nodes)-1]
	outcome, err := s.Probes.Run(ctx, probe.Pod{
		Purpose: "policy-client", Namespace: namespace, Node: from,
		Containers: []probe.Container{{Name: "probe", Tasks: []agent.Task{{ID: "isolated", Isolated: &agent.Isolated{Host: server.IP, Open: open, Closed: closed}}}}},
	})
	if err != nil {
		return onnodes.NotProved(err)
	}
	result := outcome.Results["isolated"]
	switch {
	case result.OK():
		return nil, nil
	case result.Facts[agent.Reachable] == agent.ReachableNone:
		return []preflight.Finding{{
			Node: from, Severity: preflight.Error,
			Cause: fmt.Sprintf("a pod on it does not reach a pod on node %s, although a NetworkPolicy lets it", nodes[0]),
			Why:   "services do not reach each other across nodes",
			Fix:   "look at the network plugin and at firewalls between the nodes: " + strings.TrimSpace(result.Error),
		}}, nil
	}
	return []preflight.Finding{{
		Value: "global.networkPolicies.enabled",
		Cause: "the cluster's network plugin does not enforce NetworkPolicies: a port that one closes is reached",
		Why:   "every pod reaches the workspaces' port 3001, which asks for no password",
		Fix:   "use a network plugin that enforces them, such as Calico or Cilium",
	}}, nil
}
