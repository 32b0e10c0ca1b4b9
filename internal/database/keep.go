package database

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// KeepLive returns desired with everything that must not go back kept as in live, and one sentence
// for each such thing: a volume never shrinks or changes its class, a database is created once, and PostgreSQL never
// gets an older major version than the one that wrote the data. A newer one it does not get here either, and
// RaisesMajor says so. live may be nil.
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
	if k := keepBootstrap(desired.Object, live.Object); k != "" {
		kept = append(kept, k)
	}
	keepPlaintext(desired, live)
	return desired, kept, nil
}

const (
	requireTLSAnnotation = "neutree.ai/require-tls"
	refusePlaintext      = "hostnossl all all all reject"
)

// RequiresTLS says whether a manifest makes a Cluster refuse connections without TLS that admits them now.
func RequiresTLS(manifest *unstructured.Unstructured) bool {
	rules, _, _ := unstructured.NestedStringSlice(manifest.Object, "spec", "postgresql", "pg_hba")
	return manifest.GetAnnotations()[requireTLSAnnotation] != "auto" && slices.Contains(rules, refusePlaintext)
}

// How to end what StaysPlaintext says, and why nothing does so by itself.
const (
	PlaintextStays = "PostgreSQL admits connections without TLS, which only services of version 0.1.0 use"
	PlaintextFix   = "once no rollback to version 0.1.0 is wanted, upgrade with global.database.cnpg.requireTLS=always"
)

// StaysPlaintext says whether a Cluster admits connections without TLS, and will after desired is applied, although one
// that is created by desired would not.
func StaysPlaintext(desired, live *unstructured.Unstructured) bool {
	if desired == nil || live == nil || desired.GetAnnotations()[requireTLSAnnotation] != "auto" {
		return false
	}
	rules, _, _ := unstructured.NestedStringSlice(live.Object, "spec", "postgresql", "pg_hba")
	return !slices.Contains(rules, refusePlaintext)
}

// keepPlaintext lets a Cluster that admits connections without TLS admit them further, unless a value forbids it: services
// of an older revision, which run on during an upgrade and come back by a rollback, may connect so.
func keepPlaintext(desired, live *unstructured.Unstructured) {
	if !StaysPlaintext(desired, live) {
		return
	}
	rules, _, _ := unstructured.NestedStringSlice(desired.Object, "spec", "postgresql", "pg_hba")
	rules = slices.DeleteFunc(rules, func(rule string) bool { return rule == refusePlaintext })
	if len(rules) == 0 {
		unstructured.RemoveNestedField(desired.Object, "spec", "postgresql", "pg_hba")
		return
	}
	_ = unstructured.SetNestedStringSlice(desired.Object, rules, "spec", "postgresql", "pg_hba")
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

// keepBootstrap keeps how a Cluster was created, which nothing reads any more, so that another way can be among the values
// of a release whose database is there.
func keepBootstrap(desired, live map[string]any) string {
	was, ok, _ := unstructured.NestedMap(live, "spec", "bootstrap")
	if !ok {
		return ""
	}
	now, _, _ := unstructured.NestedMap(desired, "spec", "bootstrap")
	_ = unstructured.SetNestedMap(desired, was, "spec", "bootstrap")
	for _, method := range []string{"recovery", "pg_basebackup"} {
		if now[method] != nil && was[method] == nil {
			return fmt.Sprintf("spec.bootstrap.%s has no effect: the database exists, and is recovered only when it is created",
				method)
		}
	}
	return ""
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
	wasMajor, was := majorOf(live)
	nowMajor := Major(now)
	if nowMajor == 0 || was == "" || nowMajor == wasMajor || wasMajor == 0 {
		return ""
	}
	_ = unstructured.SetNestedField(desired, was, "spec", "imageName")
	if nowMajor > wasMajor {
		// See RaisesMajor.
		return ""
	}
	return fmt.Sprintf("the PostgreSQL image stays %s, not %s: the data was written by major version %d and an older one can't read it", was, now, wasMajor)
}

// majorOf is the major version of PostgreSQL that the data of a Cluster has, and the image that it has it by. The tag in
// its spec says so only where the operator does not: the spec may name what an upgrade that has not ended wants.
func majorOf(live map[string]any) (int, string) {
	image, _, _ := unstructured.NestedString(live, "spec", "imageName")
	major := Major(image)
	if data, written := dataOf(live); data > 0 && data != major {
		return data, written
	}
	return major, image
}

// dataOf is the major version of the data, and the image that wrote it, as the operator says. It is 0 where that does not
// know them yet.
func dataOf(live map[string]any) (int, string) {
	major, _, _ := unstructured.NestedInt64(live, "status", "pgDataImageInfo", "majorVersion")
	image, _, _ := unstructured.NestedString(live, "status", "pgDataImageInfo", "image")
	return int(major), image
}

// RaisesMajor returns the major version that the data of a Cluster has and the newer one that desired wants, or zeros.
// KeepLive keeps the one that it has: a newer one rewrites the data, with PostgreSQL stopped, so a person decides when.
func RaisesMajor(desired, live *unstructured.Unstructured) (from, to int) {
	if live == nil {
		return 0, 0
	}
	from, _ = majorOf(live.Object)
	image, _, _ := unstructured.NestedString(desired.Object, "spec", "imageName")
	if to = Major(image); from == 0 || to <= from {
		return 0, 0
	}
	return from, to
}

// RaisesMajor compares the Cluster that is there with manifest, as the function of that name does. started says that the
// Cluster has the newer image already, and only its data does not.
func (c *Cluster) RaisesMajor(
	ctx context.Context, manifest *unstructured.Unstructured,
) (from, to int, started bool, err error) {
	live, err := c.get(ctx)
	if err != nil || live == nil {
		return 0, 0, false, err
	}
	from, to = RaisesMajor(manifest, live)
	image, _, _ := unstructured.NestedString(live.Object, "spec", "imageName")
	return from, to, to > 0 && Major(image) >= to, nil
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
