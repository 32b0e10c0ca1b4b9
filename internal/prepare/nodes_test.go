package prepare

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/neutree-ai/packaging/internal/hook"
)

// recorded keeps the Jobs that ran.
type recorded struct {
	*stage
	jobs map[string]*batchv1.Job
}

func (r *recorded) Run(ctx context.Context, job *batchv1.Job) (string, error) {
	r.mu.Lock()
	r.jobs[job.Name] = job.DeepCopy()
	r.mu.Unlock()
	return r.stage.Run(ctx, job)
}

// nodesOf are those of the cluster's nodes that the pods of a Job go to, and how many pods each of them gets at most.
func nodesOf(t *testing.T, job *batchv1.Job, all []string) (nodes []string, each int) {
	t.Helper()
	spec := job.Spec.Template.Spec
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return all, 0
	}
	required := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	selector, err := nodeaffinity.NewNodeSelector(required)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		node := &corev1.Node{}
		node.Name = name
		if selector.Match(node) {
			nodes = append(nodes, name)
		}
	}
	if anti := spec.Affinity.PodAntiAffinity; anti != nil {
		for _, term := range anti.RequiredDuringSchedulingIgnoredDuringExecution {
			if term.TopologyKey == corev1.LabelHostname && len(term.LabelSelector.MatchLabels) > 0 &&
				term.LabelSelector.MatchLabels["app"] == job.Spec.Template.Labels["app"] {
				each = 1
			}
		}
	}
	return nodes, each
}

// What serves from several nodes is replaced on each of them, so each of them must have the new image: the Job's pods
// are as many as those nodes, no two on one, with a container for every new image.
func TestPullsOnEveryNodeThatServes(t *testing.T) {
	pod := func(name, app, node, ready string) string {
		return strings.Replace(podOn(name, node, ready), "app: nap-cp", app, 1)
	}
	deployment := func(name string) string {
		return strings.NewReplacer("name: nap-cp,", "name: "+name+",", "cp:v1", name+":v1").Replace(cp)
	}
	all := []string{"node1", "node2", "node3", "node4", "node5", "node6"}
	image := func(name string) hook.PulledImage {
		return hook.PulledImage{Deployment: name, Container: "control-plane", Image: "registry.test/" + name + ":v2"}
	}
	for name, c := range map[string]struct {
		objects  []string
		images   []hook.PulledImage
		database string
		nodes    []string
		pulled   []string
	}{
		"replicas on several nodes": {
			objects: []string{cp, podOn("a", "node1", "True"), podOn("b", "node3", "True"), podOn("c", "node5",
				"True")},
			images: []hook.PulledImage{image("nap-cp")},
			nodes:  []string{"node1", "node3", "node5"}, pulled: []string{"nap-cp:v2"},
		},
		"several services": {
			objects: []string{cp, deployment("nap-cg"), podOn("a", "node1", "True"), pod("g", "app: nap-cg",
				"node4", "True")},
			images: []hook.PulledImage{image("nap-cp"), image("nap-cg")},
			nodes:  []string{"node1", "node4"}, pulled: []string{"nap-cg:v2", "nap-cp:v2"},
		},
		"only a service that changes": {
			objects: []string{cp, deployment("nap-cg"), podOn("a", "node1", "True"), pod("g", "app: nap-cg",
				"node4", "True")},
			images: []hook.PulledImage{image("nap-cg"),
				{Deployment: "nap-cp", Container: "control-plane", Image: "registry.test/cp:v1"}},
			nodes: []string{"node4"}, pulled: []string{"nap-cg:v2"},
		},
		"the database's instances": {
			objects: []string{cp, running, podOn("a", "node1", "True"),
				pod("pg-1", "cnpg.io/cluster: nap-pg", "node2", "True"), pod("pg-2", "cnpg.io/cluster: nap-pg",
					"node6", "True")},
			images: []hook.PulledImage{{Deployment: "nap-cp", Container: "control-plane",
				Image: "registry.test/cp:v1"}},
			database: "postgresql:17.11",
			nodes:    []string{"node2", "node6"}, pulled: []string{"postgresql:17.11"},
		},
		"two replicas on one node": {
			objects: []string{cp, podOn("a", "node2", "True"), podOn("b", "node2", "True")},
			images:  []hook.PulledImage{image("nap-cp")},
			nodes:   []string{"node2"}, pulled: []string{"nap-cp:v2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, "", c.objects...)
			s.spec.Pull.Workloads = c.images
			if c.database != "" {
				s.spec.Pull.Cluster = &hook.PulledDatabase{Name: "nap-pg", Image: "registry.test/" + c.database}
			}
			r := &recorded{stage: s, jobs: map[string]*batchv1.Job{}}
			p := &Prepare{Log: slog.New(slog.DiscardHandler), Client: s.server.Client(), Spec: s.spec}
			p.Jobs = r
			if _, err := p.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			job := r.jobs["nap-pull"]
			if job == nil {
				t.Fatal("no image was pulled")
			}
			nodes, each := nodesOf(t, job, all)
			if diff := cmp.Diff(c.nodes, nodes); diff != "" {
				t.Errorf("the nodes (-want +got):\n%s", diff)
			}
			if each != 1 {
				t.Error("two of its pods may share a node")
			}
			var pulled []string
			for _, container := range job.Spec.Template.Spec.Containers {
				pulled = append(pulled, strings.TrimPrefix(container.Image, "registry.test/"))
			}
			if diff := cmp.Diff(c.pulled, slices.Sorted(slices.Values(pulled))); diff != "" {
				t.Errorf("the images of each pod (-want +got):\n%s", diff)
			}
			pods := fmt.Sprint(*job.Spec.Completions, *job.Spec.Parallelism)
			if want := fmt.Sprint(len(c.nodes), len(c.nodes)); pods != want {
				t.Errorf("completions and parallelism are %s, want %s", pods, want)
			}
		})
	}
}
