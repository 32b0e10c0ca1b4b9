package nodes

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/preflight/check/network"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/probe/probetest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const present = `{apiVersion: v1, kind: Namespace, metadata: {name: nap}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: work}}`

func requirements() *requirement.Set {
	return &requirement.Set{Namespace: "nap", Workspaces: "work", Prefix: "nap"}
}

func subject(t *testing.T, nodes *probetest.Nodes, set *requirement.Set) *preflight.Subject {
	t.Helper()
	s := checktest.Subject(t, nodes.Server, set)
	s.Probes = nodes.Session("nap")
	t.Cleanup(func() {
		if err := s.Probes.Close(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	return s
}

func namesOf(pods []probetest.Pod) []string {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Node)
	}
	slices.Sort(names)
	return names
}

// Every node that workspaces may run on is looked at, and one probe on each serves all checks of it.
func TestEveryNodeIsLookedAt(t *testing.T) {
	three := []string{"node1", "node2", "node3"}
	for name, c := range map[string]struct {
		selector map[string]string
		limit    int
		want     []string
	}{
		"all":        {want: three},
		"a sample":   {limit: 2, want: []string{"node1", "node2"}},
		"a selector": {selector: map[string]string{"kubernetes.io/hostname": "node3"}, want: []string{"node3"}},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := probetest.New(t, three, present)
			set := requirements()
			set.Workspace.NodeSelector = c.selector
			s := subject(t, nodes, set)
			s.Options.Nodes = c.limit
			for _, id := range []string{"network.dns", "network.api-server", "nodes.clock"} {
				checktest.Want(t, checktest.Run(t, slices.Concat(Checks(), network.Checks()), id, s))
			}
			if got := namesOf(nodes.Placed("node")); !slices.Equal(got, c.want) {
				t.Errorf("probes ran on %v, want %v", got, c.want)
			}
			checktest.Want(t, checktest.Run(t, Checks(), "nodes.fuse", s))
			fuses := nodes.Placed("fuse")
			if got := namesOf(fuses); !slices.Equal(got, c.want) {
				t.Errorf("file systems were mounted on %v, want %v", got, c.want)
			}
			for _, pod := range fuses {
				if pod.Namespace != "work" {
					t.Errorf("it ran in namespace %s, want that of workspaces", pod.Namespace)
				}
			}
		})
	}
}

// failing lets one task fail on one node.
func failing(node, task, message string, facts agent.Facts) func(string, agent.Task) *agent.Result {
	return func(on string, of agent.Task) *agent.Result {
		if on != node || of.ID != task {
			return nil
		}
		return &agent.Result{Error: message, Facts: facts}
	}
}

func TestFindings(t *testing.T) {
	for name, c := range map[string]struct {
		check  string
		answer func(string, agent.Task) *agent.Result
		node   string
		want   []string
	}{
		"no clock":             {"nodes.clock", failing("node2", "clock", "refused", nil), "node2", []string{"note: its clock can't be compared"}},
		"a clock ahead":        {"nodes.clock", failing("node2", "clock", "", agent.Facts{agent.Offset: "61000"}), "node2", []string{"its clock is 1m1s ahead of the API server's"}},
		"a clock behind":       {"nodes.clock", failing("node2", "clock", "", agent.Facts{agent.Offset: "-4000"}), "node2", []string{"its clock is 4s behind the API server's"}},
		"a clock close enough": {"nodes.clock", failing("node2", "clock", "", agent.Facts{agent.Offset: "-3000"}), "", nil},
		"no device":            {"nodes.fuse", failing("node2", "mount", "no /dev/fuse", agent.Facts{agent.Cause: agent.CauseDevice}), "node2", []string{"no /dev/fuse -> load the module"}},
		"no mount":             {"nodes.fuse", failing("node2", "mount", "denied", agent.Facts{agent.Cause: agent.CauseMount}), "node2", []string{"denied -> let privileged containers mount"}},
		"nobody sees it":       {"nodes.fuse", failing("node2", "seen", "nothing there", nil), "node2", []string{"a file system that a sidecar mounts is not seen by its neighbour"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := probetest.New(t, []string{"node1", "node2"}, present)
			nodes.Answer = c.answer
			findings := checktest.Run(t, Checks(), c.check, subject(t, nodes, requirements()))
			checktest.Want(t, findings, c.want...)
			for _, finding := range findings {
				if finding.Node != c.node {
					t.Errorf("it is said of node %q, want %q", finding.Node, c.node)
				}
			}
		})
	}
}

func TestNoNodeForWorkspaces(t *testing.T) {
	if _, err := fuse(t.Context(), subject(t, probetest.New(t, []string{"node1"}, present), &requirement.Set{
		Namespace: "nap", Workspaces: "work", Workspace: requirement.Workspace{NodeSelector: map[string]string{"pool": "none"}},
	})); err == nil || !strings.Contains(err.Error(), "no node is up") {
		t.Errorf("no node is left, and it says %v", err)
	}
}
