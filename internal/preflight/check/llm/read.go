// Package llm proves that the endpoints of models speak the protocol that an agent needs. It costs a few tokens.
package llm

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
)

// Checks are the topic's checks.
func Checks() []preflight.Check {
	return []preflight.Check{{
		ID: "llm.protocol", Title: "Models answer in the protocol of their agents, as they go",
		Needs: preflight.Outside | preflight.OptIn, Severity: preflight.Error,
		Applies: func(s *preflight.Subject) (bool, string) {
			return len(s.Options.Models) > 0, "no model is named (--model)"
		},
		Run: run,
	}}
}

// KeyVariable is the variable of the environment with the key for a type of agent, where no Secret is named.
func KeyVariable(agent string) string {
	return "NEUTREE_MODEL_KEY_" + strings.ToUpper(strings.ReplaceAll(agent, "-", "_"))
}

func run(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	return onnodes.Each(ctx, s.Options.Models, func(ctx context.Context, model preflight.Model) ([]preflight.Finding, error) {
		key := os.Getenv(KeyVariable(model.Agent))
		if model.Secret != "" {
			if s.Cluster == nil {
				return nil, fmt.Errorf("the key for %s is in Secret %s, and there is no cluster to read it from: set %s instead", model.Agent, model.Secret, KeyVariable(model.Agent))
			}
			secret, err := s.Cluster.Secret(ctx, s.Requirements.Namespace, model.Secret)
			if err != nil {
				return nil, fmt.Errorf("read the key for %s: %w", model.Agent, err)
			}
			if secret == nil || len(secret.Data[model.Key]) == 0 {
				return nil, fmt.Errorf("read the key for %s: there is no Secret %s/%s with the key %s", model.Agent, s.Requirements.Namespace, model.Secret, model.Key)
			}
			key = string(secret.Data[model.Key])
		}
		if key == "" {
			return nil, fmt.Errorf("there is no key for %s: name its Secret (secret=NAME/KEY) or set %s", model.Agent, KeyVariable(model.Agent))
		}
		return Try(ctx, model, key)
	})
}

// Agents are the types of agent whose protocols are known.
func Agents() []string {
	return slices.Sorted(maps.Keys(protocols))
}
