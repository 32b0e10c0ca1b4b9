// Package guard proves, before anything is created, what a render can't know and what an install
// would otherwise only time out on.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Run makes every check of spec and refuses with all that must be fixed at once.
func Run(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.GuardSpec) error {
	return kube.Refuse(Check(ctx, log, client, spec))
}

// Check makes every check of spec. The error says what could not be checked.
func Check(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.GuardSpec) ([]finding.Finding, error) {
	g := &guard{log: log, client: client, namespace: spec.Namespace}
	err := g.kubernetes(ctx, spec.Kubernetes)
	found := []finding.Finding{}
	errs := []error{err}
	add := func(findings []finding.Finding, err error) {
		found, errs = append(found, findings...), append(errs, err)
	}
	add(g.storageClasses(ctx, spec.StorageClasses))
	for _, check := range spec.Claims {
		add(g.claim(ctx, check))
	}
	for _, check := range spec.Nodes {
		add(g.node(ctx, check))
	}
	for _, check := range spec.NodePorts {
		add(g.nodePort(ctx, check))
	}
	for _, check := range spec.PodSecurity {
		add(g.podSecurity(ctx, check))
	}
	return found, errors.Join(errs...)
}

type guard struct {
	log       *slog.Logger
	client    *kube.Client
	namespace string
}

// one is a single finding.
func one(f finding.Finding) ([]finding.Finding, error) {
	f.Severity = finding.Error
	return []finding.Finding{f}, nil
}

// kubernetes only warns: an older cluster may well work.
func (g *guard) kubernetes(ctx context.Context, check hook.KubernetesCheck) error {
	if check.Tested == "" {
		return nil
	}
	tested, err := version.ParseGeneric(check.Tested)
	if err != nil {
		return hook.Errorf(hook.Usage, "spec: kubernetes.tested: %w", err)
	}
	info, err := g.client.Version(ctx)
	if err != nil {
		return fmt.Errorf("ask for the version of Kubernetes: %w", err)
	}
	running, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		g.log.Warn("the version of Kubernetes can't be read", "version", info.GitVersion)
		return nil
	}
	if running.LessThan(tested) {
		g.log.Warn("Kubernetes is older than the oldest version that all parts are tested on: it may work, but upgrade it soon",
			"version", info.GitVersion, "tested", check.Tested)
	}
	return nil
}
