// Package catalog lists all checks, in the order in which they are reported.
package catalog

import (
	"slices"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/access"
	"github.com/neutree-ai/packaging/internal/preflight/check/admission"
	"github.com/neutree-ai/packaging/internal/preflight/check/cnpg"
	"github.com/neutree-ai/packaging/internal/preflight/check/directory"
	"github.com/neutree-ai/packaging/internal/preflight/check/existing"
	"github.com/neutree-ai/packaging/internal/preflight/check/exposed"
	"github.com/neutree-ai/packaging/internal/preflight/check/exposure"
	"github.com/neutree-ai/packaging/internal/preflight/check/external"
	"github.com/neutree-ai/packaging/internal/preflight/check/image"
	"github.com/neutree-ai/packaging/internal/preflight/check/images"
	"github.com/neutree-ai/packaging/internal/preflight/check/k8s"
	"github.com/neutree-ai/packaging/internal/preflight/check/models"
	"github.com/neutree-ai/packaging/internal/preflight/check/network"
	"github.com/neutree-ai/packaging/internal/preflight/check/node"
	"github.com/neutree-ai/packaging/internal/preflight/check/pods"
	"github.com/neutree-ai/packaging/internal/preflight/check/port"
	"github.com/neutree-ai/packaging/internal/preflight/check/secrets"
	"github.com/neutree-ai/packaging/internal/preflight/check/storage"
	"github.com/neutree-ai/packaging/internal/preflight/check/upgradepath"
	"github.com/neutree-ai/packaging/internal/preflight/check/values"
	"github.com/neutree-ai/packaging/internal/preflight/check/volumes"
)

// Checks are all checks, those of one topic together: several packages may each have a part of one.
func Checks() []preflight.Check {
	return byTopic(slices.Concat(
		values.Checks(),
		k8s.Checks(),
		access.Checks(),
		admission.Checks(),
		existing.Checks(),
		upgradepath.Checks(),
		cnpg.Checks(),
		secrets.Checks(),
		external.Checks(),
		directory.Checks(),
		models.Checks(),
		storage.Checks(),
		volumes.Checks(),
		exposure.Checks(),
		port.Checks(),
		exposed.Checks(),
		image.Checks(),
		images.Checks(),
		node.Checks(),
		network.Checks(),
		pods.Checks(),
	))
}

// byTopic moves the checks of a topic to where its first one is.
func byTopic(checks []preflight.Check) []preflight.Check {
	rank := map[string]int{}
	for _, check := range checks {
		if _, known := rank[check.Topic()]; !known {
			rank[check.Topic()] = len(rank)
		}
	}
	slices.SortStableFunc(checks, func(a, b preflight.Check) int { return rank[a.Topic()] - rank[b.Topic()] })
	return checks
}
