//go:build e2e

package e2e

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/catalog"
	probes "github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

const probeNamespace = "nap-probes"

// probeSubject is a subject for the checks that start pods, on the cluster of the tests.
func probeSubject(t *testing.T, change func(*requirement.Set)) *preflight.Subject {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	view, err := cluster.New(config)
	if err != nil {
		t.Fatal(err)
	}
	set := &requirement.Set{
		Release: "neutree", Namespace: probeNamespace, Workspaces: probeNamespace + "-workspaces", Prefix: "nap",
		Exposure:  requirement.Exposure{Type: "nodePort"},
		NodePorts: []requirement.NodePort{{Service: "nap-cp", Port: 30080}},
		Claims: []requirement.Claim{
			{Name: "afs-shared-storage", Namespace: probeNamespace + "-workspaces", AccessMode: corev1.ReadWriteMany, Size: resource.MustParse("50Gi"),
				By: requirement.Bootstrap, Why: "the volume that all workspaces share", Value: "global.storage.shared.storageClass"},
			{Name: "tos-workspace", Namespace: probeNamespace + "-workspaces", AccessMode: corev1.ReadWriteOnce, Size: resource.MustParse("10Gi"),
				By: requirement.Runner, Why: "each workspace", Value: "global.workspaces.storageClass"},
		},
	}
	policy := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}}
	set.Objects = append(set.Objects, requirement.Object{Unstructured: policy})
	for _, image := range platform.Images() {
		set.Images = append(set.Images, requirement.Image{Ref: image.Ref(), Namespace: probeNamespace, PullPolicy: corev1.PullAlways, Why: image.Key, Value: "global.images." + image.Key})
	}
	set.Relay = &requirement.Relay{Own: true, Host: nodeAddress(t, view), Port: platform.TurnPort, Min: 49152, Max: 49252, HostNetwork: true}
	set.Egress = requirementtest.Load(t).Egress
	if change != nil {
		change(set)
	}
	session := probes.New(probes.Config{Client: view.Untyped, Image: platform.HooksImage.Ref(), Namespace: probeNamespace, Start: 30 * time.Second})
	t.Cleanup(func() {
		started := time.Now()
		if err := session.Close(time.Minute); err != nil {
			t.Error(err)
		}
		t.Logf("cleaned up in %s", time.Since(started).Round(100*time.Millisecond))
		wantNothingLeft(t, view)
	})
	return &preflight.Subject{Requirements: set, Cluster: view, Probes: session}
}

func nodeAddress(t *testing.T, view *cluster.View) string {
	t.Helper()
	nodes, err := view.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range nodes[0].Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address
		}
	}
	t.Fatal("the first node has no address")
	return ""
}

// wantNothingLeft asserts that no object of a probe is in the cluster, volumes included.
func wantNothingLeft(t *testing.T, view *cluster.View) {
	t.Helper()
	ctx := context.Background()
	options := metav1.ListOptions{LabelSelector: probes.RunLabel}
	core := view.Typed.CoreV1()
	var left []string
	add := func(kind string, names ...string) {
		for _, name := range names {
			left = append(left, kind+" "+name)
		}
	}
	if list, err := core.Pods("").List(ctx, options); err != nil {
		t.Error(err)
	} else {
		for _, p := range list.Items {
			add("pod", p.Namespace+"/"+p.Name)
		}
	}
	if list, err := core.ConfigMaps("").List(ctx, options); err != nil {
		t.Error(err)
	} else {
		for _, c := range list.Items {
			add("configmap", c.Namespace+"/"+c.Name)
		}
	}
	if list, err := core.PersistentVolumeClaims("").List(ctx, options); err != nil {
		t.Error(err)
	} else {
		for _, c := range list.Items {
			add("claim", c.Namespace+"/"+c.Name)
		}
	}
	if list, err := core.Services("").List(ctx, options); err != nil {
		t.Error(err)
	} else {
		for _, s := range list.Items {
			add("service", s.Namespace+"/"+s.Name)
		}
	}
	// An empty namespace takes some seconds to go, which nobody waits for; and a volume may still have been on its way.
	for until := time.Now().Add(30 * time.Second); len(left) == 0; time.Sleep(200 * time.Millisecond) {
		namespaces, err := core.Namespaces().List(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		volumes, err := core.PersistentVolumes().List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		volumes.Items = slices.DeleteFunc(volumes.Items, func(v corev1.PersistentVolume) bool {
			return v.Spec.ClaimRef == nil || !strings.HasPrefix(v.Spec.ClaimRef.Name, "neutree-preflight") || v.Annotations["pv.kubernetes.io/provisioned-by"] == ""
		})
		if len(namespaces.Items)+len(volumes.Items) == 0 {
			break
		}
		for _, n := range namespaces.Items {
			if n.DeletionTimestamp == nil || time.Now().After(until) {
				add("namespace", n.Name)
			}
		}
		for _, v := range volumes.Items {
			if time.Now().After(until) {
				add("volume", v.Name)
			}
		}
	}
	if len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, ", "))
	}
}

// results is a sink that keeps everything.
type results struct {
	t  *testing.T
	by map[string]preflight.Result
}

func (r *results) Plan([]preflight.Check) {}
func (r *results) Running([]string)       {}
func (r *results) End(preflight.Summary)  {}
func (r *results) Result(got preflight.Result) {
	r.by[got.ID] = got
	r.t.Logf("%-8s %-22s %5.1fs %s", got.Status, got.ID, got.Duration.Seconds(), got.Reason)
	for _, f := range got.Findings {
		r.t.Logf("         %s [%s %s] %s | %s | %s (%s)", f.Severity, f.Object, f.Node, f.Found, f.Why, f.Fix, f.Value)
	}
}

func runProbes(t *testing.T, ctx context.Context, s *preflight.Subject, only ...string) map[string]preflight.Result {
	t.Helper()
	all := slices.DeleteFunc(catalog.Checks(), func(c preflight.Check) bool { return !c.Needs.Has(preflight.Pods) })
	s.Options.Only = only
	selected, err := preflight.Select(all, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	sink := &results{t: t, by: map[string]preflight.Result{}}
	summary := preflight.Run(ctx, s, selected, sink)
	t.Logf("%d checks in %s", len(selected), summary.Duration.Round(100*time.Millisecond))
	return sink.by
}
