package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/neutree-ai/packaging/internal/egress"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const (
	// databaseURL is the variable with the address of the database in every pod that connects.
	databaseURL = "DATABASE_URL"
	// plainKey is where the Secret of a release of version 0.1.0 has it.
	plainKey = "url"
)

// usersLose asks the database of an installed release what of the model providers and MCP servers that users have set the
// policy cuts. It does so from a pod that the database admits as that of the bootstrap Job.
func usersLose(
	ctx context.Context, s *preflight.Subject, policy *networkingv1.NetworkPolicy, families egress.Families, holds answer,
) ([]preflight.Finding, error) {
	if !s.Options.Upgrade {
		return nil, nil
	}
	i := slices.IndexFunc(s.Requirements.Pods, func(p requirement.Pod) bool {
		return p.Job && strings.HasPrefix(p.Owner, "Job "+s.Requirements.Prefix+"-bootstrap-")
	})
	if i < 0 || len(s.Requirements.Pods[i].Spec.Containers) == 0 {
		return nil, nil
	}
	outcome, err := askUsers(ctx, s, s.Requirements.Pods[i], &agent.Lost{Variable: databaseURL,
		Namespace: s.Requirements.Namespace, Policy: policy.Spec, Families: families})
	if err != nil {
		return nil, fmt.Errorf("ask the database which model providers and MCP servers users have set: %w; the bootstrap Job of "+
			"the upgrade logs those that the NetworkPolicy for workspaces cuts", err)
	}
	verb, severity := "cuts", preflight.Warning
	switch holds {
	case no:
		verb, severity = "would cut", preflight.Note
	case unknown:
		verb = "may cut"
	}
	sentences, more := agent.LostIn(outcome.Facts)
	var findings []preflight.Finding
	add := func(what string) {
		findings = append(findings, preflight.Finding{
			Value: egressAllow, Severity: severity,
			Found: "the NetworkPolicy for workspaces " + verb + " what users have set: " + what,
			Why:   "agents cannot use it", Fix: "add what it takes to " + egressAllow,
		})
	}
	for _, sentence := range sentences {
		add(sentence)
	}
	if more > 0 {
		add(fmt.Sprintf("%d more, which the bootstrap Job of the upgrade logs", more))
	}
	return findings, nil
}

// askUsers runs the task where bootstrap would run, with its way to the database.
func askUsers(ctx context.Context, s *preflight.Subject, as requirement.Pod, task *agent.Lost) (agent.Result, error) {
	main := as.Spec.Containers[0]
	url, err := urlOf(ctx, s, main)
	if err != nil {
		return agent.Result{}, err
	}
	container := probe.Container{Name: "probe", Env: []corev1.EnvVar{url}, Tasks: []agent.Task{{ID: "users", Lost: task}}}
	pod := probe.Pod{
		Purpose: "workspace-users", Limit: 45 * time.Second, Labels: map[string]string{"app": as.Labels["app"]},
		NodeSelector: as.Spec.NodeSelector, Tolerations: as.Spec.Tolerations, Affinity: as.Spec.Affinity,
	}
	// The certificate by which the server is verified.
	for _, volume := range as.Spec.Volumes {
		if volume.Secret == nil {
			continue
		}
		pod.Volumes = append(pod.Volumes, volume)
		for _, mount := range main.VolumeMounts {
			if mount.Name == volume.Name {
				container.Mounts = append(container.Mounts, mount)
			}
		}
	}
	pod.Containers = []probe.Container{container}
	if pod.Namespace, err = s.Probes.Namespace(ctx, s.Requirements.Namespace, probe.Restricted); err != nil {
		return agent.Result{}, err
	}
	outcome, err := s.Probes.Run(ctx, pod)
	if err != nil {
		return agent.Result{}, err
	}
	if result := outcome.Results["users"]; !result.OK() {
		return result, errors.New(result.Error)
	}
	return outcome.Results["users"], nil
}

// urlOf is the variable with the database's address, by a key that the Secret has before the upgrade.
func urlOf(ctx context.Context, s *preflight.Subject, main corev1.Container) (corev1.EnvVar, error) {
	i := slices.IndexFunc(main.Env, func(v corev1.EnvVar) bool { return v.Name == databaseURL })
	if i < 0 || main.Env[i].ValueFrom == nil || main.Env[i].ValueFrom.SecretKeyRef == nil {
		return corev1.EnvVar{}, fmt.Errorf("the bootstrap Job has no %s of a Secret", databaseURL)
	}
	variable := *main.Env[i].DeepCopy()
	ref := variable.ValueFrom.SecretKeyRef
	secret, err := s.Cluster.Secret(ctx, s.Requirements.Namespace, ref.Name)
	if err != nil {
		return variable, fmt.Errorf("read Secret %s: %w", ref.Name, err)
	}
	// A pod that lacks the Secret says so.
	if secret != nil && len(secret.Data[ref.Key]) == 0 {
		ref.Key = plainKey
	}
	return variable, nil
}
