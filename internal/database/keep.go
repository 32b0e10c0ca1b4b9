package database

import (
	"fmt"
	"regexp"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// KeepLive returns desired with everything that must not go back kept as in live, and one sentence
// for each such thing: a volume never shrinks or changes its class, and PostgreSQL never gets an
// older major version than the one that wrote the data. live may be nil.
func KeepLive(desired, live *unstructured.Unstructured) (*unstructured.Unstructured, []string, error) {
	desired = desired.DeepCopy()
	if live == nil {
		return desired, nil, nil
	}
	var kept []string
	for _, volume := range []string{"storage", "walStorage"} {
		k, err := keepVolume(desired.Object, live.Object, volume)
		if err != nil {
			return nil, nil, err
		}
		kept = append(kept, k...)
	}
	if k := keepMajor(desired.Object, live.Object); k != "" {
		kept = append(kept, k)
	}
	return desired, kept, nil
}

func keepVolume(desired, live map[string]any, volume string) (kept []string, err error) {
	was, ok, _ := unstructured.NestedMap(live, "spec", volume)
	if !ok {
		return nil, nil
	}
	path := "spec." + volume
	now, ok, _ := unstructured.NestedMap(desired, "spec", volume)
	if !ok {
		// The operator refuses to take a volume away.
		kept = append(kept, fmt.Sprintf("%s is kept: the operator cannot take a volume away", path))
		return kept, unstructured.SetNestedMap(desired, was, "spec", volume)
	}
	size, err := larger(now["size"], was["size"], path)
	if err != nil {
		return nil, err
	}
	if size != now["size"] {
		kept = append(kept, fmt.Sprintf("%s.size stays %v, not %v: a volume can't shrink", path, size, now["size"]))
		now["size"] = size
	}
	if now["storageClass"] != was["storageClass"] {
		if name, _ := now["storageClass"].(string); name != "" {
			kept = append(kept, fmt.Sprintf("%s.storageClass stays %q, not %q: a volume can't change its class", path, orDefault(was["storageClass"]), name))
		}
		delete(now, "storageClass")
		if class, ok := was["storageClass"]; ok {
			now["storageClass"] = class
		}
	}
	return kept, unstructured.SetNestedMap(desired, now, "spec", volume)
}

func orDefault(class any) any {
	if class == nil || class == "" {
		return "the default class"
	}
	return class
}

// larger returns was if it is more than now, else now.
func larger(now, was any, path string) (any, error) {
	nowText, _ := now.(string)
	wasText, _ := was.(string)
	if nowText == "" || wasText == "" {
		return now, nil
	}
	nowSize, err := resource.ParseQuantity(nowText)
	if err != nil {
		return nil, hook.Refusef(finding.UpgradeDatabaseValues, "correct the values below global.database.cnpg",
			"%s.size %q is no size such as 10Gi: %v", path, nowText, err)
	}
	wasSize, err := resource.ParseQuantity(wasText)
	if err != nil || nowSize.Cmp(wasSize) >= 0 {
		return now, nil
	}
	return was, nil
}

func keepMajor(desired, live map[string]any) string {
	now, _, _ := unstructured.NestedString(desired, "spec", "imageName")
	was, _, _ := unstructured.NestedString(live, "spec", "imageName")
	nowMajor, wasMajor := Major(now), Major(was)
	if running, ok, _ := unstructured.NestedInt64(live, "status", "pgDataImageInfo", "majorVersion"); ok && int(running) > wasMajor {
		// The data is newer than what the spec was set to since.
		wasMajor = int(running)
		was, _, _ = unstructured.NestedString(live, "status", "pgDataImageInfo", "image")
	}
	if nowMajor == 0 || was == "" || nowMajor >= wasMajor {
		return ""
	}
	_ = unstructured.SetNestedField(desired, was, "spec", "imageName")
	return fmt.Sprintf("the PostgreSQL image stays %s, not %s: the data was written by major version %d and an older one can't read it", was, now, wasMajor)
}

var tag = regexp.MustCompile(`:([0-9]+)[^/@]*(@.*)?$`)

// Major is the PostgreSQL version that an image's tag starts with, as the operator reads it, or 0.
func Major(image string) int {
	m := tag.FindStringSubmatch(image)
	if m == nil {
		return 0
	}
	major, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return major
}
