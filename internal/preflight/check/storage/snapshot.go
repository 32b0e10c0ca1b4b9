package storage

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const snapshotValue = "global.backup.volumeSnapshotClass"

var volumeSnapshotClasses = schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshotclasses"}

// snapshots says whether backups take snapshots of volumes.
func snapshots(s *preflight.Subject) (bool, string) {
	return s.Requirements.Database.SnapshotClass != "", snapshotValue + " is empty: backups are dumps"
}

func snapshotClasses(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	found, err := s.Cluster.List(ctx, volumeSnapshotClasses, "", "")
	if err != nil {
		return nil, fmt.Errorf("list the VolumeSnapshotClasses: %w", err)
	}
	finding := preflight.Finding{
		Object: "Cluster " + s.Requirements.Database.Cluster, Value: snapshotValue,
		Why: "every backup fails, and with it each upgrade that migrates",
	}
	wanted := s.Requirements.Database.SnapshotClass
	i := slices.IndexFunc(found, func(u unstructured.Unstructured) bool { return u.GetName() == wanted })
	if i < 0 {
		finding.Found = fmt.Sprintf("VolumeSnapshotClass %q does not exist", wanted)
		finding.Fix = fmt.Sprintf("make it, or empty %s: backups are dumps then", snapshotValue)
		return []preflight.Finding{finding}, nil
	}
	driver, _, _ := unstructured.NestedString(found[i].Object, "driver")
	classes, err := s.Cluster.StorageClasses(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the StorageClasses: %w", err)
	}
	for _, claim := range s.Requirements.Claims {
		class, _ := resolve(classes, claim)
		// A StorageClass that does not exist is named by storage.class.
		if class == nil || claim.By != requirement.CloudNativePG || class.Provisioner == driver {
			continue
		}
		finding.Found = fmt.Sprintf("VolumeSnapshotClass %s is of the driver %s, and the volumes for %s are of %s (StorageClass %s)", wanted, driver, claim.Why, class.Provisioner, class.Name)
		finding.Fix = fmt.Sprintf("name a VolumeSnapshotClass of the driver %s, or empty %s: backups are dumps then", class.Provisioner, snapshotValue)
		return []preflight.Finding{finding}, nil
	}
	return nil, nil
}
