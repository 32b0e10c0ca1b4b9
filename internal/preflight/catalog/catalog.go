// Package catalog lists all checks, in the order in which they are reported.
package catalog

import (
	"slices"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/admission"
	"github.com/neutree-ai/packaging/internal/preflight/check/cnpg"
	"github.com/neutree-ai/packaging/internal/preflight/check/database"
	"github.com/neutree-ai/packaging/internal/preflight/check/existing"
	"github.com/neutree-ai/packaging/internal/preflight/check/exposure"
	"github.com/neutree-ai/packaging/internal/preflight/check/images"
	"github.com/neutree-ai/packaging/internal/preflight/check/k8s"
	"github.com/neutree-ai/packaging/internal/preflight/check/ldap"
	"github.com/neutree-ai/packaging/internal/preflight/check/llm"
	"github.com/neutree-ai/packaging/internal/preflight/check/network"
	"github.com/neutree-ai/packaging/internal/preflight/check/nodes"
	"github.com/neutree-ai/packaging/internal/preflight/check/rbac"
	"github.com/neutree-ai/packaging/internal/preflight/check/secrets"
	"github.com/neutree-ai/packaging/internal/preflight/check/storage"
	"github.com/neutree-ai/packaging/internal/preflight/check/turn"
	"github.com/neutree-ai/packaging/internal/preflight/check/upgrade"
	"github.com/neutree-ai/packaging/internal/preflight/check/values"
)

// Checks are all checks, topic by topic.
func Checks() []preflight.Check {
	return slices.Concat(
		values.Checks(),
		k8s.Checks(),
		rbac.Checks(),
		admission.Checks(),
		existing.Checks(),
		upgrade.Checks(),
		cnpg.Checks(),
		secrets.Checks(),
		database.Checks(),
		ldap.Checks(),
		llm.Checks(),
		storage.Checks(),
		exposure.Checks(),
		turn.Checks(),
		images.Checks(),
		nodes.Checks(),
		network.Checks(),
	)
}
