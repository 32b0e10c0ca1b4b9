// Package load makes the subject of a preflight: it connects to the cluster, renders the chart for it and derives
// what an install would need.
package load

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/cli/values"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// answer is how long the API server may take for the first answer.
const answer = 15 * time.Second

// Options say what would be installed, and where.
type Options struct {
	// Config connects to the cluster.
	Config    *rest.Config
	Release   string
	Namespace string
	// Chart is a directory or an archive.
	Chart  string
	Values values.Options
	// Checks are what a person decides of the checks.
	Checks preflight.Options
}

// Subject asks the cluster what it is and renders the chart for it. Nothing is made in the cluster.
func Subject(ctx context.Context, o Options) (*preflight.Subject, error) {
	view, err := cluster.New(o.Config)
	if err != nil {
		return nil, err
	}
	kubernetes, err := capabilities(ctx, view)
	if err != nil {
		return nil, err
	}
	// Who may not look takes it for an install.
	if found, err := view.ListMetadata(ctx, kube.Secrets, o.Namespace, "owner=helm,name="+o.Release); err == nil {
		o.Checks.Upgrade = len(found) > 0
	}
	set, err := requirement.Load(requirement.Options{
		Chart: o.Chart, Release: o.Release, Namespace: o.Namespace, Values: o.Values,
		Kubernetes: kubernetes, Cluster: o.Config, Upgrade: o.Checks.Upgrade,
	})
	if err != nil {
		return nil, err
	}
	subject := &preflight.Subject{Requirements: set, Cluster: view, Options: o.Checks, Hide: view.Hide}
	if !o.Checks.NoPods {
		subject.Probes = probe.New(probeConfig(view.Untyped, set))
	}
	learnSecrets(ctx, view, set, o.Checks.Models)
	return subject, nil
}

// capabilities are what Helm would tell the chart of the cluster.
func capabilities(ctx context.Context, view *cluster.View) (chart.Kubernetes, error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	version, err := view.Version(ctx)
	if err != nil {
		return chart.Kubernetes{}, fmt.Errorf("ask the cluster at %s for its version: %s; check KUBECONFIG and --kube-context", view.Config.Host, kube.Brief(err))
	}
	served, err := view.Resources(ctx)
	if err != nil {
		return chart.Kubernetes{}, fmt.Errorf("ask the cluster at %s what it serves: %s", view.Config.Host, kube.Brief(err))
	}
	kubernetes := chart.Kubernetes{Version: version.GitVersion}
	for _, gv := range slices.SortedFunc(maps.Keys(served), func(a, b schema.GroupVersion) int { return strings.Compare(a.String(), b.String()) }) {
		kubernetes.APIVersions = append(kubernetes.APIVersions, gv.String())
		for _, resource := range served[gv] {
			if !strings.Contains(resource.Name, "/") {
				kubernetes.APIVersions = append(kubernetes.APIVersions, gv.String()+"/"+resource.Kind)
			}
		}
	}
	return kubernetes, nil
}

// probeConfig takes the image and its pull secrets from the Job that every install and upgrade starts, and the labels
// that everything of the release has.
func probeConfig(client *kube.Client, set *requirement.Set) probe.Config {
	// A policy that asks for the common labels asks probes too.
	common, _, _ := unstructured.NestedStringMap(set.Values, "global", "commonLabels")
	config := probe.Config{Client: client, Namespace: set.Namespace, Labels: common}
	for _, pod := range set.Pods {
		if pod.Job && strings.HasSuffix(pod.Owner, "-prepare") && len(pod.Spec.Containers) > 0 {
			config.Image, config.PullPolicy = pod.Spec.Containers[0].Image, pod.Spec.Containers[0].ImagePullPolicy
			for _, secret := range pod.Spec.ImagePullSecrets {
				config.PullSecrets = append(config.PullSecrets, secret.Name)
			}
		}
	}
	return config
}

// learnSecrets reads the Secrets that checks work with, so that whatever a peer echoes of them can be hidden.
func learnSecrets(ctx context.Context, view *cluster.View, set *requirement.Set, models []preflight.Model) {
	names := map[string]bool{}
	for _, secret := range set.Secrets {
		names[secret.Name] = true
	}
	for _, model := range models {
		names[model.Secret] = true
	}
	delete(names, "")
	for name := range names {
		// Who may not read it can't leak it either: then only probe pods have it, which report no content.
		_, _ = view.Secret(ctx, set.Namespace, name)
	}
}
