// Package catalog lists all checks, in the order in which they are reported.
package catalog

import (
	"slices"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/values"
)

// Checks are all checks. Those of one topic stand together.
func Checks() []preflight.Check {
	return slices.Concat(
		values.Checks(),
	)
}
