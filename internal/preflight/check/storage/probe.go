package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/neutree-ai/packaging/internal/poddiag"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/storage"
)

// probes are the checks that start pods.
func probes() []preflight.Check {
	return []preflight.Check{
		{
			ID: "storage.rwx-locks", Title: "Two nodes share a volume and lock each other out",
			Needs: preflight.Cluster | preflight.Pods, Severity: preflight.Error,
			Applies: anyClaim(shared, "no volume is shared by nodes"),
			Run:     part(func(p *proof) ([]preflight.Finding, error) { return p.sharing, nil }, shared),
		},
		{
			ID: "storage.mount", Title: "Every node that needs a volume can mount and write one",
			Needs: preflight.Cluster | preflight.Pods, Severity: preflight.Error,
			Applies: anyClaim(all, "no volume is asked for"),
			Run:     part(func(p *proof) ([]preflight.Finding, error) { return p.mounts, nil }, all),
		},
		{
			ID: "storage.deletion", Title: "Volumes go when their claims do",
			Needs: preflight.Cluster | preflight.Pods, Severity: preflight.Warning,
			Applies: anyClaim(all, "no volume is asked for"),
			Run:     part(func(p *proof) ([]preflight.Finding, error) { return p.deletions, p.unseen }, all),
		},
		{
			ID: "storage.expansion", Title: "Volumes of classes that say so grow when they are asked to",
			Needs: preflight.Cluster | preflight.Pods, Severity: preflight.Warning,
			Applies: anyClaim(func(c requirement.Claim) bool { return c.Grows }, "no volume is to grow"), Run: growth,
		},
	}
}

func all(requirement.Claim) bool { return true }

func shared(c requirement.Claim) bool { return c.AccessMode == corev1.ReadWriteMany }

func anyClaim(kind func(requirement.Claim) bool, otherwise string) func(*preflight.Subject) (bool, string) {
	return func(s *preflight.Subject) (bool, string) {
		return slices.ContainsFunc(s.Requirements.Claims, kind), otherwise
	}
}

// kind are claims that one proof will do for: of the same class and mode, written by the same user.
type kind struct {
	class string
	mode  corev1.PersistentVolumeAccessMode
	user  int64
	// claims are those it stands for.
	claims []requirement.Claim
	// spec is where the pods run that mount them.
	spec *corev1.PodSpec
}

func (k *kind) key() string { return fmt.Sprintf("volumes/%s/%s/%d", k.class, k.mode, k.user) }

// whys says what the volumes are for.
func (k *kind) whys() string {
	var whys []string
	for _, c := range k.claims {
		if !slices.Contains(whys, c.Why) {
			whys = append(whys, c.Why)
		}
	}
	return strings.Join(whys, " and ")
}

func (k *kind) object() string { return "StorageClass " + k.class }

// size is small: what is proved does not depend on it.
func (k *kind) size() resource.Quantity {
	size := resource.MustParse("1Gi")
	for _, c := range k.claims {
		if c.Size.Cmp(size) < 0 && !c.Size.IsZero() {
			size = c.Size
		}
	}
	return size
}

// kinds sorts the claims that are wanted. A claim whose class can't be told is left to the check of classes.
func kinds(ctx context.Context, s *preflight.Subject, wanted func(requirement.Claim) bool) ([]*kind, error) {
	classes, err := s.Cluster.StorageClasses(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the StorageClasses: %w", err)
	}
	var found []*kind
	for _, claim := range s.Requirements.Claims {
		class, _ := resolve(classes, claim)
		if class == nil || !wanted(claim) {
			continue
		}
		k := &kind{class: class.Name, mode: claim.AccessMode, user: probe.User, spec: mountedBy(s.Requirements, claim)}
		if claim.User != nil {
			k.user = *claim.User
		}
		if i := slices.IndexFunc(found, func(other *kind) bool { return other.key() == k.key() }); i >= 0 {
			found[i].claims = append(found[i].claims, claim)
			continue
		}
		k.claims = []requirement.Claim{claim}
		found = append(found, k)
	}
	return found, nil
}

// mountedBy is where the pods run that mount a claim.
func mountedBy(set *requirement.Set, claim requirement.Claim) *corev1.PodSpec {
	for i := range set.Pods {
		for _, volume := range set.Pods[i].Spec.Volumes {
			if volume.PersistentVolumeClaim != nil && volume.PersistentVolumeClaim.ClaimName == claim.Name {
				return &set.Pods[i].Spec
			}
		}
	}
	for i := range set.Pods {
		if set.Pods[i].By == claim.By && claim.By != requirement.Helm {
			return &set.Pods[i].Spec
		}
	}
	return onnodes.Workspace(set)
}

// part runs the proof of every kind that is wanted, once for all checks, and picks one check's findings of it.
func part(
	pick func(*proof) ([]preflight.Finding, error), wanted func(requirement.Claim) bool,
) func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
	return func(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
		list, err := kinds(ctx, s, wanted)
		if err != nil {
			return nil, err
		}
		return onnodes.Each(ctx, list, func(ctx context.Context, k *kind) ([]preflight.Finding, error) {
			p, err := prove(ctx, s, k)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.object(), err)
			}
			return pick(p)
		})
	}
}

func growth(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	list, err := kinds(ctx, s, func(c requirement.Claim) bool { return c.Grows })
	if err != nil {
		return nil, err
	}
	classes, err := s.Cluster.StorageClasses(ctx)
	if err != nil {
		return nil, err
	}
	return onnodes.Each(ctx, list, func(ctx context.Context, k *kind) ([]preflight.Finding, error) {
		if !expands(classes, k.class) {
			// storage.growth tells of that.
			return nil, nil
		}
		return k.grow(ctx, s)
	})
}

func expands(classes []storagev1.StorageClass, name string) bool {
	for _, class := range classes {
		if class.Name == name {
			return storage.Expands(&class)
		}
	}
	return false
}

// notMounted turns a pod that could not start into a finding where the class is to blame.
func (k *kind) notMounted(err error, node string) ([]preflight.Finding, error) {
	var trouble *poddiag.Trouble
	if !errors.As(err, &trouble) {
		return nil, err
	}
	finding := preflight.Finding{
		Object: k.object(), Node: node, Value: k.claims[0].Value,
		Why: "pods that need " + k.whys() + " do not start there",
	}
	switch {
	case trouble.Kind == poddiag.Mount:
		finding.Found = "a volume of the class can't be mounted: " + trouble.Message
		finding.Fix = "install what the class needs on the node, an NFS client for one, or choose another class"
	case trouble.VolumeElsewhere():
		finding.Found = fmt.Sprintf("the volume belongs to another node, although it was asked for as %s", k.mode)
		finding.Fix = "choose a class whose volumes all nodes can mount"
	case trouble.Kind == poddiag.Unschedulable && strings.Contains(trouble.Message, "PersistentVolumeClaim"),
		trouble.Kind == poddiag.Unschedulable && strings.Contains(trouble.Message, "persistentvolume"),
		trouble.Kind == poddiag.Unschedulable && strings.Contains(trouble.Message, "PersistentVolume"),
		trouble.Kind == poddiag.TooLong:
		finding.Found = "no volume of the class comes: " + trouble.Message
		finding.Fix = "look at the claim's events and at the class's provisioner"
	default:
		return onnodes.NotProved(err)
	}
	return []preflight.Finding{finding}, nil
}
