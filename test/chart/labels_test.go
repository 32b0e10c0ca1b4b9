package chart_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
)

// No label is longer than Kubernetes admits, however long the names are that it is made of.
func TestLabelsOfLongNames(t *testing.T) {
	long := "a-namespace-of-a-platform-team-with-a-long-name-production-eu1"
	for _, csi := range []string{"false", "true"} {
		rendered, err := tryRender(target{release: strings.Repeat("r", 53), namespace: long, set: append([]string{
			"global.namePrefix=abcdefghijklmnopqrst", "global.workspaces.namespace=" + strings.Repeat("w", 63),
			"global.storage.shared.nfs.server=10.0.0.5", "global.storage.shared.nfs.path=/exports/nap",
			"global.storage.shared.nfs.csi=" + csi}, everyModule...)})
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range ours(rendered.Objects) {
			walkLabels(object.Object, func(value string) {
				if errs := validation.IsValidLabelValue(value); len(errs) > 0 {
					t.Errorf("%s: label %q: %v", object, value, errs)
				}
			})
		}
	}
}

func walkLabels(value any, visit func(string)) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if labels, ok := inner.(map[string]any); ok && (key == "labels" || key == "matchLabels") {
				for _, label := range labels {
					visit(fmt.Sprint(label))
				}
			}
			walkLabels(inner, visit)
		}
	case []any:
		for _, inner := range value {
			walkLabels(inner, visit)
		}
	}
}

// Common labels are on all that is created, by Helm, by hooks, and by the database's operator.
func TestCommonLabelsAreOnEverything(t *testing.T) {
	objects := ours(renderAll(t, "global.commonLabels.team=platform", deleteData,
		"global.backup.volumeSnapshotClass=snapshots").Objects)
	kinds := map[string]bool{}
	check := func(from chart.Object, content map[string]any) {
		u := unstructured.Unstructured{Object: content}
		kinds[u.GetKind()] = true
		if u.GetLabels()["team"] != "platform" {
			t.Errorf("%s: %s %s lacks the label", from, u.GetKind(), u.GetName())
		}
	}
	for _, object := range objects {
		if object.GetKind() != "List" {
			check(object, object.Object)
		}
		if object.GetKind() != "ConfigMap" {
			continue
		}
		for _, text := range typed(t, object).(*corev1.ConfigMap).Data {
			content := map[string]any{}
			if yaml.Unmarshal([]byte(text), &content) == nil {
				walkObjects(content, func(inner map[string]any) { check(object, inner) })
			}
		}
	}
	for _, kind := range []string{"Job", "PersistentVolumeClaim", "Cluster", "Backup", "Deployment", "Namespace"} {
		if !kinds[kind] {
			t.Errorf("no %s was looked at", kind)
		}
	}
	for _, p := range pods(t, objects) {
		if p.template.Labels["team"] != "platform" {
			t.Errorf("pods of %s lack the label", p.from)
		}
	}
}

// walkObjects visits what is an object of Kubernetes in a specification.
func walkObjects(value any, visit func(map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		if value["apiVersion"] != nil && value["kind"] != nil {
			visit(value)
			return
		}
		for _, inner := range value {
			walkObjects(inner, visit)
		}
	case []any:
		for _, inner := range value {
			walkObjects(inner, visit)
		}
	}
}
