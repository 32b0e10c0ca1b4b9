// Package database brings up and stops the platform's PostgreSQL: a Cluster of the CloudNativePG operator.
package database

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/storage"
)

const (
	crdName               = "clusters.postgresql.cnpg.io"
	hibernationAnnotation = "cnpg.io/hibernation"
	// unexaminedAnnotation marks a Cluster that was woken, until somebody has looked at what it holds.
	unexaminedAnnotation = "neutree.ai/unexamined"
	clusterLabel         = "cnpg.io/cluster"
	// instances are the pods that run PostgreSQL; the operator's own Jobs carry clusterLabel too.
	instances = ",cnpg.io/podRole=instance"
)

// Cluster is one PostgreSQL cluster of the operator's.
type Cluster struct {
	log       *slog.Logger
	client    *kube.Client
	namespace string
	name      string
}

// New names a Cluster. It need not exist.
func New(log *slog.Logger, client *kube.Client, namespace, name string) *Cluster {
	return &Cluster{log: log, client: client, namespace: namespace, name: name}
}

// WaitForCRD waits until the API server serves Clusters.
func (c *Cluster) WaitForCRD(ctx context.Context) error {
	return hook.Poll(ctx, c.log, "the CRD "+crdName, func(ctx context.Context) (bool, string, error) {
		crd, err := c.client.Resource(kube.CRDs, "").Get(ctx, crdName, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return false, "it does not exist: the CloudNativePG operator must be installed with this release (cloudnative-pg.enabled=true) or be in the cluster already", nil
		case err != nil:
			return wait(err)
		}
		conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
		for _, condition := range conditions {
			m, _ := condition.(map[string]any)
			if m["type"] == "Established" && m["status"] == "True" {
				return true, "", nil
			}
		}
		return false, "the API server does not serve it yet", nil
	})
}

// Apply brings the Cluster to what manifest says, awake, and waits for the operator's webhook to
// admit it. What would lose data is kept as it is: see KeepLive.
func (c *Cluster) Apply(ctx context.Context, manifest *unstructured.Unstructured) error {
	if manifest.GetKind() != "Cluster" || manifest.GetName() != c.name {
		return hook.Errorf(hook.Usage,
			"the manifest holds %s %s, not Cluster %s", manifest.GetKind(), manifest.GetName(), c.name)
	}
	said := false
	return hook.Poll(ctx, c.log, "the CloudNativePG operator to admit Cluster "+c.name, func(ctx context.Context) (bool, string, error) {
		live, err := c.client.Resource(kube.Clusters, c.namespace).Get(ctx, c.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			live, err = nil, c.checkClass(ctx, manifest)
		}
		if err != nil {
			return wait(err)
		}
		if live != nil && live.GetDeletionTimestamp() != nil {
			return false, "the Cluster of before is still being deleted", nil
		}
		desired, kept, err := c.desired(manifest, live)
		if err != nil {
			return false, "", err
		}
		if !said {
			for _, k := range kept {
				c.log.Warn(k, "cluster", c.name)
			}
			if StaysPlaintext(manifest, live) {
				c.log.Warn(PlaintextStays+": "+PlaintextFix, "cluster", c.name)
			}
			if from, to := RaisesMajor(manifest, live); to > 0 {
				c.log.Warn(fmt.Sprintf("PostgreSQL stays at major version %d, though the values name %d: "+
					"an upgrade with --set global.upgrade.allowMajorUpgrade=true raises it", from, to), "cluster", c.name)
			}
			said = true
		}
		for _, dryRun := range []bool{true, false} {
			_, err := c.client.Apply(ctx, kube.Clusters, c.namespace, desired, dryRun)
			if dryRun && kube.NoDryRun(err) {
				c.log.Info("the Cluster can't be tried before it is applied", "cluster", c.name, "cause", kube.Brief(err))
				continue
			}
			if err != nil {
				if refused := c.refuseExtra(desired, err); refused != nil {
					return false, "", refused
				}
				return c.admission(ctx, err)
			}
		}
		c.log.Info("Cluster applied", "cluster", c.name, "created", live == nil)
		return true, "", nil
	})
}

// Admits lets the operator judge, in a dry run, what Apply would bring a Cluster to that exists. An operator that gives
// no answer now has not refused: Apply waits for it.
func (c *Cluster) Admits(ctx context.Context, manifest *unstructured.Unstructured) error {
	live, err := c.get(ctx)
	if err != nil || live == nil || live.GetDeletionTimestamp() != nil {
		return err
	}
	desired, _, err := c.desired(manifest, live)
	if err != nil {
		return err
	}
	_, err = c.client.Apply(ctx, kube.Clusters, c.namespace, desired, true)
	if err != nil {
		if refused := c.refuseExtra(desired, err); refused != nil {
			return refused
		}
	}
	if err == nil || olderCRD(err) {
		return nil
	}
	if kube.NoDryRun(err) {
		c.log.Info("not tried before the upgrade", "what", "Cluster "+c.name+" ("+kube.Brief(err)+")")
		return nil
	}
	_, _, err = c.admission(ctx, err)
	return err
}

// desired is what Apply brings the Cluster to, and one sentence for each thing of manifest that stays as it is in live.
func (c *Cluster) desired(manifest, live *unstructured.Unstructured) (*unstructured.Unstructured, []string, error) {
	desired, kept, err := KeepLive(manifest, live)
	if err != nil {
		return nil, nil, err
	}
	desired.SetNamespace(c.namespace)
	annotate(desired, hibernationAnnotation, hibernation(false))
	if asleep(live) || unexamined(live) {
		annotate(desired, unexaminedAnnotation, "true")
	}
	return desired, kept, nil
}

// admission tells an operator that is not ready from one that refuses.
func (c *Cluster) admission(ctx context.Context, err error) (bool, string, error) {
	switch {
	case kube.AdmissionWebhookDown(err):
		return false, "its webhook does not answer" + c.operatorTrouble(ctx) + " (" + kube.Brief(err) + ")", nil
	case kube.MissingPermission(err) != "":
		return wait(err)
	case kube.Permanent(err):
		return false, "", hook.Refuse(finding.Finding{
			ID: finding.CNPGWebhook, Severity: finding.Error, Object: fmt.Sprintf("Cluster %s/%s", c.namespace, c.name), Value: "global.database",
			Found: fmt.Sprintf("the CloudNativePG operator refuses Cluster %s (%s)", c.name, kube.Brief(err)),
			Fix:   "fix the values below global.database",
		})
	}
	return wait(err)
}

// checkClass refuses a first install whose claims no class would serve.
func (c *Cluster) checkClass(ctx context.Context, manifest *unstructured.Unstructured) error {
	classes, err := storage.ListClasses(ctx, c.client)
	if err != nil {
		return err
	}
	name, _, _ := unstructured.NestedString(manifest.Object, "spec", "storage", "storageClass")
	if class, problem := storage.Resolve(classes, storage.ClassRequest{
		Purpose: "PostgreSQL", Value: "global.database.cnpg.storage.storageClass", Name: name, AccessMode: corev1.ReadWriteOnce,
	}); class == nil {
		return hook.Refuse(*problem)
	}
	return nil
}

// wait takes err for something that passes, unless it says that it never will.
func wait(err error) (bool, string, error) {
	if denied, is := kube.Denied(err); is {
		return false, "", hook.Refuse(denied)
	}
	if code := hook.CodeOf(err); code != hook.Unexpected {
		return false, "", err
	}
	return false, kube.Brief(err), nil
}

// ReadManifest reads the one object in the YAML file at path.
func ReadManifest(path string) (*unstructured.Unstructured, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, hook.Errorf(hook.Usage, "read the manifest: %w", err)
	}
	u := &unstructured.Unstructured{}
	// Kubernetes' own JSON decoder keeps whole numbers whole.
	raw, err = yaml.YAMLToJSON(raw)
	if err == nil {
		err = json.Unmarshal(raw, &u.Object)
	}
	if err != nil {
		return nil, hook.Errorf(hook.Usage, "manifest %s is no YAML: %w", path, err)
	}
	if u.GetKind() == "" || u.GetName() == "" {
		return nil, hook.Errorf(hook.Usage, "manifest %s names no kind or no metadata.name", path)
	}
	return u, nil
}

func annotate(u *unstructured.Unstructured, key, value string) {
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	u.SetAnnotations(annotations)
}

// asleep tells whether a Cluster exists and hibernates.
func asleep(live *unstructured.Unstructured) bool {
	return live != nil && live.GetAnnotations()[hibernationAnnotation] == hibernation(true)
}

func unexamined(live *unstructured.Unstructured) bool {
	return live != nil && live.GetAnnotations()[unexaminedAnnotation] != ""
}

func hibernation(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// Presence is whether there is a Cluster, and what can be expected of it.
type Presence int

// What a Cluster can be.
const (
	// Absent is no Cluster, or no CRD.
	Absent Presence = iota
	// Unborn is one whose primary has never run.
	Unborn
	// Stopped is one that hibernates: it holds data.
	Stopped
	// Running is one that is meant to run, and has.
	Running
)

// Presence asks the API server for it.
func (c *Cluster) Presence(ctx context.Context) (Presence, error) {
	live, err := c.get(ctx)
	switch {
	case live == nil || err != nil:
		return Absent, err
	case asleep(live):
		return Stopped, nil
	}
	if primary, _, _ := unstructured.NestedString(live.Object, "status", "currentPrimary"); primary == "" {
		return Unborn, nil
	}
	return Running, nil
}

// Unexamined tells whether the Cluster was woken, and nobody has looked since at what it holds.
func (c *Cluster) Unexamined(ctx context.Context) (bool, error) {
	live, err := c.get(ctx)
	return unexamined(live), err
}

// Examined notes that somebody has.
func (c *Cluster) Examined(ctx context.Context) error {
	err := c.client.Merge(ctx, kube.Clusters, c.namespace, c.name, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{unexaminedAnnotation: nil}},
	})
	if err != nil {
		return fmt.Errorf("note on Cluster %s that its data fits this release: %w", c.name, err)
	}
	return nil
}

// get returns nil where there is no Cluster.
func (c *Cluster) get(ctx context.Context) (*unstructured.Unstructured, error) {
	live, err := c.client.Resource(kube.Clusters, c.namespace).Get(ctx, c.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for Cluster %s in namespace %s: %w", c.name, c.namespace, err)
	}
	return live, nil
}

// Hibernate asks the operator to stop PostgreSQL and to keep its volumes. It says whether there is a Cluster at all. A note
// of services that were stopped goes: they are removed now.
func (c *Cluster) Hibernate(ctx context.Context) (bool, error) {
	err := c.client.Merge(ctx, kube.Clusters, c.namespace, c.name, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{
			hibernationAnnotation: hibernation(true), stoppedAnnotation: nil,
		}},
	})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("hibernate Cluster %s: %w", c.name, err)
	}
	return true, nil
}

// WaitStopped waits until no pod runs PostgreSQL any more.
func (c *Cluster) WaitStopped(ctx context.Context) error {
	return hook.Poll(ctx, c.log, "PostgreSQL to stop", func(ctx context.Context) (bool, string, error) {
		pods, err := c.client.ListMetadata(ctx, kube.Pods, c.namespace, metav1.ListOptions{LabelSelector: clusterLabel + "=" + c.name + instances})
		if err != nil {
			return wait(err)
		}
		var names []string
		for _, pod := range pods {
			names = append(names, pod.Name)
		}
		return len(pods) == 0, "there is still " + strings.Join(names, ", "), nil
	})
}
