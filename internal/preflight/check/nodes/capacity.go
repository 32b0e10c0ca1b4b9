package nodes

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// room is what is left on each node.
type room struct {
	nodes []corev1.Node
	free  []cluster.Amount
}

// newRoom counts what running pods take, but for those that own says are the release's: they are in demand.
func newRoom(nodes []corev1.Node, pods []cluster.Pod, own func(cluster.Pod) bool) *room {
	r := &room{}
	at := map[string]int{}
	for _, node := range nodes {
		if !cluster.Ready(&node) {
			continue
		}
		at[node.Name] = len(r.nodes)
		r.nodes = append(r.nodes, node)
		r.free = append(r.free, cluster.AmountOf(node.Status.Allocatable))
	}
	for _, pod := range pods {
		if i, ok := at[pod.Node]; ok && !own(pod) {
			r.free[i] = minus(r.free[i], pod.Requests)
		}
	}
	return r
}

// place takes room for one pod: on the node with the most memory left, as the scheduler would on the whole.
func (r *room) place(spec *corev1.PodSpec, asks cluster.Amount, taken map[int]bool) bool {
	best := -1
	for i := range r.nodes {
		if taken[i] || !holds(r.free[i], asks) || (best >= 0 && r.free[i].Memory <= r.free[best].Memory) || cluster.Unfit(&r.nodes[i], spec) != "" {
			continue
		}
		best = i
	}
	if best < 0 {
		return false
	}
	r.free[best] = minus(r.free[best], asks)
	if taken != nil {
		taken[best] = true
	}
	return true
}

func (r *room) total() cluster.Amount {
	var sum cluster.Amount
	for _, free := range r.free {
		sum = sum.Add(free)
	}
	return sum
}

// capacity plays the scheduler: the steady state first, largest pods first, then what a rollout adds.
func capacity(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	pods, err := s.Cluster.Pods(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the pods of all nodes: %w", err)
	}
	return demand(newRoom(nodes, pods, ofRelease(s.Requirements)), s.Requirements), nil
}

func demand(r *room, set *requirement.Set) []preflight.Finding {
	wanted := slices.Clone(set.Pods)
	slices.SortStableFunc(wanted, func(a, b requirement.Pod) int {
		x, y := cluster.RequestsOf(&a.Spec), cluster.RequestsOf(&b.Spec)
		return cmp.Or(cmp.Compare(y.Memory, x.Memory), cmp.Compare(y.MilliCPU, x.MilliCPU))
	})
	before := r.total()
	var sum cluster.Amount
	var homeless, crowded []string
	var findings []preflight.Finding
	var workspace *requirement.Pod
	for i := range wanted {
		pod := &wanted[i]
		asks := cluster.RequestsOf(&pod.Spec)
		switch {
		case pod.By == requirement.Runner:
			if workspace == nil {
				workspace = pod
			}
			continue
		case pod.EveryNode || pod.Job:
			continue
		}
		taken := apart(pod)
		for range pod.Replicas {
			sum = sum.Add(asks)
			if !r.place(&pod.Spec, asks, taken) {
				homeless = append(homeless, fmt.Sprintf("%s (%s)", pod.Owner, describe(asks)))
			}
		}
	}
	if len(homeless) > 0 {
		first, _, _ := strings.Cut(homeless[0], " (")
		findings = append(findings, preflight.Finding{
			Object: first,
			Found: fmt.Sprintf("no node has room for %s: the platform asks for %s, its nodes have %s left", strings.Join(homeless, ", "),
				describe(sum), describe(before)),
			Why: "these pods stay Pending, and an install with --wait times out",
			Fix: "add a node, free one of other pods (kubectl describe node), or lower the requests of what is named",
		})
		return findings
	}
	// Those that surge do so at the same time when an upgrade changes all of them.
	for i := range wanted {
		pod := &wanted[i]
		for range pod.Surge {
			if !pod.Job && !pod.EveryNode && !r.place(&pod.Spec, cluster.RequestsOf(&pod.Spec), nil) {
				crowded = append(crowded, pod.Owner)
			}
		}
	}
	if len(crowded) > 0 {
		findings = append(findings, preflight.Finding{
			Object: crowded[0], Value: "global.rollout.surge", Severity: preflight.Warning,
			Found: fmt.Sprintf("no node has room for a second pod of %s, which an upgrade starts before the first one goes", strings.Join(crowded, ", ")),
			Why:   "an upgrade waits for room and times out",
			Fix:   "add room, or set global.rollout.surge=false, which costs some seconds of outage at each upgrade",
		})
	}
	if workspace != nil {
		findings = append(findings, workspaces(r, workspace)...)
	}
	return findings
}

// enough is where counting further workspaces says nothing more.
const enough = 100

func workspaces(r *room, pod *requirement.Pod) []preflight.Finding {
	asks := cluster.RequestsOf(&pod.Spec)
	count := 0
	for count < enough && r.place(&pod.Spec, asks, nil) {
		count++
	}
	switch {
	case count == 0:
		return []preflight.Finding{{
			Object: pod.Owner, Value: pod.Value, Severity: preflight.Warning,
			Found: fmt.Sprintf("beside the platform no node has room for a workspace (%s)", describe(asks)),
			Why:   "the platform runs, but nobody can start a workspace",
			Fix:   "add a node, or free one of other pods",
		}}
	case count < enough:
		return []preflight.Finding{{
			Severity: preflight.Note,
			Found:    fmt.Sprintf("beside the platform there is room for %d workspaces of the smallest size (%s each)", count, describe(asks)),
		}}
	}
	return nil
}

// apart is where no second pod of the same kind may go; nil where any number may.
func apart(pod *requirement.Pod) map[int]bool {
	if a := pod.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		for _, term := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			if term.TopologyKey == corev1.LabelHostname {
				return map[int]bool{}
			}
		}
	}
	return nil
}

// ofRelease tells the pods that an earlier revision of the release runs.
func ofRelease(set *requirement.Set) func(cluster.Pod) bool {
	owners := map[string][]string{}
	for _, pod := range set.Pods {
		if pod.By == requirement.Runner || pod.Job {
			continue
		}
		_, name, _ := strings.Cut(pod.Owner, " ")
		name = name[strings.LastIndex(name, "/")+1:]
		owners[pod.Namespace] = append(owners[pod.Namespace], name+"-")
	}
	return func(pod cluster.Pod) bool {
		return slices.ContainsFunc(owners[pod.Namespace], func(prefix string) bool { return strings.HasPrefix(pod.Name, prefix) })
	}
}

func holds(free, asks cluster.Amount) bool {
	return free.MilliCPU >= asks.MilliCPU && free.Memory >= asks.Memory && free.Pods >= asks.Pods &&
		(asks.Ephemeral == 0 || free.Ephemeral >= asks.Ephemeral)
}

func minus(a, b cluster.Amount) cluster.Amount {
	return cluster.Amount{MilliCPU: a.MilliCPU - b.MilliCPU, Memory: a.Memory - b.Memory, Ephemeral: a.Ephemeral - b.Ephemeral, Pods: a.Pods - b.Pods}
}

// describe writes an amount as "250m CPU, 1Gi memory".
func describe(a cluster.Amount) string {
	return fmt.Sprintf("%dm CPU, %dMi memory", a.MilliCPU, a.Memory>>20)
}
