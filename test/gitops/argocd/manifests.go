package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Load reads the objects of a file, or of all YAML files of a folder. As in ArgoCD, the items of a List take its place.
func Load(path string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if extension := filepath.Ext(path); entry.IsDir() || extension != ".yaml" && extension != ".yml" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read, err := kube.SplitYAML(content)
		if err != nil {
			return fmt.Errorf("parse %s: %w", path, err)
		}
		for _, object := range read {
			if !object.IsList() {
				objects = append(objects, object)
				continue
			}
			err := object.EachListItem(func(item runtime.Object) error {
				objects = append(objects, item.(*unstructured.Unstructured))
				return nil
			})
			if err != nil {
				return fmt.Errorf("list in %s: %w", path, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the manifests: %w", err)
	}
	if len(objects) == 0 {
		return nil, fmt.Errorf("read the manifests: no YAML file in %s has an object", path)
	}
	return objects, nil
}

// The ways of tracking. A tracked object belongs to the Application, and is pruned once it is not rendered any more.
const (
	TrackAnnotation = "annotation"
	TrackLabel      = "label"

	trackingAnnotation = "argocd.argoproj.io/tracking-id"
	trackingLabel      = "app.kubernetes.io/instance"
)

// track marks a manifest as the Application's. ArgoCD marks no CustomResourceDefinition.
func (a *Application) track(object *unstructured.Unstructured) {
	if kube.IsCRD(object) {
		return
	}
	if a.Tracking == TrackLabel {
		labels := object.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[trackingLabel] = a.Name
		object.SetLabels(labels)
		return
	}
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[trackingAnnotation] = a.trackingID(object)
	object.SetAnnotations(annotations)
}

func (a *Application) trackingID(object *unstructured.Unstructured) string {
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = a.Namespace
	}
	kind := object.GroupVersionKind().GroupKind()
	return fmt.Sprintf("%s:%s/%s:%s/%s", a.Name, kind.Group, kind.Kind, namespace, object.GetName())
}

// tracked says whether a live object is the Application's.
func (a *Application) tracked(object *unstructured.Unstructured) bool {
	if a.Tracking == TrackLabel {
		return object.GetLabels()[trackingLabel] == a.Name
	}
	name, _, is := strings.Cut(object.GetAnnotations()[trackingAnnotation], ":")
	return is && name == a.Name
}

// itself says whether a tracked object is the one that was marked. Controllers copy annotations to what they make.
func (a *Application) itself(live *unstructured.Unstructured) bool {
	if a.Tracking == TrackLabel || live == nil || live.GetAnnotations()[trackingAnnotation] == "" {
		return true
	}
	// The namespace of a cluster-wide object's mark is that of the destination.
	return live.GetAnnotations()[trackingAnnotation] == a.trackingID(live)
}

func name(key kube.ResourceKey) string {
	kind := key.Kind
	if key.Group != "" {
		kind += "." + key.Group
	}
	if key.Namespace == "" {
		return kind + " " + key.Name
	}
	return kind + " " + key.Namespace + "/" + key.Name
}
