package nodes

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
)

// probes are the checks that start pods.
func probes() []preflight.Check {
	pods := preflight.Cluster | preflight.Pods
	return []preflight.Check{
		{ID: "nodes.clock", Title: "The nodes' clocks agree with the API server's", Needs: pods, Severity: preflight.Warning, Run: clock},
		{ID: "nodes.fuse", Title: "Every node for workspaces lets a sidecar mount file systems for its neighbour", Needs: pods, Severity: preflight.Error, Run: fuse},
	}
}

// skew is how far a clock may be off. Dates have whole seconds, so less can't be told apart.
const skew = 3 * time.Second

func clock(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	return onnodes.Told(ctx, s, func(one onnodes.Report) []preflight.Finding {
		result := one.Clock
		if !result.OK() {
			return []preflight.Finding{{
				Node: one.Node, Severity: preflight.Note, Found: "its clock can't be compared, since the API server is not reached: see network.api-server",
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
			Node: one.Node, Found: fmt.Sprintf("its clock is %s %s the API server's", offset.Abs().Round(time.Second), direction),
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
		finding := preflight.Finding{Node: node, Found: mount.Error, Why: "workspaces on it have no shared files and no memory"}
		switch {
		case mount.OK() && seen.OK():
			return nil, nil
		case mount.Facts[agent.Cause] == agent.CauseDevice:
			finding.Fix = "load the module (modprobe fuse) and keep it loaded (/etc/modules-load.d), or choose other nodes by global.workspaces.nodeSelector"
			finding.Value = "global.workspaces.nodeSelector"
		case mount.Facts[agent.Cause] == agent.CauseMount:
			finding.Fix = "let privileged containers mount: look at SELinux, AppArmor and sandboxed runtimes on the node"
		default:
			finding.Found = "a file system that a sidecar mounts is not seen by its neighbour"
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
