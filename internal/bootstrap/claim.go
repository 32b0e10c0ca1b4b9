package bootstrap

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// keepClaim changes desired so that only what may change of a claim differs from live, and says
// what it kept: everything but a larger size is immutable, and so is the size where the values name none.
func keepClaim(desired, live *unstructured.Unstructured, defaultSize bool) ([]string, error) {
	var kept []string
	now, _, err := unstructured.NestedMap(desired.Object, "spec")
	if err != nil {
		return nil, err
	}
	was, _, err := unstructured.NestedMap(live.Object, "spec")
	if err != nil {
		return nil, err
	}
	for _, field := range []string{"accessModes", "storageClassName", "volumeName", "volumeMode"} {
		wanted, stated := now[field]
		if reflect.DeepEqual(wanted, was[field]) {
			continue
		}
		// An empty class leaves the choice to us, which was made when the claim was.
		if stated && wanted != "" {
			kept = append(kept, fmt.Sprintf("%s of the shared claim stays %v, not %v: it can't change once the claim exists", field, was[field], wanted))
		}
		delete(now, field)
		if value, ok := was[field]; ok {
			now[field] = value
		}
	}
	size, _, _ := unstructured.NestedString(was, "resources", "requests", "storage")
	if !defaultSize {
		var sizeKept []string
		if size, sizeKept, err = keepSize(now, was); err != nil {
			return nil, err
		}
		kept = append(kept, sizeKept...)
	}
	if size != "" {
		if err := unstructured.SetNestedField(now, size, "resources", "requests", "storage"); err != nil {
			return nil, err
		}
	}
	return kept, unstructured.SetNestedMap(desired.Object, now, "spec")
}

func keepSize(now, was map[string]any) (string, []string, error) {
	wanted, _, _ := unstructured.NestedString(now, "resources", "requests", "storage")
	has, _, _ := unstructured.NestedString(was, "resources", "requests", "storage")
	if wanted == "" || has == "" {
		return has, nil, nil
	}
	wantedSize, err := resource.ParseQuantity(wanted)
	if err != nil {
		return "", nil, fmt.Errorf("global.storage.shared.size %q is no size such as 50Gi: %w", wanted, err)
	}
	hasSize, err := resource.ParseQuantity(has)
	if err != nil || wantedSize.Cmp(hasSize) >= 0 {
		return wanted, nil, nil
	}
	return has, []string{fmt.Sprintf("the shared claim stays %s, not %s: a volume can't shrink", has, wanted)}, nil
}
