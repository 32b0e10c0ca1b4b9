package storage

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/probe/probetest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const present = `{apiVersion: v1, kind: Namespace, metadata: {name: nap}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: shared}, provisioner: example.com/files, allowVolumeExpansion: true}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: single}, provisioner: example.com/disks, allowVolumeExpansion: true}`

func volumes() []requirement.Claim {
	user := int64(26)
	return []requirement.Claim{
		{Name: "afs-shared-storage", Namespace: "nap", Class: "shared", AccessMode: corev1.ReadWriteMany, Size: resource.MustParse("50Gi"),
			Why: "the volume that all workspaces share", Value: "global.storage.shared.storageClass", Grows: true},
		{Name: "nap-pg-1", Namespace: "nap", Class: "single", AccessMode: corev1.ReadWriteOnce, Size: resource.MustParse("10Gi"), User: &user,
			Why: "PostgreSQL", Value: "global.database.cnpg.storage.storageClass", Grows: true},
	}
}

// subject are claims that a cluster of these nodes is to serve.
func subject(t *testing.T, nodes *probetest.Nodes, claims ...requirement.Claim) *preflight.Subject {
	t.Helper()
	s := checktest.Subject(t, nodes.Server, &requirement.Set{Namespace: "nap", Workspaces: "nap", Claims: claims})
	s.Probes = nodes.Session("nap")
	t.Cleanup(func() {
		if err := s.Probes.Close(10 * time.Second); (err != nil) != nodes.KeepsVolumes {
			t.Errorf("volumes stay: %t, but: %v", nodes.KeepsVolumes, err)
		}
	})
	return s
}

func named(names ...string) []string { return names }

// Sharing is proved by two pods that meet in one volume from two nodes, and every other node mounts it too.
func TestNodesMeetInOneVolume(t *testing.T) {
	for name, c := range map[string]struct {
		nodes    []string
		sample   int
		pods     []string
		meet     []string
		findings []string
	}{
		"three nodes":       {nodes: named("node1", "node2", "node3"), pods: named("node1", "node2", "node3"), meet: named("node1", "node2")},
		"two nodes":         {nodes: named("node1", "node2"), pods: named("node1", "node2"), meet: named("node1", "node2")},
		"a sample of many":  {nodes: named("n1", "n2", "n3", "n4", "n5", "n6"), sample: 3, pods: named("n1", "n3", "n5"), meet: named("n1", "n3")},
		"one node, and two": {nodes: named("node1"), pods: named("node1", "node1"), meet: named("node1", "node1"), findings: named("note: there is one node only")},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := probetest.New(t, c.nodes, present)
			s := subject(t, nodes, volumes()[0])
			s.Options.Nodes = c.sample
			checktest.Want(t, checktest.Run(t, Checks(), "storage.rwx-locks", s), c.findings...)
			var on, meet, mounted []string
			for _, pod := range nodes.Placed("volume-shared") {
				on = append(on, pod.Node)
				for _, volume := range pod.Spec.Volumes {
					mounted = append(mounted, volume.PersistentVolumeClaim.ClaimName)
				}
				for _, task := range pod.Tasks {
					if task.Share != nil {
						meet = append(meet, pod.Node+" "+task.Share.Role)
					}
				}
			}
			slices.Sort(on)
			if !slices.Equal(on, c.pods) {
				t.Errorf("pods ran on %v, want %v", on, c.pods)
			}
			slices.Sort(meet)
			want := named(c.meet[0]+" first", c.meet[1]+" second")
			if !slices.Equal(meet, want) {
				t.Errorf("those that meet ran on %v, want %v", meet, want)
			}
			if once := slices.Compact(slices.Sorted(slices.Values(mounted))); len(once) != 1 {
				t.Errorf("they mounted %v, want one volume", once)
			}
		})
	}
}

func TestEveryNodeMountsAVolumeOfItsOwn(t *testing.T) {
	nodes := probetest.New(t, named("node1", "node2", "node3"), present)
	s := subject(t, nodes, volumes()[1])
	checktest.Want(t, checktest.Run(t, Checks(), "storage.mount", s))
	var on, mounted []string
	for _, pod := range nodes.Placed("volume-single") {
		on = append(on, pod.Node)
		mounted = append(mounted, pod.Spec.Volumes[0].PersistentVolumeClaim.ClaimName)
		if user := pod.Spec.Containers[0].SecurityContext.RunAsUser; user == nil || *user != 26 {
			t.Errorf("it ran as %v, want the user of the claim", user)
		}
	}
	slices.Sort(on)
	if !slices.Equal(on, nodes.Names) || len(slices.Compact(slices.Sorted(slices.Values(mounted)))) != 3 {
		t.Errorf("pods on %v mounted %v, want one on each node, each with a volume of its own", on, mounted)
	}
}

func TestFindings(t *testing.T) {
	failed := func(step string) func(string, agent.Task) *agent.Result {
		return func(node string, task agent.Task) *agent.Result {
			if task.Share == nil || node != "node2" {
				return nil
			}
			return &agent.Result{Error: "it went wrong", Facts: agent.Facts{agent.Step: step}}
		}
	}
	full := func(words string) func(string, *corev1.Pod) string {
		return func(node string, _ *corev1.Pod) string {
			if node == "node2" {
				return words
			}
			return ""
		}
	}
	for name, c := range map[string]struct {
		check    string
		answer   func(string, agent.Task) *agent.Result
		waiting  func(string, *corev1.Pod) string
		keeps    bool
		capacity string
		claims   []requirement.Claim
		want     []string
	}{
		"all is well":             {check: "storage.deletion", claims: volumes()},
		"the other's file":        {check: "storage.rwx-locks", answer: failed(agent.StepSee), want: named("what is written on node node1 is not seen on node node2: it went wrong")},
		"a lock keeps nobody out": {check: "storage.rwx-locks", answer: failed(agent.StepExclude), want: named("it went wrong -> choose a class with working file locks")},
		"no right to write": {check: "storage.mount", claims: volumes()[1:], answer: func(node string, task agent.Task) *agent.Result {
			if node == "node2" && task.Files != nil {
				return &agent.Result{Error: "permission denied"}
			}
			return nil
		}, want: named("uid 26 can't work in a volume of the class: permission denied")},
		"a class of one node": {check: "storage.mount", waiting: full("0/2 nodes are available: 1 node(s) had volume node affinity conflict"),
			want: named("the volume belongs to another node, although it was asked for as ReadWriteMany")},
		"a full node": {check: "storage.mount", waiting: full("0/2 nodes are available: 1 Insufficient memory. preemption: none"),
			want: named("warning: the node takes no probe pod, so nothing is proved there: 0/2 nodes are available: 1 Insufficient memory")},
		"volumes stay":         {check: "storage.deletion", claims: volumes()[1:], keeps: true, want: named("stays: it is not deleted in time", "stays: it is not deleted in time")},
		"a volume that grows":  {check: "storage.expansion", claims: volumes()[1:]},
		"one that does not":    {check: "storage.expansion", claims: volumes()[1:], capacity: "1Gi", want: named("the class allows volumes to grow, but a mounted one did not: the claim is still of 1Gi, not 2Gi")},
		"nodes that met badly": {check: "storage.mount", answer: failed(agent.StepLock)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := probetest.New(t, named("node1", "node2"), present)
			nodes.Answer, nodes.Unschedulable, nodes.KeepsVolumes, nodes.Capacity = c.answer, c.waiting, c.keeps, c.capacity
			wanted := c.claims
			if wanted == nil {
				wanted = volumes()[:1]
			}
			checktest.Want(t, checktest.Run(t, Checks(), c.check, subject(t, nodes, wanted...)), c.want...)
		})
	}
}

// Whether a volume is deleted is not proved by one that may not be looked at; what else was proved stays proved.
func TestVolumesThatMayNotBeSeen(t *testing.T) {
	nodes := probetest.New(t, named("node1", "node2"), present)
	nodes.Refuse(-1, "GET", "/api/v1/persistentvolumes/*", kubetest.Status(403, metav1.StatusReasonForbidden,
		`persistentvolumes "x" is forbidden: User "u" cannot get resource "persistentvolumes" in API group "" at the cluster scope`))
	s := subject(t, nodes, volumes()...)
	for _, check := range probes() {
		findings, err := check.Run(t.Context(), s)
		if unseen := check.ID == "storage.deletion"; (err != nil) != unseen || len(findings) > 0 {
			t.Errorf("%s: %v, %v", check.ID, findings, err)
		} else if unseen && !strings.Contains(err.Error(), "could not be checked") {
			t.Error(err)
		}
	}
}

func TestKinds(t *testing.T) {
	nodes := probetest.New(t, named("node1"), present)
	list := volumes()
	other := list[1]
	other.Name, other.Why = "nap-pg-2", "PostgreSQL's log"
	gone := list[1]
	gone.Class = "no-such-class"
	s := subject(t, nodes, append(list, other, gone)...)
	found, err := kinds(t.Context(), s, all)
	if err != nil || len(found) != 2 {
		t.Fatalf("%d kinds, %v", len(found), err)
	}
	k := found[1]
	if size := k.size(); k.whys() != "PostgreSQL and PostgreSQL's log" || k.user != 26 || len(k.claims) != 2 || size.String() != "1Gi" {
		t.Errorf("%s for user %d, %d claims, %s", k.whys(), k.user, len(k.claims), size.String())
	}
	small := kind{claims: []requirement.Claim{{Size: resource.MustParse("256Mi")}}}
	if size := small.size(); size.String() != "256Mi" {
		t.Errorf("a volume of %s is asked for where a quota may allow 256Mi only", size.String())
	}
}
