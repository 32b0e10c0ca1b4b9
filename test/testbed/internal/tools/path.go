package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"

	"k8s.io/apimachinery/pkg/util/version"
)

// OldestHelm is the oldest Helm that the chart and the plugin are tested with.
const OldestHelm = "3.18.0"

// substitute is a program that may be on PATH.
type substitute struct {
	name string
	// refuse says what is wrong with the one at path.
	refuse func(ctx context.Context, path string) error
}

// substitutes maps a tool's name to the program that may be used instead.
func substitutes() map[string]substitute {
	return map[string]substitute{"helm-3": {"helm", refuseHelm}, "kubectl": {"kubectl", refuseKubectl}}
}

// OnPath is the path of the program on PATH that can be used instead of a tool. The error says why there is none.
func OnPath(ctx context.Context, name string) (string, error) {
	s, found := substitutes()[name]
	if !found {
		return "", fmt.Errorf("tool %s has no substitute on PATH", name)
	}
	path, err := exec.LookPath(s.name)
	if err != nil {
		return "", err
	}
	if err := s.refuse(ctx, path); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return path, nil
}

func refuseHelm(ctx context.Context, path string) error {
	output, err := ask(ctx, path, "version", "--template", "{{.Version}}")
	if err != nil {
		return err
	}
	found, err := version.ParseSemantic(string(output))
	if err != nil {
		return err
	}
	if !found.AtLeast(version.MustParseSemantic(OldestHelm)) {
		return fmt.Errorf("is version %s, %s or later is needed", found, OldestHelm)
	}
	return nil
}

// refuseKubectl holds a kubectl against Kubernetes's version skew policy: one minor version older or newer than the API
// server of the cluster that KUBECONFIG names.
func refuseKubectl(ctx context.Context, path string) error {
	output, err := ask(ctx, path, "version", "--output", "json", "--request-timeout", "10s")
	if err != nil {
		return err
	}
	type side struct {
		GitVersion string `json:"gitVersion"`
	}
	var both struct{ ClientVersion, ServerVersion side }
	if err := json.Unmarshal(output, &both); err != nil {
		return err
	}
	client, err := version.ParseSemantic(both.ClientVersion.GitVersion)
	if err != nil {
		return fmt.Errorf("its version: %w", err)
	}
	server, err := version.ParseSemantic(both.ServerVersion.GitVersion)
	if err != nil {
		return fmt.Errorf("the cluster's version: %w", err)
	}
	if client.Major() != server.Major() || client.Minor()+1 < server.Minor() || client.Minor() > server.Minor()+1 {
		return fmt.Errorf("is version %s, more than one minor version away from the cluster's %s", client, server)
	}
	return nil
}

func ask(ctx context.Context, path string, args ...string) ([]byte, error) {
	var errs bytes.Buffer
	command := exec.CommandContext(ctx, path, args...)
	command.Stderr = &errs
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("ask for its version: %w: %s", err, bytes.TrimSpace(errs.Bytes()))
	}
	return bytes.TrimSpace(output), nil
}
