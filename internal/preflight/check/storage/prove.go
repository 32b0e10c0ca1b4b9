package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
)

// proof is what was found out about one kind of volume, by the check that tells of it.
type proof struct {
	sharing   []preflight.Finding
	mounts    []preflight.Finding
	deletions []preflight.Finding
	// unseen says that whether volumes go could not be checked, which counts for deletions alone.
	unseen error
}

// removal bounds the wait for a volume to go.
const removal = 45 * time.Second

// growing bounds the wait for a volume to grow.
const growing = 45 * time.Second

func prove(ctx context.Context, s *preflight.Subject, k *kind) (*proof, error) {
	return cluster.Once(ctx, s.Cluster, k.key(), func(ctx context.Context) (*proof, error) {
		nodes, err := onnodes.Eligible(ctx, s, k.spec)
		if err != nil {
			return nil, err
		}
		if len(nodes) == 0 {
			return nil, errors.New("no node is up that its pods may run on")
		}
		namespace, err := s.Probes.Namespace(ctx, k.claims[0].Namespace, probe.Restricted)
		if err != nil {
			return nil, err
		}
		if k.mode == corev1.ReadWriteMany {
			return k.proveShared(ctx, s, namespace, nodes)
		}
		return k.proveSingle(ctx, s, namespace, nodes)
	})
}

// proveSingle mounts a volume of its own on each node.
func (k *kind) proveSingle(ctx context.Context, s *preflight.Subject, namespace string, nodes []string) (*proof, error) {
	p := &proof{}
	var mu sync.Mutex
	var err error
	p.mounts, err = onnodes.Each(ctx, nodes, func(ctx context.Context, node string) ([]preflight.Finding, error) {
		volume, err := s.Probes.Claim(ctx, namespace, k.class, k.mode, k.size())
		if err != nil {
			return nil, err
		}
		findings, err := k.mount(ctx, s, namespace, volume, node, agent.Task{ID: "files", Files: &agent.Files{Dir: mountPath, Name: "preflight-" + s.Probes.ID()}})
		if err != nil {
			return findings, err
		}
		deletions, err := k.remove(ctx, volume)
		mu.Lock()
		defer mu.Unlock()
		return findings, p.removed(deletions, err)
	})
	return p, err
}

// proveShared mounts one volume on every node, and lets the pods on the first two of them meet in it.
func (k *kind) proveShared(ctx context.Context, s *preflight.Subject, namespace string, nodes []string) (*proof, error) {
	volume, err := s.Probes.Claim(ctx, namespace, k.class, k.mode, k.size())
	if err != nil {
		return nil, err
	}
	p := &proof{}
	if len(nodes) == 1 {
		// One node is no proof of sharing, but two pods on it are better than nothing.
		p.sharing = []preflight.Finding{{
			Object: k.object(), Node: nodes[0], Severity: preflight.Note,
			Found: "there is one node only: that nodes share the volume is not proved",
		}}
		nodes = []string{nodes[0], nodes[0]}
	}
	var mu sync.Mutex
	indices := make([]int, len(nodes))
	for i := range indices {
		indices[i] = i
	}
	started := make([]time.Time, len(nodes))
	p.mounts, err = onnodes.Each(ctx, indices, func(ctx context.Context, i int) ([]preflight.Finding, error) {
		tasks := []agent.Task{{ID: "files", Files: &agent.Files{Dir: mountPath, Name: fmt.Sprintf("preflight-%s-%d", s.Probes.ID(), i)}}}
		if i < 2 {
			tasks = append(tasks, agent.Task{ID: "share", Share: &agent.Share{
				Dir: mountPath, Name: "preflight-" + s.Probes.ID(), Role: []string{"first", "second"}[i],
			}})
		}
		outcome, err := s.Probes.Run(ctx, k.pod(s, namespace, volume, nodes[i], tasks...))
		if err != nil {
			return k.notMounted(err, nodes[i])
		}
		started[i] = outcome.Started
		if result, asked := outcome.Results["share"]; asked && !result.OK() {
			mu.Lock()
			defer mu.Unlock()
			p.sharing = append(p.sharing, k.notShared(result, nodes[i], nodes[1-i]))
		}
		return k.files(outcome), nil
	})
	if err != nil {
		return nil, err
	}
	if started[0].IsZero() || started[1].IsZero() {
		// One of the two did not start: what the other did not see then is no proof.
		p.sharing = nil
		if len(p.mounts) > 0 {
			p.sharing = append(p.sharing, preflight.Finding{
				Object: k.object(), Value: k.claims[0].Value, Severity: p.mounts[0].Severity,
				Found: "two nodes could not both mount one volume, so nothing is shared: see storage.mount",
				Why:   k.whys() + " must be mounted by several nodes at once",
				Fix:   "choose a class that serves ReadWriteMany",
			})
		}
	} else if apart := started[0].Sub(started[1]).Abs(); apart > 15*time.Second && len(p.sharing) > 0 {
		return nil, fmt.Errorf("its two pods started %s apart and missed each other: repeat the check", apart.Round(time.Second))
	}
	return p, p.removed(k.remove(ctx, volume))
}

// removed notes what became of a volume whose claim was deleted.
func (p *proof) removed(findings []preflight.Finding, err error) error {
	p.deletions = append(p.deletions, findings...)
	var unseen *probe.Unseen
	if errors.As(err, &unseen) {
		p.unseen = err
		return nil
	}
	return err
}

const mountPath = "/volume"

func (k *kind) pod(s *preflight.Subject, namespace string, volume *probe.Volume, node string, tasks ...agent.Task) probe.Pod {
	return probe.Pod{
		Purpose: "volume-" + k.class, Namespace: namespace, Node: node,
		NodeSelector: k.spec.NodeSelector, Tolerations: k.spec.Tolerations, Affinity: k.spec.Affinity,
		Volumes: []corev1.Volume{volume.Mount("volume")},
		Containers: []probe.Container{{
			Name: "probe", Tasks: tasks, User: k.user,
			Mounts: []corev1.VolumeMount{{Name: "volume", MountPath: mountPath}},
		}},
		Limit: 100 * time.Second,
	}
}

func (k *kind) mount(ctx context.Context, s *preflight.Subject, namespace string, volume *probe.Volume, node string, task agent.Task) ([]preflight.Finding, error) {
	outcome, err := s.Probes.Run(ctx, k.pod(s, namespace, volume, node, task))
	if err != nil {
		return k.notMounted(err, node)
	}
	return k.files(outcome), nil
}

func (k *kind) files(outcome *probe.Outcome) []preflight.Finding {
	result := outcome.Results["files"]
	if result.OK() {
		return nil
	}
	return []preflight.Finding{{
		Object: k.object(), Node: outcome.Node, Value: k.claims[0].Value,
		Found: fmt.Sprintf("uid %d can't work in a volume of the class: %s", k.user, result.Error),
		Why:   "the pods that need " + k.whys() + " run as this user",
		Fix:   "let the class make volumes that any user or the pod's fsGroup may write to; for csi-driver-nfs set mountPermissions: \"0777\"",
	}}
}

func (k *kind) notShared(result agent.Result, node, other string) preflight.Finding {
	finding := preflight.Finding{
		Object: k.object(), Node: node, Value: k.claims[0].Value,
		Found: result.Error,
		Why:   "workspaces on different nodes would not see the same files",
		Fix:   "choose a class whose volumes all nodes share, such as NFS or CephFS",
	}
	switch result.Facts[agent.Step] {
	case agent.StepLock, agent.StepExclude, agent.StepRelease:
		finding.Why = "two nodes would write the same file at once and destroy what the other wrote"
		finding.Fix = "choose a class with working file locks; for NFS remove nolock from its mountOptions"
	case agent.StepSee:
		finding.Found = fmt.Sprintf("what is written on node %s is not seen on node %s: %s", other, node, result.Error)
	}
	return finding
}

func (k *kind) remove(ctx context.Context, volume *probe.Volume) ([]preflight.Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, removal)
	defer cancel()
	err := volume.Remove(ctx)
	var kept *probe.Kept
	if errors.As(err, &kept) {
		return []preflight.Finding{{
			Object: k.object(), Value: k.claims[0].Value,
			Found: kept.Error(),
			Why:   "space of deleted workspaces is never given back",
			Fix:   "look at the provisioner, or set reclaimPolicy: Delete; then remove the volume by hand: kubectl delete pv " + kept.Volume,
		}}, nil
	}
	return nil, err
}

// grow proves on one node that a mounted volume becomes larger.
func (k *kind) grow(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	namespace, err := s.Probes.Namespace(ctx, k.claims[0].Namespace, probe.Restricted)
	if err != nil {
		return nil, err
	}
	small, large := resource.MustParse("1Gi"), resource.MustParse("2Gi")
	volume, err := s.Probes.Claim(ctx, namespace, k.class, k.mode, small)
	if err != nil {
		return nil, err
	}
	pod := k.pod(s, namespace, volume, "", agent.Task{ID: "serve", Serve: &agent.Serve{Seconds: 90}})
	running, err := s.Probes.Start(ctx, pod)
	if err != nil {
		return k.notMounted(err, "")
	}
	patient, cancel := context.WithTimeout(ctx, growing)
	err = volume.Grow(patient, large)
	cancel()
	running.Stop()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var findings []preflight.Finding
	if err != nil {
		findings = []preflight.Finding{{
			Object: k.object(), Value: k.claims[0].Value,
			Found: "the class allows volumes to grow, but a mounted one did not: " + err.Error(),
			Why:   "raising the size of " + k.whys() + " later has no effect",
			Fix:   "look at the provisioner's resizer, or set allowVolumeExpansion: false so that nobody counts on it",
		}}
	}
	deletions, err := k.remove(ctx, volume)
	var unseen *probe.Unseen
	if errors.As(err, &unseen) {
		// storage.deletion says so.
		err = nil
	}
	return append(findings, deletions...), err
}
