package images

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/probe/probetest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const present = `{apiVersion: v1, kind: Namespace, metadata: {name: nap}}`

func subject(t *testing.T, nodes *probetest.Nodes, images ...requirement.Image) *preflight.Subject {
	t.Helper()
	s := checktest.Subject(t, nodes.Server, &requirement.Set{Namespace: "nap", Images: images})
	s.Probes = nodes.Session("nap")
	t.Cleanup(func() {
		if err := s.Probes.Close(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	return s
}

// pulls are the images that were pulled on each node.
func pulls(nodes *probetest.Nodes) []string {
	var all []string
	for _, pod := range nodes.Placed("images") {
		for _, container := range pod.Spec.Containers {
			line := pod.Node + " " + container.Image
			for _, secret := range pod.Spec.ImagePullSecrets {
				line += " by " + secret.Name
			}
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}

// Every node that may run an image pulls it, once, and with the Secrets that its pods would have.
func TestEveryNodePullsWhatItWouldRun(t *testing.T) {
	images := []requirement.Image{
		{Ref: "example.com/cp:1", Why: "the control plane"},
		{Ref: "example.com/cp:1", Why: "the control plane again"},
		{Ref: "example.com/pinned:1", Why: "what runs on one node",
			NodeSelector: map[string]string{"kubernetes.io/hostname": "node2"}},
		{Ref: "example.com/secret:1", Why: "a private one", PullSecrets: []string{"b", "a"}},
	}
	for name, c := range map[string]struct {
		nodes []string
		limit int
		want  []string
	}{
		"three nodes": {nodes: []string{"node1", "node2", "node3"}, want: []string{
			"node1 example.com/cp:1", "node1 example.com/secret:1 by a by b",
			"node2 example.com/cp:1", "node2 example.com/pinned:1", "node2 example.com/secret:1 by a by b",
			"node3 example.com/cp:1", "node3 example.com/secret:1 by a by b"}},
		"a sample": {nodes: []string{"node1", "node2", "node3"}, limit: 1, want: []string{"node1 example.com/cp:1",
			"node1 example.com/secret:1 by a by b"}},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := probetest.New(t, c.nodes, present)
			s := subject(t, nodes, images...)
			s.Options.Nodes = c.limit
			checktest.Want(t, checktest.Run(t, Checks(), "images.pull", s))
			if got := pulls(nodes); !slices.Equal(got, c.want) {
				t.Errorf("pulled\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestPullsThatFail(t *testing.T) {
	t.Parallel()
	nodes := probetest.New(t, []string{"node1", "node2"}, present)
	nodes.Waiting = func(node string, container corev1.Container) *corev1.ContainerStateWaiting {
		switch {
		case node == "node2" && container.Image == "example.com/cp:1":
			return &corev1.ContainerStateWaiting{Reason: "ErrImagePull",
				Message: "rpc error: failed to resolve reference: not found"}
		case node == "node1" && container.Image == "example.com/big:1":
			return &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
		}
		return nil
	}
	s := subject(t, nodes, requirement.Image{Ref: "example.com/cp:1", Why: "the control plane",
		Value: "global.images.controlPlane"},
		requirement.Image{Ref: "example.com/big:1", Why: "something large"})
	// The check ends five seconds before its time, so that it can tell how far it is.
	ctx, cancel := context.WithTimeout(t.Context(), 13*time.Second)
	defer cancel()
	findings, err := pull(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	checktest.Want(t, findings, "warning: the node has not pulled it yet",
		"the node can't pull it: failed to resolve reference: not found -> there is no such image: correct "+
			"global.images.controlPlane")
	for i, node := range []string{"node1", "node2"} {
		if findings[i].Node != node {
			t.Errorf("it is said of node %s, want %s", findings[i].Node, node)
		}
	}
}

func TestRemedies(t *testing.T) {
	for message, want := range map[string]string{
		"429 Too Many Requests - toomanyrequests":         "limits anonymous pulls",
		"401 Unauthorized":                                "correct the login",
		"pull access denied":                              "correct the login",
		"no match for platform in manifest":               "architecture",
		"manifest unknown":                                "there is no such image",
		"x509: certificate signed by unknown authority":   "trust the registry's certificate",
		"http: server gave HTTP response to HTTPS client": "speaks http only",
		"InvalidImageName":                                "is no image's name",
		"dial tcp: lookup example.com: no such host":      "let the node reach the registry",
		"it is Tuesday":                                   "look at the registry and at global.images.x",
	} {
		if got := remedy(message, requirement.Image{Value: "global.images.x"}); !strings.Contains(got, want) {
			t.Errorf("%s: %q does not say %q", message, got, want)
		}
	}
}

// A node without a way to the registry is told of once, however many images it lacks; two lacking logins stay two.
func TestMerge(t *testing.T) {
	of := func(node, object, fix string) preflight.Finding {
		return preflight.Finding{Node: node, Object: "image " + object, Fix: fix, Found: "c", Why: "w"}
	}
	const way = "let the node reach the registry, please"
	merged := merge([]preflight.Finding{of("n1", "a", way), of("n1", "b", way), of("n1", "c", way), of("n2", "a",
		way), of("n1", "d", "log in"), of("n1", "e", "log in"), of("n1", "f", "log in")})
	var objects []string
	for _, f := range merged {
		objects = append(objects, f.Node+" "+f.Object)
	}
	want := []string{"n1 3 images: a, b, c", "n2 image a", "n1 image d", "n1 image e", "n1 image f"}
	if !slices.Equal(objects, want) {
		t.Errorf("got %q, want %q", objects, want)
	}
}
