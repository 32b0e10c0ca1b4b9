// Package dump writes down what a cluster looks like when a test has failed: events, objects and logs, without the values
// of Secrets.
package dump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/mask"
)

// FolderVariable names the folder that a test which failed writes to.
const FolderVariable = "FAILED_DIR"

// logBytes bounds what is kept of one container's log.
const logBytes = 1 << 20

// atOnce bounds the requests that run at a time.
const atOnce = 8

// left out are kinds that say nothing of a test, or that are written as events.txt.
var leftOut = map[string]bool{"Event": true, "CustomResourceDefinition": true, "ComponentStatus": true, "FlowSchema": true, "PriorityLevelConfiguration": true}

// dumper writes to one folder.
type dumper struct {
	client  kubernetes.Interface
	dynamic dynamic.Interface
	folder  string
	mask    mask.Mask

	mu     sync.Mutex
	errors []error
}

// Write writes events.txt, objects/NAMESPACE/KIND.yaml and logs/NAMESPACE/POD/CONTAINER.log. It writes all it can, and
// returns what it could not.
func Write(ctx context.Context, config *rest.Config, folder string, secrets *Secrets) error {
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	return write(ctx, client, objects, folder, secrets)
}

func write(ctx context.Context, client kubernetes.Interface, objects dynamic.Interface, folder string, secrets *Secrets) error {
	// Without their values nothing can be masked.
	if err := secrets.Read(ctx, client); err != nil {
		return fmt.Errorf("read the Secrets that must not be shown: %w", err)
	}
	d := &dumper{client: client, dynamic: objects, folder: folder, mask: secrets.Mask()}
	d.note(d.events(ctx))
	d.objects(ctx)
	d.logs(ctx)
	return errors.Join(d.errors...)
}

func (d *dumper) note(err error) {
	if err == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errors = append(d.errors, err)
}

// file writes a file without the values of Secrets.
func (d *dumper) file(text string, path ...string) error {
	name := filepath.Join(append([]string{d.folder}, path...)...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(d.mask.Hide(text)), 0o644)
}

func (d *dumper) events(ctx context.Context) error {
	list, err := d.client.CoreV1().Events(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list events: %w", err)
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return when(a).Compare(when(b).Time) })
	var text strings.Builder
	for _, event := range list.Items {
		about := event.InvolvedObject
		fmt.Fprintf(&text, "%s %s %s %s/%s %s (%d): %s\n", when(event).UTC().Format("15:04:05"), event.Type, about.Kind, about.Namespace,
			about.Name, event.Reason, max(1, event.Count), event.Message)
	}
	return d.file(text.String(), "events.txt")
}

// when is the last time that an event happened: not every client fills in every field.
func when(event corev1.Event) metav1.Time {
	switch {
	case !event.LastTimestamp.IsZero():
		return event.LastTimestamp
	case !event.EventTime.IsZero():
		return metav1.Time{Time: event.EventTime.Time}
	}
	return event.CreationTimestamp
}

// objects writes every object of every kind that can be listed.
func (d *dumper) objects(ctx context.Context) {
	// A kind whose server does not answer is an error beside the others.
	lists, err := d.client.Discovery().ServerPreferredResources()
	if err != nil {
		d.note(fmt.Errorf("list the kinds of objects: %w", err))
	}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			d.note(err)
			continue
		}
		for _, resource := range list.APIResources {
			if !slices.Contains(resource.Verbs, "list") || leftOut[resource.Kind] {
				continue
			}
			group.Go(func() error {
				d.note(d.kind(ctx, version.WithResource(resource.Name), resource.Kind))
				return nil
			})
		}
	}
	_ = group.Wait()
}

func (d *dumper) kind(ctx context.Context, resource schema.GroupVersionResource, kind string) error {
	list, err := d.dynamic.Resource(resource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list %s: %w", resource.GroupResource(), err)
	}
	texts := map[string][]string{}
	for i := range list.Items {
		object := &list.Items[i]
		namespace := object.GetNamespace()
		if namespace == "" {
			namespace = "_cluster"
		}
		text, err := yaml.Marshal(described(object).Object)
		if err != nil {
			return fmt.Errorf("%s %s: %w", kind, object.GetName(), err)
		}
		texts[namespace] = append(texts[namespace], string(text))
	}
	name := kind
	if resource.Group != "" {
		name += "." + resource.Group
	}
	for namespace, all := range texts {
		if err := d.file(strings.Join(all, "---\n"), "objects", namespace, name+".yaml"); err != nil {
			return err
		}
	}
	return nil
}

// described is an object without what nobody reads. Of a Secret it is the names of its keys.
func described(object *unstructured.Unstructured) *unstructured.Unstructured {
	if object.GroupVersionKind().GroupKind() != corev1.SchemeGroupVersion.WithKind("Secret").GroupKind() {
		object.SetManagedFields(nil)
		return object
	}
	data, _, _ := unstructured.NestedMap(object.Object, "data")
	keys := []any{}
	for key := range data {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": object.Object["type"], "keys": keys,
		"metadata": map[string]any{"name": object.GetName(), "namespace": object.GetNamespace()},
	}}
}

// logs writes the log of every container, and of the one that it replaced.
func (d *dumper) logs(ctx context.Context) {
	pods, err := d.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		d.note(fmt.Errorf("list pods: %w", err))
		return
	}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, pod := range pods.Items {
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses) {
			// One that never ran has no log.
			if status.ContainerID != "" {
				group.Go(func() error { d.note(d.log(ctx, &pod, status.Name, false)); return nil })
			}
			if status.RestartCount > 0 {
				group.Go(func() error { d.note(d.log(ctx, &pod, status.Name, true)); return nil })
			}
		}
	}
	_ = group.Wait()
}

func (d *dumper) log(ctx context.Context, pod *corev1.Pod, container string, previous bool) error {
	limit, lines := int64(logBytes), int64(5000)
	options := &corev1.PodLogOptions{Container: container, Previous: previous, Timestamps: true, LimitBytes: &limit, TailLines: &lines}
	text, err := d.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, options).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("log of pod %s/%s, container %s: %w", pod.Namespace, pod.Name, container, err)
	}
	name := container + ".log"
	if previous {
		name = container + ".previous.log"
	}
	return d.file(string(text), "logs", pod.Namespace, pod.Name, name)
}
