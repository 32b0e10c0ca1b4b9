// Package ecs takes the place of Traefik's provider for Amazon's containers, whose clients are a quarter of what is
// left to compile: the testbed's Traefik reads Kubernetes.
package ecs

import (
	"errors"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/safe"
)

// Provider is the one that Traefik's configuration names.
type Provider struct{}

// SetDefaults has nothing to set.
func (*Provider) SetDefaults() {}

// Init refuses to be configured.
func (*Provider) Init() error {
	return errors.New("the provider ECS is not part of the testbed's Traefik")
}

// Provide is never called: Init comes first.
func (*Provider) Provide(chan<- dynamic.Message, *safe.Pool) error { return nil }
