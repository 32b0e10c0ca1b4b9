package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/hook"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const rendered = `apiVersion: v1
kind: List
metadata: {name: hooks, annotations: {helm.sh/hook: pre-install}}
items:
  - {apiVersion: v1, kind: ServiceAccount, metadata: {name: one, annotations: {helm.sh/hook: "pre-install,x"}}}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: two}}
---
# nothing
---
apiVersion: batch/v1
kind: Job
metadata: {name: three, annotations: {helm.sh/hook: pre-delete}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: fours.example.org}
`

func load(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rendered.yaml")
	if err := os.WriteFile(path, []byte(rendered), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// A List is not a hook, whatever is said at it: its items are.
func TestLoad(t *testing.T) {
	var got []string
	for _, object := range load(t) {
		line := object.GetKind() + "/" + object.GetName()
		if len(hook.Types(object)) > 0 {
			line += " hook"
		}
		if isHookOf(object, preDelete) {
			line += " pre-delete"
		}
		got = append(got, line)
	}
	want := "ServiceAccount/one hook, ConfigMap/two, Job/three pre-delete, CustomResourceDefinition/fours.example.org"
	if is := strings.Join(got, ", "); is != want {
		t.Errorf("got %s, want %s", is, want)
	}
}

func TestTracking(t *testing.T) {
	for _, tracking := range []string{TrackAnnotation, TrackLabel} {
		a := &Application{Settings: Settings{Name: "neutree", Namespace: "nap", Tracking: tracking}}
		other := &Application{Settings: Settings{Name: "other", Namespace: "nap", Tracking: tracking}}
		for _, object := range load(t) {
			a.track(object)
			if want := object.GetKind() != "CustomResourceDefinition"; a.tracked(object) != want {
				t.Errorf("%s: %s is tracked: %v, want %v", tracking, object.GetName(), !want, want)
			}
			if other.tracked(object) || !a.itself(object) {
				t.Errorf("%s: %s is taken for another's or for a copy", tracking, object.GetName())
			}
			object.SetName("copy")
			if want := tracking == TrackLabel || !a.tracked(object); a.itself(object) != want {
				t.Errorf("%s: a copy with the same mark counts as what was marked: %v, want %v", tracking, !want, want)
			}
		}
	}
}

func TestDeletable(t *testing.T) {
	for annotations, want := range map[string]bool{
		"": true, "argocd.argoproj.io/sync-options=Prune=false": true,
		"argocd.argoproj.io/sync-options=Prune=false, Delete=false": false, "helm.sh/resource-policy=keep": false,
	} {
		object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret"}}
		if key, value, is := strings.Cut(annotations, "="); is {
			object.SetAnnotations(map[string]string{key: value})
		}
		if deletable(object) != want {
			t.Errorf("with %q a deletion deletes it: %v, want %v", annotations, !want, want)
		}
	}
}
