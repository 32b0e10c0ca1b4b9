// Package catalog lists all checks, in the order in which they are reported.
package catalog

import (
	"slices"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/exposed"
	"github.com/neutree-ai/packaging/internal/preflight/check/images"
	"github.com/neutree-ai/packaging/internal/preflight/check/pods"
	"github.com/neutree-ai/packaging/internal/preflight/check/values"
	"github.com/neutree-ai/packaging/internal/preflight/check/volumes"
)

// Checks are all checks, those of one topic together: several packages may each have a part of one.
func Checks() []preflight.Check {
	return byTopic(slices.Concat(
		values.Checks(),
		volumes.Checks(),
		exposed.Checks(),
		images.Checks(),
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
