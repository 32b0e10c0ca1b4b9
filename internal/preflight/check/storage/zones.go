package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/storage"
)

// binding finds volumes that may be created, or are, in a zone where the pods that mount them can't run.
func binding(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	classes, err := s.Cluster.StorageClasses(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the StorageClasses: %w", err)
	}
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	var zones []string
	for _, node := range nodes {
		if zone := node.Labels[corev1.LabelTopologyZone]; !slices.Contains(zones, zone) {
			zones = append(zones, zone)
		}
	}
	slices.Sort(zones)
	findings := immediate(classes, s.Requirements.Claims, len(zones))
	zones = slices.DeleteFunc(zones, func(zone string) bool { return zone == "" })
	if len(zones) < 2 {
		return findings, nil
	}
	for _, pair := range pairs(s.Requirements) {
		found, err := pair.apart(ctx, s, classes, zones)
		if err != nil {
			return findings, err
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

// immediate finds volumes that are made before it is known where their pod runs, where that matters: one that a
// single zone serves, in a cluster of several.
func immediate(classes []storagev1.StorageClass, claims []requirement.Claim, zones int) []preflight.Finding {
	var findings []preflight.Finding
	var named []string
	for _, claim := range claims {
		class, _ := resolve(classes, claim)
		if class == nil || zones < 2 || claim.AccessMode != corev1.ReadWriteOnce || slices.Contains(named, class.Name) {
			continue
		}
		if !storage.BindsAtOnce(class) {
			continue
		}
		named = append(named, class.Name)
		findings = append(findings, preflight.Finding{
			Object: "StorageClass " + class.Name, Value: claim.Value,
			Found: fmt.Sprintf("StorageClass %s for %s makes volumes at once, in any of %d zones", class.Name, claim.Why, zones),
			Why:   "a volume may be made in a zone where its pod finds no room, and the pod stays Pending",
			Fix:   "choose a class with volumeBindingMode WaitForFirstConsumer",
		})
	}
	return findings
}

// pair are two volumes that one pod mounts, the one that is created later second.
type pair struct {
	first, second requirement.Claim
	// pod says whose, as it reads after "the pod of".
	pod string
}

// makers are those who create PVCs, in the order in which they do.
var makers = []requirement.Maker{requirement.Helm, requirement.CloudNativePG, requirement.Bootstrap, requirement.Runner}

// pairs finds the volumes that one pod mounts together: those of the backup Job, and of a workspace.
func pairs(set *requirement.Set) []pair {
	var found []pair
	pods := set.Pods
	if set.Backup != nil {
		// The pods of a schedule mount the same two.
		pods = slices.DeleteFunc(slices.Clone(pods), func(pod requirement.Pod) bool {
			return pod.Why == platform.ScheduledBackup
		})
		pods = append(pods, *set.Backup)
	}
	for _, pod := range pods {
		var mounted []requirement.Claim
		for _, volume := range pod.Spec.Volumes {
			source := volume.PersistentVolumeClaim
			if source == nil {
				continue
			}
			for _, claim := range set.Claims {
				if claim.Name == source.ClaimName && claim.Namespace == pod.Namespace {
					mounted = append(mounted, claim)
				}
			}
		}
		slices.SortStableFunc(mounted, func(a, b requirement.Claim) int {
			return slices.Index(makers, a.By) - slices.Index(makers, b.By)
		})
		for i := 1; i < len(mounted); i++ {
			found = append(found, pair{first: mounted[0], second: mounted[i], pod: pod.Owner})
		}
	}
	return found
}

// apart warns where the two volumes are, or may be created, in zones of which no node is in both.
func (p pair) apart(
	ctx context.Context, s *preflight.Subject, classes []storagev1.StorageClass, zones []string,
) ([]preflight.Finding, error) {
	first, err := place(ctx, s, classes, p.first, zones)
	if err != nil {
		return nil, err
	}
	second, err := place(ctx, s, classes, p.second, zones)
	if err != nil {
		return nil, err
	}
	f := preflight.Finding{
		Object: name(p.second), Value: p.second.Value,
		Why: fmt.Sprintf("no node can mount both, and the pod of %s is never scheduled", p.pod),
		Fix: fmt.Sprintf("name in %s a class with volumeBindingMode WaitForFirstConsumer, which creates its volume where "+
			"the pod can run", p.second.Value),
	}
	switch {
	case len(first.zones) == 0 || len(second.zones) == 0:
		// All nodes can mount one of them.
		return nil, nil
	case !slices.ContainsFunc(first.zones, func(zone string) bool { return slices.Contains(second.zones, zone) }):
		f.Found = fmt.Sprintf("the volume for %s is in zone %s, and that for %s in zone %s", p.second.Why,
			strings.Join(second.zones, ", "), p.first.Why, strings.Join(first.zones, ", "))
		if second.exists {
			f.Fix = fmt.Sprintf("copy what PVC %s in namespace %s contains, delete it, and %s",
				p.second.Name, p.second.Namespace, f.Fix)
		}
	case first.exists && second.exists, !second.atOnce:
		return nil, nil
	case len(first.zones) == 1 && len(second.zones) == 1:
		return nil, nil
	default:
		f.Found = fmt.Sprintf("the volume for %s is created at once in any of the zones %s, and may be in another one than "+
			"that for %s", p.second.Why, strings.Join(second.zones, ", "), p.first.Why)
	}
	return []preflight.Finding{f}, nil
}

// placed is where a volume is or may be created.
type placed struct {
	// zones are empty where all nodes can mount it.
	zones []string
	// exists says that it is there, atOnce that it is created before it is known which pod mounts it.
	exists, atOnce bool
}

func place(
	ctx context.Context, s *preflight.Subject, classes []storagev1.StorageClass, claim requirement.Claim, zones []string,
) (placed, error) {
	client := s.Cluster.Untyped
	live, err := kube.Get[corev1.PersistentVolumeClaim](ctx, client, kube.Claims, claim.Namespace, claim.Name)
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return placed{}, fmt.Errorf("read %s: %w", name(claim), err)
	case err == nil && live.Spec.VolumeName != "":
		volume, err := kube.Get[corev1.PersistentVolume](ctx, client, kube.Volumes, "", live.Spec.VolumeName)
		if err != nil {
			return placed{}, fmt.Errorf("read the PersistentVolume of %s: %w", name(claim), err)
		}
		return placed{zones: storage.ZonesOf(volume), exists: true}, nil
	}
	class, _ := resolve(classes, claim)
	if class == nil {
		return placed{}, nil // storage.class says so
	}
	allowed := storage.AllowedZones(class)
	if len(allowed) == 0 && claim.AccessMode == corev1.ReadWriteOnce {
		// A disk is in one zone; a file system on the network mostly is not.
		allowed = zones
	}
	return placed{zones: allowed, atOnce: storage.BindsAtOnce(class)}, nil
}
