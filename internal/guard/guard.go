// Package guard proves, before anything is created, what a render can't know and what an install
// would otherwise only time out on.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Problem is something that a person must change. Other errors mean that a check could not be made.
type Problem string

// Error says what is wrong and what to do.
func (p Problem) Error() string { return string(p) }

func problemf(format string, args ...any) error { return Problem(fmt.Sprintf(format, args...)) }

// Run makes every check of spec and reports all problems at once.
func Run(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.GuardSpec) error {
	return Report(Check(ctx, log, client, spec))
}

// Check makes every check of spec. Of the errors, those that a person must do something about are Problems.
func Check(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.GuardSpec) []error {
	g := &guard{log: log, client: client, namespace: spec.Namespace}
	errs := append([]error{g.kubernetes(ctx, spec.Kubernetes)}, g.storageClasses(ctx, spec.StorageClasses)...)
	for _, check := range spec.Claims {
		errs = append(errs, g.claim(ctx, check))
	}
	for _, check := range spec.Nodes {
		errs = append(errs, g.node(ctx, check))
	}
	for _, check := range spec.NodePorts {
		errs = append(errs, g.nodePort(ctx, check))
	}
	for _, check := range spec.PodSecurity {
		errs = append(errs, g.podSecurity(ctx, check))
	}
	return errs
}

type guard struct {
	log       *slog.Logger
	client    *kube.Client
	namespace string
}

// Report makes one error of all problems. Only when there is none does an unexpected error count:
// a retry could end differently, but not better.
func Report(errs []error) error {
	var problems []string
	var unexpected []error
	seen := map[string]bool{}
	for _, err := range errs {
		var problem Problem
		var coded *hook.Error
		switch missing := kube.MissingPermission(err); {
		case err == nil:
			continue
		case errors.As(err, &problem):
		case missing != "":
			problem = Problem(missing)
		case errors.As(err, &coded):
			return err
		default:
			unexpected = append(unexpected, err)
			continue
		}
		if seen[problem.Error()] {
			continue
		}
		seen[problem.Error()] = true
		problems = append(problems, problem.Error())
	}
	switch {
	case len(problems) == 1:
		return hook.Errorf(hook.Refused, "%s", problems[0])
	case len(problems) > 1:
		return hook.Errorf(hook.Refused, "%d things must be changed first: %s", len(problems), numbered(problems))
	}
	return errors.Join(unexpected...)
}

func numbered(problems []string) string {
	var b strings.Builder
	for i, problem := range problems {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "(%d) %s", i+1, problem)
	}
	return b.String()
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

func (g *guard) storageClasses(ctx context.Context, checks []hook.StorageClassCheck) []error {
	if len(checks) == 0 {
		return nil
	}
	classes, err := kube.ListStorageClasses(ctx, g.client)
	if err != nil {
		return []error{err}
	}
	var errs []error
	for _, check := range checks {
		name, err := kube.ResolveStorageClass(classes, kube.ClassRequest{
			Purpose: check.Purpose, Value: check.Value, Name: check.Name,
			AccessMode: corev1.PersistentVolumeAccessMode(check.AccessMode),
		})
		if err != nil {
			errs = append(errs, Problem(err.Error()))
			continue
		}
		g.log.Info("StorageClass found", "purpose", check.Purpose, "class", name)
	}
	return errs
}

// noNamespace tells whether err says that the namespace, not something in it, is missing.
func noNamespace(err error, namespace string) bool {
	return apierrors.IsNotFound(err) && strings.Contains(err.Error(), fmt.Sprintf("namespaces %q not found", namespace))
}
